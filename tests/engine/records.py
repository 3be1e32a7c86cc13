"""What the tests of a run's folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fedlab
from fedlab.engine import Run
from fedlab.federation import Federation


def quick(fed: Federation, alg: Any = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 2, "progress": False} | options))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
