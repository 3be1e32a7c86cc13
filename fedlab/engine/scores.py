"""Log loss and AUC of many sites at once: what each round can afford."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

NOBODY = -1
"""The label that pads."""


def padded(labels: Sequence[Tensor]) -> NDArray[np.int64]:
    """Stack label vectors of different lengths, [sites, longest]."""
    out = np.full((len(labels), max(map(len, labels))), NOBODY, dtype=np.int64)
    for row, y in zip(out, labels, strict=True):
        row[: len(y)] = y.numpy()
    return out


def quick_scores(y: NDArray[np.int64], p: Tensor) -> list[dict[str, float]]:
    """Log loss and AUC of each site, from labels ``y`` [sites, rows] (padded) and probabilities [sites, rows, classes].

    As the metrics of the report have them: natural log of clipped probabilities, ties in the AUC counted half, ``nan``
    where a class is missing. A site whose probabilities are not finite has an infinite log loss.

    Examples
    --------
    >>> import torch
    >>> y = np.array([[1, 0, NOBODY], [0, 1, 1]])
    >>> said = torch.tensor([[[0.2, 0.8], [0.9, 0.1], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]).double()
    >>> [round(score["auc"], 2) for score in quick_scores(y, said)]
    [1.0, 0.5]
    """
    there, said = y != NOBODY, p.numpy()
    sane = (np.isfinite(said).all(2) | ~there).all(1)
    said = np.where(there[:, :, None] & sane[:, None, None], said, 1.0)
    chosen = np.take_along_axis(said, np.maximum(y, 0)[:, :, None], 2)[:, :, 0]
    n = there.sum(1)
    lost = -np.log(np.clip(chosen, np.finfo(said.dtype).eps, 1.0))
    loss = np.where(sane, np.where(there, lost, 0.0).sum(1) / n, np.inf)
    classes = [1] if said.shape[2] == 2 else range(said.shape[2])
    ranks = np.mean([_auc(y == k, (y != k) & there, np.where(there, said[:, :, k], np.inf)) for k in classes], axis=0)
    ranks = np.where(sane, ranks, np.nan)
    return [{"log_loss": float(a), "auc": float(b), "n": float(c)} for a, b, c in zip(loss, ranks, n, strict=True)]


def _auc(ill: NDArray[np.bool_], well: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve of each row; groups of ties are summed in one flat pass over all rows."""
    order = np.argsort(score, axis=1, kind="stable")
    ranked = np.take_along_axis(score, order, 1)
    ill, well = np.take_along_axis(ill, order, 1), np.take_along_axis(well, order, 1)
    starts_group = np.ones(ranked.shape, dtype=bool)
    starts_group[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    starts = np.flatnonzero(starts_group)
    of_ill, of_well = (np.add.reduceat(a.ravel().astype(float), starts) for a in (ill, well))
    first = np.searchsorted(starts, np.arange(len(ranked)) * ranked.shape[1])  # each row's first group
    before = np.cumsum(of_well) - of_well
    below = before - np.repeat(before[first], np.diff(np.r_[first, len(starts)]))
    won = np.add.reduceat(of_ill * (below + of_well / 2), first)
    pairs = ill.sum(1) * well.sum(1)
    out = np.full(len(ranked), np.nan)
    np.divide(won, pairs, out=out, where=pairs > 0)
    return out
