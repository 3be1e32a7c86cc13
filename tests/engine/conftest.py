"""A run that is kept, and no warning of a record that was not asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from fedlab.engine import Run
from fedlab.engine.record import RecordDiffers
from fedlab.federation import Federation
from tests.engine.records import quick


@pytest.fixture
def saved(uneven: Federation, tmp_path: Path) -> tuple[Run, Path]:
    run = quick(uneven)
    return run, run.save(tmp_path / "a run")


@pytest.fixture(autouse=True)
def no_unasked_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordDiffers)
        yield
