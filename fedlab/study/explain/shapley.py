"""Shapley values: how a whole is shared out among those who made it (Shapley, *A value for n-person games*, 1953)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def subsets(kinds: Sequence[str]) -> list[frozenset[str]]:
    """Return every subset, from nothing to all of them.

    Examples
    --------
    >>> [sorted(some) for some in subsets(["a", "b"])]
    [[], ['a'], ['b'], ['a', 'b']]
    """
    return [frozenset(some) for size in range(len(kinds) + 1) for some in combinations(kinds, size)]


def shapley(values: Mapping[frozenset[str], Values]) -> dict[str, Values]:
    """Share a value function out, exactly: what each adds, averaged over all orders in which they may come.

    Parameters
    ----------
    values : mapping of frozenset to float array, all of the same shape
        The value of every subset; the largest names the kinds.

    Returns
    -------
    dict of str to float array
        Their sum is the value of all less that of none, to rounding.

    Raises
    ------
    ValueError
        A subset without a value.

    Examples
    --------
    >>> value = {"": 0.0, "a": 1.0, "b": 2.0, "ab": 5.0}
    >>> {kind: float(part) for kind, part in shapley({frozenset(k): np.array(v) for k, v in value.items()}).items()}
    {'a': 2.0, 'b': 3.0}
    """
    kinds = sorted(frozenset[str]().union(*values))
    missing = [sorted(some) for some in subsets(kinds) if some not in values]
    if missing:
        raise ValueError(f"there is no value of {missing[0]}: every subset of {kinds} needs one")
    out = {}
    for kind in kinds:
        rest = subsets([other for other in kinds if other != kind])
        added = [(values[some | {kind}] - values[some]) / comb(len(kinds) - 1, len(some)) for some in rest]
        out[kind] = np.asarray(np.sum(added, axis=0) / len(kinds))
    return out
