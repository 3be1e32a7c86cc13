"""Metrics of predicted probabilities, weighted and vectorised so that a bootstrap can be afforded.

Every metric takes the weights of many resamples at once: a bootstrap resample is a row of counts; and the predictions
of many models on the same patients, ``p`` [..., n, classes], for [..., resamples]. On one row of ones each equals
scikit-learn's (the tests hold them to it); scikit-learn's own calls cost milliseconds apiece, which is more than the
training between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.auc_interval import FEW_OF_A_CLASS, auc_bounds, no_auc_interval
from fedlab.metrics.cells import ENOUGH, enough_for_interval, patients_by_class
from fedlab.metrics.clusters import numbered, worth
from fedlab.metrics.ranking import (
    Floats,
    Ranking,
    auc,
    average_precision,
    rank,
    ratio,
    sensitivity_at_specificity,
    weighted,
)
from fedlab.metrics.reliability import wilson
from fedlab.metrics.thresholds import NONE, PREDICTS_NAN, Threshold, balanced_accuracy_at

Metric = Callable[[Any, Floats, Floats], Floats]
"""Of labels [n], predictions [..., n, columns] and weights [resamples, n], for [..., resamples]."""


class Score(NamedTuple):
    """One metric of one model on one site's patients.

    ``value`` is ``nan`` where it cannot be computed and ``reason`` then says why. ``low`` and ``high`` are the 95 %
    interval over patients: ``nan`` unless asked for, and where there is none, with the ``reason``.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    reason: str = ""


def _rankings(y: NDArray[np.int64], p: Floats, w: Floats) -> list[Ranking]:
    """Rank by the positive class; of several classes one ranking each, against the rest."""
    return [rank(y == k, p[..., k], w) for k in ([1] if p.shape[-1] == 2 else range(p.shape[-1]))]


def _macro(metric: Callable[[Ranking], Floats], rankings: list[Ranking]) -> Floats:
    out: Floats = np.sum([metric(ranking) for ranking in rankings], axis=0) / len(rankings)
    return out


def _ranked(metric: Callable[[Ranking], Floats], y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    return _macro(metric, _rankings(y, p, w))


def _mean(value: Floats, w: Floats) -> Floats:
    return ratio(weighted(value, w), w.sum(1))


def _accuracy(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    return _mean((p.argmax(-1) == y).astype(float), w)


def _balanced_accuracy(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    right = (p.argmax(-1) == y).astype(float)
    each: Floats = np.array([_mean(right[..., y == k], w[:, y == k]) for k in np.unique(y)])
    middle: Floats = each.mean(0)
    return middle


def log_loss(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    """Mean negative log-likelihood in nats, probabilities clipped as scikit-learn does; shape [..., resamples]."""
    chosen = p[..., np.arange(len(y)), y]
    return _mean(-np.log(np.clip(chosen, np.finfo(p.dtype).eps, 1.0)), w)


def _brier(y: NDArray[np.int64], p: Floats, w: Floats) -> Floats:
    if p.shape[-1] == 2:
        return _mean((p[..., 1] - y) ** 2, w)
    return _mean(((p - np.eye(p.shape[-1])[y]) ** 2).sum(-1), w)


TOGETHER = 2**20  # weights of patients, resamples and models that are ranked at once, or those of one model
CHOSEN = "balanced_accuracy_chosen"
RANKED = {
    "auc": auc,
    "average_precision": average_precision,
    "sensitivity_at_specificity_90": sensitivity_at_specificity,
}
METRICS: dict[str, Metric] = {
    "auc": partial(_ranked, auc),
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "log_loss": log_loss,
    "brier": _brier,
    "average_precision": partial(_ranked, average_precision),
    CHOSEN: balanced_accuracy_at,
    "sensitivity_at_specificity_90": partial(_ranked, sensitivity_at_specificity),
}
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "mse", "rmse", "mae"})
NEEDS_TWO_CLASSES = {CHOSEN, "sensitivity_at_specificity_90"}
BOTTOM = {"r2": -np.inf}
TOP = dict.fromkeys(("log_loss", "mse", "rmse", "mae"), np.inf) | {"brier": 2.0}
"""Where a metric does not end at 1: a Brier score of several classes sums over them."""
FEW_PATIENTS = f"fewer than {ENOUGH} patients: no interval"
FLAT = "the bootstrap resamples do not differ: no interval"
OVER_PATIENTS = ("accuracy", "log_loss", "brier")
"""Means over patients: worth more or less where more of them are of one class."""
NEEDS_EVERY_CLASS = {"auc", "balanced_accuracy", "average_precision", *NEEDS_TWO_CLASSES}


def bounds(metric: str) -> tuple[float, float]:
    """Return the least and the greatest value that a metric can have.

    Examples
    --------
    >>> bounds("auc"), bounds("log_loss")
    ((0.0, 1.0), (0.0, inf))
    """
    return BOTTOM.get(metric, 0.0), TOP.get(metric, 1.0)


def class_means(y: NDArray[np.int64], p: Floats) -> dict[str, Floats]:
    """Return the metrics in :data:`OVER_PATIENTS` of the patients of each class, shape [..., classes]; ``nan`` of none.

    Examples
    --------
    >>> y, p = np.array([0, 0, 1]), np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    >>> class_means(y, p)["accuracy"].tolist()
    [0.5, 1.0]
    """
    each = (y == np.arange(p.shape[-1])[:, None]).astype(float)
    fit = np.asarray(np.isfinite(p).all((-2, -1)))[..., None]
    return {name: np.where(fit, METRICS[name](y, p, each), np.nan) for name in OVER_PATIENTS}


def scores(
    y: NDArray[np.int64],
    p: Floats,
    *,
    threshold: Threshold = NONE,
    resamples: int = 0,
    seed: int = 0,
    who: NDArray[Any] | None = None,
) -> dict[str, Score]:
    """Every metric of probabilities ``p`` [n, classes] against classes ``y`` [n].

    ``accuracy`` and ``balanced_accuracy`` call the class of the highest probability. Of more than two classes ``auc``
    and ``average_precision`` are the mean over each class against the rest, and what needs one positive class is
    ``nan``.

    Parameters
    ----------
    threshold : Threshold
        Chosen on *other* patients (``valid``), for ``balanced_accuracy_chosen``; it stays the same in every resample.
    resamples : int
        Above 0 adds 95 % intervals over patients: of ``auc`` that of :mod:`fedlab.metrics.auc_interval`, of
        ``accuracy`` Wilson's, else the percentiles of so many bootstrap resamples of patients; one without one of the
        classes is left out of the metrics that need them all. None below twenty patients, for a metric that needs every
        class below twenty of each, and none where the resamples do not differ.
    seed : int
        Of the bootstrap.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient.
    """
    return many_scores(y, p[None], thresholds=[threshold], resamples=resamples, seed=seed, who=who)[0]


def many_scores(
    y: NDArray[np.int64],
    p: Floats,
    *,
    thresholds: Sequence[Threshold],
    resamples: int = 0,
    seed: int = 0,
    who: NDArray[Any] | None = None,
) -> list[dict[str, Score]]:
    """As :func:`scores` for several models on the same patients, ``p`` [models, n, classes], one threshold each."""
    if len(y) == 0:
        return [_nothing("no patients") for _ in thresholds]
    out = [_nothing(PREDICTS_NAN) for _ in thresholds]
    who = np.arange(len(y)) if who is None else who
    weights = np.ones((1, len(y)))
    if resamples:
        weights = np.concatenate([weights, _resampled(who, resamples, seed)])
    fit = np.flatnonzero(np.isfinite(p).all((1, 2)))
    size = max(1, TOGETHER // weights.size)
    for some in (fit[start : start + size] for start in range(0, len(fit), size)):
        for k, found in zip(some, _scored(y, p[some], weights, who, [thresholds[k] for k in some]), strict=True):
            out[k] = found
    return out


def _resampled(who: NDArray[Any], resamples: int, seed: int) -> Floats:
    """Draw patients with replacement, each with all rows; how often each row is drawn, [resamples, n]."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    patients, of = numbered(who)
    draws = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    out: Floats = draws[:, of].astype(float)
    return out


def _nothing(reason: str) -> dict[str, Score]:
    return {name: Score(np.nan, reason=reason) for name in METRICS}


def _scored(
    y: NDArray[np.int64], p: Floats, w: Floats, who: NDArray[Any], thresholds: Sequence[Threshold]
) -> list[dict[str, Score]]:
    """Score models that predict numbers; the first weights are ones, and intervals are asked for where more follow."""
    rankings = _rankings(y, p, w)  # sorted once for all that need it
    at = np.array([threshold.value for threshold in thresholds])
    metrics = METRICS | {CHOSEN: partial(balanced_accuracy_at, threshold=at)}
    absent = p.shape[-1] - len(np.unique(y))
    out: list[dict[str, Score]] = [{} for _ in thresholds]
    for name, metric in metrics.items():
        if reason := _lacks(name, absent, y, p.shape[-1]):
            found = [Score(np.nan, reason=reason)] * len(out)
        else:
            by_rank = name in RANKED and name != "auc"  # whose interval needs no resamples
            values = _macro(RANKED[name], rankings) if by_rank else metric(y, p, w[:1] if name == "auc" else w)
            found = _with_intervals(name, values, y, p, who) if len(w) > 1 else list(map(Score, values[:, 0].tolist()))
        for each, score, threshold in zip(out, found, thresholds, strict=True):
            silent = name == CHOSEN and not reason and threshold.reason
            each[name] = Score(np.nan, reason=threshold.reason) if silent else score
    return out


def _lacks(name: str, absent: int, y: NDArray[np.int64], classes: int) -> str:
    """Say why a metric cannot be computed on these patients; empty if it can."""
    if classes > 2 and name in NEEDS_TWO_CLASSES:
        return f"needs a task of two classes; this one has {classes}"
    if absent and name in NEEDS_EVERY_CLASS:
        return f"{absent} of the classes has no patient among these {len(y)}"
    return ""


def _with_intervals(name: str, values: Floats, y: NDArray[np.int64], p: Floats, who: NDArray[Any]) -> list[Score]:
    """Read values [models, 1 + resamples], the first of which are the scores, and give each its interval."""
    each = values[:, 0]
    if reason := _no_interval(name, y, who, p.shape[-1]):
        return [Score(value, reason=reason) for value in each.tolist()]
    if name == "auc":
        low, high = auc_bounds(y == 1, p[..., 1], who)
    elif name == "accuracy":
        low, high = wilson(each, np.full(len(each), worth(who)))
    else:
        low, high = _percentiles(values[:, 1:])
    reasons = np.where(np.isnan(low), FLAT, "").tolist()
    return [Score(*row) for row in zip(each.tolist(), low.tolist(), high.tolist(), reasons, strict=True)]


def _no_interval(name: str, y: NDArray[np.int64], who: NDArray[Any], classes: int) -> str:
    """Say why a metric of these patients has no interval over patients; empty if it may have one."""
    if name == "auc":
        return no_auc_interval(y, who, classes)
    if name in NEEDS_EVERY_CLASS and not enough_for_interval(patients_by_class(who, y, classes).min()):
        return FEW_OF_A_CLASS
    return "" if enough_for_interval(len(np.unique(who))) else FEW_PATIENTS


def _percentiles(drawn: Floats) -> tuple[Floats, Floats]:
    """Return the middle 95 % of the resamples [models, resamples]; ``nan`` where they do not differ."""
    known = np.isfinite(drawn)
    many = known.sum(1)
    ends = np.full((2, len(drawn)), np.nan)
    for n in np.unique(many[many > 0]):  # what has as many resamples left is a matrix again
        rows = np.flatnonzero(many == n)
        ends[:, rows] = np.quantile(drawn[rows][known[rows]].reshape(len(rows), n), [0.025, 0.975], axis=1)
    ends[:, ends[0] == ends[1]] = np.nan  # [1, 1] of those who were all called right is no interval
    return ends[0], ends[1]
