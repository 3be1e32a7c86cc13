"""The vectorised scores of a round are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_squared_error, r2_score, roc_auc_score

from fedlab.metrics.quick import NOBODY, error_and_r2, loss_and_auc, padded


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    classes=st.integers(2, 4),
    levels=st.sampled_from([2, 5, 1000]),
    seed=st.integers(0, 999),
)
def test_scores_are_scikit_learns(sizes: list[int], classes: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [rng.integers(0, classes, n) for n in sizes]
    said = rng.integers(1, levels + 1, (len(sizes), max(sizes), classes)).astype(float)
    said /= said.sum(2, keepdims=True)
    scores = loss_and_auc(padded(labels, NOBODY), said)
    for i, label in enumerate(labels):
        got = {name: each[i] for name, each in scores.items()}
        y, p = label, said[i, : len(label)]
        assert got["n"] == len(y)
        assert got["log_loss"] == pytest.approx(log_loss(y, p, labels=range(classes)), abs=1e-12)
        each = [roc_auc_score(y == k, p[:, k]) if 0 < (y == k).sum() < len(y) else np.nan
                for k in ([1] if classes == 2 else range(classes))]  # fmt: skip
        assert got["auc"] == pytest.approx(np.mean(each), abs=1e-12, nan_ok=True)


def test_a_model_that_is_not_finite_is_never_the_best() -> None:
    y = padded([np.array([0, 1]), np.array([1, 0, 1])], NOBODY)
    said = np.full((2, 3, 2), 0.5)
    said[0, 1] = float("nan")
    scores = loss_and_auc(y, said)
    assert scores["log_loss"].tolist() == [float("inf"), pytest.approx(np.log(2))]
    assert np.isnan(scores["auc"][0]) and scores["auc"][1] == 0.5


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(2, 25), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_errors_are_scikit_learns(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [rng.normal(size=n) for n in sizes]
    said = rng.normal(size=(len(sizes), max(sizes), 1))
    scores = error_and_r2(padded(labels, np.nan), said)
    for i, y in enumerate(labels):
        p = said[i, : len(y), 0]
        assert scores["n"][i] == len(y)
        assert scores["mse"][i] == pytest.approx(mean_squared_error(y, p))
        assert scores["r2"][i] == pytest.approx(r2_score(y, p))


def test_a_site_of_one_value_has_no_r2_and_what_is_not_finite_is_never_the_best() -> None:
    y = padded([np.array([70.1, 70.1, 70.1]), np.array([1.0, 2.0])], np.nan)
    said = np.array([[[70.0], [70.0], [71.0]], [[np.nan], [2.0], [0.0]]])
    scores = error_and_r2(y, said)
    assert np.isnan(scores["r2"]).all() and np.isfinite(scores["mse"][0]) and scores["mse"][1] == np.inf
