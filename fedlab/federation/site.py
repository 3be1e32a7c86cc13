"""A hospital: its patients, and which of them may be learnt from, chosen on, and reported on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.bags import Bags, bags_in
from fedlab.federation.values import by_key


@dataclass(frozen=True, eq=False)
class Feature:
    """One measurement, and its entry in the data dictionary.

    Two are equal if all of it is, the order of the codes included: a category's columns stand in that order.

    Parameters
    ----------
    name : str
        The column's name.
    kind : {"number", "category"}
    unit : str
        ``"mmHg"``, ``"years"``; empty where there is none.
    range : (low, high), optional
        What is plausible, in that unit.
    codes : mapping, optional
        For a category: every value it may take, and what it means.
    missing : tuple of str, optional
        Texts that mean *not measured* in this column, as an empty cell does, e.g. ``("?",)``.
    """

    name: str
    kind: str = "number"
    unit: str = ""
    range: tuple[float, float] | None = None
    codes: Mapping[Any, str] | None = None
    missing: tuple[str, ...] = ()

    def _all(self) -> tuple[Any, ...]:
        return self.name, self.kind, self.unit, self.range, tuple((self.codes or {}).items()), self.missing

    def __eq__(self, other: object) -> bool:
        return self._all() == other._all() if isinstance(other, Feature) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.unit))

    def __post_init__(self) -> None:
        if self.kind not in ("number", "category"):
            raise ValueError(f"feature {self.name!r} is of kind {self.kind!r}: use 'number' or 'category'")
        if self.kind == "category" and not self.codes:
            raise ValueError(
                f"feature {self.name!r} is a category: give its codes, e.g. {{'F': 'female', 'M': 'male'}}"
            )
        codes = list(self.codes or {})
        if len(by_key(codes)) < len(codes):
            raise ValueError(f"feature {self.name!r} has codes that are one value written in two ways: {codes}")


class Patients(NamedTuple):
    """Who the rows are of: a number for each row, and the first row and the number of rows of each patient."""

    of: NDArray[np.int64]
    first: NDArray[np.int64]
    rows: NDArray[np.int64]


class RowShape(NamedTuple):
    """What a row is, apart from what stands in it: all that is needed to build a model and try it.

    Parameters
    ----------
    shape : tuple of int
        ``(columns,)`` of a table, ``(channels, height, width)`` of a picture, ``(None, width)`` of a bag, which has as
        many instances as it has.
    in_bytes : bool
        It is a picture of bytes, 0 … 255, and reaches a model as floats, 0 … 1.
    """

    shape: tuple[int | None, ...]
    in_bytes: bool = False

    @property
    def is_bag(self) -> bool:
        """Whether it is a bag of instances."""
        return self.shape[0] is None

    @property
    def is_table(self) -> bool:
        """Whether it is one number a column."""
        return len(self.shape) == 1

    @property
    def about(self) -> str:
        """Its shape in words, and whether it is of bytes.

        Examples
        --------
        >>> RowShape((1, 8, 8), in_bytes=True).about
        'rows of shape [1, 8, 8] in bytes'
        """
        return f"rows of shape {list(self.shape)}" + (" in bytes" if self.in_bytes else "")

    @property
    def inputs(self) -> int:
        """How many inputs a model has: columns, channels, or the numbers of an instance."""
        first, *rest = self.shape
        return int(rest[0] or 0) if first is None else first


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows as the hospital holds them, ``nan`` where nothing was measured.

    Parameters
    ----------
    x : float tensor, shape [n, ...], or Bags
        Pictures may be of bytes (uint8) and stay so until a batch is taken, which has ``x / 255``, floats of 0 … 1. A
        table of bytes is one of numbers, and turned into floats.
    y : tensor, shape [n]
        int64 class numbers.
    group : array, shape [n]
        Whose row it is (patient, lesion, slide): never split over train, valid and test.
    mask : bool tensor, shape [n, instances], optional
        For bags that are padded to a tensor [n, instances, width]: which of their instances are there. Those are kept,
        as :class:`~fedlab.federation.bags.Bags`, and the mask no longer.
    origin : array, shape [n, 2], optional
        What the rows' :attr:`row_hashes` were before a planted shift changed them: they are the same patients still.

    Examples
    --------
    >>> two = Examples(Bags.of([torch.zeros(2, 3), torch.ones(1, 3)]), torch.tensor([0, 1]), np.arange(2))
    >>> two[1], two.offsets.tolist(), two.row
    (tensor([[1., 1., 1.]]), [0, 2, 3], RowShape(shape=(None, 3), in_bytes=False))
    """

    x: Tensor
    y: Tensor
    group: NDArray[Any]
    mask: Tensor | None = None
    origin: NDArray[np.uint64] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.group):
            raise ValueError(
                f"x has {len(self.x)} rows, y {len(self.y)} and group {len(self.group)}: they must be as many"
            )
        if self.mask is not None:
            if bags_in(self.x) is not None:
                raise ValueError("x is Bags, which know how many instances each has: leave the mask out")
            object.__setattr__(self, "x", Bags.where(self.x, self.mask))
            object.__setattr__(self, "mask", None)
        if self.x.dtype == torch.uint8 and self.x.ndim == 2:
            object.__setattr__(self, "x", self.x.float())

    def __getitem__(self, number: int) -> Tensor:
        """Return one row: of bags, its instances [instances, width]."""
        return self.x[number]

    @property
    def offsets(self) -> Tensor:
        """Where in all instances each bag begins, and where the last one ends, [n + 1]; of bags alone."""
        bags = bags_in(self.x)
        if bags is None:
            raise AttributeError("these rows are no bags: they have no offsets")
        return bags.offsets

    @property
    def row(self) -> RowShape:
        """What each row is."""
        bags = bags_in(self.x)
        if bags is not None:
            return RowShape((None, bags.width))
        return RowShape(tuple(self.x.shape[1:]), self.x.dtype == torch.uint8)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"<Examples: {len(self)} rows of shape {list(self.row.shape)}>"

    @cached_property
    def patients(self) -> Patients:
        """Whose rows they are, in numbers; looked up once, however often the rows are split."""
        _, first, of, rows = np.unique(self.group, return_index=True, return_inverse=True, return_counts=True)
        return Patients(of, first, rows)

    @cached_property
    def finite(self) -> bool:
        """Whether nothing is missing or infinite."""
        return all(bool(part.isfinite().all()) for part in self._floats())

    @cached_property
    def largest(self) -> float:
        """The largest magnitude that was measured; 0 where nothing was."""
        each = (part.nan_to_num(0.0, torch.inf, -torch.inf).abs().max() for part in self._floats() if part.numel())
        return max(map(float, each), default=0.0)

    def _floats(self) -> Iterator[Tensor]:
        """All numbers that may be anything, in parts that can be looked at."""
        if bags_in(self.x) is not None or self.x.is_floating_point():
            yield from [self.x] if bags_in(self.x) is None else iter(self.x)

    @cached_property
    def row_hashes(self) -> NDArray[np.uint64]:
        """Two numbers for each row, [n, 2], of what stands in it: not of its place, its patient's name or its site's.

        A planted shift changes what stands in a row, and leaves these.
        """
        if self.origin is not None:
            return self.origin
        bags = bags_in(self.x)
        parts = [self.x.contiguous().numpy() if bags is None else bags.digests(), self.y.numpy()]
        kind = blake2b(repr([(part.dtype.str, part.shape[1:]) for part in parts]).encode()).digest()
        rng = np.random.default_rng(np.random.SeedSequence(int.from_bytes(kind, "big")))
        out = np.zeros((len(self), 2), dtype=np.uint64)
        for lane in range(2):
            for part in parts:
                words = _words(part)
                out[:, lane] = _mixed(out[:, lane] + words @ rng.integers(2**64, size=words.shape[1], dtype=np.uint64))
        return out

    @cached_property
    def patient_hashes(self) -> NDArray[np.uint64]:
        """Two numbers for each patient, [patients, 2]: the sum of the rows' (:attr:`row_hashes`), in any order."""
        of, first, _ = self.patients
        if len(first) == len(self):
            return self.row_hashes[first]
        out = np.zeros((len(first), 2), dtype=np.uint64)
        np.add.at(out, of, self.row_hashes)
        return out

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Return the given rows: copies, but of bags, which are shared."""
        at = torch.from_numpy(np.ascontiguousarray(rows))
        origin = None if self.origin is None else self.origin[rows]
        return Examples(self.x[at], self.y[at], self.group[rows], origin=origin)


def _words(part: NDArray[Any]) -> NDArray[np.uint64]:
    """Return each row's bytes as whole numbers."""
    raw = np.ascontiguousarray(part).reshape(len(part), -1).view(np.uint8)
    room = np.zeros((len(raw), -(-raw.shape[1] // 8) * 8), dtype=np.uint8)
    room[:, : raw.shape[1]] = raw
    return room.view(np.uint64)


def _mixed(each: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter numbers over all of their bits (the last step of splitmix64): else a sum would not tell rows apart."""
    each = (each ^ (each >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    each = (each ^ (each >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return each ^ (each >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts: fit on ``train``, choose on ``valid``, report on ``test``.

    A mask, true where a row belongs to the part, is turned into their numbers; its site must have as many rows.

    Examples
    --------
    >>> number = np.arange(6)
    >>> Split(number < 3, number == 3, number > 3).test.tolist()
    [4, 5]
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    masks: Mapping[str, int] = field(default_factory=dict, init=False, repr=False)
    """How many rows each part's mask spoke of, where one was given."""

    def __post_init__(self) -> None:
        for part, given in self.parts().items():
            rows = np.asarray(given)
            if rows.dtype == bool and rows.ndim == 1:
                object.__setattr__(self, "masks", {**self.masks, part: len(rows)})
                rows = np.flatnonzero(rows)
            if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
                raise ValueError(
                    f"{part} is {given!r}: give the numbers of its rows, or a mask, one true or false a row"
                )
            object.__setattr__(self, part, rows.astype(np.int64))

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Return the three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True, eq=False)
class Site:
    """One hospital of a federation.

    Parameters
    ----------
    name : str
    rows : Examples
    split : Split
    about : mapping of str to str
    features : tuple of Feature
        What the columns of its rows are, and
    classes : tuple of str
        what the numbers of its labels; a federation tells its sites (:meth:`fedlab.Federation.admit`).
    locked : Examples, optional
        Rows that are put away, and no part of ``rows``: see :meth:`fedlab.Federation.lock`.

    Raises
    ------
    ValueError
        If a part of the split is empty or holds a row twice or one that is not there, or a patient stands in two.
    """

    name: str
    rows: Examples
    split: Split
    about: Mapping[str, str] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    classes: tuple[str, ...] = ()
    locked: Examples | None = None

    def __post_init__(self) -> None:
        patients, parts = self.rows.patients, self.split.parts()
        owner = np.full(len(patients.first), len(parts))
        for part, length in self.split.masks.items():
            if length != len(self.rows):
                raise ValueError(
                    f"site {self.name!r} has {len(self.rows)} rows, and the mask of {part} is {length} long: give a "
                    "true or false for every row"
                )
        for number, (part, rows) in enumerate(parts.items()):
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.rows):
                raise ValueError(
                    f"site {self.name!r} has {len(self.rows)} rows, numbered from 0, and {part} names the row "
                    f"{rows.max() if rows.min() >= 0 else rows.min()}"
                )
            if len(np.unique(rows)) < len(rows):
                raise ValueError(f"site {self.name!r}: {part} names a row twice")
            if len(rows) == 0:
                raise ValueError(
                    f"site {self.name!r} has no patient in {part}: a site needs at least three patients; "
                    "leave it out or join it to another site"
                )
            who = patients.of[rows]
            twice = who[owner[who] < number]
            if len(twice):
                name = self.rows.group[patients.first[twice]].tolist()[0]
                raise ValueError(
                    f"site {self.name!r}: patient {name!r} stands in {[*parts][owner[twice[0]]]} and in {part}: "
                    "put all rows of a patient into one part"
                )
            owner[who] = number

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(rows)} {part}" for part, rows in self.split.parts().items())
        away = "" if self.locked is None else f", and {len(self.locked)} locked"
        return f"<Site {self.name}: {len(self)} rows ({parts}){away}>"

    @property
    def train(self) -> Examples:
        """Rows the model is fitted on."""
        return self.rows.take(self.split.train)

    @property
    def valid(self) -> Examples:
        """Rows on which the round and the settings are chosen."""
        return self.rows.take(self.split.valid)

    @property
    def test(self) -> Examples:
        """Rows for the report alone."""
        return self.rows.take(self.split.test)


def check_alike(rows: Mapping[str, Examples]) -> None:
    """Refuse sites whose rows are not of one kind: of other shape, bags here and none there, pictures of bytes and not.

    Examples
    --------
    >>> pair = torch.tensor([0, 1]), np.arange(2)
    >>> check_alike({"A": Examples(torch.zeros(2, 3, 8, 8), *pair), "B": Examples(torch.zeros(2, 1, 8, 8), *pair)})
    Traceback (most recent call last):
    ValueError: the sites' rows differ in shape: {'A': (3, 8, 8), 'B': (1, 8, 8)}; agree on the same features first
    """
    kinds = {site: held.row for site, held in rows.items()}
    if len({kind.shape for kind in kinds.values()}) > 1:
        shapes = {site: kind.shape for site, kind in kinds.items()}
        bags = " (None: as many instances as a bag has)" if any(kind.is_bag for kind in kinds.values()) else ""
        raise ValueError(f"the sites' rows differ in shape: {shapes}{bags}; agree on the same features first")
    if len({kind.in_bytes for kind in kinds.values()}) > 1:
        some = [site for site, kind in kinds.items() if kind.in_bytes]
        raise ValueError(
            f"the pictures of {', '.join(map(repr, some))} are of bytes (uint8), which a batch scales to 0 … 1, and "
            "those of the other sites are of floats: give all of them as bytes, or all as floats"
        )
