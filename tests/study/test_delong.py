"""DeLong's test against its definition, patient by patient and pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fedlab.study import delong


def by_pairs(y: list[int], scores: list[list[int]]) -> tuple[list[float], float]:
    """AUCs and the variance of their difference from the n² pairs, as DeLong et al. define them."""
    ill, well = ([k for k, label in enumerate(y) if label == c] for c in (1, 0))
    psi = [[[1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0 for j in well] for i in ill] for s in scores]
    aucs = [sum(map(sum, p)) / len(ill) / len(well) for p in psi]
    s10 = np.cov([[sum(row) / len(well) for row in p] for p in psi])
    s01 = np.cov([[sum(row[j] for row in p) / len(ill) for j in range(len(well))] for p in psi])
    s = s10 / len(ill) + s01 / len(well)
    return aucs, float(s[0, 0] + s[1, 1] - 2 * s[0, 1])


patients = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40).filter(
    lambda rows: 2 <= sum(y for y, _, _ in rows) <= len(rows) - 2
)


@given(patients)
@settings(deadline=None)
def test_is_the_definition_with_ties(rows: list[tuple[int, int, int]]) -> None:
    y, one, other = map(list, zip(*rows, strict=True))
    got = delong(y, one, other)
    aucs, variance = by_pairs(y, [one, other])
    assert got[:3] == pytest.approx((*aucs, aucs[0] - aucs[1]), abs=1e-12)
    assert got.auc_one == pytest.approx(roc_auc_score(y, one))
    if variance > 1e-12:
        error = math.sqrt(variance)
        assert got.p == pytest.approx(2 * norm.sf(abs(got.difference) / error), abs=1e-9)
        assert (got.low, got.high) == pytest.approx(norm.interval(0.95, got.difference, error), abs=1e-9)
    else:
        assert (got.p == 1 and got.low == got.high == 0) or (math.isnan(got.p) and got.reason)


@given(patients)
@settings(deadline=None)
def test_the_other_way_round_is_the_same_test(rows: list[tuple[int, int, int]]) -> None:
    y, one, other = map(list, zip(*rows, strict=True))
    there, back = delong(y, one, other), delong(y, other, one)
    assert there.p == pytest.approx(back.p, nan_ok=True)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), nan_ok=True)


def test_equal_models_do_not_differ() -> None:
    y, p = [0, 1, 0, 1, 1], np.array([0.1, 0.5, 0.5, 0.9, 0.3])
    for other in (p, p**3):  # the same order is the same AUC
        assert delong(y, p, other)[2:] == (0.0, 0.0, 0.0, 1.0, "")
    assert delong(y, np.full(5, 0.5), np.full(5, 0.2))[:6] == (0.5, 0.5, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("y", "one", "reason"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "one of the classes has no patient among these 3"),
        ([0, 1, 1], [0.1, math.nan, 0.3], "predicts NaN"),
        ([], [], "no patient among these 0"),
    ],
)
def test_what_cannot_be_computed_is_nan_and_says_why(y: list[int], one: list[float], reason: str) -> None:
    got = delong(y, one, one)
    assert np.isnan(got[:6]).all() and reason in got.reason


def test_a_difference_without_variance_has_no_p() -> None:
    perfect, reversed_ = [0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1]
    got = delong([0, 0, 1, 1], perfect, reversed_)
    assert got.difference == 1 and math.isnan(got.p) and math.isnan(got.low) and "does not vary" in got.reason
    single = delong([0, 0, 1], [0.1, 0.6, 0.5], [0.3, 0.2, 0.9])
    assert single.difference == -0.5 and math.isnan(single.p) and "single patient" in single.reason


@pytest.mark.parametrize(
    ("y", "one", "other", "sentence"),
    [
        ([0, 1], [0.1, 0.2], [0.1], r"shapes \(2,\), \(2,\), \(1,\)"),
        ([0, 1, 2], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3], r"labels \[0, 1, 2\]"),
        ([0, 1], [[0.9, 0.1], [0.2, 0.8]], [0.1, 0.8], "one score of each model"),
    ],
)
def test_refuses_what_are_not_two_models_of_two_classes(y: list, one: list, other: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        delong(y, one, other)
