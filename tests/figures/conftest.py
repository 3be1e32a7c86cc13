"""Small studies of the four hospitals that the figures are drawn of, and no numeric warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pandas as pd
import pytest
import torch

import fedlab
from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.study import Study


@pytest.fixture(autouse=True)
def _no_numeric_warning() -> Iterator[None]:
    """A mean of nothing or an all-nan extreme is a cell that was not thought of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.fixture(scope="session")
def study(hospitals: Federation) -> Study:
    return fedlab.compare(hospitals, seeds=2, rounds=3, progress=False)


@pytest.fixture(scope="session")
def run(hospitals: Federation) -> Run:
    return fedlab.train(hospitals, "logistic", "fedavg", rounds=3, progress=False)


@pytest.fixture(scope="session")
def atlas(hospitals: Federation) -> pd.DataFrame:
    return fedlab.atlas(hospitals, rounds=2, resamples=30, progress=False)


@pytest.fixture(scope="session")
def lopsided() -> Federation:
    """One site with both classes, one with a single one: its AUC is nan."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return Federation.from_tensors({"A": (x, y), "B": (x, torch.zeros(40, dtype=torch.long))}, prepared=False)
