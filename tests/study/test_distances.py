"""Distances of histograms: against scipy, by hand, and what must hold for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from fedlab.study.heterogeneity.distances import (
    HISTOGRAM,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    shares,
    total_variation,
    wasserstein,
)

COUNTS = st.lists(st.integers(0, 200), min_size=4, max_size=4).filter(any)
ALL = {
    **HISTOGRAM,
    "kolmogorov_smirnov": kolmogorov_smirnov,
    "wasserstein": lambda p, q: wasserstein(p, q, np.arange(4)),
}


@settings(deadline=None, max_examples=50)
@given(COUNTS, COUNTS)
def test_equal_to_scipy(p: list[int], q: list[int]) -> None:
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)
    at = np.array([0.0, 1.0, 5.0, 7.0])
    both = np.repeat(at, np.add(p, q))
    one, other = np.repeat(at, p), np.repeat(at, q)
    assert kolmogorov_smirnov(p, q) == pytest.approx(ks_2samp(one, other).statistic)
    sd = both.std() or 1.0
    assert wasserstein(p, q, at) == pytest.approx(wasserstein_distance(one, other) / sd, abs=1e-9)


def test_by_hand() -> None:
    p, q = [40, 60], [10, 90]
    assert total_variation(p, q) == pytest.approx(0.3)
    assert hellinger(p, q) == pytest.approx(np.sqrt(1 - np.sqrt(0.4 * 0.1) - np.sqrt(0.6 * 0.9)))
    assert psi(p, q) == pytest.approx(0.3 * np.log(4) - 0.3 * np.log(60 / 90))
    assert psi([1, 0], [0, 1], floor=0.01) == pytest.approx(2 * 0.99 * np.log(100))


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=50)
@given(COUNTS, COUNTS)
def test_identity_symmetry_and_bounds(name: str, p: list[int], q: list[int]) -> None:
    measure = ALL[name]
    there, back = float(measure(p, q)), float(measure(q, p))
    assert there == pytest.approx(back, abs=1e-9) and there >= 0
    assert measure(p, p) == pytest.approx(0, abs=1e-7)
    assert measure(p, np.multiply(p, 3)) == pytest.approx(0, abs=1e-7)
    if name not in ("psi", "wasserstein"):
        assert there <= 1


@settings(deadline=None, max_examples=50)
@given(COUNTS, COUNTS)
def test_hellinger_and_total_variation_bound_each_other(p: list[int], q: list[int]) -> None:
    h, tv = hellinger(p, q), total_variation(p, q)
    assert h**2 <= tv + 1e-9 and tv <= np.sqrt(2) * h + 1e-9


@pytest.mark.parametrize("name", ALL)
def test_an_empty_side_has_no_value_and_stacks_are_taken_one_by_one(name: str) -> None:
    stack = np.array([[0, 0, 0, 0], [1, 2, 3, 4]])
    found = ALL[name](stack, [4, 3, 2, 1])
    assert np.isnan(found[0]) and found[1] == ALL[name]([1, 2, 3, 4], [4, 3, 2, 1])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="below 0"):
        shares([-1, 2])
    with pytest.raises(ValueError, match="2 and 3 cells"):
        total_variation([1, 2], [1, 2, 3])
    assert wasserstein([5, 0], [9, 0], at=[0.0, 1.0]) == 0  # all at one place: no spread, and nothing to move
