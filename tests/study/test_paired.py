"""The corrected t, Holm and the tests over hospitals, against scipy, published values and hand computations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedlab.study import cliffs_delta, corrected_t, holm, over_sites
from fedlab.study.paired import ahead

DIFFERENCES = [0.02, 0.05, -0.01, 0.04, 0.03]
real = st.floats(-1, 1).map(lambda x: round(x, 3))


def test_the_corrected_t_by_hand() -> None:
    got = corrected_t(DIFFERENCES, overlap=25 / 60)
    # mean .026; sd of (-.006, .024, -.036, .014, .004) = sqrt(.00212 / 4); t = .026 / (sd * sqrt(1/5 + 25/60))
    sd = math.sqrt((0.006**2 + 0.024**2 + 0.036**2 + 0.014**2 + 0.004**2) / 4)
    t = 0.026 / (sd * math.sqrt(0.2 + 25 / 60))
    assert got.difference == pytest.approx(0.026) and got.sd == pytest.approx(sd) and got.seeds == 5
    assert got.p == pytest.approx(2 * stats.t.sf(t, 4))
    half = 2.7764451052 * sd * math.sqrt(0.2 + 25 / 60)  # t table, 4 degrees of freedom
    assert (got.low, got.high) == pytest.approx((0.026 - half, 0.026 + half))


@given(st.lists(real, min_size=2, max_size=12).filter(lambda d: len(set(d)) > 1))
@settings(deadline=None)
def test_without_overlap_it_is_scipys_paired_t(differences: list[float]) -> None:
    got, want = corrected_t(differences, overlap=0), stats.ttest_1samp(differences, 0)
    assert got.p == pytest.approx(want.pvalue, rel=1e-6)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval()), abs=1e-9)


@given(st.lists(real, min_size=2, max_size=12), st.floats(0, 1))
@settings(deadline=None)
def test_interval_and_p_say_the_same(differences: list[float], overlap: float) -> None:
    got = corrected_t(differences, overlap=overlap)
    if abs(got.p - 0.05) > 1e-6 and not math.isnan(got.p):
        assert (got.p < 0.05) == (not got.low <= 0 <= got.high) == (ahead(got.low, got.high, got.p) != 0)
    assert got.p >= corrected_t(differences, overlap=0).p or math.isnan(got.p)


def test_a_difference_that_never_varies_is_not_judged() -> None:
    assert corrected_t([0.0] * 4, overlap=0.4)[2:6] == (0.0, 0.0, 1.0, 4)
    got = corrected_t([0.1, 0.3 - 0.2, 0.1], overlap=0.0)
    assert got.difference == pytest.approx(0.1) and np.isnan(got[2:5]).all() and "same for every seed" in got.reason
    assert ahead(*got[2:5]) == 0


def test_seeds_without_a_score_are_left_out() -> None:
    assert corrected_t([*DIFFERENCES, math.nan], overlap=0.4) == corrected_t(DIFFERENCES, overlap=0.4)


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, math.nan], [math.nan, math.inf]])
def test_one_seed_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="differences across seeds cannot be judged"):
        corrected_t(differences, overlap=0.4)


@pytest.mark.parametrize("overlap", [-0.1, math.nan])
def test_an_overlap_that_is_none_is_refused(overlap: float) -> None:
    with pytest.raises(ValueError, match="test rows over training rows"):
        corrected_t(DIFFERENCES, overlap=overlap)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # R: p.adjust(p, "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.005, 0.04, 0.03, 0.01], [0.02, 0.06, 0.06, 0.03]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.04, math.nan, 0.03], [0.06, math.nan, 0.06]),
        ([math.nan], [math.nan]),
        ([], []),
    ],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted, nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(deadline=None)
def test_holm_rejects_what_the_step_down_rule_rejects(p: list[float]) -> None:
    kept = set(range(len(p)))
    for step, k in enumerate(sorted(kept, key=lambda k: p[k])):
        if p[k] * (len(p) - step) >= 0.05:
            break
        kept.remove(k)
    assert {k for k, q in enumerate(holm(p)) if q >= 0.05} == kept


def test_holm_refuses_what_is_no_p() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.2, 1.2])


sites = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=6, max_size=8)


@given(sites)
@settings(deadline=None, max_examples=20)  # with ties scipy goes through all signs
def test_over_sites_is_scipys_wilcoxon_and_cliffs_delta_by_brute_force(rows: list[tuple[int, int]]) -> None:
    one, other = map(list, zip(*rows, strict=True))
    got = over_sites(one, other)
    larger = sum(a > b for a in one for b in other) - sum(a < b for a in one for b in other)
    assert got.delta == pytest.approx(larger / len(rows) ** 2) and got.sites == len(rows)
    assert got.difference == pytest.approx(np.median(np.subtract(one, other)))
    assert got.p == (stats.wilcoxon(one, other).pvalue if one != other else 1.0)


def test_four_sites_are_refused_and_told_why() -> None:
    with pytest.raises(ValueError, match=r"4 sites .* needs 6: with 4 the smallest p is 0\.125"):
        over_sites([0.9, 0.8, 0.7, 0.9], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="5 sites"):
        over_sites([0.9, 0.8, 0.7, 0.9, 0.8, math.nan], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(ValueError, match="one has 7 sites and other 6"):
        over_sites([0.5] * 7, [0.5] * 6)
    assert stats.wilcoxon([1, 2, 3, 4]).pvalue == 0.125


def test_cliffs_delta_counts_ties_for_nobody() -> None:
    assert cliffs_delta([1, 1], [1, 1]) == 0 and cliffs_delta([2, 3], [0, 1]) == 1 and cliffs_delta([0], [1]) == -1


# ---------------------------------------------------------------------- over hospitals: ties, zeros and rounding


def by_hand(differences: list[int]) -> float:
    """All signs of the mid-ranks of what is not zero."""
    kept = np.array([d for d in differences if d])
    if not len(kept):
        return 1.0
    ranks = stats.rankdata(np.abs(kept))
    got = ranks[kept > 0].sum()
    every = np.array(list(itertools.product((0, 1), repeat=len(kept)))) @ ranks
    return min(1.0, 2 * min((every <= got + 1e-9).mean(), (every >= got - 1e-9).mean()))


@given(st.lists(st.integers(-3, 4), min_size=6, max_size=9))
@settings(deadline=None)
def test_wilcoxon_is_exact_with_ties_and_zeros(differences: list[int]) -> None:
    one = [0.5 + d / 100 for d in differences]
    assert over_sites(one, [0.5] * len(one)).p == pytest.approx(by_hand(differences))


def test_what_differs_by_rounding_is_a_tie_and_what_is_zero_on_paper_is_zero() -> None:
    # .1 + .2 is .30000000000000004: on paper five of six hospitals differ, and the least p is 2 / 2^5
    one, other = [0.80, 0.82, 0.79, 0.90, 0.85, 0.1 + 0.2], [0.70, 0.80, 0.78, 0.84, 0.81, 0.3]
    assert stats.wilcoxon(np.subtract(one, other)).pvalue == 0.03125
    assert over_sites(one, other).p == 0.0625
    # .80 - .70 and .82 - .72 are .1 on paper, and 1e-16 apart: +1, +1, -1, -1 in one group, and 2 and 3 above them
    one, other = [0.80, 0.82, 0.70, 0.72, 0.90, 0.95], [0.70, 0.72, 0.80, 0.82, 0.70, 0.65]
    assert over_sites(one, other).p == by_hand([1, 1, -1, -1, 2, 3])


def test_the_same_scores_in_any_unit_have_the_same_p() -> None:
    one, other = [0.80, 0.82, 0.79, 0.90, 0.85, 0.1 + 0.2, 0.6], [0.70, 0.80, 0.78, 0.84, 0.81, 0.3, 0.7]
    for unit in (1e-6, 1.0, 1e6):
        got = over_sites([unit * v for v in one], [unit * v for v in other])
        assert got.p == over_sites(one, other).p and got.delta == over_sites(one, other).delta


def test_many_hospitals_have_the_p_of_scipy() -> None:
    apart = np.random.default_rng(0).normal(0.1, size=200)
    assert over_sites(apart.tolist(), [0.0] * 200).p == pytest.approx(stats.wilcoxon(apart, method="exact").pvalue)


def test_cliffs_delta_takes_rounding_for_a_tie() -> None:
    assert cliffs_delta([0.1 + 0.2], [0.3]) == 0
