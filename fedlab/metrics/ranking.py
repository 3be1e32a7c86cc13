"""Metrics of how well patients are ranked: only the order of the scores counts, ties included.

Weighted and vectorised over the resamples of a bootstrap and over models, as :mod:`fedlab.metrics.scores` has
them: scores of one model [n] give [resamples], those of several [models, n] give [models, resamples].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def expit(logit: Floats | float) -> Floats:
    """Return the share behind a logit, without overflow far out.

    Examples
    --------
    >>> expit(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    out: Floats = np.exp(-np.logaddexp(0, -np.asarray(logit, dtype=float)))
    return out


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; ``nan`` where there is nothing to divide by."""
    out: Floats = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def weighted(value: Floats, weight: Floats) -> Floats:
    """Sum values [..., n] with each resample's weights [resamples, n], for [..., resamples].

    Not by a product of matrices: that takes all cores, and so small it would mostly wait for them.
    """
    out: Floats = np.einsum("...n,rn->...r", value, weight)
    return out


class Ranking(NamedTuple):
    """Weight of the positive and of the negative patients at each distinct score, the highest first.

    ``found`` and ``false`` are those called positive rightly and wrongly from that score on: the running sums of both.
    All of shape [resamples, distinct scores]; what every metric of this module is computed from. The scores of several
    ``models`` stand one model's after the other's, from ``starts`` on.
    """

    positive: Floats
    negative: Floats
    found: Floats
    false: Floats
    starts: NDArray[np.int64]
    models: tuple[int, ...]

    def last(self, running: Floats) -> Floats:
        """Return what a running sum ends at, for each model; shape [resamples, models]."""
        return np.take(running, np.append(self.starts[1:], running.shape[1]) - 1, axis=1)

    def of_each(self, value: Floats) -> Floats:
        """Repeat a value [resamples, models] for each of the model's scores."""
        return np.repeat(value, np.diff(np.append(self.starts, self.positive.shape[1])), axis=1)

    def over(self, ufunc: np.ufunc, values: Floats) -> Floats:
        """Reduce over each model's scores; shape [resamples, models]."""
        out: Floats = ufunc.reduceat(values, self.starts, axis=1)
        return out

    def shaped(self, value: Floats) -> Floats:
        """Return a result [resamples, models] in the shape of what was ranked."""
        return value.T.reshape(*self.models, len(value))


def rank(positive: NDArray[np.bool_], score: Floats, weight: Floats) -> Ranking:
    """Rank patients by their score, those of one score together.

    Parameters
    ----------
    positive : bool array, shape [n]
    score : float array, shape [n] or [models, n]
    weight : float array, shape [resamples, n]
        Whole numbers give sums without rounding.

    Examples
    --------
    >>> import numpy as np
    >>> ranking = rank(np.array([False, True, True]), np.array([0.2, 0.2, 0.9]), np.ones((1, 3)))
    >>> ranking.positive.tolist(), ranking.negative.tolist()
    ([[1.0, 1.0]], [[0.0, 1.0]])
    """
    rows = np.atleast_2d(score)
    order = np.argsort(-rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    new = np.ones(rows.shape, dtype=bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.flatnonzero(new)
    starts = np.append(0, np.cumsum(new.sum(1))[:-1])
    weight, right = np.take(weight, order.ravel(), axis=1), positive[order.ravel()]
    ill, well = weight * right, weight * ~right
    if len(first) < new.size:
        ill, well = (np.add.reduceat(each, first, axis=1) for each in (ill, well))
    return Ranking(ill, well, _running(ill, starts), _running(well, starts), starts, score.shape[:-1])


def _running(values: Floats, starts: NDArray[np.int64]) -> Floats:
    """Cumulate along each model's scores."""
    total = np.cumsum(values, axis=1)
    if len(starts) > 1:
        before = np.append(np.zeros((len(total), 1)), np.take(total, starts[1:] - 1, axis=1), axis=1)
        total -= np.repeat(before, np.diff(np.append(starts, total.shape[1])), axis=1)
    return total


def auc(ranking: Ranking) -> Floats:
    """Area under the ROC curve with ties counted half; ``nan`` where there is one class only.

    Examples
    --------
    >>> import numpy as np
    >>> auc(rank(np.array([False, True, True]), np.array([0.2, 0.2, 0.9]), np.ones((1, 3)))).tolist()
    [0.75]
    """
    negative = ranking.last(ranking.false)
    below = ranking.of_each(negative) - ranking.false
    won = ranking.over(np.add, ranking.positive * (below + ranking.negative / 2))
    return ranking.shaped(ratio(won, ranking.last(ranking.found) * negative))


def average_precision(ranking: Ranking) -> Floats:
    """Average precision: the precision at each score, weighted by the recall it adds.

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
    found, false = ranking.found, ranking.false
    precision = found / np.maximum(found + false, np.finfo(float).tiny)
    return ranking.shaped(ratio(ranking.over(np.add, ranking.positive * precision), _ill_of_both(ranking)))


def sensitivity_at_specificity(ranking: Ranking, specificity: float = 0.9) -> Floats:
    """Highest sensitivity among the thresholds that are at least this specific, not interpolated.

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
    found, false = ranking.found, ranking.false
    # counts: 1 of 10 is allowed though 1 - 0.9 is below 0.1
    allowed = ranking.of_each((1 - specificity) * ranking.last(false) + 1e-9)
    # above the highest score nobody is called ill, or found
    best = ranking.over(np.maximum, np.where(false <= allowed, found, 0.0))
    return ranking.shaped(ratio(best, _ill_of_both(ranking)))


def _ill_of_both(ranking: Ranking) -> Floats:
    """Weight of the positive patients, 0 where there are no others."""
    return np.where(ranking.last(ranking.false) > 0, ranking.last(ranking.found), 0.0)
