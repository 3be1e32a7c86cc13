"""The interval of one AUC: what it covers, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import beta, norm
from sklearn.metrics import roc_auc_score

from fedlab.metrics.auc_interval import auc_bounds, auc_interval, newcombe
from fedlab.metrics.scores import NEEDS_EVERY_CLASS, scores
from fedlab.metrics.thresholds import Threshold

Z = norm.ppf(0.975)


def drawn(cases: int, others: int, auc: float, sd: float, draws: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal distributions; the cases' has another spread."""
    rng = np.random.default_rng(seed)
    ill = np.arange(cases + others) < cases
    apart = norm.ppf(auc) * math.hypot(1, sd)
    normal = rng.standard_normal((draws, cases + others))
    return ill, np.where(ill, apart + sd * normal, normal)


@pytest.mark.slow
@pytest.mark.parametrize(("cases", "others"), [(20, 20), (20, 56), (20, 180)])
@pytest.mark.parametrize("auc", [0.7, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("sd", [0.55, 1.0, 1.8])
def test_it_covers_the_auc(cases: int, others: int, auc: float, sd: float) -> None:
    ill, said = drawn(cases, others, auc, sd, 4000)
    low, high = auc_bounds(ill, said, np.arange(cases + others))
    covered = int(((low <= auc) & (auc <= high)).sum())
    assert beta.ppf(0.01, covered, 4000 - covered + 1) >= 0.92
    assert (high - low > 0.01).all()


@pytest.mark.slow
@pytest.mark.parametrize(("cases", "others", "least", "most"), [(20, 180, 0.89, 0.93), (50, 180, 0.93, 0.97)])
def test_a_rare_class_of_two_kinds_is_covered_less_as_its_docstring_says(
    cases: int, others: int, least: float, most: float
) -> None:
    """15 % of the cases look like the others, so that no AUC is above .925; the rest are far away: .924."""
    auc, rng = 0.924, np.random.default_rng(0)
    ill, said = np.arange(cases + others) < cases, rng.standard_normal((4000, cases + others))
    away = math.sqrt(2) * norm.ppf((auc - 0.075) / 0.85)
    said[:, :cases] += np.where(rng.random((4000, cases)) < 0.15, 0, away)
    low, high = auc_bounds(ill, said, np.arange(cases + others))
    assert least < ((low <= auc) & (auc <= high)).mean() < most


@settings(deadline=None, max_examples=60)
@given(extra=st.integers(0, 40), ties=st.booleans(), apart=st.floats(0, 3), seed=st.integers(0, 10_000))
def test_it_is_the_wider_of_the_two_bound_by_bound(extra: int, ties: bool, apart: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[np.ones(20, int), np.zeros(20 + extra, int)])
    said = rng.standard_normal(len(y)) + apart * y
    said = np.round(said) if ties else said
    auc, low, high, reason = auc_interval(y, said)
    assert auc == pytest.approx(roc_auc_score(y, said)) and reason == ""
    assert 0 <= low <= auc <= high <= 1 and high - low > 0.01
    at = newcombe(np.array([auc]), 20, 20 + extra)
    assert low <= at[0][0] and high >= at[1][0]
    if 0 < auc < 1:
        won = (said[y == 1][:, None] > said[y == 0]) + (said[y == 1][:, None] == said[y == 0]) / 2
        error = math.sqrt(won.mean(1).var(ddof=1) / 20 + won.mean(0).var(ddof=1) / (20 + extra))
        ends = [math.log(auc / (1 - auc)) + sign * Z * error / (auc * (1 - auc)) for sign in (-1, 1)]
        logit = [1 / (1 + math.exp(-end)) for end in ends]
        assert (low, high) == pytest.approx((min(logit[0], at[0][0]), max(logit[1], at[1][0])))


@pytest.mark.parametrize("auc", [0.5, 0.73, 0.99])
def test_newcombes_bounds_are_the_roots(auc: float) -> None:
    def off(theta: float) -> float:
        more = (20 + 56) / 2 - 1
        variance = theta * (1 - theta) * (1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (20 * 56)
        return (auc - theta) ** 2 - Z**2 * variance

    low, high = newcombe(np.array([auc]), 20, 56)
    assert low[0] == pytest.approx(brentq(off, 1e-9, auc)) and high[0] == pytest.approx(brentq(off, auc, 1 - 1e-9))


def test_perfect_separation_has_a_width_and_equal_predictions_too() -> None:
    y = np.r_[np.zeros(56, int), np.ones(20, int)]
    best, worst, flat = auc_interval(y, np.arange(76)), auc_interval(y, -np.arange(76)), auc_interval(y, np.ones(76))
    assert best.auc == best.high == 1 and best.low == pytest.approx(0.932, abs=1e-3)
    assert worst.auc == worst.low == 0 and worst.high == pytest.approx(1 - best.low)
    assert flat.auc == 0.5 and flat.low < 0.4 and flat.high == pytest.approx(1 - flat.low)


def test_where_there_is_none_it_says_why() -> None:
    y, said = np.r_[np.zeros(20, int), np.ones(20, int)], np.arange(40.0)
    for labels, values, who, value, why in [
        (y[1:], said[1:], None, 1.0, "fewer than 20 patients of a class"),
        (y[19:], said[19:], None, 1.0, "fewer than 20 patients of a class"),  # one patient of a class
        (y, said, np.arange(40) // 2, 1.0, "fewer than 20 patients of a class"),  # forty rows of twenty
        (np.ones(40, int), said, None, math.nan, "no patient among these 40"),
        (y, np.where(said == 3, np.nan, said), None, math.nan, "NaN"),
    ]:
        got = auc_interval(labels, values, who=who)
        assert got.auc == pytest.approx(value, nan_ok=True) and why in got.reason
        assert math.isnan(got.low) and math.isnan(got.high)
    with pytest.raises(ValueError, match="two classes, 0 and 1"):
        auc_interval(y + 1, said)
    with pytest.raises(ValueError, match="give one label, score and patient for every row"):
        auc_interval(y, said[1:])


# --------------------------------------------------------------------------- the other metrics of a report


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def told(y: np.ndarray, p: np.ndarray, **options: object) -> dict:
    return scores(y, both(p), threshold=Threshold(0.5), resamples=200, **options)


def test_below_twenty_of_a_class_no_metric_that_needs_both_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    y, p = np.r_[np.ones(19, int), np.zeros(40, int)], rng.random(59)
    for name, score in told(y, p).items():
        if name in NEEDS_EVERY_CLASS:
            assert math.isnan(score.low) and "fewer than 20 patients of a class" in score.reason
        else:
            assert score.low < score.value < score.high and score.reason == ""
    assert all(math.isnan(score.low) and score.reason for score in told(y[10:29], p[10:29]).values())


def test_no_metric_has_an_interval_without_a_width() -> None:
    y = np.r_[np.zeros(30, int), np.ones(30, int)]
    got = told(y, y.astype(float))
    assert got["auc"].low < 1 and got["accuracy"].low < 1
    for name in ("average_precision", "balanced_accuracy", "sensitivity_at_specificity_90", "log_loss"):
        assert math.isnan(got[name].low) and math.isnan(got[name].high) and "do not differ" in got[name].reason, name
    flat = told(y, np.full(60, 0.5))
    assert flat["auc"].value == 0.5 and flat["auc"].low < 0.5 < flat["auc"].high


def test_of_several_classes_an_auc_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    got = scores(np.arange(90) % 3, rng.dirichlet(np.ones(3), size=90), resamples=50)["auc"]
    assert 0 < got.value < 1 and math.isnan(got.low) and "mean of the AUCs of 3 classes" in got.reason


def test_a_patient_with_many_rows_is_drawn_whole() -> None:
    rng = np.random.default_rng(1)
    y, p = rng.integers(2, size=60), rng.random(60)
    once, often = told(y, p), told(np.repeat(y, 5), np.repeat(p, 5), who=np.repeat(np.arange(60), 5))
    for name in ("auc", "accuracy", "log_loss", "brier", "balanced_accuracy", "average_precision"):
        assert often[name][:3] == pytest.approx(once[name][:3]), f"{name} takes five rows for five patients"
