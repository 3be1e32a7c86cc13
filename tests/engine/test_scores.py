"""The vectorised scores of a round are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from fedlab.engine.scores import padded, quick_scores


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    classes=st.integers(2, 4),
    levels=st.sampled_from([2, 5, 1000]),
    seed=st.integers(0, 999),
)
def test_scores_are_scikit_learns(sizes: list[int], classes: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [torch.from_numpy(rng.integers(0, classes, n)) for n in sizes]
    said = rng.integers(1, levels + 1, (len(sizes), max(sizes), classes)).astype(float)
    said /= said.sum(2, keepdims=True)
    scores = quick_scores(padded(labels), torch.from_numpy(said))
    for i, label in enumerate(labels):
        got = {name: each[i] for name, each in scores.items()}
        y, p = label.numpy(), said[i, : len(label)]
        assert got["n"] == len(y)
        assert got["log_loss"] == pytest.approx(log_loss(y, p, labels=range(classes)), abs=1e-12)
        each = [roc_auc_score(y == k, p[:, k]) if 0 < (y == k).sum() < len(y) else np.nan
                for k in ([1] if classes == 2 else range(classes))]  # fmt: skip
        assert got["auc"] == pytest.approx(np.mean(each), abs=1e-12, nan_ok=True)


def test_a_model_that_is_not_finite_is_never_the_best() -> None:
    y = padded([torch.tensor([0, 1]), torch.tensor([1, 0, 1])])
    said = torch.full((2, 3, 2), 0.5, dtype=torch.float64)
    said[0, 1] = float("nan")
    scores = quick_scores(y, said)
    assert scores["log_loss"].tolist() == [float("inf"), pytest.approx(np.log(2))]
    assert np.isnan(scores["auc"][0]) and scores["auc"][1] == 0.5
