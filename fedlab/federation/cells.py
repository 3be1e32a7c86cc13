"""What of a count may leave a site: no cell of fewer than so many patients, not even by subtraction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEAST = 5  # patients in the smallest cell that leaves a site


def screened(counts: NDArray[np.int64], *, least: int = LEAST) -> NDArray[np.int64]:
    """Set small cells to 0, and so many others that those set hold nobody, or at least ``least`` patients together.

    Else the total, which the site tells too, would give away what the small cells hold.

    Parameters
    ----------
    counts : int array, shape [..., cells]
        Patients a cell, each patient in one cell; several tables are screened each by itself.
    least : int
        At least 1. A cell of so many may leave; an empty one too, for 0 looks like a cell that was set to 0.

    Returns
    -------
    int array, shape [..., cells]
        Zeros where a cell was withheld.

    Examples
    --------
    >>> screened(np.array([40, 3, 12, 0])).tolist()
    [40, 0, 0, 0]
    >>> screened(np.array([40, 3, 2, 0])).tolist()
    [40, 0, 0, 0]
    """
    if least < 1:
        raise ValueError(f"least is {least}: the smallest cell that may leave a site holds at least 1 patient")
    counts = np.asarray(counts, dtype=np.int64)
    if not counts.shape[-1]:
        return counts.copy()
    flat = counts.reshape(-1, counts.shape[-1])
    kept = np.where(flat >= least, flat, 0)
    withheld = flat.sum(1) - kept.sum(1)
    few = np.flatnonzero((withheld > 0) & (withheld < least) & kept.any(1))
    some = np.where(kept[few] > 0, kept[few], np.iinfo(np.int64).max)
    kept[few, flat.shape[1] - 1 - some[:, ::-1].argmin(1)] = 0  # the smallest that was kept is enough: it has ``least``
    return kept.reshape(counts.shape)


def noised(counts: NDArray[np.int64], *, epsilon: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Add two-sided geometric noise, and cut off below 0: an ``epsilon``-private histogram of patients.

    One patient more or less changes one cell by one (Ghosh, Roughgarden & Sundararajan, 2012, arXiv 0811.2841).

    Parameters
    ----------
    counts : int array
        As counted, not screened: it is the noise that protects.
    epsilon : float
        Above 0; smaller is more private and more noise (a standard deviation of about ``1.4 / epsilon``).
    rng : numpy Generator

    Examples
    --------
    >>> noised(np.array([40, 3]), epsilon=50.0, rng=np.random.default_rng(0)).tolist()
    [40.0, 3.0]
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon is {epsilon}: it must be a finite number above 0")
    p = 1 - math.exp(-epsilon)
    noise = rng.geometric(p, size=len(counts)) - rng.geometric(p, size=len(counts))
    out: NDArray[np.float64] = np.maximum(np.asarray(counts) + noise, 0).astype(np.float64)
    return out
