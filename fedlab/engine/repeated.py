"""What a site says of several seeds together: a share or an AUC, and its variance with patients as what is drawn.

A patient whom several seeds test is one patient. So the mean over seeds does not get the more certain the more seeds
there are: each patient's part in it is summed over seeds and rows first, and the variance is that of these sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.net import Net
from fedlab.engine.opened import _predicted
from fedlab.federation import Site
from fedlab.metrics.cells import ENOUGH, patients_by_class
from fedlab.metrics.thresholds import PREDICTS_NAN

SHARES = ("auc", "accuracy", "sensitivity", "specificity")
Floats = NDArray[np.float64]


class Look(NamedTuple):
    """One seed at a site: its split, and the model that reads the ``test`` patients there."""

    site: Site
    net: Net
    members: list[Tensors]


class Estimate(NamedTuple):
    """A value, its variance over patients, and how many (of AUC: of one class, and of the other) stand behind it.

    ``reason`` says why something is ``nan``.
    """

    value: float
    variance: float
    behind: tuple[int, ...] = ()
    reason: str = ""


def behind(sites: Sequence[Site], metric: str) -> tuple[int, ...]:
    """Count the patients of the splits of one site, together, of whom a metric is: of AUC those of each class."""
    parts = [site.split.test for site in sites]
    who = np.concatenate([site.rows.patients.of[at] for site, at in zip(sites, parts, strict=True)])
    y = np.concatenate([site.rows.y.numpy()[at] for site, at in zip(sites, parts, strict=True)])
    if metric == "accuracy":
        return (len(np.unique(who)),)
    well, ill = patients_by_class(who, y, 2).tolist()
    return {"auc": (ill, well), "sensitivity": (ill,), "specificity": (well,)}[metric]


def repeated(looks: Sequence[Look], *, metric: str, threshold: float = 0.5) -> Estimate:
    """Return the mean over seeds of a metric at one site, and its variance with the models as they are.

    With one seed it is DeLong's variance of an AUC, or that of a share. A seed whose split leaves the metric nobody has
    no value and does not count. Fewer than twenty patients behind it tell nothing.

    Parameters
    ----------
    looks : sequence of Look
        One a seed.
    metric : {"auc", "accuracy", "sensitivity", "specificity"}
    threshold : float
        From which probability on a patient is called positive, for the last two.
    """
    return _told(looks, [_parts(look, metric, threshold) for look in looks], metric)


def repeated_difference(one: Sequence[Look], other: Sequence[Look], *, metric: str, threshold: float = 0.5) -> Estimate:
    """Return the mean difference of two models on the same patients, seed by seed; as :func:`repeated` otherwise."""
    both = [[_parts(look, metric, threshold) for look in looks] for looks in (one, other)]
    each = [(mine - theirs, group) for (mine, group), (theirs, _) in zip(*both, strict=True)]
    return _told(one, each, metric)


Parts = tuple[Floats, NDArray[np.int64]]
"""Each row's own value, of which the metric is the mean (in each class), and which rows there are of each class: -1 for
those that the metric is not of."""


def _parts(look: Look, metric: str, threshold: float) -> Parts:
    rows = look.site.test
    y, p = rows.y.numpy(), _predicted(look.net, [look.members], rows.x)[0]
    positive = metric == "sensitivity"
    if metric in ("auc", "accuracy"):
        group = y if metric == "auc" else np.zeros_like(y)
        value = _won(y, p[:, 1]) if metric == "auc" else (p.argmax(-1) == y).astype(float)
    else:
        group = np.where(y == positive, 0, -1)
        value = ((p[:, 1] >= threshold) == positive).astype(float)
    return np.where(np.isfinite(p).all(), value, np.nan), group


def _won(y: NDArray[np.int64], score: Floats) -> Floats:
    """Of each patient, the share of the other class that is ranked on the right side; ties count half."""
    out, ill = np.full(len(y), np.nan), y == 1
    for mine, sign in ((ill, 1), (~ill, -1)):
        other = np.sort(sign * score[~mine])
        if len(other):
            ends = (np.searchsorted(other, sign * score[mine], side=side) for side in ("left", "right"))
            out[mine] = sum(ends) / (2 * len(other))
    return out


def _told(looks: Sequence[Look], parts: Sequence[Parts], metric: str) -> Estimate:
    counts = behind([look.site for look in looks], metric)
    if min(counts) < ENOUGH:
        what = "patients of a class" if metric != "accuracy" else "patients"
        return Estimate(math.nan, math.nan, counts, f"fewer than {ENOUGH} test {what}")
    needed = 2 if metric == "auc" else 1
    kept = [
        (look.site, *each) for look, each in zip(looks, parts, strict=True)
        if len(np.unique(each[1][each[1] >= 0])) == needed
    ]  # fmt: skip
    if not all(np.isfinite(value).all() for _, value, _ in kept):
        return Estimate(math.nan, math.nan, counts, PREDICTS_NAN)
    mean = float(np.mean([value[group == group.max()].mean() for _, value, group in kept]))
    who, part = [], []
    for site, value, group in kept:
        for number, of in enumerate(counts):  # AUC: the ill first, who have the label 1
            mine = group == (1 - number if metric == "auc" else 0)
            size = np.count_nonzero(mine) * len(kept) * math.sqrt(1 - 1 / of)
            who.append(site.rows.patients.of[site.split.test][mine])
            part.append((value[mine] - mean) / size)
    sums = np.bincount(np.unique(np.concatenate(who), return_inverse=True)[1], weights=np.concatenate(part))
    return Estimate(mean, float((sums**2).sum()), counts)
