"""What the cells of a table mean, whatever they are written as: the same value, a number, or nothing measured."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MARKS = frozenset(
    {"", "?", ".", "-", "--", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA"}
)
"""Texts that mean *not measured*: those that pandas reads so, and what hospitals write besides."""
LARGEST = 1e30
"""No measurement is larger: SPSS writes −1.8e308 for *missing*, and float32 ends at 3.4e38."""
DAY = pd.Timedelta(days=1)
MICROSECONDS = 86_400_000_000  # a day
DAYS_SINCE = "days since 1970-01-01"
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # float() would also take 'nan' and '1_0'

SOFT_HYPHEN = "\u00ad"
BLANKS = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")  # a tab or a line end within a name stays
SENTINELS = (datetime.MINYEAR, datetime.MAXYEAR)
"""Years that stand for *no date*."""

Floats = NDArray[np.float64]


def text(value: object) -> str:
    r"""Return a text as it is compared: one Unicode form (NFC), one plain blank between words and none around it.

    Examples
    --------
    >>> text("Yes "), text("Ko\u0308ln") == "Köln", text("St\u00a0 Mary")
    ('Yes', True, 'St Mary')
    """
    return BLANKS.sub(" ", unicodedata.normalize("NFC", str(value)).replace(SOFT_HYPHEN, "")).strip()


def key(value: Any) -> Hashable:
    """Return what is equal for equal values: 1, 1.0, "1" and True are one value, "Yes " and "Yes" another.

    Examples
    --------
    >>> key("1") == key(1.0) == key(True), key("Yes ") == key("Yes")
    (True, True)
    """
    value = _plain(value)
    if isinstance(value, (bool, int, float, Decimal, Fraction)):
        return value
    plain = text(value)
    if PLAIN.fullmatch(plain):
        return int(plain) if plain.lstrip("+-").isdecimal() else float(plain)
    return plain


def word(value: Any) -> str:
    """Return how a value is called in tables: 3 for 3.0.

    Examples
    --------
    >>> word(3.0), word(np.float32(3.6)), word(" A"), word(True)
    ('3', '3.6', 'A', 'True')
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return text(value)


def number(value: Any) -> float | None:
    """Return a value as a number (a date as days since 1970, a duration in days); ``None`` where it is none.

    Examples
    --------
    >>> number("2.5"), number(Decimal(3)), number(datetime.date(1970, 1, 3)), number("2,5")
    (2.5, 3.0, 2.0, None)
    """
    value = _plain(value)
    if isinstance(value, (bool, int, float, Decimal, Fraction)):
        return float(value)
    if isinstance(value, str):
        plain = text(value)
        return float(plain) if PLAIN.fullmatch(plain) else None
    if isinstance(value, pd.Period):
        value = value.to_timestamp()
    if isinstance(value, datetime.date):  # a datetime and a Timestamp are dates too
        when = pd.Timestamp(value)
        return float(_days(np.array([when.tz_convert(None) if when.tzinfo else when], dtype="datetime64[us]"))[0])
    if isinstance(value, datetime.timedelta):
        return float(pd.Timedelta(value) / DAY)
    return None


def _plain(value: Any) -> Any:
    """Return Python's own number, date or duration for NumPy's."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    return value.item() if isinstance(value, np.generic) else value


class NoDate(ValueError):
    """A date that cannot be taken as one: it stands for *no date*, or its hour is not known."""


def _days(when: NDArray[np.datetime64]) -> Floats:
    """Return dates [n] of microseconds as days since 1970, ``nan`` for none; refuse those that stand for *no date*."""
    year = when.astype("datetime64[Y]").astype(np.int64) + 1970
    odd = np.isin(year, SENTINELS) & ~np.isnat(when)
    if odd.any():
        raise NoDate(f"holds the date {str(when[odd][0])[:10]}: make the cell empty if it means 'not known'")
    return np.where(np.isnat(when), np.nan, when.astype(np.int64) / MICROSECONDS)


def marks_among(values: Iterable[Any]) -> set[str]:
    """Return the texts among different values of a column that mean *not measured*.

    Beside "+" a "-" is a value, and so is "None" beside other words: no pain, none of a severity.

    Examples
    --------
    >>> sorted(marks_among(["?", "-", 3])), marks_among(["+", "-"]), marks_among(["None", "Mild"])
    (['-', '?'], set(), set())
    """
    values = list(values)
    found = {text(value) for value in values if isinstance(value, str)} & MARKS
    rest = [value for value in values if not (isinstance(value, str) and text(value) in found)]
    if any(isinstance(value, str) and text(value) == "+" for value in rest):
        found.discard("-")
    if any(number(value) is None for value in rest):
        found.discard("None")
    return found


def infinite(value: Any) -> bool:
    """Return whether a value is infinite, or the text of it.

    Examples
    --------
    >>> infinite(float("-inf")), infinite("Inf"), infinite("Infirmary")
    (True, True, False)
    """
    if isinstance(value, str):
        return text(value).lstrip("+-").lower() in ("inf", "infinity")
    return isinstance(value, (float, np.floating)) and bool(np.isinf(value))


def is_text(column: pd.Series[Any]) -> bool:
    """Return whether a column's cells have to be looked at one by one: texts, and objects of any kind."""
    return bool(pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column))


def time_unit(column: pd.Series[Any]) -> str:
    """Return the unit that :func:`numbers` gives dates or durations in; empty for other columns."""
    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return DAYS_SINCE
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "days"
    if not is_text(column) or (there := column.dropna()).empty:
        return ""
    if all(isinstance(value, (datetime.date, pd.Period, np.datetime64)) for value in there):
        return DAYS_SINCE
    return "days" if all(isinstance(value, (datetime.timedelta, np.timedelta64)) for value in there) else ""


def numbers(column: pd.Series[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return a column as numbers, ``nan`` where a cell is empty, and which cells hold something that is no number.

    Examples
    --------
    >>> values, odd = numbers(pd.Series(["1", None, "2,5", 4]))
    >>> values.tolist(), odd.tolist()
    ([1.0, nan, nan, 4.0], [False, False, True, False])
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        each, no_number = numbers(pd.Series(dtype.categories))
        place = column.cat.codes.to_numpy()
        return np.append(each, np.nan)[place], np.append(no_number, False)[place]
    if isinstance(dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        plain = column.dt.tz_convert(None) if isinstance(column.dtype, pd.DatetimeTZDtype) else column
        return _days(plain.to_numpy().astype("datetime64[us]")), np.zeros(len(column), dtype=bool)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return _floats(column / DAY), np.zeros(len(column), dtype=bool)
    if pd.api.types.is_complex_dtype(dtype) or isinstance(dtype, pd.IntervalDtype):
        return np.full(len(column), np.nan), column.notna().to_numpy()
    if not is_text(column):
        return _floats(column), np.zeros(len(column), dtype=bool)
    codes, levels = factorized(column)
    if len({level.tzinfo is None for level in levels if isinstance(level, datetime.datetime)}) > 1:
        raise NoDate("holds dates with and without a time zone, which are hours apart: give all of them one")
    read = [number(level) for level in levels]
    found = np.array([math.nan if value is None else value for value in [*read, math.nan]])
    odd = np.array([*(value is None for value in read), False])
    return found[codes], odd[codes]


def _floats(column: pd.Series[Any]) -> Floats:
    out: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return out


def factorized(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the number of each cell's value among the different ones, −1 where it is empty, and these.

    Raises
    ------
    ValueError
        If a cell holds what is no single value: a list, a dict.
    """
    try:
        codes, levels = pd.factorize(column)
    except TypeError as error:
        raise ValueError(f"column {column.name!r} holds cells that are no single value ({error})") from error
    return codes.astype(np.int64), list(levels)


def by_key(values: Iterable[Any]) -> dict[Hashable, Any]:
    """Return the different values by what makes them equal, the first of each standing for all."""
    out: dict[Hashable, Any] = {}
    for value in values:
        out.setdefault(key(value), value)
    return out


def in_case_only(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of names that differ in nothing but small and capital letters.

    Examples
    --------
    >>> in_case_only(["Nord", "Süd", "nord"])
    [('Nord', 'nord')]
    """
    first: dict[str, str] = {}
    pairs = [(first.setdefault(name.casefold(), name), name) for name in names]
    return [(one, other) for one, other in pairs if one != other]
