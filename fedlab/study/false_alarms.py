"""The method, tested on itself: how often it names a winner where there is none.

A cohort of made-up patients is drawn and then split again and again, as ``compare`` splits a federation: the training
sets of two seeds overlap. The learner is logistic regression by a few steps of mini-batch SGD, in NumPy, all models of
a hundred simulations side by side: a thousand simulations of ten seeds take seconds.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.study.paired import ahead, corrected_t

Floats = NDArray[np.float64]
PATIENTS, TRAIN, TEST = 200, 120, 50
OVERLAP = TEST / TRAIN
FEATURES, SIGNAL = 5, 0.4
STEPS, BATCH, RATE, START = 20, 16, 0.3, 0.5
TOGETHER = 100


class Rates(NamedTuple):
    """How often a winner is named, 0 to 1: by the corrected t, and by the plain t that takes seeds as independent."""

    corrected: float
    naive: float


def paired_differences(
    simulations: int = 1000, *, seeds: int = 10, apart: Literal["seeds", "measurement"] = "seeds", seed: int = 0
) -> Floats:
    """AUC of A minus AUC of B, which are one algorithm, on the test patients of each split.

    Parameters
    ----------
    simulations : int
        Cohorts, each new.
    seeds : int
        Splits of each cohort: 120 patients train, 50 test.
    apart : {"seeds", "measurement"}
        What tells A from B. ``seeds``: start and batch order alone, drawn anew at each split. ``measurement``: besides,
        each sees a measurement of its own of every patient, equally good: neither is better, but on one cohort one of
        them is luckier, at all its splits. That is what a t test over splits mistakes for a difference.
    seed : int
        Of everything drawn.

    Returns
    -------
    float array, shape [simulations, seeds]

    Examples
    --------
    >>> paired_differences(3, seeds=2).shape
    (3, 2)
    """
    if apart not in ("seeds", "measurement"):
        raise ValueError(f"apart is {apart!r}: it is 'seeds' or 'measurement'")
    parts = [
        _some(min(TOGETHER, simulations - first), seeds, apart == "measurement", np.random.default_rng([seed, first]))
        for first in range(0, simulations, TOGETHER)
    ]
    return np.concatenate(parts)


def _some(cohorts: int, seeds: int, own: bool, rng: np.random.Generator) -> Floats:
    y = np.zeros(PATIENTS)
    y[: PATIENTS // 2] = 1
    x = rng.normal(size=(cohorts, 2, PATIENTS, FEATURES)) + SIGNAL * y[:, None]
    if not own:
        x[:, 1] = x[:, 0]
    order = rng.permuted(np.broadcast_to(np.arange(PATIENTS), (cohorts, seeds, PATIENTS)), axis=2)
    cohort, arm = np.arange(cohorts)[:, None, None, None], np.arange(2)[:, None]
    w = rng.normal(scale=START, size=(cohorts, seeds, 2, FEATURES))
    for _ in range(STEPS):
        drawn = rng.integers(TRAIN, size=(cohorts, seeds, 2, BATCH))
        rows = np.take_along_axis(order[:, :, None, :TRAIN], drawn, 3)
        batch = x[cohort, arm, rows]
        wrong = 1 / (1 + np.exp(-np.einsum("csabf,csaf->csab", batch, w))) - y[rows]
        w -= RATE * np.einsum("csab,csabf->csaf", wrong, batch) / BATCH
    rows = np.broadcast_to(order[:, :, None, -TEST:], (cohorts, seeds, 2, TEST))
    auc = _auc(y[rows] == 1, np.einsum("csabf,csaf->csab", x[cohort, arm, rows], w))
    return auc[..., 0] - auc[..., 1]


def _auc(ill: NDArray[np.bool_], score: Floats) -> Floats:
    """Area under the curve over the last axis, from ranks; continuous scores have no ties."""
    rank = score.argsort(-1).argsort(-1) + 1
    n = ill.sum(-1)
    out: Floats = ((rank * ill).sum(-1) - n * (n + 1) / 2) / (n * (ill.shape[-1] - n))
    return out


def named(differences: Floats, *, overlap: float = OVERLAP) -> Rates:
    """How often a winner is named, either of the two, by the rule of ``study.pairs`` and ``study.verdict``.

    Parameters
    ----------
    differences : float array, shape [simulations, seeds]
    overlap : float
        Test rows over training rows; the naive rate takes it as 0.

    Examples
    --------
    >>> alarms = named(paired_differences(100))  # nothing to find
    >>> alarms.corrected <= 0.07
    True
    """
    each = [
        np.mean([ahead(*corrected_t(d.tolist(), overlap=o)[2:5]) != 0 for d in differences]) for o in (overlap, 0.0)
    ]
    return Rates(float(each[0]), float(each[1]))


def spread(differences: Floats) -> float:
    """Return the standard deviation of the paired differences about their mean over all simulations."""
    return float(differences.std(ddof=1))
