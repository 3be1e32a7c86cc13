"""Our vectorised metrics equal scikit-learn's, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from fedlab.federation.metrics import METRICS, scores

METRIC_NAMES = ["auc", "accuracy", "balanced_accuracy", "log_loss", "brier"]


def theirs(name: str, y: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    said = p.argmax(1)
    labels = np.arange(p.shape[1])
    binary = p.shape[1] == 2
    if name == "auc" and binary:
        return sk.roc_auc_score(y, p[:, 1], sample_weight=w)
    if name == "auc":
        return float(np.mean([sk.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in labels]))
    if name == "accuracy":
        return sk.accuracy_score(y, said, sample_weight=w)
    if name == "balanced_accuracy":
        return sk.recall_score(y, said, sample_weight=w, average="macro", labels=np.unique(y))
    if name == "log_loss":
        return sk.log_loss(y, p, sample_weight=w, labels=labels)
    if binary:
        return sk.brier_score_loss(y, p[:, 1], sample_weight=w)
    return float(np.average(((p - np.eye(len(labels))[y]) ** 2).sum(1), weights=w))


@given(n=st.integers(6, 60), classes=st.integers(2, 4), ties=st.booleans(), seed=st.integers(0, 10_000))
def test_equal_to_scikit_learn(n: int, classes: int, ties: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), rng.integers(classes, size=n - classes)]
    p = rng.dirichlet(np.ones(classes), size=n)
    if ties:
        p = np.round(p * 4) + 0.1
        p /= p.sum(1, keepdims=True)
    w = rng.integers(1, 5, size=n).astype(float)
    for name in METRIC_NAMES:
        ours = METRICS[name](y, p, w[None])[0]
        assert ours == pytest.approx(theirs(name, y, p, w), abs=1e-10), name


def test_calibration_error_by_hand() -> None:
    p1 = np.array([0.05, 0.05, 0.95, 0.95])
    y = np.array([0, 1, 1, 1])
    p = np.stack([1 - p1, p1], axis=1)
    # two bins of two patients: said .05, seen .5; said .95, seen 1
    assert METRICS["ece"](y, p, np.ones((1, 4)))[0] == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


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
        got = scores(y, np.stack([1 - p1, p1], axis=1), resamples=300)["auc"]
        return got.value, got.low, got.high

    small, large = interval(60), interval(3000)
    for value, low, high in (small, large):
        assert low < value < high
    assert small[2] - small[1] > 3 * (large[2] - large[1])
