"""Our vectorised metrics equal scikit-learn's, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fedlab.metrics.ranking import rank, sensitivity_at_specificity
from fedlab.metrics.scores import CHOSEN, METRICS, NEEDS_EVERY_CLASS, NEEDS_TWO_CLASSES, scores
from fedlab.metrics.thresholds import Threshold, balanced_accuracy_at, choose_threshold

METRIC_NAMES = ["auc", "accuracy", "balanced_accuracy", "log_loss", "brier", "average_precision"]
SENSITIVITY = "sensitivity_at_specificity_90"


def theirs(name: str, y: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    said = p.argmax(1)
    labels = np.arange(p.shape[1])
    binary = p.shape[1] == 2
    if name == "auc" and binary:
        return sk.roc_auc_score(y, p[:, 1], sample_weight=w)
    if name == "auc":
        return float(np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in labels]))
    if name == "average_precision":
        each = [sk.average_precision_score(y == k, p[:, k], sample_weight=w) for k in ([1] if binary else labels)]
        return float(np.mean(each))
    if name == SENSITIVITY:
        false, found, _ = sk.roc_curve(y, p[:, 1], sample_weight=w, drop_intermediate=False)
        return float(found[false <= 0.1].max())
    if name == "accuracy":
        return sk.accuracy_score(y, said, sample_weight=w)
    if name == "balanced_accuracy":
        return sk.recall_score(y, said, sample_weight=w, average="macro", labels=np.unique(y))
    if name == "log_loss":
        return sk.log_loss(y, p, sample_weight=w, labels=labels)
    if binary:
        return sk.brier_score_loss(y, p[:, 1], sample_weight=w)
    return float(np.average(((p - np.eye(len(labels))[y]) ** 2).sum(1), weights=w))


@settings(deadline=None)
@given(n=st.integers(6, 60), classes=st.integers(2, 4), ties=st.booleans(), seed=st.integers(0, 10_000))
def test_equal_to_scikit_learn(n: int, classes: int, ties: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), rng.integers(classes, size=n - classes)]
    p = rng.dirichlet(np.ones(classes), size=n)
    if ties:
        p = np.round(p * 4) + 0.1
        p /= p.sum(1, keepdims=True)
    w = rng.integers(1, 5, size=n).astype(float)
    for name in [*METRIC_NAMES, *([SENSITIVITY] if classes == 2 else [])]:
        ours = METRICS[name](y, p, w[None])[0]
        assert ours == pytest.approx(theirs(name, y, p, w), abs=1e-10), name


def test_a_metric_that_cannot_be_computed_says_why() -> None:
    got = scores(np.array([1, 1, 1]), np.array([[0.2, 0.8]] * 3))
    assert np.isnan(got["auc"].value) and "no patient among these 3" in got["auc"].reason
    assert got["accuracy"].value == 1.0
    assert np.isnan(scores(np.array([], dtype=int), np.zeros((0, 2)))["auc"].value)


def test_the_bootstrap_holds_the_value_and_narrows_with_patients() -> None:
    rng = np.random.default_rng(0)

    def interval(n: int) -> tuple[float, float, float]:
        y = rng.integers(2, size=n)
        p1 = np.clip(0.3 * y + 0.7 * rng.random(n), 0, 1)
        got = scores(y, np.stack([1 - p1, p1], axis=1), resamples=300)["average_precision"]
        return got.value, got.low, got.high

    small, large = interval(60), interval(3000)
    for value, low, high in (small, large):
        assert low < value < high
    assert small[2] - small[1] > 3 * (large[2] - large[1])


def both(p1: np.ndarray) -> np.ndarray:
    return np.stack([1 - p1, p1], axis=1)


def random_task(n: int, ties: bool, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p1 = rng.random(n)
    return np.r_[0, 1, rng.integers(2, size=n - 2)], both(np.round(p1, 1) if ties else p1), rng.integers(0, 5, size=n)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(4, 25), ties=st.booleans(), seed=st.integers(0, 10_000))
def test_the_chosen_threshold_is_the_best_of_all_that_there_are(n: int, ties: bool, seed: int) -> None:
    y, p, _ = random_task(n, ties, seed)
    got = choose_threshold(y, p).value
    worth = {t: sk.balanced_accuracy_score(y, p[:, 1] >= t) for t in [*p[:, 1].tolist(), 0.5]}
    best = [t for t, value in worth.items() if value >= max(worth.values()) - 1e-12]
    assert worth[got] == pytest.approx(max(worth.values()))
    assert abs(got - 0.5) == pytest.approx(min(abs(t - 0.5) for t in best))


@settings(deadline=None)
@given(n=st.integers(4, 50), ties=st.booleans(), seed=st.integers(0, 10_000), at=st.floats(0, 1))
def test_balanced_accuracy_at_a_threshold_equals_scikit_learns(n: int, ties: bool, seed: int, at: float) -> None:
    y, p, w = random_task(n, ties, seed)
    w[:2] = 1
    got = balanced_accuracy_at(y, p, w[None].astype(float), threshold=at)[0]
    assert got == pytest.approx(sk.balanced_accuracy_score(y, p[:, 1] >= at, sample_weight=w))


@given(n=st.integers(6, 40), ties=st.booleans(), seed=st.integers(0, 10_000))
def test_many_resamples_at_once_are_each_on_its_own(n: int, ties: bool, seed: int) -> None:
    y, p, _ = random_task(n, ties, seed)
    w = np.random.default_rng(seed).integers(0, 4, size=(5, n)).astype(float)
    w[:, :2] += 1
    for name, metric in METRICS.items():
        assert metric(y, p, w) == pytest.approx([metric(y, p, row[None])[0] for row in w]), name


def test_a_resample_of_one_class_is_nan_for_what_needs_both() -> None:
    y, p = np.array([0, 0, 1]), both(np.array([0.2, 0.6, 0.7]))
    only_well, only_ill = np.array([[1.0, 1, 0]]), np.array([[0.0, 0, 2]])
    for name in ("auc", "average_precision", CHOSEN, SENSITIVITY):
        assert np.isnan(METRICS[name](y, p, only_well)).all() and np.isnan(METRICS[name](y, p, only_ill)).all(), name


def test_sensitivity_at_90_per_cent_specificity_by_hand() -> None:
    """Ten healthy, so one may be called ill: the threshold is above the second-highest of them."""
    well, ill = np.arange(10) / 10, np.array([0.05, 0.75, 0.8, 0.85, 0.95])
    y, score = np.r_[np.zeros(10, int), np.ones(5, int)], np.r_[well, ill]
    got = scores(y, both(score))[SENSITIVITY].value
    assert got == 2 / 5  # .85 and .95 lie above .8; .8 itself is tied with a healthy one who would be the second
    ranking = rank(y == 1, score, np.ones((1, 15)))
    assert sensitivity_at_specificity(ranking, 1.0)[0] == 1 / 5
    assert sensitivity_at_specificity(ranking, 0.8)[0] == 4 / 5


def test_equal_predictions_have_the_scores_of_a_guess() -> None:
    y = np.array([1, 1, 0, 0, 0])
    flat = both(np.full(5, 0.3))
    assert choose_threshold(y, flat).value == 0.5
    got = {k: v.value for k, v in scores(y, flat, threshold=choose_threshold(y, flat)).items()}
    assert got["auc"] == got[CHOSEN] == 0.5 and got[SENSITIVITY] == 0
    assert got["average_precision"] == pytest.approx(0.4)
    assert got["brier"] == pytest.approx((2 * 0.49 + 3 * 0.09) / 5)


def test_the_threshold_is_the_given_one_and_none_says_why() -> None:
    y, p = np.array([0, 0, 1, 1]), both(np.array([0.1, 0.2, 0.3, 0.4]))
    assert scores(y, p, threshold=Threshold(0.25))[CHOSEN].value == 1.0
    assert scores(y, p, threshold=Threshold(0.35))[CHOSEN].value == 0.75
    silent = scores(y, p)[CHOSEN]
    assert np.isnan(silent.value) and silent.reason == "no threshold was chosen on valid"


def test_no_threshold_without_both_classes_numbers_and_a_binary_task() -> None:
    two = both(np.array([0.2, 0.7]))
    assert choose_threshold(np.array([1, 1]), two).reason == (
        "the 2 valid patients are of one class: no threshold can be chosen"
    )
    assert "predicts NaN on valid" in choose_threshold(np.array([0, 1]), two * np.nan).reason
    assert "this one has 3" in choose_threshold(np.array([0, 1]), np.full((2, 3), 1 / 3)).reason


def test_what_is_not_defined_is_nan_with_a_reason() -> None:
    y, p = np.array([0, 1, 2, 1]), np.full((4, 3), 1 / 3)
    multi = scores(y, p, resamples=20)
    assert {name for name, score in multi.items() if np.isnan(score.value)} == NEEDS_TWO_CLASSES
    assert all("needs a task of two classes; this one has 3" in multi[name].reason for name in NEEDS_TWO_CLASSES)
    single = scores(np.ones(4, int), both(np.full(4, 0.6)), threshold=Threshold(0.5))
    assert {name for name, score in single.items() if np.isnan(score.value)} == NEEDS_EVERY_CLASS
    broken = scores(y, p * np.nan)
    assert set(broken) == set(METRICS) and {score.reason for score in broken.values()} == {"the model predicts NaN"}
