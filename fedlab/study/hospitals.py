"""Two arms over hospitals: whether one does better at most of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEWEST = 6


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
    apart = np.sign(np.subtract.outer(np.asarray(one, float), np.asarray(other, float)))
    return float(apart.mean())


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

    Hospitals count alike, whatever their size.

    Parameters
    ----------
    one, other : sequence of float
        A score of each arm at each site, in the same order (e.g. means over seeds); a site where either is ``nan`` is
        left out.

    Returns
    -------
    OverSites
        ``difference`` is the median of ``one`` minus ``other``; p is 1 where they are equal everywhere.

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
    from scipy.stats import wilcoxon  # a second to import: only when asked

    apart = both[:, 0] - both[:, 1]
    p = float(wilcoxon(apart).pvalue) if apart.any() else 1.0
    return OverSites(len(both), float(np.median(apart)), p, cliffs_delta(both[:, 0].tolist(), both[:, 1].tolist()))
