"""Metrics of predicted probabilities, weighted and vectorised so that a bootstrap can be afforded.

Every metric takes the weights of many resamples at once: a bootstrap resample is a row of counts. On one
row of ones each equals scikit-learn's (the tests hold them to it); scikit-learn's own calls cost
milliseconds apiece, which is more than the training between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metric = Callable[[NDArray[np.int64], Floats, Floats], Floats]
BINS = 10


class Score(NamedTuple):
    """One metric of one model on one site's patients.

    ``value`` is ``nan`` where it cannot be computed and ``reason`` then says why. ``low`` and ``high`` are
    the 95 % bootstrap interval over patients (``nan`` unless asked for).
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""


def _ratio(part: Floats, whole: Floats) -> Floats:
    out: Floats = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def auc(positive: NDArray[np.bool_], score: Floats, weight: Floats) -> Floats:
    """Area under the ROC curve with ties counted half.

    Parameters
    ----------
    positive : bool array, shape [n]
    score : float array, shape [n]
    weight : float array, shape [resamples, n]

    Returns
    -------
    float array, shape [resamples]; ``nan`` where a resample holds one class only.

    Examples
    --------
    >>> import numpy as np
    >>> auc(np.array([False, True, True]), np.array([0.2, 0.2, 0.9]), np.ones((1, 3))).tolist()
    [0.75]
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(1, int)
    weight = weight[:, order]
    ill = np.add.reduceat(weight * positive[order], first, axis=1)
    well = np.add.reduceat(weight * ~positive[order], first, axis=1)
    below = np.cumsum(well, axis=1) - well
    return _ratio((ill * (below + well / 2)).sum(1), ill.sum(1) * well.sum(1))


def _auc(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    if p.shape[1] == 2:
        return auc(y == 1, p[:, 1], w)
    each: Floats = np.array([auc(y == k, p[:, k], w) for k in range(p.shape[1])])
    middle: Floats = each.mean(0)
    return middle


def _mean(value: Floats, w: Floats) -> Floats:
    return _ratio(w @ value, w.sum(1))


def _accuracy(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    return _mean((p.argmax(1) == y).astype(float), w)


def _balanced_accuracy(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    right = (p.argmax(1) == y).astype(float)
    each: Floats = np.array([_mean(right[y == k], w[:, y == k]) for k in np.unique(y)])
    middle: Floats = each.mean(0)
    return middle


def log_loss(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    """Mean negative log-likelihood in nats, probabilities clipped as scikit-learn does; shape [resamples]."""
    chosen = p[np.arange(len(y)), y]
    return _mean(-np.log(np.clip(chosen, np.finfo(p.dtype).eps, 1.0)), w)


def _brier(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    if p.shape[1] == 2:
        return _mean((p[:, 1] - y) ** 2, w)
    return _mean(((p - np.eye(p.shape[1])[y]) ** 2).sum(1), w)


def _ece(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    """Expected calibration error over ten equal bins (Naeini et al., AAAI 2015)."""
    binary = p.shape[1] == 2
    said = p[:, 1] if binary else p.max(1)
    gap = said - (y == 1 if binary else p.argmax(1) == y)
    bins = np.eye(BINS)[np.minimum((said * BINS).astype(int), BINS - 1)]
    return _ratio(np.abs((w * gap) @ bins).sum(1), w.sum(1))


METRICS: dict[str, Metric] = {
    "auc": _auc,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "log_loss": log_loss,
    "brier": _brier,
    "ece": _ece,
}
NEEDS_EVERY_CLASS = {"auc", "balanced_accuracy"}


def scores(y: NDArray[np.int64], p: Floats, *, resamples: int = 0, seed: int = 0) -> dict[str, Score]:
    """Every metric of probabilities ``p`` [n, classes] against classes ``y`` [n].

    ``resamples`` > 0 adds a percentile bootstrap interval over patients; a resample without one of the
    classes is left out of the metrics that need them all.
    """
    if len(y) == 0:
        return {name: Score(np.nan, reason="no patients") for name in METRICS}
    if not np.isfinite(p).all():
        return {name: Score(np.nan, reason="the model predicts NaN") for name in METRICS}
    weights = np.ones((1, len(y)))
    if resamples:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
        draws = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=resamples)
        weights = np.concatenate([weights, draws])
    absent = p.shape[1] - len(np.unique(y))
    return {name: _score(name, metric(y, p, weights), absent, y) for name, metric in METRICS.items()}


def _score(name: str, values: Floats, absent: int, y: NDArray[np.int64]) -> Score:
    if absent and name in NEEDS_EVERY_CLASS:
        return Score(np.nan, reason=f"{absent} of the classes has no patient among these {len(y)}")
    drawn = values[1:][np.isfinite(values[1:])]
    if len(drawn) == 0:
        return Score(float(values[0]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Score(float(values[0]), float(low), float(high))
