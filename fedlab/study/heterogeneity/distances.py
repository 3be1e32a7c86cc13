"""How far two histograms are apart: six answers, each a pure function of counts.

All take counts or shares ``p`` and ``q`` of shape [..., cells] over the same cells (for Wasserstein and
Kolmogorov–Smirnov in their order), work along the last axis, are 0 for equal shares, and ``nan`` where one side is
empty.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
FLOOR = 1e-4  # least share of a cell in the population stability index: its logarithm has no value at 0


def shares(counts: ArrayLike) -> Floats:
    """Divide counts [..., cells] by their sum; ``nan`` where there is nobody.

    Raises
    ------
    ValueError
        For a negative count.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if (counts < 0).any():
        raise ValueError("a histogram has a cell below 0: give counts or shares")
    total = counts.sum(-1, keepdims=True)
    out: Floats = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return out


def _both(p: ArrayLike, q: ArrayLike) -> tuple[Floats, Floats]:
    one, other = shares(p), shares(q)
    if one.shape[-1] != other.shape[-1]:
        raise ValueError(f"the histograms have {one.shape[-1]} and {other.shape[-1]} cells: agree on the cells first")
    return tuple(np.broadcast_arrays(one, other))  # type: ignore[return-value]


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> Floats:
    r"""Jensen–Shannon distance, the root of the divergence to base 2: a metric in 0 to 1, symmetric.

    :math:`\sqrt{\tfrac12 KL(p\|m) + \tfrac12 KL(q\|m)}` with :math:`m = (p + q) / 2` (Lin, *Divergence measures based
    on the Shannon entropy*, IEEE Transactions on Information Theory 37, 1991); 1 where no cell is common.

    Examples
    --------
    >>> jensen_shannon([1, 0], [0, 1]).item(), round(jensen_shannon([1, 1], [3, 1]).item(), 3)
    (1.0, 0.221)
    """
    p, q = _both(p, q)
    m = (p + q) / 2
    divergence = (_information(p, m) + _information(q, m)).sum(-1) / 2
    return np.sqrt(np.clip(divergence, 0, 1))  # type: ignore[no-any-return]


def _information(p: Floats, m: Floats) -> Floats:
    ratio = np.divide(p, m, out=np.ones_like(p), where=p > 0)
    out: Floats = np.where(np.isnan(p), np.nan, p * np.log2(ratio))
    return out


def hellinger(p: ArrayLike, q: ArrayLike) -> Floats:
    r"""Hellinger distance :math:`\lVert\sqrt p - \sqrt q\rVert / \sqrt 2`: a metric in 0 to 1 (Hellinger, 1909).

    Its square is at most the total variation, and the total variation at most :math:`\sqrt 2` times it.

    Examples
    --------
    >>> round(hellinger([1, 1], [1, 0]).item(), 3)
    0.541
    """
    p, q = _both(p, q)
    out: Floats = np.sqrt(np.clip(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1) / 2, 0, 1))
    return out


def total_variation(p: ArrayLike, q: ArrayLike) -> Floats:
    r"""Total variation :math:`\tfrac12\lVert p - q\rVert_1` in 0 to 1: the share of patients that stands elsewhere.

    Examples
    --------
    >>> total_variation([25, 75], [5, 5]).item()
    0.25
    """
    p, q = _both(p, q)
    out: Floats = np.clip(np.abs(p - q).sum(-1) / 2, 0, 1)
    return out


def wasserstein(p: ArrayLike, q: ArrayLike, at: ArrayLike) -> Floats:
    """First Wasserstein distance of two ordered histograms, in standard deviations of both together.

    How far the patients of one would have to be moved, on average, to look like the other (Villani, *Optimal
    transport*, 2009). Give counts: the standard deviation is that of all patients.

    Parameters
    ----------
    p, q : counts, shape [..., cells]
    at : float array, shape [cells]
        Where the cells lie, ascending.

    Examples
    --------
    >>> wasserstein([10, 0], [0, 10], at=[0.0, 1.0]).item()  # 1 apart, standard deviation 0.5
    2.0
    """
    where = np.asarray(at, dtype=np.float64)
    both = shares(np.asarray(p, dtype=np.float64) + np.asarray(q, dtype=np.float64))
    p, q = _both(p, q)
    moved = (np.abs(np.cumsum(p - q, axis=-1))[..., :-1] * np.diff(where)).sum(-1)
    mean = (both * where).sum(-1, keepdims=True)
    sd = np.sqrt((both * (where - mean) ** 2).sum(-1))
    out: Floats = np.divide(moved, sd, out=np.where(np.isnan(moved), np.nan, 0.0), where=sd > 0)
    return out


def kolmogorov_smirnov(p: ArrayLike, q: ArrayLike) -> Floats:
    """Kolmogorov–Smirnov statistic of two ordered histograms: the largest gap of the cumulated shares, 0 to 1.

    Binned, it is at most that of the values themselves.

    Examples
    --------
    >>> kolmogorov_smirnov([5, 5, 0], [0, 5, 5]).item()
    0.5
    """
    p, q = _both(p, q)
    out: Floats = np.clip(np.abs(np.cumsum(p - q, axis=-1)).max(-1), 0, 1)
    return out


def psi(p: ArrayLike, q: ArrayLike, *, floor: float = FLOOR) -> Floats:
    r"""Population stability index :math:`\sum (p - q) \ln(p / q)`, symmetric, 0 or more, in nats.

    Jeffreys' divergence by its name in credit scoring (Siddiqi, *Credit risk scorecards*, 2006; Yurdakul & Naranjo,
    Journal of Risk Model Validation 14, 2020). A share below ``floor`` counts as ``floor``, so that a category that one
    side has not seen gives a large value and not infinity.

    Examples
    --------
    >>> round(psi([1, 1], [3, 1]).item(), 3)
    0.275
    """
    p, q = (np.where(np.isnan(side), np.nan, np.maximum(side, floor)) for side in _both(p, q))
    out: Floats = ((p - q) * np.log(p / q)).sum(-1)
    return out


HISTOGRAM: dict[str, Any] = {
    "jensen_shannon": jensen_shannon,
    "hellinger": hellinger,
    "total_variation": total_variation,
    "psi": psi,
}
"""Measures of any cells, by name; those of cells in an order are in :data:`ORDERED`."""

ORDERED: dict[str, Any] = {
    "wasserstein": wasserstein,
    "kolmogorov_smirnov": lambda p, q, at: kolmogorov_smirnov(p, q),
}
"""Measures of a number's cells: of ``p``, ``q`` and where the cells lie."""
