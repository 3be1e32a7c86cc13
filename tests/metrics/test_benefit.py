"""Net benefit, sensitivity and specificity: by hand, what their intervals cover, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest

from fedlab.metrics.benefit import MEASURES, decisions, net_benefit


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def at(found: list, threshold: float) -> dict:
    return {each.measure: each for each in found if each.threshold == threshold}


def test_net_benefit_by_hand() -> None:
    y, risk = np.r_[np.ones(20, int), np.zeros(80, int)], np.r_[np.full(15, 0.3), np.full(65, 0.1), np.full(20, 0.2)]
    # at .2: 15 found, and 20 treated for nothing that cost a quarter of a patient each; those at .2 are treated
    assert net_benefit(y, risk, 0.2) == pytest.approx((15 - 20 / 4) / 100)
    assert net_benefit(y, np.ones(100), 0.2) == pytest.approx((20 - 80 / 4) / 100)
    assert net_benefit(y, np.zeros(100), 0.2) == 0
    got = at(decisions(y, both(risk), threshold=0.2), 0.2)
    assert got["net_benefit"].value == pytest.approx(0.1) and got["treat_all"].value == pytest.approx(0)
    assert got["over_treat_all"].value == pytest.approx(0.1)
    assert (got["sensitivity"].value, got["specificity"].value) == (0.75, 0.75)
    theirs = binomtest(15, 20).proportion_ci(method="wilson")
    assert got["sensitivity"][3:5] == pytest.approx((theirs.low, theirs.high))


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 100), ties=st.booleans(), threshold=st.floats(0.01, 0.99), seed=st.integers(0, 10_000))
def test_every_measure_is_inside_an_interval_with_a_width(n: int, ties: bool, threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(20, int), np.zeros(20, int), rng.integers(2, size=n)]
    risk = rng.random(len(y))
    risk = np.round(risk, 1) if ties else risk
    found = decisions(y, both(risk), threshold=threshold)
    assert [each.threshold for each in found] == sorted(each.threshold for each in found)
    for each in found:
        assert each.low <= each.value <= each.high and each.high - each.low > 1e-4 and each.reason == ""
    for each in (one for one in found if one.measure == "net_benefit"):
        assert each.value == pytest.approx(net_benefit(y, risk, each.threshold))
    got = at(found, threshold)
    assert got["over_treat_all"].value == pytest.approx(got["net_benefit"].value - got["treat_all"].value, abs=1e-9)
    assert got["treat_all"].value == pytest.approx(net_benefit(y, np.ones(len(y)), threshold))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "prevalence"), [(60, 0.4), (120, 0.2), (240, 0.2), (240, 0.4)])
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
def test_the_intervals_cover(n: int, prevalence: float, threshold: float) -> None:
    """Of the hospitals with twenty of each class, risks being true."""
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    middle = brentq(lambda m: weight @ expit(m + 1.3 * z) / weight.sum() - prevalence, -9, 9)
    rng, price = np.random.default_rng(n), threshold / (1 - threshold)
    large = expit(rng.normal(middle, 1.3, size=2_000_000))
    acted = large >= threshold
    ill, well, missed, spared = (large * acted).mean(), ((1 - large) * acted).mean(), (large * ~acted).mean(), 0.0
    spared = ((1 - large) * ~acted).mean()
    true = {"net_benefit": ill - price * well, "over_treat_all": price * spared - missed,
            "treat_all": prevalence - price * (1 - prevalence), "sensitivity": ill / (ill + missed),
            "specificity": spared / (well + spared)}  # fmt: skip
    told, inside = 0, dict.fromkeys(true, 0)
    for _ in range(1500):
        risk = expit(rng.normal(middle, 1.3, size=n))
        got = at(
            decisions((rng.random(n) < risk).astype(int), both(risk), threshold=threshold, thresholds=[]), threshold
        )
        told += not math.isnan(got["net_benefit"].low)
        for name in true:
            inside[name] += got[name].low <= true[name] <= got[name].high
    assert told > 1000
    for name, count in inside.items():
        assert count / told >= 0.92, name


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.2, math.nan, math.inf, True, "0.2", None])
def test_a_threshold_that_is_no_risk_is_refused(threshold: object) -> None:
    y, p = np.arange(60) % 2, np.linspace(0.1, 0.9, 60)
    for ask in (
        lambda: net_benefit(y, p, threshold),
        lambda: decisions(y, both(p), threshold=threshold),
        lambda: decisions(y, both(p), threshold=0.2, thresholds=[0.1, threshold]),
    ):
        with pytest.raises(ValueError, match="must be a risk above 0 and below 1"):
            ask()


def test_what_is_no_risk_or_no_label_is_refused() -> None:
    for y, risk, why in [
        ([0, 2], [0.1, 0.2], "labels"), ([0, 1], [0.1, 1.2], "no probability"), ([0, 1], [0.1], "shapes"),
        ([], [], "shapes"), ([0, 1], [0.1, math.nan], "no probability"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=why):
            net_benefit(y, risk, 0.2)


def test_where_there_is_none_it_says_why() -> None:
    y, p = np.r_[np.ones(20, int), np.zeros(30, int)], np.linspace(0.05, 0.95, 50)
    for labels, risks, who, why in [
        (y[1:], p[1:], None, "fewer than 20 patients of a class"),
        (np.r_[1, np.zeros(49, int)], p, None, "fewer than 20 patients of a class"),
        (y, p, np.r_[0, np.arange(49)], "fewer than 20 patients of a class"),  # twenty rows of nineteen
        (y, np.where(p > 0.9, np.nan, p), None, "predicts NaN"),
    ]:
        found = decisions(labels, both(risks), threshold=0.2, who=who)
        assert len(found) == 10 * len(MEASURES)
        assert all(math.isnan(each.value) and math.isnan(each.low) and why in each.reason for each in found)
    perfect = at(decisions(y, both(y.astype(float)), threshold=0.2), 0.2)
    assert perfect["sensitivity"].value == perfect["sensitivity"].high == 1 > perfect["sensitivity"].low
    nobody = at(decisions(y, both(np.full(50, 0.01)), threshold=0.2), 0.2)
    assert nobody["net_benefit"].value == 0 and nobody["net_benefit"].low < 0 < nobody["net_benefit"].high


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), named=st.sampled_from([0.05, 0.2, 0.33, 0.5]), low=st.booleans())
def test_what_may_be_sent_on_tells_of_nobody_or_five_between_two_thresholds(seed: int, named: float, low: bool) -> None:
    rng = np.random.default_rng(seed)
    y, risk = np.arange(50) % 2, rng.random(50) * (0.3 if low else 1)
    found = decisions(y, both(risk), threshold=named)
    told = sorted({each.threshold for each in found if not each.small})
    assert named in told
    between = [int(((risk >= a) & (risk < b)).sum()) for a, b in zip(told, told[1:], strict=False)]
    assert all(count == 0 or count >= 5 for count in between), between
