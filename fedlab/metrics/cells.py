"""Small cells: what may pass a door, and the three bars that patients have to reach.

A *door* is a message from a site to the server, and a file that is meant to be sent on (the report's page, its JSON,
its CSV). What a person computes from tables in their own process is none: ``Federation.describe``, ``Run.report``,
``Run.subgroups`` and the tables of a study show all that there is.

At a door

* a count is told from :data:`LEAST` patients on, an empty one too: a withheld one is ``<5`` in text and in CSV, null in
  JSON, and its neighbours go with it where it would follow by subtraction (:func:`screened`);
* a mean, a sum or a block is one of at least that many (:func:`block_means`), also of zeros and ones, and so are the
  bins of a curve (:func:`steps`);
* a metric that needs every class is told where each has that many; log loss and Brier score are sums, and need that
  many in all.

Not covered: what the same question tells twice of other patients (other seeds, other bins), what a model's update gives
away, and how many rows a site trains on, by which the server weighs it.

Three bars, each of patients, and each said where it is used: :data:`LEAST` may leave; with fewer than :data:`FEW` test
patients of a class a score that needs every class is mostly luck, wears a † and is in no headline mean; from
:data:`ENOUGH` of a class on, a score that needs every class has an interval over patients, and any other from so many
in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 5
"""Patients in the smallest cell that passes a door."""
FEW = 10
"""Test patients of a class below which a score that needs every class is mostly luck."""
ENOUGH = 20
"""Patients of the rarest class from which on an AUC has an interval over patients."""
BLOCKS = 20  # at most so many blocks of a number leave a site


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


# --------------------------------------------------------------------------- counting patients


def patients_by_class(who: NDArray[Any], y: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count the patients of each class, shape [classes]; one with rows of several classes counts in each.

    Examples
    --------
    >>> patients_by_class(np.array(["a", "a", "b"]), np.array([0, 0, 1]), 3).tolist()
    [1, 1, 0]
    """
    return np.array([len(np.unique(who[y == k])) for k in range(classes)], dtype=np.int64)


def withheld(count: float, *, least: int = LEAST) -> bool:
    """Return whether a count is too small to be told: above 0 and below ``least``."""
    return 0 < count < least


def written(count: float) -> str:
    """Write a count of a table that may have been screened: ``nan`` is one that was withheld.

    Examples
    --------
    >>> written(76), written(3), written(float("nan"))
    ('76', '3', '<5')
    """
    return f"<{LEAST}" if math.isnan(count) else f"{count:.0f}"


def shown(count: float) -> str:
    """Write a count as it may leave.

    Examples
    --------
    >>> shown(76), shown(3), shown(0), shown(float("nan"))
    ('76', '<5', '0', '<5')
    """
    return written(math.nan if withheld(count) else count)


class Said(str):
    """A sentence with counts of sites; ``outgoing`` is how it may leave.

    Parameters
    ----------
    write : callable
        Makes the sentence, given how a count is written.

    Examples
    --------
    >>> note = Said(lambda count: f"{count(3)} rows are equal")
    >>> note, note.outgoing
    ('3 rows are equal', '<5 rows are equal')
    """

    outgoing: str

    def __new__(cls, write: Callable[[Callable[[float], str]], str]) -> Said:  # noqa: D102 (the class says it)
        said = super().__new__(cls, write(written))
        said.outgoing = write(shown)
        return said

    def __reduce__(self) -> tuple[Any, ...]:
        return _said, (str(self), self.outgoing)


def _said(text: str, outgoing: str) -> Said:
    said = str.__new__(Said, text)
    said.outgoing = outgoing
    return said


def total(counts: Iterable[float], write: Callable[[float], str]) -> str:
    """Write the sum of counts that stand beside it: of which one is withheld, *some*, or it would follow.

    Examples
    --------
    >>> total([9, 2], written), total([9, 2], shown), total([9, 7], shown)
    ('11', 'some', '16')
    """
    counts = list(counts)
    return "some" if any(withheld(count) and write(count) != written(count) for count in counts) else write(sum(counts))


def is_few(count: float) -> bool:
    """Return whether a score that needs every class is mostly luck with so many of one; ``nan`` was withheld as few."""
    return not count >= FEW


def enough_for_interval(rarest: Any) -> Any:
    """Return whether so many patients of the rarest class (one number, or an array) give an AUC an interval."""
    return rarest >= ENOUGH


# --------------------------------------------------------------------------- means and curves


def block_size(patients: int, least: int = LEAST) -> int:
    """Return how many patients a block has at least: ``least``, or so many that there are at most 20 blocks."""
    return max(least, -(-patients // BLOCKS))


def block_means(values: NDArray[np.float64], *, least: int = LEAST) -> NDArray[np.float64]:
    """Order the values and return the means of equal shares of at least ``least``, at most 20; none if there are fewer.

    ``nan`` is left out. No smallest or largest value is told.

    Examples
    --------
    >>> block_means(np.array([3.0, 1.0, 2.0, 9.0, np.nan]), least=2).tolist()
    [1.5, 6.0]
    """
    there = np.sort(values[~np.isnan(values)])
    blocks = min(BLOCKS, len(there) // least)
    if not blocks:
        return np.empty(0)
    size, longer = divmod(len(there), blocks)  # the first are longer by one
    first, rest = there[: longer * (size + 1)], there[longer * (size + 1) :]
    return np.concatenate(
        [part.reshape(-1, width).mean(1) for part, width in ((first, size + 1), (rest, size)) if len(part)]
    )


def steps(number: NDArray[np.int64], who: NDArray[Any], bins: int, *, least: int = LEAST) -> list[range]:
    """Put neighbouring bins together until each holds ``least`` patients, or nobody.

    Parameters
    ----------
    number : int array, shape [rows]
        Each row's bin.
    who : array, shape [rows]
        Whose row it is.
    bins : int

    Returns
    -------
    list of range
        Which bins stand together. All bins in one if there are fewer patients than ``least``: then nothing may leave.

    Examples
    --------
    >>> steps(np.array([0, 0, 1, 3, 3, 3]), np.arange(6), 4, least=3)
    [range(0, 2), range(2, 3), range(3, 4)]
    """
    held: list[set[Any]] = [set() for _ in range(bins)]
    for k, patient in zip(number.tolist(), who.tolist(), strict=True):
        held[k].add(patient)
    out: list[range] = []
    start, inside = 0, set[Any]()
    for k, patients in enumerate(held):
        inside |= patients
        if not inside or len(inside) >= least:
            out.append(range(start, k + 1))
            start, inside = k + 1, set()
    if inside:  # too few are left: they join the last bins that hold anybody
        while out and not any(held[k] for k in out[-1]):
            out.pop()
        out = [*out[:-1], range(out[-1].start if out else 0, bins)]
    return out
