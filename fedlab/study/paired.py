"""Two arms on the same seeds: whether one is ahead, and by how much; and how to ask that of many pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.study.statistics import error_of_mean, over_seeds

LEVEL = 0.05


class Paired(NamedTuple):
    """A mean paired difference over seeds, with its 95 % interval and two-sided p.

    ``low``, ``high``, ``p`` and ``detectable`` are ``nan`` where they cannot be had, and ``reason`` then says why;
    ``seeds`` counts those that were used. ``detectable`` is the smallest difference that these seeds could have seen
    (:func:`detectable`).
    """

    difference: float
    sd: float
    low: float
    high: float
    p: float
    seeds: int
    reason: str = ""
    detectable: float = math.nan


def corrected_t(differences: Sequence[float], *, overlap: float, prevalence: float = 0.0) -> Paired:
    r"""Corrected resampled t test of paired differences over seeds.

    :math:`t = \bar d / (s \sqrt{1/J + n_{test}/n_{train}})` with :math:`J - 1` degrees of freedom: the splits of one
    data set overlap, and the plain t test takes them for independent (Nadeau & Bengio, *Inference for the
    generalization error*, Machine Learning 52, 2003). With ``overlap=0`` it is the plain paired t test.

    Parameters
    ----------
    differences : sequence of float
        One per seed, same split and start on both sides; ``nan`` (a seed without a score) is left out.
    overlap : float
        Test rows over training rows, at least 0; 0 where the seeds do not redraw the split (a published one). The
        interval then covers starts and batch orders only, not other patients: :func:`delong` does that.
    prevalence : float
        Variance of the mean that stratified splits do not show, added below the root (:mod:`fedlab.study.prevalence`).

    Returns
    -------
    Paired
        ``p`` is below .05 exactly where the interval leaves zero out. Where all seeds have the same difference, and it
        is not 0, there is no spread to judge it by, and interval and p are ``nan``.

    Raises
    ------
    ValueError
        Fewer than two seeds with a score, or a negative overlap.

    Examples
    --------
    >>> got = corrected_t([0.02, 0.05, -0.01, 0.04, 0.03], overlap=0.25 / 0.60)
    >>> round(got.difference, 3), round(got.low, 3), round(got.high, 3), round(got.p, 2)
    (0.026, -0.024, 0.076, 0.22)
    """
    if not overlap >= 0:
        raise ValueError(f"overlap is {overlap}: give test rows over training rows, or 0 for a published split")
    kept = [float(d) for d in differences if math.isfinite(d)]
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {len(differences)} seeds have a difference, and one seed has no spread: differences "
            "across seeds cannot be judged. Compare with several, seeds=10"
        )
    mean, sd, low, high = over_seeds(kept, overlap=overlap, prevalence=prevalence)
    if sd == 0 and low == high:
        why = "the two do not differ for any seed: without a spread it cannot be told what would have been seen"
        return Paired(mean, sd, low, high, 1.0, len(kept), why)
    if sd == 0:
        why = "the difference is the same for every seed: there is no spread to judge it by"
        return Paired(mean, sd, low, high, math.nan, len(kept), why)
    from scipy.stats import t  # a second to import: only when a report asks

    error = float(error_of_mean(sd, len(kept), overlap=overlap, prevalence=prevalence))
    p = float(2 * t.sf(abs(mean) / error, len(kept) - 1))
    seen = detectable(sd, seeds=len(kept), overlap=overlap, prevalence=prevalence)
    return Paired(mean, sd, low, high, p, len(kept), detectable=seen)


def detectable(sd: float, *, seeds: int, overlap: float, prevalence: float = 0.0) -> float:
    r"""Smallest true difference that seeds with this spread find in four studies of five.

    :math:`(t_{.975} + t_{.80})\, s \sqrt{1/J + n_{test}/n_{train}}` with :math:`J - 1` degrees of freedom: what the
    two-sided 5 % test of one difference, by itself, finds with a power of about .80. Of several that Holm's rule
    adjusts, it is somewhat larger. It is read off the spread of this study, so that it is itself an estimate.

    Parameters
    ----------
    sd : float
        Of the paired differences over seeds, above 0.
    seeds : int
        At least 2.
    overlap, prevalence : float
        As in :func:`corrected_t`.

    Examples
    --------
    >>> round(detectable(0.02, seeds=10, overlap=0.25 / 0.60), 3)
    0.045
    """
    from scipy.stats import t  # a second to import: only when a report asks

    error = error_of_mean(sd, seeds, overlap=overlap, prevalence=prevalence)
    return float(t.ppf([0.975, 0.80], seeds - 1).sum() * error)


def ahead(low: float, high: float, p: float = 0.0) -> int:
    """Return which side of a difference is larger for certain enough: 1, -1, or 0 for no clear winner.

    Parameters
    ----------
    low, high : float
        The corrected interval: one that holds zero, or is ``nan``, never has a winner.
    p : float
        Adjusted for the other comparisons (:func:`holm`); it must be below .05 too. Since it is never below the plain
        p, Holm decides among several, and interval and p say the same of one.

    Examples
    --------
    >>> ahead(0.01, 0.09), ahead(-0.09, -0.01), ahead(-0.01, 0.09), ahead(0.01, 0.09, p=0.08)
    (1, -1, 0, 0)
    """
    if not p < LEVEL:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Adjust p-values for how many there are, by Holm's step-down rule (Scandinavian Journal of Statistics 6, 1979).

    Parameters
    ----------
    p : sequence of float
        In 0 to 1; ``nan`` is a test that was not made: it stays and does not count.

    Returns
    -------
    float array
        In the order given; below .05 in all true nulls together with probability of at least .95.

    Raises
    ------
    ValueError
        A p outside of 0 to 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values: NDArray[np.float64] = np.asarray(p, dtype=float)
    made = np.flatnonzero(~np.isnan(values))
    if ((values[made] < 0) | (values[made] > 1)).any():
        raise ValueError(f"a p-value lies between 0 and 1, not {values[made].tolist()}")
    order = made[np.argsort(values[made], kind="stable")]
    out = np.full(values.shape, np.nan)
    out[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return out
