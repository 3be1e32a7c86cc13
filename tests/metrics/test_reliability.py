"""Reliability bins, by hand and against the calibration error and scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from fedlab.metrics.reliability import calibration_error, error_by_chance, reliability, wilson


def test_bins_by_hand() -> None:
    said = np.array([0.0, 0.1, 0.24, 0.25, 0.6, 0.99, 1.0])
    y = np.array([0, 1, 0, 1, 1, 1, 0])
    got = reliability(y, np.stack([1 - said, said], axis=1), bins=4)
    assert [each.patients for each in got] == [3, 1, 1, 2]  # .25 opens the second bin, 1 belongs to the last
    assert [each.observed for each in got] == pytest.approx([1 / 3, 1, 1, 1 / 2])
    assert [each.predicted for each in got] == pytest.approx([0.34 / 3, 0.25, 0.6, 0.995])
    assert [(each.low, each.high) for each in got] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]


def test_an_empty_bin_has_no_share() -> None:
    low, high = reliability(np.array([0]), np.array([[0.9, 0.1]]), bins=2)
    assert low.patients == 1 and low.observed == 0 and low.observed_low == 0 and low.observed_high < 1
    assert high.patients == 0 and np.isnan([high.predicted, high.observed, high.observed_low]).all()


@given(n=st.integers(1, 60), classes=st.integers(2, 4), seed=st.integers(0, 10_000))
def test_ten_bins_give_the_calibration_error(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.integers(classes, size=n), rng.dirichlet(np.ones(classes), size=n)
    bins = [each for each in reliability(y, p) if each.patients]
    assert sum(each.patients for each in bins) == n
    error = sum(each.patients * abs(each.predicted - each.observed) for each in bins) / n
    assert error == pytest.approx(calibration_error(y, p))


def test_calibration_error_by_hand() -> None:
    p1 = np.array([0.05, 0.05, 0.95, 0.95])
    # two bins of two patients: said .05, seen .5; said .95, seen 1
    got = calibration_error(np.array([0, 1, 1, 1]), np.stack([1 - p1, p1], axis=1))
    assert got == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 8), bins=st.integers(1, 10), seed=st.integers(0, 10_000))
def test_the_error_by_chance_is_that_over_all_outcomes(n: int, bins: int, seed: int) -> None:
    said = np.random.default_rng(seed).random((2, n))
    p = np.stack([1 - said, said], axis=2)
    every = np.array(list(product((0, 1), repeat=n)))
    for one, mean in zip(p, error_by_chance(p, bins=bins)[0], strict=True):
        likely = np.where(every == 1, one[:, 1], one[:, 0]).prod(1)
        errors = np.array([calibration_error(y, one, bins=bins) for y in every])
        exact = float(likely @ errors)
        spread = np.sqrt(max(likely @ errors**2 - exact**2, 0) / 500)
        assert mean == pytest.approx(exact, abs=5 * spread + 1e-9)


def test_a_calibrated_model_shows_the_error_by_chance_and_one_in_twenty_more() -> None:
    rng = np.random.default_rng(3)
    said = rng.beta(1, 3, size=50)
    p = np.stack([1 - said, said], axis=1)
    errors = np.array([calibration_error((rng.random(50) < said).astype(int), p) for _ in range(2000)])
    mean, high = (each.item() for each in error_by_chance(p[None]))
    assert mean == pytest.approx(errors.mean(), abs=0.006) and mean > 0.06
    assert 0.03 < (errors > high).mean() < 0.07


def test_the_draws_are_the_same_for_all_models_and_do_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    said = np.random.default_rng(0).random((3, 30))
    p = np.stack([1 - said, said], axis=2)
    whole = error_by_chance(p)
    assert whole[0][1] == error_by_chance(p[1:2])[0][0] and whole[0][0] != error_by_chance(p, seed=1)[0][0]
    monkeypatch.setattr("fedlab.metrics.reliability.TOGETHER", 90)
    assert np.array_equal(error_by_chance(p), whole)


@settings(deadline=None)
@given(n=st.integers(2, 60), seed=st.integers(0, 10_000))
def test_shares_equal_scikit_learns(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, said = np.r_[0, 1, rng.integers(2, size=n - 2)], rng.random(n)
    bins = [each for each in reliability(y, np.stack([1 - said, said], axis=1), bins=5) if each.patients]
    observed, predicted = calibration_curve(y, said, n_bins=5)
    assert [each.observed for each in bins] == pytest.approx(observed.tolist())
    assert [each.predicted for each in bins] == pytest.approx(predicted.tolist())


def test_the_interval_of_a_share_is_wilsons() -> None:
    from scipy.stats import binomtest

    for ill, n in [(0, 4), (3, 4), (9, 31), (31, 31)]:
        low, high = wilson(np.array([ill / n]), np.array([n]))
        theirs = binomtest(ill, n).proportion_ci(method="wilson")
        assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
