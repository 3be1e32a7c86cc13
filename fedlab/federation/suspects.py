"""Columns and patients that would make a model look better than it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.duplicates import counted
from fedlab.federation.frame import blocks
from fedlab.federation.site import Examples, Feature
from fedlab.metrics.cells import Said, written

MOSTLY = 0.9  # of the rows have a value, or stand in a row of numbers
FEWEST, OF_A_CLASS = 20, 3  # rows of a table, and of each class, from which on a pattern is no accident

Floats = NDArray[np.float64]


def suspects(features: Sequence[Feature], x: Floats, y: NDArray[Any]) -> Iterator[str]:
    """Name the columns that number the rows or tell the label, one sentence each.

    Parameters
    ----------
    features : sequence of Feature
    x : float array, shape [n, columns]
        In the order of the table.
    y : array, shape [n]
        Class numbers, or quantities in floats.

    Examples
    --------
    >>> n, y = np.arange(20.0), np.arange(20) % 2
    >>> list(suspects([Feature("row"), Feature("age")], np.stack([n, n**2], axis=1), y))
    ["column 'row' counts the rows: it is no measurement, and in a sorted table it gives the label away"]
    """
    if len(x) < FEWEST:
        return
    counting = _numbering(x)
    measured = y.dtype.kind == "f"
    told = _in_line(x, y) if measured else _function_of(x, y) | _function_of(np.isnan(x).astype(np.float64), y)
    for feature, place in blocks(features):
        if counting[place].any():
            yield (
                f"column {feature.name!r} counts the rows: it is no measurement, and in a sorted table it gives the "
                "label away"
            )
        if told[place].all() or feature.kind == "category" and not measured and _splits(x[:, place], y):
            yield (
                f"column {feature.name!r} follows the label without an exception: a model would read the answer off "
                "it. Leave it out of features=, unless it is known before the outcome"
            )


def _function_of(x: Floats, y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which columns have one value for each class, and not the same for all; of nine in ten that are there."""
    there = ~np.isnan(x)
    each = [y == k for k in np.unique(y)]
    enough = np.stack([there[rows].sum(0) for rows in each]).min(0) >= OF_A_CLASS
    low = np.stack([np.where(there, x, np.inf)[rows].min(0) for rows in each])
    high = np.stack([np.where(there, x, -np.inf)[rows].max(0) for rows in each])
    out: NDArray[np.bool_] = enough & (there.mean(0) >= MOSTLY) & (low == high).all(0) & (low != low[0]).any(0)
    return out


def _in_line(x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Return which columns are the quantity itself in another unit; of nine in ten that are there."""
    out = np.zeros(x.shape[1], dtype=bool)
    for k, column in enumerate(x.T):
        there = np.isfinite(column)
        if there.mean() >= MOSTLY and np.ptp(column[there]) > 0 and np.ptp(y[there]) > 0:
            out[k] = abs(np.corrcoef(column[there], y[there])[0, 1]) > 1 - 1e-9
    return out


def _splits(hot: Floats, y: NDArray[np.int64]) -> bool:
    """Return whether each level of a category [n, levels] is of one class alone: finer than the label, and no less."""
    there = ~np.isnan(hot).any(1)
    if hot.shape[1] < 3 or there.mean() < MOSTLY:
        return False
    table = np.stack([hot[there & (y == k)].sum(0) for k in np.unique(y)])  # [classes, levels]
    used = table.sum(0) > 0
    return bool((table.sum(0)[used] >= OF_A_CLASS).all() and ((table > 0).sum(0)[used] == 1).all())


def _numbering(x: Floats) -> NDArray[np.bool_]:
    """Return which columns hold different whole numbers in even steps, in any order, with few left out."""
    there = ~np.isnan(x)
    whole = (np.where(there, x, 0.0) == np.round(np.where(there, x, 0.0))).all(0) & (there.mean(0) >= MOSTLY)
    out = np.zeros(x.shape[1], dtype=bool)
    for k in np.flatnonzero(whole):
        values = np.sort(x[there[:, k], k])
        steps = np.diff(values)
        out[k] = steps.min() > 0 and values[-1] - values[0] <= steps.min() * (len(values) - 1) / MOSTLY
    return out


def at_several(rows: Mapping[str, Examples]) -> str:
    """Say how many patients stand at several hospitals; nothing where none does.

    Examples
    --------
    >>> import torch
    >>> one = Examples(torch.zeros(2, 1), torch.zeros(2).long(), np.array(["a", "b"]))
    >>> at_several({"A": one, "B": one})[:54]
    '2 patients stand at several hospitals (A 2, B 2): what'
    """
    each = {site: set(map(str, held.group.tolist())) for site, held in rows.items()}
    seen: dict[str, int] = {}
    for patients in each.values():
        for patient in patients:
            seen[patient] = seen.get(patient, 0) + 1
    twice = {patient for patient, sites in seen.items() if sites > 1}
    if not twice:
        return ""
    counts = {site: len(whom & twice) for site, whom in each.items()}

    def say(write: Callable[[float], str]) -> str:
        few = any(write(n) != written(n) for n in counts.values())
        n = "some" if few else write(len(twice))
        return (
            f"{n} patient{' stands' if n == '1' else 's stand'} at several hospitals ({counted(counts, write)}): what "
            "is learnt of one at a hospital may be asked of the same patient at another, so that the test looks better "
            "than it is. Make the numbers differ if these are different people"
        )

    return Said(say)
