"""Splits of a site's rows into train, valid and test: by patient, stratified by label, seeded, and without bias.

Two things make a draw unbiased however small a site is: the patients stand on a circle, class beside class, and the
pattern that is laid on it starts at one random place. So every patient is equally likely to get every place of the
pattern, and a class that is rare is not rounded in the same direction in every seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.site import Examples, Split

SHARES = np.array([0.60, 0.15, 0.25])  # train, valid, test
FEWEST = 8  # patients, from which on no part can be empty
SIZES = {3: (1, 1, 1), 4: (2, 1, 1), 5: (3, 1, 1), 6: (4, 1, 1), 7: (4, 1, 2)}  # below: as near as can be, none empty


Stratum: TypeAlias = "Callable[[NDArray[Any]], NDArray[np.int64]]"
"""The stratum of each patient from its label: a task has it."""


def _itself(y: NDArray[Any]) -> NDArray[np.int64]:
    return y


def split_rows(rows: Examples, *, site: str, seed: int, stratum: Stratum = _itself) -> Split:
    """Split rows so that no patient is in two parts and each class is shared out alike.

    Of each part the expected share of every class is the site's own: over many seeds, or many small sites, no part
    holds more of the ill than another. The draw depends on the seed and the site's name alone: a site's split is the
    same whoever else is in the federation.

    Parameters
    ----------
    rows : Examples
    site : str
    seed : int
    stratum : callable
        Of a patient's label; default: the label, a class.

    Returns
    -------
    Split
        Of eight patients or more each part has ``.60``, ``.15`` or ``.25`` of them, rounded up or down at random so
        that it is right on average; of fewer the sizes are fixed, at least one patient each.

    Raises
    ------
    ValueError
        If the site has fewer than three patients.

    Examples
    --------
    >>> import torch
    >>> rows = Examples(torch.zeros(20, 1), torch.arange(20) % 2, np.arange(20))
    >>> [len(part) for part in split_rows(rows, site="A", seed=0).parts().values()]
    [12, 3, 5]
    """
    who, first, _ = rows.patients
    if len(first) < 3:
        raise ValueError(
            f"site {site!r} has {len(first)} patient{'s' if len(first) != 1 else ''}: train, valid and test need at "
            "least one each; leave the site out or join it to another one"
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode()), 1]))
    part = np.empty(len(first), dtype=np.int64)
    part[_circle(stratum(rows.y.numpy()[first]), rng)] = _interleaved(_sizes(len(first), rng))
    return Split(*(np.flatnonzero(part[who] == k) for k in range(3)))


def draw_rows(
    y: NDArray[np.int64], group: NDArray[Any], rows: NDArray[np.int64], wanted: int, *, site: str, seed: int
) -> NDArray[np.int64]:
    """Draw ``wanted`` of ``rows`` on average: whole patients, each class in its share, fewer always among more.

    Every patient has a place in one order, which goes round the circle of patients in steps that leave no gap; the
    first patients are taken, at least one: as many as have so many rows on average, rounded by a draw. To stop where
    there are rows enough would leave out those who have many. Of other rows the draw is another one, so that each split
    has its own.

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
    who, first = np.unique(group[rows], return_index=True)
    entropy = [seed, zlib.crc32(site.encode()), zlib.crc32(np.ascontiguousarray(rows, np.int64).tobytes()), 2]
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    order = _circle(y[rows][first], rng)[_apart(len(who))]
    kept = max(int(wanted * len(who) / len(rows) + rng.random()), 1)
    drawn: NDArray[np.int64] = rows[np.isin(group[rows], who[order[:kept]])]
    return drawn


def _circle(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Patients in a random order, then class by class, the classes in a random order, from a random one on."""
    drawn = rng.permutation(len(label))
    classes = rng.permutation(int(label.max()) + 1)
    order = drawn[np.argsort(classes[label[drawn]], kind="stable")]
    return np.roll(order, int(rng.integers(len(order))))


def _sizes(patients: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many patients each part gets: the shares, rounded so that the mean over draws is exact."""
    if patients < FEWEST:
        return np.array(SIZES[patients])
    ends = np.floor(np.cumsum(SHARES) * patients + rng.random()).astype(np.int64)
    return np.diff(np.minimum(ends, patients), prepend=0)


def _interleaved(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Part of each place of a circle, each part's places as evenly spread as can be."""
    place = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    part: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(place, kind="stable")]
    return part


def _apart(places: int) -> NDArray[np.int64]:
    """All places of a circle, each far from those before it: the binary digits of the running number, reversed."""
    reverse, width = np.zeros(1, dtype=np.int64), 1
    while width < places:
        reverse, width = np.concatenate([2 * reverse, 2 * reverse + 1]), 2 * width
    return np.argsort(np.argsort(reverse[:places], kind="stable"), kind="stable")
