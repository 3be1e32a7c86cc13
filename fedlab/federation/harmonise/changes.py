"""A change to one column at one site: what it is in words, which others it contradicts, and how it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation.harmonise.units import WEIGHT
from fedlab.federation.harmonise.written import NOTHING, SHAPES, number, numbers, shape, texts

KINDS = ("decimal", "sentinel", "unit", "codes", "order", "date")
"""In the order in which they are made: what is no measurement is gone before units are changed."""


@dataclass(frozen=True)
class Change:
    """One column that one site is to write as agreed.

    Parameters
    ----------
    site, column : str
    kind : {"decimal", "sentinel", "unit", "codes", "order", "date"}
    details : mapping
        ``unit``: ``factor`` and ``offset`` (agreed = factor * written + offset), ``written`` and ``agreed``; optionally
        ``weight`` (divide by what that column holds, in kg; multiply if ``divide`` is False), ``amount`` and
        ``volume`` (multiply by their quotient; empty where it is not known), and of which cells: ``above`` and
        ``below``, ``where`` another column has that value, ``shape`` as written.
        ``sentinel``: ``value`` that means nothing was measured.
        ``codes`` and ``order``: ``map`` from written to agreed. ``date``: ``day``, ``"first"`` or ``"second"``, and
        the ``shape`` that is meant; becomes year-month-day.

    Examples
    --------
    >>> Change("B", "height", "unit", {"factor": 2.54, "offset": 0.0, "written": "in", "agreed": "cm"}).words
    'from in to cm: × 2.54'
    """

    site: str
    column: str
    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What is done, in words."""
        told = self.details
        if self.kind == "unit":
            return self._sum()
        if self.kind == "sentinel":
            return f"{told['value']} becomes empty"
        if self.kind in ("codes", "order"):
            return ", ".join(f"{old} → {new}" for old, new in told["map"].items())
        if self.kind == "date":
            return f"{told['shape'].removeprefix('date ')} with the day {told['day']} becomes year-month-day"
        return "decimal comma becomes a point"

    def _sum(self) -> str:
        told = self.details
        offset = f" {'+' if told['offset'] > 0 else '−'} {abs(told['offset']):.5g}" if told["offset"] else ""
        between = f"from {told['written']} to {told['agreed']}: " if told.get("written") else ""
        weight = f" for {WEIGHT:g} kg, each by {told['weight']!r}" if told.get("weight") else ""
        bag = f" × {told['amount']!r} / {told['volume']!r}, empty where these are" if told.get("amount") else ""
        return f"{between}× {told['factor']:.5g}{offset}{weight}{bag}{self._only()}"

    def _only(self) -> str:
        told = self.details
        if "shape" in told:
            return ", the sign goes"
        if "where" in told:
            return ", where " + " and ".join(f"{c} is {v!r}" for c, v in told["where"].items())
        if "above" in told:
            return f", values of {told['above']:g} to {told['below']:g} only"
        return ""

    @property
    def part(self) -> tuple[Any, ...]:
        """What it changes: two changes of one part contradict each other."""
        kind = "codes" if self.kind == "order" else self.kind
        told = self.details
        which = {
            "sentinel": told.get("value"),
            "date": told.get("shape"),
            "unit": (told.get("above"), told.get("where"), told.get("shape")),
        }
        return (self.site, self.column, kind, repr(which.get(self.kind)))


def contradictory(changes: Sequence[Change]) -> str:
    """Say which two changes contradict each other; empty if none do.

    Examples
    --------
    >>> a = Change("B", "sex", "codes", {"map": {"1": "M"}})
    >>> contradictory([a, Change("B", "sex", "codes", {"map": {"1": "F"}})])
    "column 'sex' at 'B' would be changed twice: 1 → M; 1 → F"
    """
    seen: dict[tuple[Any, ...], Change] = {}
    for change in changes:
        other = seen.setdefault(change.part, change)
        if other is not change:
            return f"column {change.column!r} at {change.site!r} would be changed twice: {other.words}; {change.words}"
    return ""


def apply(table: pd.DataFrame, changes: Sequence[Change]) -> pd.DataFrame:
    """Return the table with the changes made; numbers stay numbers, text stays text.

    Raises
    ------
    ValueError
        If two changes contradict each other, or a column is not there.

    Examples
    --------
    >>> inches = Change("B", "height", "unit", {"factor": 2.54, "offset": 0.0})
    >>> apply(pd.DataFrame({"height": ["70", ""]}), [inches])["height"].tolist()
    ['177.8', '']
    """
    if fault := contradictory(changes):
        raise ValueError(fault + "; take one of them back")
    out = table.copy()
    late = {c.details.get("weight") for c in changes} - {None}
    for change in sorted(changes, key=lambda c: (KINDS.index(c.kind), "weight" in c.details, c.column not in late)):
        if change.column not in out.columns:
            raise ValueError(f"there is no column {change.column!r} to change at {change.site!r}")
        out[change.column] = _changed(out, change)
    for change in changes:
        for other, code in change.details.get("where", {}).items():  # the rows now have the agreed unit
            out[other] = _with(out[other], texts(out[other]) == code, [change.details["agreed"]] * len(out))
    return out


def _changed(table: pd.DataFrame, change: Change) -> pd.Series[Any]:
    column, told = table[change.column], change.details
    cells = texts(column)
    if change.kind == "unit":
        return _converted(table, column, cells, change)
    if change.kind == "sentinel":
        gone = numbers(cells) == float(told["value"])
        return column.where(~gone, np.nan if pd.api.types.is_numeric_dtype(column) else _nothing(table))
    if change.kind == "decimal":
        return _with(column, cells.isin([c for c in cells.unique() if shape(c) in ("comma", "thousands")]),
                     [cell.replace(",", ".") for cell in cells])  # fmt: skip
    if change.kind == "date":
        pattern, day = SHAPES[told["shape"]], told["day"]
        meant = cells.isin([c for c in cells.unique() if pattern.fullmatch(c)])
        return _with(column, meant, [_iso(cell, day) if m else cell for cell, m in zip(cells, meant, strict=True)])
    book = told["map"]
    return _with(column, cells.isin(list(book)), [book.get(cell, cell) for cell in cells])


def _converted(table: pd.DataFrame, column: pd.Series[Any], cells: pd.Series[Any], change: Change) -> pd.Series[Any]:
    told, values = change.details, numbers(cells)
    meant = np.isfinite(values)
    if "shape" in told:
        meant &= np.array([shape(cell) == told["shape"] for cell in cells])
    if "above" in told:
        meant &= (values >= told["above"]) & (values <= told["below"])
    for other, value in told.get("where", {}).items():
        meant &= (texts(table[other]) == value).to_numpy()
    factor: float | NDArray[np.float64] = told["factor"]
    if told.get("weight"):
        kg = numbers(texts(table[told["weight"]]))
        share = np.where(np.isfinite(kg) & (kg > 0), kg, WEIGHT) / WEIGHT
        factor = factor / share if told.get("divide", True) else factor * share
    if told.get("amount"):
        drug, fluid = (numbers(texts(table[told[what]])) for what in ("amount", "volume"))
        factor = factor * np.divide(drug, fluid, out=np.full(len(table), np.nan), where=fluid > 0)
    new = factor * values + told["offset"]
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float).where(~meant, new)
    return _with(
        column, pd.Series(meant, index=column.index), ["" if np.isnan(value) else f"{value:.10g}" for value in new]
    )


def _with(column: pd.Series[Any], meant: pd.Series[Any], new: list[str]) -> pd.Series[Any]:
    """Put new texts where they are meant; a column of whole numbers stays one if it can."""
    if not meant.any():
        return column
    mixed = [text if m else cell for text, m, cell in zip(new, meant, column.tolist(), strict=True)]
    if pd.api.types.is_numeric_dtype(column) and all(
        not m or np.isfinite(number(t)) for t, m in zip(new, meant, strict=True)
    ):
        return pd.Series([float(v) for v in mixed], index=column.index)
    return pd.Series(mixed, index=column.index, dtype=object if column.dtype == object else None)


def _nothing(table: pd.DataFrame) -> str | None:
    """What the table has where nothing was measured."""
    cells = (cell for name in table for cell in table[name].tolist() if isinstance(cell, str))
    used = Counter(cell for cell in cells if cell.strip().lower() in NOTHING)
    return used.most_common(1)[0][0] if used else None


def _iso(cell: str, day: str) -> str:
    first, second, year = (int(part) for part in cell.replace("/", ".").replace("-", ".").split("."))
    d, m = (first, second) if day == "first" else (second, first)
    return f"{year:04d}-{m:02d}-{d:02d}" if 1 <= m <= 12 and 1 <= d <= 31 else cell
