"""Metrics of how well patients are ranked: only the order of the scores counts, ties included.

Weighted and vectorised over the resamples of a bootstrap, as :mod:`fedlab.federation.metrics` has them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; ``nan`` where there is nothing to divide by."""
    out: Floats = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


class Ranking(NamedTuple):
    """Weight of the positive and of the negative patients at each distinct score, the highest first.

    ``found`` and ``false`` are those called positive rightly and wrongly from that score on: the running sums of both.
    All of shape [resamples, distinct scores]; what every metric of this module is computed from.
    """

    positive: Floats
    negative: Floats
    found: Floats
    false: Floats


def rank(positive: NDArray[np.bool_], score: Floats, weight: Floats) -> Ranking:
    """Rank patients by their score, those of one score together.

    Parameters
    ----------
    positive : bool array, shape [n]
    score : float array, shape [n]
    weight : float array, shape [resamples, n]

    Examples
    --------
    >>> import numpy as np
    >>> ranking = rank(np.array([False, True, True]), np.array([0.2, 0.2, 0.9]), np.ones((1, 3)))
    >>> ranking.positive.tolist(), ranking.negative.tolist()
    ([[1.0, 1.0]], [[0.0, 1.0]])
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(1, int)
    weight = weight[:, order]
    ill = np.add.reduceat(weight * positive[order], first, axis=1)
    well = np.add.reduceat(weight * ~positive[order], first, axis=1)
    return Ranking(ill, well, np.cumsum(ill, axis=1), np.cumsum(well, axis=1))


def auc(ranking: Ranking) -> Floats:
    """Area under the ROC curve with ties counted half, shape [resamples]; ``nan`` where there is one class only.

    Examples
    --------
    >>> import numpy as np
    >>> auc(rank(np.array([False, True, True]), np.array([0.2, 0.2, 0.9]), np.ones((1, 3)))).tolist()
    [0.75]
    """
    negative = ranking.false[:, -1]
    below = negative[:, None] - ranking.false
    won = (ranking.positive * (below + ranking.negative / 2)).sum(1)
    return ratio(won, ranking.found[:, -1] * negative)


def average_precision(ranking: Ranking) -> Floats:
    """Average precision, shape [resamples]: the precision at each score, weighted by the recall it adds.

    The step-wise area under the precision-recall curve, not interpolated (Davis & Goadrich, ICML 2006, say why not). A
    guess scores the share of positive patients, so it compares models on one site, not sites of different shares.
    ``nan`` where there is one class only.

    Examples
    --------
    >>> import numpy as np
    >>> ill, score = np.array([True, False, True]), np.array([0.9, 0.5, 0.1])
    >>> average_precision(rank(ill, score, np.ones((1, 3)))).round(3).tolist()
    [0.833]
    """
    _, _, found, false = ranking
    precision = found / np.maximum(found + false, np.finfo(float).tiny)
    return ratio((ranking.positive * precision).sum(1), np.where(false[:, -1] > 0, found[:, -1], 0.0))


def sensitivity_at_specificity(ranking: Ranking, specificity: float = 0.9) -> Floats:
    """Highest sensitivity among the thresholds that are at least this specific, not interpolated; shape [resamples].

    Read off the ROC curve of the very patients it is given, as with scikit-learn's ``roc_curve``: a point of that
    curve, which like AUC compares models at one and the same specificity. **It is no promise for a threshold fixed
    beforehand**, which misses the 90 % on new patients and so would compare models at different specificities; what a
    threshold fixed beforehand is worth says ``balanced_accuracy_chosen``. Each bootstrap resample reads its own point,
    so that the interval holds the uncertainty of the reading. ``nan`` where there is one class only.

    Parameters
    ----------
    ranking : Ranking
    specificity : float
        In (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> ill, score = np.arange(20) >= 10, np.r_[np.arange(10), np.arange(10) + 4.5]
    >>> sensitivity_at_specificity(rank(ill, score, np.ones((1, 20)))).tolist()
    [0.6]
    """
    _, _, found, false = ranking
    allowed = (1 - specificity) * false[:, -1:] + 1e-9  # counts: 1 of 10 is allowed though 1 - 0.9 is below 0.1
    best = np.where(false <= allowed, found, 0.0).max(1)  # above the highest score nobody is called ill, or found
    return ratio(best, np.where(false[:, -1] > 0, found[:, -1], 0.0))
