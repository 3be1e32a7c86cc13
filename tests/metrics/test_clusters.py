"""Patients with several rows: intervals are over patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from fedlab.metrics.auc_interval import auc_interval
from fedlab.metrics.benefit import decisions
from fedlab.metrics.calibration import CALIBRATED, calibration
from fedlab.metrics.clusters import by_patient, variance_of_means, worth
from fedlab.metrics.delong import delong
from fedlab.metrics.reliability import reliability


def both(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def visits(rng: np.random.Generator, patients: int = 120, *, stays: bool = True) -> tuple[np.ndarray, ...]:
    """Labels, logits that are true of a patient drawn at random, whose rows they are, and another model's scores.

    A patient has one to six visits and is ill at all or none of them, or (``stays=False``) at some.
    """
    count = rng.integers(1, 7, size=patients)
    who = np.repeat(np.arange(patients), count)
    own = rng.normal(-0.5, 1.0, size=patients)[who]
    logit = own + 0.5 * rng.normal(size=len(who)) * (not stays)
    chance = rng.random(patients)[who] if stays else rng.random(len(who))
    y = (chance < expit(logit)).astype(int)
    return y, logit, who, own + rng.normal(size=len(who))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), times=st.integers(2, 5))
def test_a_patient_told_several_times_over_is_one_patient(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.2, size=90)
    y, other, who = (rng.random(90) < expit(logit)).astype(int), logit + rng.normal(size=90), np.arange(90)
    order = rng.permutation(90 * times)
    again = [np.tile(each, times)[order] for each in (y, logit, other, who)]
    assert auc_interval(again[0], again[1], who=again[3])[:3] == pytest.approx(auc_interval(y, logit)[:3])
    apart = delong(again[0], again[1], again[2], who=again[3])
    assert apart[:6] == pytest.approx(delong(y, logit, other)[:6])
    more, once = calibration(again[0], both(expit(again[1])), who=again[3]), calibration(y, both(expit(logit)))
    for name in ("in_the_large", "observed_to_expected"):
        assert more[name][:3] == pytest.approx(once[name][:3], abs=1e-6), name
    assert more["slope"].value == pytest.approx(once["slope"].value, abs=1e-6)
    widths = [each["slope"].high - each["slope"].low for each in (more, once)]  # of two estimators of one variance
    assert 0.5 < widths[0] / widths[1] < 2
    assert more["ece"].value == pytest.approx(once["ece"].value)
    assert more["ece"].calibrated == pytest.approx(once["ece"].calibrated, abs=0.04)
    seen = decisions(again[0], both(expit(again[1])), threshold=0.3, who=again[3])
    for mine, theirs in zip(seen, decisions(y, both(expit(logit)), threshold=0.3), strict=True):
        assert mine[:2] == theirs[:2] and mine[2:5] == pytest.approx(theirs[2:5])
    bins = reliability(again[0], both(expit(again[1])), who=again[3])
    for mine, theirs in zip(bins, reliability(y, both(expit(logit)), who=who), strict=True):
        assert mine[:7] == pytest.approx(theirs[:7], nan_ok=True)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_are_worth_no_more_than_their_patients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    who = rng.integers(12, size=40)
    assert 1 <= worth(who) <= len(np.unique(who)) + 1e-9
    values = rng.normal(size=(2, 40))
    assert by_patient(values, who).sum(1) == pytest.approx(values.sum(1))
    single = np.arange(40)
    assert variance_of_means([values], [single]) == pytest.approx(values.var(1, ddof=1) / 40)


def test_one_patient_with_two_equal_rows_costs_no_hospital_its_intervals() -> None:
    y, logit, _, _ = visits(np.random.default_rng(0))
    y, p, who = y[:100], expit(logit[:100]), np.r_[np.arange(99), 98]
    y[-1], p[-1] = y[-2], p[-2]
    assert not auc_interval(y, p, who=who).reason
    assert not any(each.reason for each in calibration(y, both(p), who=who).values())
    assert not any(each.reason for each in decisions(y, both(p), threshold=0.2, who=who))


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="say of every row whose it is"):
        delong([0, 1], [0.1, 0.2], [0.2, 0.1], who=[1])


@pytest.mark.slow
@pytest.mark.parametrize("stays", [True, False])
def test_the_intervals_cover_over_patients(stays: bool) -> None:
    """One hundred and twenty patients of one to six visits; the truth is that of very many."""
    large = visits(np.random.default_rng(1), 300_000, stays=stays)
    threshold, draws = 0.3, 400
    y, logit, _, other = large
    full = {d.measure: d.value for d in decisions(y, both(expit(logit)), threshold=threshold, thresholds=[])}
    true = {"auc": auc(y, logit), "apart": auc(y, logit) - auc(y, other), **full, **CALIBRATED}
    missed = dict.fromkeys(true, 0)
    for seed in range(draws):
        y, logit, who, other = visits(np.random.default_rng([2, seed]), stays=stays)
        p = both(expit(logit))
        ends = {"auc": auc_interval(y, logit, who=who)[1:3], "apart": delong(y, logit, other, who=who)[3:5]}
        ends |= {name: calibration_ends(y, p, who)[name] for name in CALIBRATED}
        ends |= {d.measure: (d.low, d.high) for d in decisions(y, p, threshold=threshold, thresholds=[], who=who)}
        for name, (low, high) in ends.items():
            assert not math.isnan(low), name
            missed[name] += not low <= true[name] <= high
    for name, count in missed.items():
        assert count / draws <= 0.08, (name, 1 - count / draws)


def auc(y: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, scores))


def calibration_ends(y: np.ndarray, p: np.ndarray, who: np.ndarray) -> dict[str, tuple[float, float]]:
    found = calibration(y, p, who=who)
    return {name: (found[name].low, found[name].high) for name in CALIBRATED}
