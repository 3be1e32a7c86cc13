"""A hospital: its patients, and which of them may be learnt from, chosen on, and reported on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Feature:
    """One measurement, and its entry in the data dictionary.

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
    """

    name: str
    kind: str = "number"
    unit: str = ""
    range: tuple[float, float] | None = None
    codes: Mapping[Any, str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("number", "category"):
            raise ValueError(f"feature {self.name!r} is of kind {self.kind!r}: use 'number' or 'category'")
        if self.kind == "category" and not self.codes:
            raise ValueError(
                f"feature {self.name!r} is a category: give its codes, e.g. {{'F': 'female', 'M': 'male'}}"
            )


class Patients(NamedTuple):
    """Who the rows are of: a number for each row, and the first row and the number of rows of each patient."""

    of: NDArray[np.int64]
    first: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows as the hospital holds them, ``nan`` where nothing was measured.

    Parameters
    ----------
    x : float tensor, shape [n, ...]
    y : tensor, shape [n]
        int64 class numbers.
    group : array, shape [n]
        Whose row it is (patient, lesion, slide): never split over train, valid and test.
    mask : bool tensor, optional
        For bags of instances: which of them are there.
    """

    x: Tensor
    y: Tensor
    group: NDArray[Any]
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.group):
            raise ValueError(
                f"x has {len(self.x)} rows, y {len(self.y)} and group {len(self.group)}: they must be as many"
            )

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"<Examples: {len(self)} rows of shape {list(self.x.shape[1:])}>"

    @cached_property
    def patients(self) -> Patients:
        """Whose rows they are, in numbers; looked up once, however often the rows are split."""
        _, first, of, rows = np.unique(self.group, return_index=True, return_inverse=True, return_counts=True)
        return Patients(of, first, rows)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Return the given rows."""
        at = torch.from_numpy(np.ascontiguousarray(rows))
        mask = None if self.mask is None else self.mask[at]
        return Examples(self.x[at], self.y[at], self.group[rows], mask)


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts: fit on ``train``, choose on ``valid``, report on ``test``."""

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Return the three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True, eq=False)
class Site:
    """One hospital of a federation.

    Raises
    ------
    ValueError
        If a part of the split is empty, or a patient stands in two of them.
    """

    name: str
    rows: Examples
    split: Split
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        patients, parts = self.rows.patients, self.split.parts()
        owner = np.full(len(patients.first), len(parts))
        for number, (part, rows) in enumerate(parts.items()):
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
        return f"<Site {self.name}: {len(self)} rows ({parts})>"

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
