"""DeLong's test: two models' AUCs on the same patients."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedlab.metrics.clusters import variance_of_means

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


class DeLong(NamedTuple):
    """Two AUCs, their difference, its 95 % interval and two-sided p; ``reason`` says why something is ``nan``."""

    auc_one: float
    auc_other: float
    difference: float
    low: float
    high: float
    p: float
    reason: str = ""


def delong(y: ArrayLike, one: ArrayLike, other: ArrayLike, *, who: ArrayLike | None = None) -> DeLong:
    """Compare two models' AUCs on the same patients.

    The variance is DeLong, DeLong & Clarke-Pearson's (Biometrics 44, 1988), from mid-ranks as Sun & Xu have it (IEEE
    Signal Processing Letters 21, 2014): n log n. It covers other patients of the same kind, with both models fixed;
    the corrected t over seeds (``Study.pairs``) covers new training too. ``Study.delong`` asks it at every site.

    Parameters
    ----------
    y : array, shape [n]
        0 or 1 (or bool): 1 is the class that the scores rank high.
    one, other : array, shape [n]
        Scores or probabilities of the two models for these patients; ties count half.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient. Rows of one patient vary together (Obuchowski,
        Biometrics 53, 1997).

    Returns
    -------
    DeLong
        ``difference`` is ``one`` minus ``other``. All ``nan`` with a reason where a class is absent or a score is not
        finite; interval and p are ``nan`` with a reason where the variance cannot be told from these patients.

    Raises
    ------
    ValueError
        Lengths differ, or a label is neither 0 nor 1.

    Examples
    --------
    >>> got = delong([0, 0, 0, 1, 1, 1], [0.1, 0.3, 0.5, 0.4, 0.8, 0.9], [0.5, 0.2, 0.6, 0.4, 0.7, 0.3])
    >>> round(got.auc_one, 3), round(got.auc_other, 3), round(got.p, 2)
    (0.889, 0.556, 0.22)
    """
    labels, scores = np.asarray(y), np.array([np.ravel(np.asarray(s, dtype=float)) for s in _same(y, one, other)])
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"y has the labels {np.unique(labels).tolist()}: DeLong compares two classes, 0 and 1")
    ill = labels.astype(bool)
    owner = np.arange(len(labels)) if who is None else np.asarray(who)
    if owner.shape != labels.shape:
        raise ValueError(f"who has shape {owner.shape} and y {labels.shape}: say of every row whose it is")
    counts, mine = [int(ill.sum()), int((~ill).sum())], (owner[ill], owner[~ill])
    if min(counts) == 0:
        return unknown(f"one of the classes has no patient among these {len(labels)}")
    if not np.isfinite(scores).all():
        return unknown("a model predicts NaN or infinity")
    won = pairs_won(scores, ill), pairs_won(scores, ~ill)
    aucs = won[0].sum(1) / 2 / (counts[0] * counts[1])
    apart = [part[0] - part[1] for part in won]  # whole numbers: no rounding where the models rank alike
    patients = [len(np.unique(of)) for of in mine]
    several = [k for k in (0, 1) if patients[k] > 1]
    signed = [apart[0] / (2 * counts[1]), -apart[1] / (2 * counts[0])]
    variance = variance_of_means([signed[k] for k in several], [mine[k] for k in several]) if several else 0.0
    return _judged(float(aucs[0]), float(aucs[1]), float(variance), min(patients), not apart[0].any())


def unknown(why: str) -> DeLong:
    """Return a comparison of which nothing can be told, and why.

    Examples
    --------
    >>> unknown("no model").reason
    'no model'
    """
    return DeLong(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, why)


def _same(y: ArrayLike, one: ArrayLike, other: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    shapes = [np.shape(each) for each in (y, one, other)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(
            f"y, one and other have shapes {', '.join(map(str, shapes))}: give one label and one score of each model "
            "for every patient"
        )
    return one, other


def pairs_won(scores: NDArray[np.float64], mine: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Twice how many of the other class each patient of ``mine`` stands above, [models, patients], ties half.

    A mid-rank among all less the mid-rank among one's own.
    """
    from scipy.stats import rankdata  # a second to import: only when asked

    apart = rankdata(scores, axis=1)[:, mine] - rankdata(scores[:, mine], axis=1)
    twice: NDArray[np.int64] = np.rint(2 * apart).astype(np.int64)
    return twice


def _judged(one: float, other: float, variance: float, fewest: int, alike: bool) -> DeLong:
    difference = one - other
    if alike and one == other and variance == 0:
        return DeLong(one, other, 0.0, 0.0, 0.0, 1.0)
    if fewest < 2 or variance == 0:
        why = (
            "one of the classes has a single patient"
            if fewest < 2
            else "the difference does not vary among these patients"
        )
        return DeLong(one, other, difference, math.nan, math.nan, math.nan, f"{why}: its variance cannot be told")
    error = math.sqrt(variance)
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return DeLong(one, other, difference, difference - Z * error, difference + Z * error, p)
