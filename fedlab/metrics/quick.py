"""The two scores of many sites at once that each round can afford."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
"""The label that pads."""


def padded(labels: Sequence[NDArray[Any]], filler: float) -> NDArray[Any]:
    """Stack label vectors of different lengths, [sites, longest]."""
    out = np.full((len(labels), max(map(len, labels))), filler, dtype=labels[0].dtype)
    for row, y in zip(out, labels, strict=True):
        row[: len(y)] = y
    return out


def loss_and_auc(y: NDArray[np.int64], said: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """``log_loss``, ``auc`` and ``n`` of each site, arrays [sites].

    From labels ``y`` [sites, rows] (padded) and probabilities [sites, rows, classes].

    As the metrics of the report have them: natural log of clipped probabilities, ties in the AUC counted half, ``nan``
    where a class is missing. A site whose probabilities are not finite has an infinite log loss.

    Examples
    --------
    >>> y = np.array([[1, 0, NOBODY], [0, 1, 1]])
    >>> said = np.array([[[0.2, 0.8], [0.9, 0.1], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]])
    >>> loss_and_auc(y, said)["auc"].tolist()
    [1.0, 0.5]
    """
    there = y != NOBODY
    n, classes = there.sum(1), said.shape[2]
    chosen = said.ravel()[(np.arange(0, said.size, classes).reshape(y.shape) + y) * there]
    chosen[~there] = 1.0
    lost = -np.log(np.maximum(chosen, np.finfo(said.dtype).eps)).sum(1)
    sane = np.isfinite(lost)
    of = [1] if classes == 2 else range(classes)
    ranks = np.mean([_auc(y == k, (y != k) & there, np.where(there, said[:, :, k], np.inf)) for k in of], axis=0)
    return {"log_loss": np.where(sane, lost / n, np.inf), "auc": np.where(sane, ranks, np.nan), "n": n.astype(float)}


def error_and_r2(y: NDArray[np.float64], said: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """``mse``, ``r2`` and ``n`` of each site, arrays [sites].

    From quantities ``y`` [sites, rows] (padded with ``nan``) and predictions [sites, rows, 1]. A site whose predictions
    are not finite has an infinite error.

    Examples
    --------
    >>> y = np.array([[1.0, 3.0, np.nan], [0.0, 2.0, 4.0]])
    >>> found = error_and_r2(y, np.array([[[2.0], [2.0], [9.0]], [[0.0], [2.0], [4.0]]]))
    >>> found["mse"].tolist(), found["r2"].tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    there = ~np.isnan(y)
    n = there.sum(1)
    lost = (np.where(there, said[:, :, 0] - np.where(there, y, 0.0), 0.0) ** 2).sum(1)
    sane = np.isfinite(lost)
    middle = np.where(there, y, 0.0).sum(1) / n
    spread = (np.where(there, y - middle[:, None], 0.0) ** 2).sum(1)
    told = sane & (spread > 1e-12 * (np.where(there, y, 0.0) ** 2).sum(1))  # else a constant, to rounding
    worth = 1 - np.where(told, lost, 0.0) / np.where(told, spread, 1.0)
    return {"mse": np.where(sane, lost / n, np.inf), "r2": np.where(told, worth, np.nan), "n": n.astype(float)}


def _auc(ill: NDArray[np.bool_], well: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve of each row; ranks and groups of ties are found in one flat pass over all rows."""
    rows, width = score.shape
    begins = np.arange(0, rows * width, width)
    order = (np.argsort(score, axis=1) + begins[:, None]).ravel()
    ranked, ill, well = score.ravel()[order], ill.ravel()[order], well.ravel()[order]
    starts_group = np.append(True, ranked[1:] != ranked[:-1])
    starts_group[begins] = True
    starts = np.flatnonzero(starts_group)
    passed = np.append(0, np.cumsum(well))  # the well in all places before
    twice = (passed[starts] + passed[np.append(starts[1:], rows * width)])[np.cumsum(starts_group) - 1]
    before, after = passed[begins], passed[begins + width]
    won = (((twice - np.repeat(2 * before, width)) * ill).reshape(rows, width).sum(1)) / 2  # in a tie, half
    pairs = ill.reshape(rows, width).sum(1) * (after - before)
    out = np.full(rows, np.nan)
    np.divide(won, pairs, out=out, where=pairs > 0)
    return out
