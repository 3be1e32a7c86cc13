"""Cells as hospitals write them: what shape a text has, and what number it stands for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOTHING = frozenset({"", "?", "na", "n/a", "nan", "nat", "none", "null", "<na>", "-", "."})
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
SHAPES = {
    "number": re.compile(NUMBER),
    "thousands": re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"),  # or a decimal comma with three places
    "comma": re.compile(r"[+-]?[0-9]*,[0-9]+"),
    "percent": re.compile(r"[+-]?[0-9]*[.,]?[0-9]+ ?%"),
    "date 2026-01-31": re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[ T][0-9:.]+)?"),
    "date 31/1/2026": re.compile(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"),
    "date 31.1.2026": re.compile(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}"),
    "date 31-1-2026": re.compile(r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}"),
}
"""By the first that fits. The day of a date with four digits at its end may stand first or second."""
READ_AS_NUMBER = ("number", "thousands", "comma", "percent")


def texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Every cell as text, empty where nothing was measured; ``3.0`` is ``3``.

    Examples
    --------
    >>> texts(pd.Series([3.0, None, " F", "?"], dtype=object)).tolist()
    ['3', '', 'F', '']
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d")
    words = {cell: _word(cell) for cell in column.dropna().unique().tolist()}
    cells = ["" if cell is None or cell is pd.NA else words.get(cell, "") for cell in column.tolist()]
    return pd.Series(cells, index=column.index, dtype=object)


def _word(cell: Any) -> str:
    text = str(cell).strip() if not isinstance(cell, float) else f"{cell:.12g}"
    if text.lower() in NOTHING:
        return ""
    return re.sub(r"^([+-]?[0-9]+)\.0*$", r"\1", text)


@lru_cache(maxsize=1 << 16)
def shape(text: str) -> str:
    """Name the shape of one cell: ``"empty"``, one of ``SHAPES``, or ``"text"``.

    Examples
    --------
    >>> [shape(text) for text in ("", "36.6", "36,6", "40 %", "31/12/2019", "F")]
    ['empty', 'number', 'comma', 'percent', 'date 31/1/2026', 'text']
    """
    if not text:
        return "empty"
    return next((name for name, pattern in SHAPES.items() if pattern.fullmatch(text)), "text")


@lru_cache(maxsize=1 << 16)
def number(text: str) -> float:
    """Read one cell as a number, a comma as decimal, without a percent sign; ``nan`` if it is none.

    Examples
    --------
    >>> number("36,6"), number("40 %")
    (36.6, 40.0)
    """
    if shape(text) not in READ_AS_NUMBER:
        return float("nan")
    return float(text.rstrip("% ").replace(",", "."))


def each(cells: pd.Series[Any], read: Any) -> list[Any]:
    """Apply ``read`` to every different text once."""
    known = {text: read(text) for text in cells.unique().tolist()}
    return [known[text] for text in cells.tolist()]


def numbers(cells: pd.Series[Any]) -> NDArray[np.float64]:
    """Read texts as numbers, ``nan`` where there is none."""
    return np.array(each(cells, number), dtype=np.float64)
