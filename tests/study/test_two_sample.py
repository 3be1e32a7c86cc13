"""MMD, the classifier test, drift and diversity, and outcomes by risk: golden values and identities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from fedlab.study.heterogeneity.chance import against
from fedlab.study.heterogeneity.concept import beyond_prevalence
from fedlab.study.heterogeneity.drift import angle, drift, gradient_diversity
from fedlab.study.heterogeneity.two_sample import (
    c2st,
    discriminant,
    median_heuristic,
    mmd2,
    mmd_with_null,
    ranked_auc,
    squared_distances,
)

RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(30, 3)), RNG.normal(size=(40, 3)) + 0.5


def test_mmd_is_the_unbiased_sum_of_scikit_learns_kernel() -> None:
    g = 1 / (2 * 1.7**2)
    xx, yy, xy = rbf_kernel(X, X, gamma=g), rbf_kernel(Y, Y, gamma=g), rbf_kernel(X, Y, gamma=g)
    by_hand = (xx.sum() - 30) / (30 * 29) + (yy.sum() - 40) / (40 * 39) - 2 * xy.mean()
    assert mmd2(X, Y, width=1.7) == pytest.approx(by_hand) == pytest.approx(mmd2(Y, X, width=1.7))


def test_median_heuristic_is_the_median_of_scipys_distances() -> None:
    from scipy.spatial.distance import pdist

    assert median_heuristic(squared_distances(X)) == pytest.approx(np.median(pdist(X)))
    assert median_heuristic(np.zeros((3, 3))) == 1.0


def test_the_classifier_is_ridge_regression_and_its_auc_scikit_learns() -> None:
    rows, second = np.concatenate([X, Y]), np.arange(70) >= 30
    score = discriminant(rows, second[:, None], rows)[:, 0]
    theirs = Ridge(alpha=1.0).fit(rows, second).predict(rows)
    assert np.ptp(score - theirs) < 1e-9
    rounded = score.round(1)  # with ties
    assert ranked_auc(rounded[:, None], second[:, None])[0] == pytest.approx(roc_auc_score(second, rounded))


@pytest.mark.parametrize("test", [mmd_with_null, c2st])
def test_both_find_a_shift_and_a_spread_and_nothing_in_nothing(test) -> None:
    def p(x: np.ndarray, y: np.ndarray) -> float:
        return against(*test(x, y, draws=200, rng=np.random.default_rng(0))).p

    rng = np.random.default_rng(2)
    base, same, far = (rng.normal(size=(150, 2)) for _ in range(3))
    assert p(base, far + 1) < 1e-3 and p(base, 3 * far) < 1e-3
    assert p(base, same) > 0.05


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows"):
        mmd2(X[:1], Y)
    with pytest.raises(ValueError, match="5 folds"):
        c2st(X[:4], Y, rng=RNG)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=4).filter(lambda v: np.linalg.norm(v) > 0.1), st.integers(2, 5))
def test_equal_updates_do_not_drift(update: list[float], sites: int) -> None:
    updates, weights = np.tile(update, (sites, 1)), np.arange(1.0, sites + 1)
    assert drift(updates, weights) == pytest.approx(np.zeros(sites), abs=1e-7)
    assert angle(updates, weights) == pytest.approx(np.zeros(sites), abs=1e-4)
    assert gradient_diversity(updates) == pytest.approx(1 / sites)


def test_drift_by_hand() -> None:
    updates, weights = np.array([[4.0, 0.0], [0.0, 2.0]]), np.array([1.0, 3.0])  # mean (1, 1.5)
    assert drift(updates, weights) == pytest.approx(np.sqrt([9 + 2.25, 1 + 0.25]) / np.sqrt(3.25))
    assert angle(updates, weights) == pytest.approx(np.degrees([np.arctan(1.5), np.arctan(1 / 1.5)]))
    assert gradient_diversity(updates) == pytest.approx(1.0)
    still = np.zeros((2, 2))
    assert drift(still, weights).tolist() == [0, 0] and np.isnan(angle(still, weights)).all()


RATES = np.array([0.1, 0.3, 0.6, 0.9])


@settings(deadline=None, max_examples=50)
@given(st.floats(-2, 2), st.lists(st.integers(20, 900), min_size=4, max_size=4))
def test_neither_prevalence_nor_who_comes_is_a_concept(shift: float, n: list[int]) -> None:
    moved = 1 / (1 + np.exp(-(np.log(RATES / (1 - RATES)) + shift)))
    own, others = np.array([n * (1 - moved), n * moved]), 500 * np.array([1 - RATES, RATES])
    assert beyond_prevalence(own, others) == pytest.approx(0, abs=1e-5)


def test_another_meaning_of_the_label_is_one_and_a_single_class_has_no_value() -> None:
    own, others = np.array([RATES, 1 - RATES]) * 100, np.array([1 - RATES, RATES]) * 500
    assert 0.3 < beyond_prevalence(own, others) <= 1
    assert np.isnan(beyond_prevalence(np.array([[0.0] * 4, [5.0] * 4]), others))


def test_chance_of_a_value_that_no_draw_reaches_is_read_off_the_tail() -> None:
    draws = np.random.default_rng(0).normal(size=2000)
    from scipy.stats import norm

    assert np.log10(against(5.0, draws).p) == pytest.approx(np.log10(norm.sf(5.0)), abs=1.5)
    assert against(0.0, draws).p == pytest.approx(0.5, abs=0.03)
    assert np.isnan(against(float("nan"), draws).p)
    assert np.isnan(against(5.0, np.where(np.arange(2000) < 1100, np.nan, draws)).p)  # told too seldom
    assert against(0.0, np.zeros(50)).p == 1  # identical, and by chance too
