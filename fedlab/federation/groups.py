"""Subgroups of patients: by a category of the data dictionary, or by bands of a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.frame import blocks, level_numbers
from fedlab.federation.site import Feature

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Grouping:
    """How rows fall into groups; made by :func:`group_by`.

    Attributes
    ----------
    names : tuple of str
        Of the groups in order; the last, ``"not known"``, is for rows in which the column is empty.
    feature : Feature
    place : slice
        Which columns of ``x`` tell.
    edges : tuple of float
        Between the bands of a number.
    """

    names: tuple[str, ...]
    feature: Feature
    place: slice
    edges: tuple[float, ...] = ()

    def numbers(self, x: Tensor) -> NDArray[np.int64]:
        """Return the number of each row's group, [n], from raw rows ``x`` [n, columns]."""
        part = x[:, self.place].double().numpy()
        value = part[:, 0]
        if self.edges:
            found = np.where(np.isnan(value), -1, np.digitize(value, self.edges))
        elif self.feature.kind == "number":
            same = value[:, None] == np.asarray([*(self.feature.codes or {})], dtype=float)
            found = np.where(same.any(1), same.argmax(1), -1)
        else:
            found = level_numbers(self.feature, part)
        out: NDArray[np.int64] = np.where(found < 0, len(self.names) - 1, found).astype(np.int64)
        return out


def group_by(features: Sequence[Feature], by: str, bands: Sequence[float] | None = None) -> Grouping:
    """Say how rows fall into groups.

    Parameters
    ----------
    features : sequence of Feature
        The federation's data dictionary.
    by : str
        A category (or a number with codes): a group each; or a number, with ``bands``.
    bands : sequence of float, optional
        Rising edges in the column's unit: ``[50, 60]`` makes *under 50*, *50 to under 60* and *60 and over*.

    Raises
    ------
    ValueError
        For a column that is not there, bands that do not rise, a number without bands or a category with them.

    Examples
    --------
    >>> group_by([Feature("age")], "age", [50, 60]).names
    ('under 50', '50 to under 60', '60 and over', 'not known')
    """
    known = [feature.name for feature in features]
    if not known:
        raise ValueError("this federation has no named columns, so there are no subgroups to tell apart")
    if by not in known:
        raise ValueError(f"there is no column {by!r} to group by; the columns are {', '.join(known)}")
    feature, place = blocks(features)[known.index(by)]
    if bands is not None:
        if feature.kind == "category":
            raise ValueError(f"column {by!r} is a category: leave bands= out, each code is a group")
        return Grouping((*_band_names(by, bands), NOT_KNOWN), feature, place, edges=tuple(map(float, bands)))
    if not feature.codes:
        raise ValueError(
            f"column {by!r} is a number: give the edges of its groups, e.g. bands=[50, 60], or describe it as a "
            "category with its codes: Feature(name, kind='category', codes={0: 'female', 1: 'male'})"
        )
    said = list(map(str, feature.codes.values()))
    names = [
        name if said.count(name) == 1 else f"{name} ({code})" for code, name in zip(feature.codes, said, strict=True)
    ]
    empty = NOT_KNOWN if NOT_KNOWN not in names else f"{NOT_KNOWN} (empty)"  # a code may mean that too
    return Grouping((*names, empty), feature, place)


def _band_names(by: str, bands: Sequence[float]) -> list[str]:
    edges = list(bands)
    rising = all(a < b for a, b in pairwise(edges))
    if not edges or not rising or not all(map(math.isfinite, edges)):
        raise ValueError(f"bands={edges!r} of {by!r}: give at least one edge, finite and rising, e.g. [50, 60]")
    middle = [f"{a:g} to under {b:g}" for a, b in pairwise(edges)]
    return [f"under {edges[0]:g}", *middle, f"{edges[-1]:g} and over"]
