"""The interval of one model's AUC over other patients of the same kind."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedlab.metrics.cells import ENOUGH, enough_for_interval, patients_by_class
from fedlab.metrics.clusters import variance_of_means, worth
from fedlab.metrics.delong import Z, pairs_won
from fedlab.metrics.ranking import Floats, expit

FEW_OF_A_CLASS = f"fewer than {ENOUGH} patients of a class: no interval"
HALVINGS = 60  # of an interval of length 1: down to rounding


class AUC(NamedTuple):
    """An AUC and its 95 % interval over patients; ``reason`` says why something is ``nan``."""

    auc: float
    low: float
    high: float
    reason: str = ""


def auc_interval(y: ArrayLike, scores: ArrayLike, *, who: ArrayLike | None = None) -> AUC:
    """Return a model's AUC with its 95 % interval over other patients of the same kind, the model fixed.

    Bound by bound the wider of two. The logit interval with DeLong's variance (DeLong et al., Biometrics 44, 1988)
    knows how the scores are spread, and is too short near 1, where it ends up as [1, 1]. Newcombe's method 5
    (Statistics in Medicine 25, 2006, 559-573) has a width even there, and is too short where the rare class is spread
    wider than the other. Together they covered .94 to .997 in simulations of 20 to 180 patients a class, normal
    scores and AUCs of .7 to .99 (``tests/metrics/test_auc_interval.py``). It is less where a class is of two kinds:
    .90 to .92 with twenty of a rare class of whom 15 % look like the others and the rest hardly ever do (.95 with
    fifty). With fewer than twenty of a class nothing is promised, so none is given.

    Rows of one patient are not other patients: the first variance takes them together (Obuchowski, Biometrics 53,
    1997), and to the second they are worth as many patients as if they all said the same.

    Parameters
    ----------
    y : array, shape [n]
        0 or 1 (or bool): 1 is the class that the scores rank high.
    scores : array, shape [n]
        Ties count half.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient.

    Returns
    -------
    AUC
        All ``nan`` with a reason where a class is absent or a score is not finite; the bounds alone where a class has
        fewer than twenty patients.

    Raises
    ------
    ValueError
        Lengths differ, or a label is neither 0 nor 1.

    Examples
    --------
    >>> y, said = [0] * 20 + [1] * 20, list(range(40))
    >>> [round(each, 3) for each in auc_interval(y, said)[:3]]
    [1.0, 0.899, 1.0]
    >>> auc_interval(y[1:], said[1:]).reason
    'fewer than 20 patients of a class: no interval'
    """
    labels, said = np.asarray(y), np.asarray(scores, dtype=float)
    owner = np.arange(len(labels)) if who is None else np.asarray(who)
    if labels.ndim != 1 or not labels.shape == said.shape == owner.shape:
        shapes = ", ".join(str(each.shape) for each in (labels, said, owner))
        raise ValueError(f"y, scores and who have shapes {shapes}: give one label, score and patient for every row")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"y has the labels {np.unique(labels).tolist()}: an AUC is of two classes, 0 and 1")
    ill = labels.astype(bool)
    if ill.all() or not ill.any():
        return AUC(math.nan, math.nan, math.nan, f"one of the classes has no patient among these {len(labels)}")
    if not np.isfinite(said).all():
        return AUC(math.nan, math.nan, math.nan, "the model predicts NaN or infinity")
    value = float(pairs_won(said[None], ill).sum() / 2 / (ill.sum() * (~ill).sum()))
    if why := no_auc_interval(ill.astype(np.int64), owner):
        return AUC(value, math.nan, math.nan, why)
    low, high = auc_bounds(ill, said[None], owner)
    return AUC(value, float(low[0]), float(high[0]))


def no_auc_interval(y: NDArray[np.int64], who: NDArray[Any], classes: int = 2) -> str:
    """Say why an AUC on these rows has no interval over patients; empty if it has one."""
    if classes > 2:
        return f"a mean of the AUCs of {classes} classes: no interval"
    return "" if enough_for_interval(patients_by_class(who, y, classes).min()) else FEW_OF_A_CLASS


def auc_bounds(ill: NDArray[np.bool_], scores: Floats, who: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the 95 % bounds of several models' AUCs, ``scores`` [models, n], with two patients of a class at least."""
    won = pairs_won(scores, ill), pairs_won(scores, ~ill)
    cases, others = int(ill.sum()), int((~ill).sum())
    auc = won[0].sum(1) / 2 / (cases * others)
    variance = variance_of_means([won[0] / (2 * others), -won[1] / (2 * cases)], [who[ill], who[~ill]])
    low, high = newcombe(auc, worth(who[ill]), worth(who[~ill]))
    inside = (auc > 0) & (auc < 1)  # at the ends a logit has no place, and a variance of 0 says nothing
    at = auc[inside]
    half = Z * np.sqrt(variance[inside]) / (at * (1 - at))
    logit = np.log(at / (1 - at))
    low[inside] = np.minimum(low[inside], expit(logit - half))
    high[inside] = np.maximum(high[inside], expit(logit + half))
    return low, high


def newcombe(auc: Floats, cases: ArrayLike, others: ArrayLike, weights: ArrayLike = 1.0) -> tuple[Floats, Floats]:
    """Newcombe's method 5: the AUCs whose own standard error, times 1.96, reaches the one that was seen.

    The variance is Hanley & McNeil's (Radiology 143, 1982) with both classes taken for their mean size; like Wilson's
    interval of a share it is that of the bound, not of the estimate, and so has a width at 0 and 1.

    Parameters
    ----------
    auc : float array
        Of one hospital, or a mean over several.
    cases, others : number, or array of shape [hospitals]
        Patients of either class, or what their rows are worth.
    weights : float, or float array of shape [hospitals]
        Of the hospitals in the mean.

    Examples
    --------
    >>> low, high = newcombe(np.array([0.5, 1.0]), 20, 56)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.359, 0.932], [0.641, 1.0])
    """
    auc = np.asarray(auc, dtype=float)

    def _bound(end: float) -> Floats:
        reached, beyond = auc.copy(), np.full_like(auc, end)
        for _ in range(HALVINGS):
            middle = (reached + beyond) / 2
            within = (auc - middle) ** 2 <= Z**2 * _variance(middle, cases, others, weights)
            reached, beyond = np.where(within, middle, reached), np.where(within, beyond, middle)
        out: Floats = np.where(auc == end, end, beyond)
        return out

    return _bound(0.0), _bound(1.0)


def _variance(auc: Floats, cases: ArrayLike, others: ArrayLike, weights: ArrayLike) -> Floats:
    ill, well, weight = (np.atleast_1d(np.asarray(each, dtype=float)) for each in (cases, others, weights))
    at = auc[..., None]
    more = (ill + well) / 2 - 1
    each = at * (1 - at) * (1 + more * ((1 - at) / (2 - at) + at / (1 + at))) / (ill * well)
    out: Floats = (weight**2 * each).sum(-1)
    return out
