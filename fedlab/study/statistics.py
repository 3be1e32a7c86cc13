"""Intervals over repeated splits that do not pretend the splits are independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fedlab.federation import Federation

FLAT = 1e-12  # a spread below this is rounding


class Interval(NamedTuple):
    """Mean, standard deviation and 95 % interval over seeds (``nan`` bounds where it cannot be told)."""

    mean: float
    sd: float
    low: float
    high: float


def overlap(federation: Federation) -> float:
    """Return test rows over training rows, which is what the splits of two seeds have in common.

    0 for a published split, which no seed draws again.

    Examples
    --------
    >>> import fedlab
    >>> round(overlap(fedlab.load("heart_disease")), 2)
    0.42
    """
    if federation.published:
        return 0.0
    splits = [site.split for site in federation.sites]
    return sum(len(split.test) for split in splits) / sum(len(split.train) for split in splits)


def error_of_mean(sd: Any, seeds: Any, *, overlap: float, prevalence: Any = 0.0) -> Any:
    r"""Standard error of a mean over seeds, :math:`\sqrt{(1/J + n_{test}/n_{train})\, s^2 + v}`.

    Every interval and test over seeds takes it from here; of numbers or arrays.

    Parameters
    ----------
    sd : float
        :math:`s`, of the seeds' values.
    seeds : int
        :math:`J`.
    overlap : float
        :math:`n_{test}/n_{train}` (Nadeau & Bengio, Machine Learning 52, 2003).
    prevalence : float
        :math:`v`, the variance that stratified splits do not show (:mod:`fedlab.study.prevalence`).

    Examples
    --------
    >>> round(float(error_of_mean(0.2, 10, overlap=0.4, prevalence=0.005)), 3)
    0.158
    """
    return np.hypot(sd * np.sqrt(1 / seeds + overlap), np.sqrt(prevalence))


def over_seeds(
    values: Sequence[float],
    *,
    overlap: float,
    within: tuple[float, float] = (-math.inf, math.inf),
    together: int = 1,
    prevalence: float = 0.0,
) -> Interval:
    r"""Corrected resampled t interval of a mean over seeds.

    Splits drawn from the same patients overlap, so that the plain t interval is much too narrow. Nadeau & Bengio
    (*Inference for the generalization error*, Machine Learning 52, 2003) take the variance of the mean as
    :math:`(1/J + n_{test}/n_{train})\, s^2`. That takes the splits for drawn at random, and they are stratified: every
    test part has the same share of each class, and what depends on that share does not vary between seeds. What is
    missing has to be given (``prevalence``); without it the interval covers other splits and training of these
    patients, and not patients of whom more or fewer are ill.

    Parameters
    ----------
    values : sequence of float
        One per seed; ``nan`` is left out.
    overlap : float
        :math:`n_{test}/n_{train}`; 0 where the seeds do not redraw the split (a published one).
    within : (float, float)
        Where a score lies (:func:`fedlab.metrics.scores.bounds`): a t interval does not know that the metric ends,
        and is cut there. Give none for differences.
    together : int
        How many such intervals are to hold at once with 95 % (Bonferroni).
    prevalence : float
        Variance that the mean has besides (:mod:`fedlab.study.prevalence`): of a metric that is a mean over patients.

    Returns
    -------
    Interval
        Bounds are ``nan`` with one seed, and where all seeds have the same value: without a spread nothing can be said.
        Differences that are all 0 are the exception, ``[0, 0]``: the two do not differ.

    Examples
    --------
    >>> over_seeds([0.1, 0.2, 0.3], overlap=0).mean.__round__(3)
    0.2
    """
    kept = np.array([v for v in values if math.isfinite(v)])
    if len(kept) == 0:
        return Interval(math.nan, math.nan, math.nan, math.nan)
    if len(kept) == 1:
        return Interval(float(kept[0]), math.nan, math.nan, math.nan)
    mean, sd = float(kept.mean()), float(kept.std(ddof=1))
    if np.ptp(kept) <= FLAT:
        bound = 0.0 if abs(mean) <= FLAT and math.isinf(within[0]) else math.nan
        return Interval(mean, 0.0, bound, bound)
    half = _quantile_of_t(1 - 0.025 / together, len(kept) - 1)
    half *= float(error_of_mean(sd, len(kept), overlap=overlap, prevalence=prevalence))
    return Interval(mean, sd, max(mean - half, within[0]), min(mean + half, within[1]))


@cache
def _quantile_of_t(share: float, freedom: int) -> float:
    from scipy.stats import t  # a second to import: only when a report asks

    return float(t.ppf(share, freedom))
