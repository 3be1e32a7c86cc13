"""The columns to learn from: what they are, and a table's cells as the numbers of ``x``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.problems import Problems
from fedlab.federation.site import Feature
from fedlab.federation.values import (
    DAYS_SINCE,
    LARGEST,
    Floats,
    NoDate,
    by_key,
    factorized,
    in_case_only,
    infinite,
    is_text,
    key,
    marks_among,
    number,
    numbers,
    text,
    time_unit,
    word,
)

MOST_CODES = 20  # a text column of more different values is free text or an identifier, not a category


# --------------------------------------------------------------------------- names


def named(df: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns are called by texts: 0 is "0", ("vital", "age") is "vital age".

    Raises
    ------
    TypeError
        If it is no table.
    """
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"the table is a {type(df).__name__}: give a DataFrame, e.g. pandas.DataFrame(…)")
    return df.set_axis([called(column) for column in df.columns], axis="columns")


def called(column: Hashable) -> str:
    """Return what a column is called."""
    return text(" ".join(map(str, column)) if isinstance(column, tuple) else column)


def need(df: pd.DataFrame, column: Hashable, role: str) -> str:
    """Refuse a table without the column that plays ``role``, or with two of that name; return its name."""
    name = called(column)
    if not df.columns.is_unique and (there := int((df.columns == name).sum())) > 1:
        raise ValueError(f"the table has {there} columns called {name!r}: give each a name of its own")
    if name not in df.columns:
        known = ", ".join(map(repr, df.columns[:30]))
        hint = ""
        if len(df.columns) == 1 and any(c in str(df.columns[0]) for c in ";\t|,"):
            hint = " (one single column: was the file read with the wrong separator? try pandas.read_csv(…, sep=';'))"
        raise ValueError(f"the table has no column {name!r}, named by {role}=; its columns are {known}{hint}")
    return name


# --------------------------------------------------------------------------- what a column is


def read_features(
    df: pd.DataFrame, features: Sequence[str | Feature] | str | None, used: dict[str, str], problems: Problems
) -> tuple[Feature, ...]:
    """Describe the columns to learn from: those named, or all but the ones that play another role (``used``)."""
    if isinstance(features, (str, Feature)):
        features = [features]
    if isinstance(features, (set, frozenset)):
        raise ValueError("features= is a set, which has no order: give a list, as the columns stand in its order")
    wanted = [c for c in dict.fromkeys(df.columns) if c not in used] if features is None else list(features)
    if not wanted:
        problems.add("there is no column left to learn from: name some in features=")
    known = []
    for entry in wanted:
        with problems:
            name = need(df, entry.name if isinstance(entry, Feature) else entry, "features")
            if name in used:
                raise ValueError(f"features= names {name!r}, which is the {used[name]}: a model would read it off")
            try:
                known.append(_described(entry, df[name]) if isinstance(entry, Feature) else guess(df[name]))
            except NoDate as odd:
                raise ValueError(f"column {name!r} {odd}") from odd
    for twice in sorted(name for name, times in Counter(f.name for f in known).items() if times > 1):
        problems.add(f"features= names {twice!r} twice")
    return tuple(known)


def _described(feature: Feature, column: pd.Series[Any]) -> Feature:
    """Return a feature that was described, by the name of its column, and in days if that holds dates."""
    unit = feature.unit or (time_unit(column) if feature.kind == "number" else "")
    return replace(feature, name=str(column.name), unit=unit)


def guess(column: pd.Series[Any]) -> Feature:
    """Describe a column by its values: a number, or a category of at most twenty.

    Numbers are numbers whatever they are written as (texts, decimals, NumPy's); dates and durations are days. A
    category of pandas keeps its levels and their order. Marks of *not measured* ("?", "NA") are no level, and belong to
    the description.

    Raises
    ------
    ValueError
        For free text, and for levels that differ in nothing but small and capital letters.

    Examples
    --------
    >>> guess(pd.Series(["0", "2", "?"], name="vessels"))
    Feature(name='vessels', kind='number', unit='', range=None, codes=None, missing=('?',))
    """
    name = str(column.name)
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels, marks = _without(marks_among(column.cat.categories), column.cat.categories)
        many = len(levels) > MOST_CODES and all(number(level) is not None for level in levels)
        return Feature(name, missing=marks) if many or not levels else _category(name, levels, missing=marks)
    if isinstance(column.dtype, pd.IntervalDtype):
        return _category(name, sorted(column.dropna().unique()))
    if not is_text(column):
        if pd.api.types.is_complex_dtype(column.dtype):
            raise ValueError(f"column {name!r} holds complex numbers: leave it out of features=, or take parts of them")
        return Feature(name, unit=time_unit(column))
    _, found = factorized(column)
    levels, marks = _without(marks_among(found), found)
    if all(number(level) is not None for level in levels):
        return Feature(name, unit=time_unit(column), missing=marks)
    different = list(by_key(levels).values())
    if len(different) > MOST_CODES:
        odd = next(level for level in levels if number(level) is None)
        few = sum(number(level) is None for level in levels) <= len(levels) / 10
        hint = f" (nearly all are numbers; {odd!r} is none)" if few else ""
        raise ValueError(
            f"column {name!r} is text with {len(different)} different values{hint}: leave it out of features=, or turn "
            f"it into numbers or a category of at most {MOST_CODES} codes first"
        )
    return _category(name, sorted(different, key=word), missing=marks)


def _without(marks: set[str], values: Iterable[Any]) -> tuple[list[Any], tuple[str, ...]]:
    """Return the values that are no marks of *not measured*, and the marks in order."""
    return [v for v in values if not (isinstance(v, str) and text(v) in marks)], tuple(sorted(marks))


def _category(name: str, levels: Sequence[Any], missing: tuple[str, ...] = ()) -> Feature:
    if endless := [level for level in levels if infinite(level)]:
        raise ValueError(
            f"column {name!r} holds {word(endless[0])}, an infinite value: make the cell empty if it means 'not "
            "measured', or correct it"
        )
    plain = {number_or_text(level): word(level) for level in levels}
    if len(plain) > MOST_CODES:
        raise ValueError(
            f"column {name!r} is a category with {len(plain)} levels: leave it out of features=, or join some of them "
            f"to at most {MOST_CODES}"
        )
    if pairs := in_case_only(plain.values()):
        one, other = pairs[0]
        raise ValueError(
            f"column {name!r} holds {one!r} and {other!r}, which differ in small and capital letters alone: make them "
            "one, or describe the column with both codes: Feature(name, kind='category', codes={…})"
        )
    return Feature(name, kind="category", codes=plain, missing=missing)


def number_or_text(level: Any) -> Any:
    """Return a level as a code that JSON knows: Python's number, or a text in its plain form."""
    plain = level.item() if isinstance(level, np.generic) else level
    return plain if isinstance(plain, (bool, int, float)) else text(plain)


# --------------------------------------------------------------------------- cells to numbers


def columns(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names of the columns of ``x``: a number is one, a category one per code (of two codes: the second)."""
    return tuple(name for feature in features for name, _ in coded(feature))


def sources(features: Sequence[Feature], shape: Sequence[int | None]) -> tuple[str, ...]:
    """Name the feature that each column of ``x`` (of images each pixel) comes from; ``column 3`` without a name.

    ``shape`` is that of a row, ``None`` where it is as long as it is.
    """
    if features:
        return tuple(feature.name for feature in features for _ in columns((feature,)))
    return tuple(f"column {k}" for k in range(math.prod(size for size in shape if size is not None)))


def coded(feature: Feature) -> list[tuple[str, Any]]:
    """Return the columns of a feature: their names, and of a category which code each is."""
    if feature.kind == "number":
        return [(feature.name, None)]
    levels = list(feature.codes or {})
    return [(f"{feature.name}={word(level)}", level) for level in (levels[1:] if len(levels) == 2 else levels)]


def blocks(features: Sequence[Feature]) -> list[tuple[Feature, slice]]:
    """Return which columns of ``x`` each feature has.

    Examples
    --------
    >>> blocks([Feature("age"), Feature("sex", kind="category", codes={"F": "", "M": ""})])[1][1]
    slice(1, 2, None)
    """
    ends = np.cumsum([len(coded(feature)) for feature in features]).tolist()
    return [(f, slice(begin, end)) for f, begin, end in zip(features, [0, *ends], ends, strict=False)]


def categories(features: Sequence[Feature]) -> tuple[slice, ...]:
    """Return which columns of ``x`` belong to each category of two codes or more."""
    return tuple(
        place for feature, place in blocks(features) if feature.kind == "category" and len(feature.codes or {}) > 1
    )


def level_numbers(feature: Feature, part: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place of each row's code among a category's codes, −1 where it is missing.

    Parameters
    ----------
    feature : Feature
    part : float array, shape [n, columns of the feature]

    Examples
    --------
    >>> sex = Feature("sex", kind="category", codes={"F": "female", "M": "male"})
    >>> level_numbers(sex, np.array([[1.0], [0.0], [np.nan]])).tolist()
    [1, 0, -1]
    """
    found = part[:, 0] if len(feature.codes or {}) == 2 else part.argmax(1)
    known = ~np.isnan(part).any(1)
    out: NDArray[np.int64] = np.where(known, np.nan_to_num(found), -1).astype(np.int64)
    return out


def one_hot(feature: Feature, place: NDArray[np.int64]) -> Floats:
    """Return the columns of a category from the place of each row's code; the inverse of :func:`level_numbers`."""
    levels = list(feature.codes or {})
    first = 1 if len(levels) == 2 else 0
    hot: Floats = (place[:, None] == np.arange(first, len(levels))).astype(np.float64)
    hot[place < 0] = np.nan
    return hot


def encode(df: pd.DataFrame, features: Sequence[Feature]) -> Tensor:
    """Turn a table into ``x``, float64 [n, columns], ``nan`` where a cell is empty.

    Raises
    ------
    ValueError
        For a missing column, text or infinity in a column of numbers, or a value that is not among a category's codes;
        all of them in one answer.
    """
    problems = Problems()
    x = encoded(named(df), features, problems)
    problems.raise_all()
    return torch.from_numpy(x)


def encoded(df: pd.DataFrame, features: Sequence[Feature], problems: Problems) -> Floats:
    """Turn a table whose columns are :func:`named` into ``x``; what is wrong with it is entered into ``problems``."""
    out = np.full((len(df), len(columns(features))), np.nan)
    wide = df.columns.is_unique and _plain(df, features)
    for feature, place in blocks(features):
        if wide and feature.name in wide:
            continue
        with problems:
            column = df[need(df, feature.name, "features")]
            out[:, place] = _numbers(feature, column) if feature.kind == "number" else _codes(feature, column)
    if wide:
        at = [place.start for feature, place in blocks(features) if feature.name in wide]
        out[:, at] = df[list(wide)].to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse_large(df, features, out, problems)
    return out


def _plain(df: pd.DataFrame, features: Sequence[Feature]) -> dict[str, None]:
    """Return the columns that NumPy holds as numbers: those are taken over in one piece."""
    kinds = {name: dtype.kind for name, dtype in df.dtypes.items() if isinstance(dtype, np.dtype)}
    return {
        f.name: None
        for f in features
        if f.kind == "number" and f.unit != DAYS_SINCE and kinds.get(f.name, "") in tuple("biuf")
    }


def _numbers(feature: Feature, column: pd.Series[Any]) -> Floats:
    column = _without_marks(feature, column)
    _check_time(feature, column)
    try:
        values, odd = numbers(column)
    except NoDate as error:
        raise ValueError(f"column {feature.name!r} {error}") from error
    if odd.any():
        cells = column[odd]
        raise ValueError(
            f"column {feature.name!r} should hold numbers but has {cells.tolist()[0]!r} "
            f"(row {cells.index.tolist()[0]!r}, {len(cells)} such cells): turn it into a number, or into an empty cell "
            "if it means 'not measured'"
        )
    return values[:, None]


def _check_time(feature: Feature, column: pd.Series[Any]) -> None:
    """Refuse dates and durations where other numbers are meant, and other numbers where dates are."""
    found = time_unit(column)
    if found == "days" and "day" not in feature.unit or found == DAYS_SINCE != feature.unit:
        what = "durations" if found == "days" else "dates"
        meant = f"numbers in {feature.unit}" if feature.unit else "plain numbers"
        raise ValueError(f"column {feature.name!r} holds {what}, where {meant} are meant: turn them into such")
    if feature.unit == DAYS_SINCE and not found and column.notna().any():
        raise ValueError(f"column {feature.name!r} holds no dates, and dates are meant: pandas.to_datetime makes them")


def _codes(feature: Feature, column: pd.Series[Any]) -> Floats:
    column = _without_marks(feature, column)
    place = {key(level): k for k, level in enumerate(feature.codes or {})}
    codes, levels = factorized(column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column)
    each = np.array([place.get(key(level), -2) for level in levels] + [-1])[codes]
    if (each == -2).any():
        odd = column[each == -2]
        raise ValueError(
            f"column {feature.name!r} holds {odd.tolist()[0]!r} (row {odd.index.tolist()[0]!r}), which is not among "
            f"its codes {list(feature.codes or {})}: correct the cell or add the code"
        )
    return one_hot(feature, each)


def _without_marks(feature: Feature, column: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype) and feature.missing:
        column = column.astype(object)
    if not feature.missing or not is_text(column):
        return column
    return column.mask(column.map(text, na_action="ignore").isin(feature.missing))


def _refuse_large(df: pd.DataFrame, features: Sequence[Feature], x: Floats, problems: Problems) -> None:
    large = ~(np.abs(x) < LARGEST) & ~np.isnan(x)
    if not large.any():
        return
    for feature, place in blocks(features):
        rows = np.flatnonzero(large[:, place].any(1))
        if len(rows):
            problems.add(
                f"column {feature.name!r} holds {too_large(float(x[rows[0], place.start]))} (row "
                f"{df.index[rows[0]]!r}, {len(rows)} such cells): make the cell empty if it means 'not measured', or "
                "correct it"
            )


def too_large(value: float) -> str:
    """Say what a number is that no measurement can be.

    Examples
    --------
    >>> too_large(float("inf")), too_large(-1.7976931348623157e308)
    ('an infinite value', '-1.798e+308, which SPSS writes for "missing"')
    """
    if np.isinf(value):
        return "an infinite value"
    return f'{value:.4g}, which SPSS writes for "missing"' if value < 0 else f"{value:.4g}, larger than any measurement"
