"""Strict reading of plain tables that hospitals hand over: a doubtful cell is refused, never guessed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation import Feature

MISSING = "?"
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")  # float() would also take 'nan', 'inf' and '1_0'
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_cells(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a comma-separated table without a header line, every cell as the text that stands there.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        The names of its columns, in order.

    Returns
    -------
    DataFrame
        Of text, indexed by the number of the ``line`` in the file (from 1).

    Raises
    ------
    ValueError
        For a file that is empty, cut, with another separator, with a header line, or with more or fewer columns.
    """
    lines = _lines(path)
    _refuse_separator(path.name, lines[0], len(columns))
    rows = [line.split(",") for line in lines]
    if not any(_is_value(cell) for cell in rows[0]):
        raise ValueError(
            f"{path.name}, line 1 is a header ({_short(lines[0])}), and the table must have none: delete line 1"
        )
    _refuse_shape(path.name, rows, columns)
    return pd.DataFrame(rows, columns=list(columns), index=pd.RangeIndex(1, len(rows) + 1, name="line"), dtype="str")


def to_numbers(
    table: pd.DataFrame,
    features: Sequence[Feature],
    *,
    name: str,
    zero_is_missing: Collection[str] = (),
    needed: Collection[str] = (),
) -> pd.DataFrame:
    """Turn a table of text into numbers, ``nan`` where something was not measured.

    Parameters
    ----------
    table : DataFrame of text
        As :func:`read_cells` gives it.
    features : sequence of Feature
        Its columns. Where ``codes`` are given only they are allowed, else ``range`` is.
    name : str
        What to call the table in errors.
    zero_is_missing : collection of str
        Columns in which 0 was written for 'not measured', because no living patient has it.
    needed : collection of str
        Columns that must be there in every row.

    Returns
    -------
    DataFrame of float64

    Raises
    ------
    ValueError
        For the first cell that is no number, an unknown code, out of range, or missing where it is needed.

    Examples
    --------
    >>> raw = pd.DataFrame({"age": ["63.0", "?"]}, index=[1, 2])
    >>> to_numbers(raw, [Feature("age", range=(0, 120))], name="ward.csv")["age"].tolist()
    [63.0, nan]
    """
    numbers = {}
    for feature in features:
        cells = [cell.strip() for cell in table[feature.name]]
        values = np.array([float(cell) if NUMBER.fullmatch(cell) else np.nan for cell in cells])
        absent = np.array([cell == MISSING for cell in cells])
        bad = (np.isnan(values) & ~absent) | (absent & (feature.name in needed)) | _impossible(feature, values)
        if feature.name in zero_is_missing:
            bad &= values != 0
            values[values == 0] = np.nan
        if bad.any():
            at = int(bad.argmax())
            what = _complaint(feature, cells[at], needed=feature.name in needed)
            raise ValueError(f"{name}, line {table.index[at]}, column {feature.name!r}: {what}")
        numbers[feature.name] = values
    return pd.DataFrame(numbers, index=table.index)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not plain text (UTF-8): unpack it or save it as text") from None
    if not text.strip():
        raise ValueError(f"{path.name} is empty: put the hospital's table there, one line a patient")
    if not text.endswith(("\n", "\r")):
        last = text.splitlines()
        raise ValueError(
            f"{path.name} ends in the middle of line {len(last)} ({_short(last[-1])}), without a line break: it was "
            "cut, get it again (if the line is whole, add the line break)"
        )
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")


def _refuse_separator(name: str, line: str, columns: int) -> None:
    words = [word for sign, word in SEPARATORS.items() if sign in line]
    if not words and columns > 1 and "," not in line and len(line.split()) > 1:
        words = ["spaces"]
    if words:
        raise ValueError(f"{name} separates its cells by {words[0]} ({_short(line)}): save it with commas")


def _refuse_shape(name: str, rows: list[list[str]], columns: Sequence[str]) -> None:
    wrong = [k for k, row in enumerate(rows) if len(row) != len(columns)]
    if not wrong:
        return
    at, has = wrong[0], len(rows[wrong[0]])
    count = f"{has} column{'s' if has != 1 else ''}, not {len(columns)}"
    if len(wrong) == len(rows) and len({len(row) for row in rows}) == 1:
        do = "delete what was added (a row number?)" if has > len(columns) else "restore the column that is missing"
        raise ValueError(f"{name} has {count} ({','.join(columns)}): {do}")
    cut = " (the last line: the file was cut)" if at == len(rows) - 1 else ""
    raise ValueError(f"{name}, line {at + 1}{cut} has {count} ({_short(','.join(rows[at]))}): get the file again")


def _is_value(cell: str) -> bool:
    return cell.strip() == MISSING or NUMBER.fullmatch(cell.strip()) is not None


def _impossible(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if feature.codes is not None:
        return ~np.isnan(values) & ~np.isin(values, list(feature.codes))
    low, high = feature.range or (-np.inf, np.inf)
    return (values < low) | (values > high)


def _complaint(feature: Feature, cell: str, *, needed: bool) -> str:
    if needed and cell.lower() in (MISSING, "", "nan", "na"):
        return f"{cell!r}, but every patient needs a value here: leave the patient out or have the cell filled in"
    if not NUMBER.fullmatch(cell):
        return f"{cell!r} is not a number: correct it, or write {MISSING} if it was not measured"
    if float(cell) == -9:
        return f"{cell!r} marks a missing value in the unprocessed files only: write {MISSING}"
    if feature.codes is not None:
        return f"{cell!r} is none of its codes {', '.join(str(code) for code in feature.codes)}: correct it"
    low, high = feature.range or (-np.inf, np.inf)
    unit = f" {feature.unit}" if feature.unit else ""
    return f"{cell!r} is outside {low:g} … {high:g}{unit}: correct it, or write {MISSING} if it was not measured"


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "…")
