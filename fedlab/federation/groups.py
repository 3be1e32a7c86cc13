"""Subgroups of patients: by a category of the data dictionary, or by bands of a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.frame import columns
from fedlab.federation.site import Feature

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Grouping:
    """How rows fall into groups; made by :func:`group_by`.

    Attributes
    ----------
    names : tuple of str
        Of the groups in order; the last is ``"not known"``: rows in which the column is empty.
    first, width : int
        Which columns of ``x`` tell.
    codes : tuple
        Values of a number that has codes.
    edges : tuple of float
        Between the bands of a number.
    """

    names: tuple[str, ...]
    first: int
    width: int
    codes: tuple[Any, ...] = ()
    edges: tuple[float, ...] = ()

    def numbers(self, x: Tensor) -> NDArray[np.int64]:
        """Return the number of each row's group, [n], from raw rows ``x`` [n, columns]."""
        part = x[:, self.first : self.first + self.width].double().numpy()
        known = ~np.isnan(part).any(1)
        value = part[:, 0]
        if self.edges:
            found = np.digitize(value, self.edges)
        elif self.codes:
            same = value[:, None] == np.asarray(self.codes, dtype=float)
            found, known = same.argmax(1), known & same.any(1)
        elif self.width > 1:
            found = part.argmax(1)
        else:
            found = np.nan_to_num(value).astype(np.int64)
        out: NDArray[np.int64] = np.where(known, found, len(self.names) - 1).astype(np.int64)
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
    at = known.index(by)
    feature, first = features[at], len(columns(features[:at]))
    width = len(columns([feature]))
    if bands is not None:
        if feature.kind == "category":
            raise ValueError(f"column {by!r} is a category: leave bands= out, each code is a group")
        return Grouping((*_band_names(by, bands), NOT_KNOWN), first, width, edges=tuple(map(float, bands)))
    if not feature.codes:
        raise ValueError(
            f"column {by!r} is a number: give the edges of its groups, e.g. bands=[50, 60], or describe it as a "
            "category with its codes: Feature(name, kind='category', codes={0: 'female', 1: 'male'})"
        )
    names = tuple(map(str, feature.codes.values()))
    return Grouping((*names, NOT_KNOWN), first, width, codes=tuple(feature.codes) if feature.kind == "number" else ())


def _band_names(by: str, bands: Sequence[float]) -> list[str]:
    edges = list(bands)
    rising = all(a < b for a, b in pairwise(edges))
    if not edges or not rising or not all(map(math.isfinite, edges)):
        raise ValueError(f"bands={edges!r} of {by!r}: give at least one edge, finite and rising, e.g. [50, 60]")
    middle = [f"{a:g} to under {b:g}" for a, b in pairwise(edges)]
    return [f"under {edges[0]:g}", *middle, f"{edges[-1]:g} and over"]
