"""The data dictionary: what hospitals agreed to write, and what of a table breaks that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from fedlab.federation.harmonise.units import molar_mass, read_unit, to_agreed
from fedlab.federation.harmonise.written import numbers, shape, texts
from fedlab.federation.site import Feature

BROKEN = ("row", "column", "value", "what", "remedy")


class Entry(BaseModel):
    """One column of the agreement.

    Parameters
    ----------
    name : str
        The column's name.
    meaning : str
    kind : {"number", "category", "ordered", "date"}
    unit : str
        As pint reads it; words behind it are a note. Empty where there is none.
    range : (low, high), optional
        What a living patient can have, in that unit.
    codes : dict of str to str, optional
        Every value it may take, and what it means; of an ordered category in order.
    required : bool
        Whether every patient needs a value.
    molar_mass : float, optional
        Grams per mole: what lets mmol/l be told from mg/dl.

    Examples
    --------
    >>> Entry(name="glucose", unit="mg/dl", range=(10, 2000), molar_mass=180.16).unit
    'mg/dl'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    meaning: str = ""
    kind: Literal["number", "category", "ordered", "date"] = "number"
    unit: str = ""
    range: tuple[float, float] | None = None
    codes: dict[str, str] | None = None
    required: bool = False
    molar_mass: float | None = None

    @field_validator("unit")
    @classmethod
    def _unit(cls, unit: str) -> str:
        if unit:
            read_unit(unit)
        return unit

    @field_validator("codes", mode="before")
    @classmethod
    def _codes(cls, codes: Any) -> Any:
        return {_word(code): str(meaning) for code, meaning in codes.items()} if isinstance(codes, dict) else codes

    @model_validator(mode="after")
    def _whole(self) -> Entry:
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"the range {self.range} is empty: give the lower end first")
        if self.kind in ("category", "ordered") and not self.codes:
            raise ValueError(f"a {self.kind} column needs its codes, e.g. {{'F': 'female', 'M': 'male'}}")
        if self.molar_mass is not None and not self.molar_mass > 0:
            raise ValueError(f"molar_mass is {self.molar_mass}: it must be above 0 g/mol")
        return self

    def broken(self, cells: pd.Series[Any]) -> list[tuple[Any, str, str, str, str]]:
        """List the cells that break the entry: row, column, value, what is wrong, what to do."""
        empty = (cells == "").to_numpy()
        values = numbers(cells)
        if self.codes:
            odd = ~empty & ~cells.isin(list(self.codes)).to_numpy()
            what, remedy = f"none of the codes {', '.join(self.codes)}", "correct it, or agree on the code"
        elif self.kind == "date":
            odd = ~empty & np.array([shape(cell) != "date 2026-01-31" for cell in cells])
            what, remedy = "not a date as in 2026-01-31", "write year-month-day"
        else:
            odd = ~empty & np.array([shape(cell) != "number" for cell in cells])
            what, remedy = "not a number with a decimal point", "write a plain number, or leave the cell empty"
        found = [(row, self.name, cell, what, remedy) for row, cell in cells[odd].items()]
        if self.range is not None:
            out = ~odd & ((values < self.range[0]) | (values > self.range[1]))
            what = f"outside {self.range[0]:g} … {self.range[1]:g}{' ' * bool(self.unit)}{self.unit}"
            found += [(row, self.name, cell, what, self._remedy(float(cell))) for row, cell in cells[out].items()]
        if self.required:
            need = "every patient needs a value here"
            found += [(row, self.name, "", need, "have it filled in, or leave the patient out")
                      for row in cells.index[empty]]  # fmt: skip
        return found

    def _remedy(self, value: float) -> str:
        """Name the units in which the value would be in range."""
        low, high = self.range or (-math.inf, math.inf)
        fits = [c for c in to_agreed(self.unit, self.molar_mass) if low <= c.factor * value + c.offset <= high]
        if not fits:
            return "correct it, or leave the cell empty if it was not measured"
        told = " or ".join(f"{c.factor * value + c.offset:.4g} {c.agreed} if written in {c.written}" for c in fits[:3])
        return f"ask: {told}"


class DataDictionary(BaseModel):
    """The agreement on all columns, to be kept as JSON.

    Examples
    --------
    >>> agreed = DataDictionary(entries=[Entry(name="height", unit="cm", range=(100, 250))])
    >>> agreed.check(pd.DataFrame({"height": [172, 68]}))[["row", "value", "remedy"]].values.tolist()
    [[1, '68', 'ask: 172.7 cm if written in in']]
    >>> DataDictionary.from_json(agreed.to_json()) == agreed
    True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    entries: tuple[Entry, ...]

    @field_validator("entries")
    @classmethod
    def _once(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = [entry.name for entry in entries]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"column {twice[0]!r} has two entries: keep one")
        return entries

    @classmethod
    def of(cls, features: Iterable[Feature], *, dates: Sequence[str] = ()) -> DataDictionary:
        """Make one from the features of a recipe; molar masses of common substances are known by name.

        Examples
        --------
        >>> DataDictionary.of([Feature("glucose", unit="mg/dl", range=(10, 2000))])["glucose"].molar_mass
        180.16
        """
        entries = [_entry(feature) for feature in features]
        return cls(entries=(*entries, *(Entry(name=name, kind="date") for name in dates)))

    def features(self) -> tuple[Feature, ...]:
        """Return what a federation can learn from: all but the dates. Codes that are whole numbers become such."""
        return tuple(
            Feature(
                entry.name,
                kind="number" if entry.kind == "number" else "category",
                unit=entry.unit,
                range=entry.range,
                codes={_code(c): meaning for c, meaning in entry.codes.items()} if entry.codes else None,
            )
            for entry in self.entries
            if entry.kind != "date"
        )

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"no column {name!r} in the dictionary, which has {', '.join(e.name for e in self.entries)}")

    def get(self, name: str) -> Entry | None:
        """Return the entry of a column, None if there is none."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def check(self, table: pd.DataFrame) -> pd.DataFrame:
        """List what of a table breaks the agreement; for the hospital's own eyes, it names rows and values.

        Returns
        -------
        DataFrame
            ``row`` (index of the table; empty for a whole column), ``column``, ``value``, ``what``, ``remedy``.
        """
        found: list[tuple[Any, str, str, str, str]] = []
        for entry in self.entries:
            if entry.name not in table.columns:
                found.append(("", entry.name, "", "the column is missing", "add it, empty if it is never measured"))
            else:
                found += entry.broken(texts(table[entry.name]))
        return pd.DataFrame(found, columns=list(BROKEN))

    def to_json(self, path: Path | str | None = None) -> str:
        """Return the dictionary as JSON, and write it to ``path`` if given."""
        text = self.model_dump_json(indent=1, exclude_defaults=True)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source: Path | str) -> DataDictionary:
        """Read a dictionary from JSON: a text, or the path of a file.

        Raises
        ------
        ValueError
            That names the column and what is wrong with it.
        """
        text = (
            source if isinstance(source, str) and source.lstrip().startswith("{") else Path(source).read_text("utf-8")
        )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(_told(error, text)) from None


def _entry(feature: Feature) -> Entry:
    codes = {_word(code): meaning for code, meaning in feature.codes.items()} if feature.codes else None
    return Entry(
        name=feature.name,
        kind="category" if feature.kind == "category" else "number",
        unit=feature.unit,
        range=feature.range,
        codes=codes,
        molar_mass=molar_mass(feature.name) if "/" in feature.unit else None,
    )


def _word(code: Any) -> str:
    return f"{code:g}" if isinstance(code, float) else str(code)


def _code(text: str) -> Any:
    return int(text) if text.lstrip("-").isdigit() else text


def _told(error: ValidationError, text: str) -> str:
    """One line a fault, each with its column."""
    import json

    try:
        entries = json.loads(text).get("entries", [])
    except (ValueError, AttributeError):
        return f"the data dictionary is no JSON object: {error.errors()[0]['msg']}"
    lines = []
    for fault in error.errors():
        place, *rest = [part for part in fault["loc"] if part != "entries"] or [""]
        named = entries[place].get("name", f"number {place}") if isinstance(place, int) else "the dictionary"
        field = ".".join(map(str, rest))
        lines.append(f"column {named!r}{', ' * bool(field)}{field}: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(lines)
