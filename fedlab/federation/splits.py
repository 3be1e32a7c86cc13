"""Splits of a site's rows into train, valid and test: by patient, stratified by label, seeded."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.site import Examples, Split

SHARES = np.array([0.60, 0.15, 0.25])  # train, valid, test


def split_rows(rows: Examples, *, site: str, seed: int) -> Split:
    """Split rows so that no patient is in two parts and each class is shared out alike.

    The draw depends on the seed and the site's name alone: a site's split is the same whoever else is in
    the federation.

    Parameters
    ----------
    rows : Examples
    site : str
    seed : int

    Raises
    ------
    ValueError
        If the site has fewer than three patients.
    """
    who, first, size = rows.patients
    if len(first) < 3:
        raise ValueError(
            f"site {site!r} has {len(first)} patient{'s' if len(first) != 1 else ''}: train, valid and test need at "
            "least one each; leave the site out or join it to another one"
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode()), 1]))
    drawn = rng.permutation(len(first))
    order = drawn[np.argsort(rows.y.numpy()[first][drawn], kind="stable")]
    part = np.empty_like(order)
    part[order] = _deal(size[order])
    return Split(*(np.flatnonzero(part[who] == k) for k in range(3)))


def draw_rows(
    y: NDArray[np.int64], group: NDArray[Any], rows: NDArray[np.int64], wanted: int, *, site: str, seed: int
) -> NDArray[np.int64]:
    """Draw at most ``wanted`` of ``rows``: whole patients, each class in its share, fewer always among more.

    Every patient has a place in one order, in which the classes are spread evenly from a random start; the first
    patients are taken, at least one.

    Parameters
    ----------
    y : int array, shape [n]
    group : array, shape [n]
    rows : int array
        Of which to draw; what is drawn stands in the same order.
    wanted : int
        At least 1.
    site : str
    seed : int

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> y[draw_rows(y, np.arange(6), np.arange(6), 4, site="A", seed=0)].tolist()
    [0, 0, 1, 1]
    """
    if len(rows) <= wanted:
        return rows
    who, first, size = np.unique(group[rows], return_index=True, return_counts=True)
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode()), 2]))
    place = np.empty(len(who))
    label = y[rows][first]
    for k in np.unique(label):
        mine = np.flatnonzero(label == k)
        place[mine] = (rng.permutation(len(mine)) + rng.random()) / len(mine)
    order = np.argsort(place, kind="stable")
    kept = max(int(np.searchsorted(size[order].cumsum(), wanted, side="right")), 1)
    drawn: NDArray[np.int64] = rows[np.isin(group[rows], who[order[:kept]])]
    return drawn


def _deal(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give patients of so many rows in turn to the part that lacks most; walked class by class, this stratifies."""
    alike = bool((sizes == 1).all())  # each its own row: then more patients only go on where fewer have ended
    part = _one_row_each(1 << len(sizes).bit_length())[: len(sizes)].copy() if alike else _walk(sizes.tolist())
    for k in range(3):  # a site of three to six patients can leave a part empty
        if not (part == k).any():
            largest = np.bincount(part, minlength=3).argmax()
            part[np.flatnonzero(part == largest)[-1]] = k
    return part


@lru_cache(maxsize=32)  # one for each power of two
def _one_row_each(patients: int) -> NDArray[np.int64]:
    return _walk([1] * patients)


def _walk(sizes: list[int]) -> NDArray[np.int64]:
    part = np.zeros(len(sizes), dtype=np.int64)
    filled, total = [0.0, 0.0, 0.0], 0.0
    shares = SHARES.tolist()
    for patient, rows in enumerate(sizes):
        total += rows
        lack = [share * total - have for share, have in zip(shares, filled, strict=True)]
        k = lack.index(max(lack))
        part[patient] = k
        filled[k] += rows
    return part
