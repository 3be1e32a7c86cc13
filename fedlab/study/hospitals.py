"""Two arms over hospitals: whether one does better at most of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 6
ROUNDING = 1e-9  # of the scores' size: differences that are closer than this are the same number, computed twice


class OverSites(NamedTuple):
    """Median difference over sites, Wilcoxon's two-sided p and Cliff's delta (-1 to 1)."""

    sites: int
    difference: float
    p: float
    delta: float


def cliffs_delta(one: Sequence[float], other: Sequence[float]) -> float:
    """Share of pairs in which ``one`` is larger less the share in which it is smaller (Cliff, Psych. Bulletin 1993).

    Parameters
    ----------
    one, other : sequence of float
        At least one each.

    Returns
    -------
    float
        From -1 (every ``one`` is smaller) to 1.

    Examples
    --------
    >>> cliffs_delta([1, 2, 3], [2, 0])
    0.5
    """
    ones, others = np.asarray(one, float), np.asarray(other, float)
    apart = np.subtract.outer(ones, others)
    return float(np.where(np.abs(apart) <= _rounding(ones, others), 0, np.sign(apart)).mean())


def enough(sites: int) -> None:
    """Refuse so few sites that no p of Wilcoxon's test could be below .05.

    Examples
    --------
    >>> enough(6)
    """
    if sites < FEWEST:
        smallest = f"with {sites} the smallest p is {2 / 2**sites:.4g}" if sites else "there is none"
        raise ValueError(
            f"{sites} sites have a score of both arms, and Wilcoxon's test needs {FEWEST}: {smallest}, so that it "
            "could never find a difference. Compare over seeds instead: study.pairs()"
        )


def over_sites(one: Sequence[float], other: Sequence[float]) -> OverSites:
    """Compare two arms over hospitals: Wilcoxon's signed-rank test and Cliff's delta.

    Hospitals count alike, whatever their size. The test is exact, with ties and whatever the number of hospitals: over
    all signs that the ranks could have. Differences that rounding alone tells apart are ties, and one that rounding
    alone tells from 0 is 0: such hospitals say nothing of either arm and are left out of the test (Wilcoxon,
    *Individual comparisons by ranking methods*, Biometrics Bulletin 1, 1945).

    Parameters
    ----------
    one, other : sequence of float
        A score of each arm at each site, in the same order (e.g. means over seeds); a site where either is ``nan`` is
        left out.

    Returns
    -------
    OverSites
        ``difference`` is the median of ``one`` minus ``other``; p is 1 where they are equal everywhere. With fewer than
        six sites that differ, p cannot be below .05.

    Raises
    ------
    ValueError
        Fewer than six sites with both scores: no p of the test could then be below .05 (with four the smallest is
        .125, with five .0625).

    Examples
    --------
    >>> over_sites([0.80, 0.82, 0.79, 0.90, 0.85, 0.77], [0.70, 0.80, 0.78, 0.84, 0.81, 0.72]).p
    0.03125
    """
    if len(one) != len(other):
        raise ValueError(f"one has {len(one)} sites and other {len(other)}: give both arms' score at each site")
    both = np.array([pair for pair in zip(one, other, strict=True) if all(map(math.isfinite, pair))], dtype=float)
    enough(len(both))
    apart = both[:, 0] - both[:, 1]
    p = _signed_rank(apart, _rounding(both[:, 0], both[:, 1]))
    return OverSites(len(both), float(np.median(apart)), p, cliffs_delta(both[:, 0].tolist(), both[:, 1].tolist()))


def _rounding(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return how far two numbers of such a size may lie apart and be the same."""
    return ROUNDING * float(max(np.abs(one).max(), np.abs(other).max()))


def _signed_rank(apart: NDArray[np.float64], rounding: float) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: each rank is added or not, with a chance of one half."""
    apart = apart[np.abs(apart) > rounding]
    if not len(apart):
        return 1.0
    order = np.argsort(np.abs(apart))
    group = np.concatenate([[0], np.cumsum(np.diff(np.abs(apart)[order]) > rounding)])
    first = np.searchsorted(group, group, "left")
    last = np.searchsorted(group, group, "right")
    twice = first + last + 1  # the mean rank of a tie, times two: a whole number
    chance = np.ones(1)
    for rank in twice:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(twice[apart[order] > 0].sum())
    tails = chance[: positive + 1].sum(), chance[positive:].sum()
    return float(min(1.0, 2 * min(tails)))
