"""What several tests share: small federations that are awkward on purpose."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

import fedlab
from fedlab.algorithms import ALGORITHMS, registry
from fedlab.federation import Federation

# Small work is no faster on two threads, and many times slower where another process wants the same core. The engine
# takes one by itself; the tests' own loops would not, nor would the processes that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# What the tests open is entered in no user's file, nor in another test run's; the processes that they start inherit it.
_state = tempfile.TemporaryDirectory(prefix="fedlab-state-")
os.environ["FEDLAB_STATE"] = _state.name

# A property holds or not, however long the machine takes to look at it.
settings.register_profile("fedlab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedlab")


def ragged(sizes: tuple[int, ...] = (37, 100, 263), *, missing: bool = True, seed: int = 0) -> Federation:
    """Sites of different sizes, shifts and missing values; five features, float64."""
    generator = torch.Generator().manual_seed(seed)
    sites = {}
    for i, n in enumerate(sizes):
        x = torch.randn(n, 5, generator=generator, dtype=torch.float64) * (1 + 0.3 * i) + 10 * i
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        y = (x[:, 0] - 10 * i + 0.3 * noise > 0).long()
        if missing:
            x[:: 3 + i, i % 5] = float("nan")
        sites[f"site {i}"] = (x, y)
    return Federation.from_tensors(sites, prepared=False)


LAYERED = ("moon", "fedbn", "fedper", "fedrep", "lgfedavg")
"""Algorithms that need a model of several layers."""


def combinations() -> list[tuple[str, str]]:
    """Every algorithm with the models that it can train: ``mlp_norm`` has all that any of them asks for."""
    models = ("logistic", "mlp", "mlp_norm")
    unfit = {*((name, "logistic") for name in LAYERED), ("fedbn", "mlp")}
    return [(name, model) for name in ALGORITHMS for model in models if (name, model) not in unfit]


def pairs(fast: str = "mlp_norm") -> list[Any]:
    """The same as parameters of a test; all but those with one model are slow."""
    return [
        pytest.param(name, model, marks=[] if model == fast else pytest.mark.slow) for name, model in combinations()
    ]


@pytest.fixture(scope="session")
def hospitals() -> Federation:
    """The four hospitals that come with fedlab."""
    return fedlab.load("heart_disease")


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many of torch's threads as a user may have."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uneven() -> Federation:
    """37, 100 and 263 rows, with missing values."""
    return ragged()


@pytest.fixture
def short() -> Federation:
    """23, 40 and 90 rows, with missing values: for what must hold in every step, however many there are."""
    return ragged((23, 40, 90))


@pytest.fixture
def their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings algorithms, three of four in vain."""
    found = [
        EntryPoint("mine", "tests.their_package:Mine", registry.GROUP),
        EntryPoint("odd", "tests.their_package:NoAlgorithm", registry.GROUP),
        EntryPoint("gone", "no_such_package:Mine", registry.GROUP),
        EntryPoint("fedavg", "tests.their_package:Mine", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [e for e in found if e.group == group])
