"""Intervals over other patients of the same hospitals, the models as they are: of a mean over seeds and hospitals.

Every hospital's patients are drawn anew by themselves, and the same draw is read by all models: so differences between
arms are paired by patient. Of an AUC nothing is drawn: its variance is DeLong's.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.federation import Examples, Task
from fedlab.metrics.auc_interval import newcombe
from fedlab.metrics.cells import ENOUGH
from fedlab.metrics.clusters import variance_of_means, worth
from fedlab.metrics.delong import Z, pairs_won
from fedlab.metrics.known import KNOWN
from fedlab.metrics.ranking import expit
from fedlab.metrics.scores import CHOSEN, NEEDS_EVERY_CLASS
from fedlab.metrics.thresholds import balanced_accuracy_at

Floats = NDArray[np.float64]
AT_ONCE = 2**22  # weights of patients and resamples
SPREADS_MOST = 0.25  # the variance of numbers of 0 … 1 is no larger
FLAT = 1e-12


class Share(NamedTuple):
    """One hospital's part in a mean of AUCs, in which it has a ``weight``.

    How often each case stands above the others, and each other below the cases, weighted: the mean over either is what
    the hospital contributes. ``who`` is whose rows they are, of the cases and of the others.
    """

    cases: Floats
    others: Floats
    weight: float
    who: tuple[NDArray[np.int64], NDArray[np.int64]]


class Drawn:
    """Resamples of the patients of one hospital.

    Parameters
    ----------
    rows : Examples
    site : str
        The draw depends on its name alone: so it is the same for all arms and seeds.
    resamples : int
    """

    def __init__(self, rows: Examples, site: str, resamples: int) -> None:
        self.y = rows.y.numpy()
        self.of, first, _ = rows.patients
        self.resamples, self.site = resamples, site
        self._kept: dict[bool, Floats] = {}
        self.label = self.y[first]
        self.counts = np.unique(self.label, return_counts=True)[1]

    def values(self, metric: str, p: Floats, thresholds: Floats) -> Floats:
        """A metric of several models [models, resamples], spread about its value as that of a mean would be.

        A resample of n patients varies by (n − 1) / n too little, which many small hospitals add up to.
        """
        score = partial(balanced_accuracy_at, threshold=thresholds) if metric == CHOSEN else KNOWN[metric]
        whole = score(self.y, p, np.ones((1, len(self.y))))
        by_class = metric in NEEDS_EVERY_CLASS
        parts = [score(self.y, p, weights) for weights in self._weights(by_class)]
        n = int(self.counts.min() if by_class else self.counts.sum())
        out: Floats = whole + (np.concatenate(parts, axis=-1) - whole) * math.sqrt(n / max(n - 1, 1))
        return out

    def _weights(self, by_class: bool) -> Iterator[Floats]:
        """How often each row is drawn [resamples, rows], some at a time; all are kept where they are few."""
        size = max(1, AT_ONCE // len(self.y))
        if self.resamples > size:
            for start in range(0, self.resamples, size):
                yield self._draw(by_class, start, min(size, self.resamples - start))
            return
        if by_class not in self._kept:
            self._kept[by_class] = self._draw(by_class, 0, self.resamples)
        yield self._kept[by_class]

    def _draw(self, by_class: bool, start: int, number: int) -> Floats:
        """Draw whole patients, ``by_class`` as many of each as there are."""
        source = [zlib.crc32(self.site.encode()), start, 8, by_class]
        rng = np.random.default_rng(np.random.SeedSequence(source))
        drawn = np.zeros((number, len(self.label)))
        for k in np.unique(self.label) if by_class else [None]:
            mine = np.flatnonzero(self.label == k) if by_class else np.arange(len(self.label))
            drawn[:, mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=number)
        out: Floats = drawn[:, self.of]
        return out


def percentiles(drawn: Floats) -> tuple[float, float]:
    """Return the middle 95 %; ``nan`` where the resamples do not differ, or half of them have no value.

    Examples
    --------
    >>> low, high = percentiles(np.linspace(0, 1, 101))
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    known = drawn[np.isfinite(drawn)]
    if 2 * len(known) <= len(drawn) or np.ptp(known) <= FLAT:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


# --------------------------------------------------------------------------- AUC


def placements(y: NDArray[np.int64], p: Floats) -> tuple[Floats, Floats]:
    """How often each case stands above the others, and each other below the cases, ties half; several models [.., n].

    Examples
    --------
    >>> cases, others = placements(np.array([0, 0, 1, 1]), np.array([[0.1, 0.4, 0.4, 0.8]]))
    >>> cases.tolist(), others.tolist()
    ([[0.75, 1.0]], [[1.0, 0.75]])
    """
    ill = y == 1
    return pairs_won(p, ill) / 2 / (~ill).sum(), 1 - pairs_won(p, ~ill) / 2 / ill.sum()


def mean_auc_interval(shares: Sequence[Share]) -> tuple[float, float]:
    """95 % interval of a mean of the AUCs of several hospitals, or of one, over their patients.

    Bound by bound the wider of the logit interval with DeLong's variance (Biometrics 44, 1988), which is [1, 1] at the
    end, and of Newcombe's method 5 (Statistics in Medicine 25, 2006), which has a width there. Variances of hospitals
    add up; a class of one patient counts as widely spread as can be.

    Examples
    --------
    >>> best = Share(np.ones(20), np.ones(56), 1.0, (np.arange(20), np.arange(20, 76)))
    >>> low, high = mean_auc_interval([best])
    >>> round(low, 3), round(high, 3)
    (0.932, 1.0)
    """
    auc = min(max(sum(float(share.cases.mean()) for share in shares), 0.0), 1.0)
    sizes = np.array([[*map(worth, share.who), share.weight] for share in shares]).T
    low, high = (float(bound) for bound in newcombe(np.array(auc if FLAT < auc < 1 - FLAT else round(auc)), *sizes))
    variance = sum(_variance(share) for share in shares)
    if FLAT < auc < 1 - FLAT:
        half, logit = Z * math.sqrt(variance) / (auc * (1 - auc)), math.log(auc / (1 - auc))
        low, high = min(low, float(expit(logit - half))), max(high, float(expit(logit + half)))
    return low, high


def auc_difference(one: Sequence[Share], other: Sequence[Share]) -> tuple[float, float, float]:
    """Difference of two such means on the same patients, and its 95 % interval by DeLong's variance.

    The bounds are ``nan`` where the two rank all patients alike, or nothing can be told of a variance.
    """
    apart = [
        Share(a.cases - b.cases, a.others - b.others, 2 * max(a.weight, b.weight), a.who)
        for a, b in zip(one, other, strict=True)
    ]
    difference = sum(float(share.cases.mean()) for share in apart)
    half = Z * math.sqrt(sum(_variance(share) for share in apart))
    if half <= FLAT:
        return difference, math.nan, math.nan
    return difference, difference - half, difference + half


def _variance(share: Share) -> float:
    parts = [*zip((share.cases, share.others), share.who, strict=True)]
    told = [(part, who) for part, who in parts if len(np.unique(who)) > 1]
    untold = SPREADS_MOST * share.weight**2 * (len(parts) - len(told))
    return untold + (float(variance_of_means(*zip(*told, strict=True))) if told else 0.0)


# --------------------------------------------------------------------------- whether there is one


def no_interval(metric: str, task: Task, sites: Sequence[Examples]) -> str:
    """Say why a metric's mean over these hospitals' patients has no interval; empty if it has one."""
    if metric == "auc" and len(task.classes) > 2:
        return f"a mean of the AUCs of {len(task.classes)} classes: no interval"
    counts = np.array([task.counts(rows.patients.of, rows.y.numpy()) for rows in sites])
    if metric in NEEDS_EVERY_CLASS:
        if counts.sum(0).min() < ENOUGH:
            return f"fewer than {ENOUGH} patients of a class: no interval"
        alone = int((counts.min(1) < 2).sum()) if metric != "auc" else 0
    else:
        patients = np.array([len(rows.patients.first) for rows in sites])
        if patients.sum() < ENOUGH:
            return f"fewer than {ENOUGH} patients: no interval"
        alone = int((patients < 2).sum())
    if alone:
        what = "of a class" if metric in NEEDS_EVERY_CLASS else "in all"
        return f"{alone} of {len(sites)} hospitals have one patient {what}, who tell of no spread: no interval"
    return ""
