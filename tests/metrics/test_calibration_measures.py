"""Calibration in the large, slope and O:E: against other code, what their intervals cover, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from fedlab.metrics.calibration import CALIBRATED, MEASURES, calibration, many_calibrations

Z = 1.959963984540054


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def hospital(n: int, seed: int, *, shift: float = 0.0, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.2, size=n)
    return (rng.random(n) < expit(shift + slope * logit)).astype(int), expit(logit)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(120, 400), shift=st.floats(-0.7, 0.7), slope=st.floats(0.3, 2.5), seed=st.integers(0, 10_000))
def test_slope_and_intercept_are_those_of_logistic_regressions(n: int, shift: float, slope: float, seed: int) -> None:
    y, p = hospital(n, seed, shift=shift, slope=slope)
    if min(y.sum(), n - y.sum()) < 20:
        return
    got, logit = calibration(y, both(p)), np.log(p / (1 - p))
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y)
    assert got["slope"].value == pytest.approx(theirs.coef_.item(), abs=1e-4)
    design = np.stack([np.ones(n), logit], axis=1)
    risk = theirs.predict_proba(logit[:, None])[:, 1]
    error = math.sqrt(np.linalg.inv((design.T * risk * (1 - risk)) @ design)[1, 1])
    assert (got["slope"].low, got["slope"].high) == pytest.approx(
        (theirs.coef_.item() - Z * error, theirs.coef_.item() + Z * error), abs=1e-3
    )
    offset = minimize(lambda a: np.logaddexp(0, a[0] + logit).sum() - y @ (a[0] + logit), [0.0], tol=1e-12)
    assert got["in_the_large"].value == pytest.approx(offset.x[0], abs=1e-4)
    assert got["observed_to_expected"].value == pytest.approx(y.sum() / p.sum())
    for name in CALIBRATED:
        assert got[name].low < got[name].value < got[name].high and got[name].calibrated == CALIBRATED[name]


def test_which_way_each_points() -> None:
    y, p = hospital(4000, 0)
    halved, flat = calibration(y, both(p / 2)), calibration(y, both(expit(2 * np.log(p / (1 - p)))))
    assert halved["in_the_large"].low > 0 and halved["observed_to_expected"].value == pytest.approx(
        2 * calibration(y, both(p))["observed_to_expected"].value
    )  # twice as many were ill as was told
    assert flat["slope"].high < 1 and flat["slope"].value == pytest.approx(0.5, abs=0.06)  # told too extremely


def truth(prevalence: float, spread: float, shift: float, slope: float) -> tuple[float, dict[str, float]]:
    """The mean logit that gives this prevalence, and each measure of so many patients that nothing is chance."""
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    middle = brentq(lambda m: weight @ expit(shift + slope * (m + spread * z)) - prevalence, -9, 9)
    logit = middle + spread * z
    ill = expit(shift + slope * logit)
    large = brentq(lambda a: weight @ (ill - expit(a + logit)), -9, 9)
    return middle, {
        "in_the_large": large,
        "slope": slope,
        "observed_to_expected": prevalence / float(weight @ expit(logit)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 120, 240])
@pytest.mark.parametrize("prevalence", [0.2, 0.4])
@pytest.mark.parametrize(("shift", "slope"), [(0.0, 1.0), (0.5, 0.7)])
def test_the_intervals_cover(
    n: int, prevalence: float, shift: float, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all hospitals at most one in twenty has an interval that misses; also of those that have one at all."""
    monkeypatch.setattr("fedlab.metrics.reliability.DRAWS", 1)  # of the error by chance, not asked here
    spread, draws = 1.3, 600
    middle, true = truth(prevalence, spread, shift, slope)
    rng = np.random.default_rng(n)
    told, missed = 0, dict.fromkeys(true, 0)
    for _ in range(draws):
        logit = rng.normal(middle, spread, size=n)
        y = (rng.random(n) < expit(shift + slope * logit)).astype(int)
        got = calibration(y, both(expit(logit)))
        told += not math.isnan(got["slope"].low)
        for name in true:
            missed[name] += got[name].low > true[name] or got[name].high < true[name]
    for name, count in missed.items():
        assert count / draws <= 0.075, name
        if told > draws / 2:
            assert beta.ppf(0.99, told - count + 1, count) >= 0.95, (name, 1 - count / told)
            assert 1 - count / told >= 0.925, name
    assert told > 0.8 * draws or n * prevalence < 20


def test_where_there_is_none_it_says_why() -> None:
    y, p = hospital(200, 0)
    few = calibration(np.r_[np.ones(19, int), np.zeros(100, int)], both(p[:119]))
    single = calibration(np.r_[1, np.zeros(99, int)], both(p[:100]))
    none = calibration(np.zeros(100, int), both(p[:100]))
    several = calibration(np.arange(90) % 3, np.random.default_rng(0).dirichlet(np.ones(3), size=90))
    for got, why in ((few, "fewer than 20"), (single, "fewer than 20"), (none, "fewer than 20"), (several, "has 3")):
        assert list(got) == list(MEASURES)
        for name in CALIBRATED:
            assert all(math.isnan(each) for each in got[name][:3]) and why in got[name].reason
            assert got[name].calibrated == CALIBRATED[name]
        assert got["ece"].value > 0 and got["ece"].calibrated > 0
    broken = many_calibrations(y, np.array([both(p), both(p) * np.nan]))
    assert broken[0] == calibration(y, both(p))
    assert {each.reason for each in broken[1].values()} == {"the model predicts NaN"}
    tiny = calibration(y[:4], both(p[:4]))["ece"]
    assert math.isnan(tiny.value) and tiny.reason == "fewer than 5 patients"


def test_perfect_separation_equal_predictions_and_infinite_logits() -> None:
    y = np.r_[np.zeros(30, int), np.ones(30, int)]
    apart = np.r_[np.linspace(0.05, 0.4, 30), np.linspace(0.6, 0.95, 30)]
    for p in (apart, 1 - apart, np.where(apart < 0.5, 0.3, 0.7), np.r_[apart[:29], apart[30], apart[30:]]):
        got = calibration(y, both(p))
        assert math.isnan(got["slope"].value) and "separate the classes perfectly" in got["slope"].reason
        assert got["in_the_large"].low < got["in_the_large"].value < got["in_the_large"].high
        assert got["observed_to_expected"].low < got["observed_to_expected"].high
    flat = calibration(y, both(np.full(60, 0.25)))
    assert "no slope" in flat["slope"].reason and flat["observed_to_expected"].value == pytest.approx(2)
    assert flat["in_the_large"].value == pytest.approx(math.log(3))
    sure = calibration(y, both(np.where(np.arange(60) == 3, 0.0, apart)))
    for name in ("in_the_large", "slope"):
        assert math.isnan(sure[name].value) and "0 or 1" in sure[name].reason
    assert sure["observed_to_expected"].low < sure["observed_to_expected"].high
    nobody, true = calibration(y, both(np.zeros(60))), calibration(y, both(y.astype(float)))
    assert "nothing was expected" in nobody["observed_to_expected"].reason
    assert true["observed_to_expected"].value == 1 and "no interval" in true["observed_to_expected"].reason
    far = calibration(np.arange(60) % 2, both(expit(np.r_[np.full(30, -40.0), np.full(30, -30.0)])))
    assert far["in_the_large"].value == pytest.approx(35, abs=6) and math.isfinite(far["slope"].value)


def test_single_precision_says_nearly_the_same() -> None:
    y, p = hospital(300, 4)
    one, other = calibration(y, both(p)), calibration(y, both(p).astype(np.float32))
    for name in MEASURES:
        assert other[name][:3] == pytest.approx(one[name][:3], abs=1e-3, nan_ok=True)
