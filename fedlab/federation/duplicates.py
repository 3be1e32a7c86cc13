"""Rows of a site that are equal in every column, label included: one patient entered twice, or chance.

A copy of a training row in the test part is an answer that was seen. So equal rows share a patient, and stand in one
part of every split. Where a table has few columns of few values, patients are equal by chance: that many equal pairs
are then expected of columns that know nothing of each other, and the rows stay patients of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.bags import bags_in
from fedlab.federation.site import Examples, Split
from fedlab.metrics.cells import Said, total, written

BY_CHANCE = 0.1  # of the equal pairs, this share is expected by chance: then they are taken for chance

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Equal:
    """Which rows of a site are equal.

    Attributes
    ----------
    first : int array, shape [n]
        The first row that is equal to each.
    by_chance : bool
        So few columns of so few values would give about as many.
    """

    first: Ints
    by_chance: bool

    @property
    def copies(self) -> Ints:
        """Rows that are equal to an earlier one."""
        return np.flatnonzero(self.first != np.arange(len(self.first)))


def equal_rows(rows: Examples, features: Sequence[slice] = ()) -> Equal:
    """Find the equal rows of a site, ``nan`` being equal to ``nan``.

    ``features`` are the columns of each feature; without them each column is taken to know nothing of the others.

    Examples
    --------
    >>> x = torch.tensor([[1.5, 2.0], [0.3, 4.0], [1.5, 2.0]])
    >>> found = equal_rows(Examples(x, torch.tensor([1, 0, 1]), np.arange(3)))
    >>> found.copies.tolist(), found.by_chance
    ([2], False)
    """
    if not len(rows):
        return Equal(np.arange(0), by_chance=False)
    seen: dict[bytes, int] = {}
    first = np.array([seen.setdefault(each, i) for i, each in enumerate(_sums(rows))], dtype=np.int64)
    pairs, different = _pairs(np.bincount(first)), np.unique(first)
    if 2 * len(different) < len(rows):  # more copies than a table that was entered twice: few values, or many entries
        different = np.arange(len(rows))
    by_chance = pairs > 0 and _expected_pairs(rows, different, features) >= BY_CHANCE * pairs
    return Equal(first, by_chance)


def _sums(rows: Examples) -> list[bytes]:
    """Return what is equal for equal rows."""
    parts = [_bytes(rows.x), rows.y.reshape(len(rows), -1).contiguous().numpy()]
    digests = [hashlib.blake2b(digest_size=16) for _ in range(len(rows))]
    for part in parts:
        for digest, row in zip(digests, part, strict=True):
            digest.update(row.tobytes())
    return [digest.digest() for digest in digests]


def _bytes(x: Tensor) -> NDArray[Any]:
    bags = bags_in(x)
    if bags is not None:
        return bags.digests()
    plain = torch.where(x.isnan(), torch.nan, x) + 0.0 if x.is_floating_point() else x  # −0 is 0
    return plain.reshape(len(x), -1).contiguous().numpy()


def _pairs(counts: Ints) -> float:
    return float((counts * (counts - 1) / 2).sum())


def _expected_pairs(rows: Examples, different: Ints, features: Sequence[slice]) -> float:
    """Return how many equal pairs features would give that know nothing of each other.

    How often a column's values agree is read off the ``different`` rows, where copies cannot inflate it.
    """
    n = len(rows)
    if bags_in(rows.x) is not None:  # whole bags, number by number
        return 0.0
    agree = _share(rows.y.numpy())
    x = rows.x.reshape(n, -1)[torch.from_numpy(different)].numpy()
    for columns in features or [slice(k, k + 1) for k in range(x.shape[1])]:
        agree *= _share(x[:, columns])
        if agree * n * n < 1e-9:
            return 0.0
    return agree * n * (n - 1) / 2


def _share(values: NDArray[Any]) -> float:
    """Return the share of pairs of different rows that agree in these columns; all ``nan`` are one value."""
    n, codes = len(values), np.zeros(len(values), dtype=np.int64)
    for column in values.reshape(n, -1).T:
        codes = codes * (n + 1) + np.unique(column, return_inverse=True)[1]
        codes = np.unique(codes, return_inverse=True)[1]
    return _pairs(np.bincount(codes)) / (n * (n - 1) / 2) if n > 1 else 1.0


def one_patient(rows: Examples, equal: Equal) -> Examples:
    """Let equal rows share a patient, and patients with equal rows be one.

    Examples
    --------
    >>> rows = Examples(torch.zeros(3, 1), torch.zeros(3).long(), np.array(["a", "b", "c"]))
    >>> one_patient(rows, Equal(np.array([0, 1, 0]), False)).group.tolist()
    ['a', 'b', 'a']
    """
    patients = rows.patients
    joined = np.arange(len(patients.first))

    def root(k: int) -> int:
        while joined[k] != k:
            k = int(joined[k])
        return k

    for row in equal.copies:
        one, other = sorted((root(int(patients.of[row])), root(int(patients.of[equal.first[row]]))))
        joined[other] = one
    whose = np.array([root(k) for k in range(len(joined))])[patients.of]
    return replace(rows, group=rows.group[patients.first][whose])


def straddling(rows: Examples, split: Split) -> int:
    """Count the test rows that equal a training row."""
    equal = equal_rows(rows).first
    return int(np.isin(equal[split.test], equal[split.train]).sum())


def counted(counts: Mapping[str, int], write: Callable[[float], str] = written, most: int = 6) -> str:
    """Say how many there are at each site, the largest first; ``write`` writes a count.

    Examples
    --------
    >>> counted({"A": 1, "B": 3, "C": 0})
    'B 3, A 1'
    """
    there = sorted(((n, site) for site, n in counts.items() if n), key=lambda pair: -pair[0])
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return ", ".join(f"{site} {write(n)}" for n, site in there[:most]) + more


def say_equal(counts: Mapping[str, int], *, kept: bool) -> Said:
    """Say how many rows repeat another, by site.

    Examples
    --------
    >>> say_equal({"Hungary": 1}, kept=True)
    '1 row repeats another of its hospital in every column (Hungary 1): it shares a patient with that one, so ...'
    """

    def say(write: Callable[[float], str]) -> str:
        n, where = total(counts.values(), write), counted(counts, write)
        what = f"{n} row repeats another of its" if n == "1" else f"{n} rows repeat another of their"
        if not kept:
            return f"{what} hospital in every column ({where}): left out"
        they = "it shares" if n == "1" else "they share"
        return (
            f"{what} hospital in every column ({where}): {they} a patient with that one, so that no test row equals a "
            'training row. duplicates="drop" leaves them out'
        )

    return Said(say)
