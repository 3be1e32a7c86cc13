"""Mappings of one site's codes into those of the others: the likeliest, and how likely it is among all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

MOST = 12  # codes: every mapping of so many is weighed
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Weighed:
    """The likeliest mapping (a column for each row), its share of all, each row's own, and that of the identity."""

    best: tuple[int, ...]
    share: float
    each: tuple[float, ...]
    stays: float


def weigh(fit: Matrix, prior: Mapping[tuple[int, ...], float]) -> Weighed:
    """Weigh every one-to-one mapping of rows into columns.

    Parameters
    ----------
    fit : float array, shape [rows, columns]
        Log likelihood that a row's code is the column's.
    prior : mapping
        Probability of some mappings before anything is seen; all others share what is left.

    Examples
    --------
    >>> w = weigh(np.log([[0.9, 0.1], [0.2, 0.8]]), {(0, 1): 0.5})
    >>> w.best, round(w.share, 2)
    ((0, 1), 0.97)
    """
    rows, columns = fit.shape
    weight = np.exp(fit - fit.max(axis=1, keepdims=True))
    every = float(np.prod(np.arange(columns, columns - rows, -1, dtype=float)))
    few = max(1 - sum(prior.values()), 0) / max(every - len(prior), 1)
    fits = {m: float(np.prod(weight[range(rows), m])) for m in {*prior, _assigned(fit)}}
    special = [(m, (p - few) * fits[m]) for m, p in prior.items()]
    total = few * _permanent(weight) + sum(w for _, w in special)
    scored = {m: prior.get(m, few) * one for m, one in fits.items()}
    best = max(sorted(scored), key=lambda m: scored[m])
    each = []
    for i, k in enumerate(best):
        rest = np.delete(np.delete(weight, i, 0), k, 1)
        here = few * weight[i, k] * _permanent(rest) + sum(w for m, w in special if m[i] == k)
        each.append(min(float(here / total), 1.0))
    return Weighed(best, scored[best] / total, tuple(each), scored.get(tuple(range(rows)), 0.0) / total)


def in_order(rows: int, columns: int) -> list[tuple[int, ...]]:
    """Mappings that keep the order, at most a thousand."""
    return list(islice(combinations(range(columns), rows), 1000))


def _permanent(weight: Matrix) -> float:
    """Sum over all one-to-one mappings of the product of their weights (by subsets of the columns)."""
    rows, columns = weight.shape
    if not rows:
        return 1.0
    found = np.zeros(2**columns)
    found[0] = 1.0
    masks = np.arange(2**columns)
    for i in range(rows):
        after = np.zeros_like(found)
        for k in range(columns):
            free = masks[(masks >> k) & 1 == 0]
            after[free | (1 << k)] += found[free] * weight[i, k]
        found = after
    return float(found.sum())


def _assigned(fit: Matrix) -> tuple[int, ...]:
    from scipy.optimize import linear_sum_assignment

    return tuple(int(k) for k in linear_sum_assignment(-fit)[1])
