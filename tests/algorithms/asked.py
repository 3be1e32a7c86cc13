"""What the tests of bad input share."""

from __future__ import annotations

from typing import Any

import pytest

import fedlab
from fedlab.engine import Run
from fedlab.federation import Federation

ENGINES = pytest.mark.parametrize("engine", ["sequential", "batched"])
NAN = float("nan")


def run_of(fed: Federation, alg: Any, model: Any = "mlp", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 2, "progress": False} | options))
