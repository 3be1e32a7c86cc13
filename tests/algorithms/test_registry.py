"""Algorithms that other packages bring are found by entry point, and what is wrong with them is said."""

from __future__ import annotations

import sys

import pytest

import fedlab
from fedlab.algorithms import ALGORITHMS, FedAvg, algorithm
from fedlab.federation import Federation
from tests.their_package import Mine


def test_a_package_adds_one_by_name(their_package: None, uneven: Federation) -> None:
    assert isinstance(algorithm("mine"), Mine) and type(algorithm("fedavg")) is FedAvg
    assert fedlab.train(uneven, "logistic", "mine", rounds=2, progress=False).algorithm.name == "mine"


def test_what_a_package_brings_may_be_wrong(their_package: None) -> None:
    with pytest.raises(TypeError, match="the algorithm 'odd' of a package is no fedlab.algorithms.Algorithm"):
        algorithm("odd")
    with pytest.raises(TypeError, match="the algorithm 'gone' of a package cannot be loaded .*No module named"):
        algorithm("gone")
    with pytest.raises(
        ValueError, match="no algorithm 'minee' .did you mean 'mine'.*known are isolated.*mine, odd, gone"
    ):
        algorithm("minee")


def test_every_algorithm_goes_by_its_classs_name() -> None:
    assert len(ALGORITHMS) >= 30
    assert all(name == cls.__name__.lower() == cls().name for name, cls in ALGORITHMS.items())
    with pytest.raises(TypeError, match="wrap a Flower strategy as fedlab.algorithms.FromFlower"):
        algorithm(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", ALGORITHMS.values())
def test_every_algorithm_names_its_source(cls: type) -> None:
    text = sys.modules[cls.__module__].__doc__ or ""
    own_idea = cls.__name__ in ("Isolated", "Centralized")
    assert own_idea or "arXiv:" in text or "doi:" in text, "each file begins with its paper"
