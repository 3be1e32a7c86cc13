"""From a table to numbers: which columns, which codes, which rows are whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedlab.federation.site import Examples, Feature
from fedlab.federation.task import Task

MOST_CODES = 20  # a text column of more different values is free text or an identifier, not a category


def need(df: pd.DataFrame, column: str, role: str) -> None:
    """Refuse a table without the column that plays ``role``."""
    if column not in df.columns:
        known = ", ".join(map(repr, df.columns[:30]))
        hint = ""
        if len(df.columns) == 1 and any(c in str(df.columns[0]) for c in ";\t|,"):
            hint = " (one single column: was the file read with the wrong separator? try pandas.read_csv(…, sep=';'))"
        raise ValueError(f"the table has no column {column!r}, named by {role}=; its columns are {known}{hint}")


def read_features(df: pd.DataFrame, features: Sequence[str | Feature] | None, used: set[str]) -> tuple[Feature, ...]:
    """Describe the columns to learn from: those named, or all but the ones used otherwise."""
    wanted = [c for c in df.columns if c not in used] if features is None else list(features)
    if not wanted:
        raise ValueError("there is no column left to learn from: name some in features=")
    known = []
    for entry in wanted:
        name = entry.name if isinstance(entry, Feature) else entry
        need(df, name, "features")
        known.append(entry if isinstance(entry, Feature) else _guess(df[name]))
    names = [f.name for f in known]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"features= names {twice[0]!r} twice")
    return tuple(known)


def _guess(column: pd.Series[Any]) -> Feature:
    name = str(column.name)
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return Feature(name)
    levels = sorted(column.dropna().astype(str).unique())
    if not levels or len(levels) > MOST_CODES:
        raise ValueError(
            f"column {name!r} is text with {len(levels)} different values: leave it out of features=, or turn it into "
            f"numbers or a category of at most {MOST_CODES} codes first"
        )
    return Feature(name, kind="category", codes={level: level for level in levels})


def columns(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names of the columns of ``x``: a number is one, a category one per code (of two codes: the second)."""
    return tuple(name for feature in features for name, _ in _codes(feature))


def _codes(feature: Feature) -> list[tuple[str, Any]]:
    if feature.kind == "number":
        return [(feature.name, None)]
    levels = list(feature.codes or {})
    return [(f"{feature.name}={_word(level)}", level) for level in (levels[1:] if len(levels) == 2 else levels)]


def encode(df: pd.DataFrame, features: Sequence[Feature]) -> Tensor:
    """Turn a table into ``x``, float64 [n, columns], ``nan`` where a cell is empty.

    Raises
    ------
    ValueError
        For a missing column, text in a column of numbers, or a value that is not among a category's codes.
    """
    parts = []
    for feature in features:
        need(df, feature.name, "features")
        column = df[feature.name]
        parts.append(_numbers(feature, column) if feature.kind == "number" else _category(feature, column))
    return torch.from_numpy(np.concatenate(parts, axis=1))


def _numbers(feature: Feature, column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    values = pd.to_numeric(column, errors="coerce").astype(float).to_numpy()
    text = column[np.isnan(values) & column.notna().to_numpy()]
    if len(text):
        raise ValueError(
            f"column {feature.name!r} should hold numbers but has {text.tolist()[0]!r} "
            f"(row {text.index.tolist()[0]!r}, {len(text)} such cells): turn it into a number, or into an empty cell "
            "if it means 'not measured'"
        )
    column_of: np.ndarray[Any, Any] = values[:, None]
    return column_of


def _category(feature: Feature, column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    levels = list(feature.codes or {})
    if all(isinstance(level, str) for level in levels):
        column = column.where(column.isna(), column.astype(str))
    elif column.dtype.kind == "O" and not any(isinstance(level, str) for level in levels):  # "1" is 1, as in numbers
        numbers = pd.to_numeric(column, errors="coerce")
        column = column.astype(object).where(numbers.isna(), numbers)
    odd = column[column.notna() & ~column.isin(levels)]
    if len(odd):
        raise ValueError(
            f"column {feature.name!r} holds {odd.tolist()[0]!r} (row {odd.index.tolist()[0]!r}), "
            f"which is not among its codes {levels}: correct the cell or add the code"
        )
    hot = np.stack([(column == level).to_numpy(dtype=float) for _, level in _codes(feature)], axis=1)
    hot[column.isna().to_numpy()] = np.nan
    return hot


def read_label(df: pd.DataFrame, label: str, site: str, classes: Sequence[Any] | None) -> tuple[Tensor, Task]:
    """Number the classes of the label column, in sorted order unless ``classes`` gives another."""
    column = df[label]
    empty = column.isna()
    if empty.any():
        per_site = df.loc[empty, site].value_counts().to_dict()
        raise ValueError(
            f"the label {label!r} is missing in {int(empty.sum())} rows ({per_site}): leave those rows out, "
            "or have them labelled"
        )
    levels = sorted(column.unique().tolist()) if classes is None else list(classes)
    if len(levels) < 2:
        raise ValueError(f"the label {label!r} has one value only ({levels}): there is nothing to tell apart")
    if len(levels) > MOST_CODES:
        raise ValueError(
            f"the label {label!r} has {len(levels)} different values: a class label has at most {MOST_CODES}"
        )
    number = {level: k for k, level in enumerate(levels)}
    odd = column[~column.isin(levels)]
    if len(odd):
        raise ValueError(f"the label {label!r} holds {odd.tolist()[0]!r}, which is not among classes={levels}")
    y = torch.tensor(column.map(number).tolist(), dtype=torch.int64)  # pandas' own array is read-only
    return y, Task(tuple(_word(level) for level in levels))


def _word(level: Any) -> str:
    return str(int(level)) if isinstance(level, float) and level.is_integer() else str(level)


def rows_by_site(df: pd.DataFrame, x: Tensor, y: Tensor, site: str, group: str | None) -> Mapping[str, Examples]:
    """Deal the rows to their sites, which come in the order in which the table names them."""
    if df[site].isna().any():
        raise ValueError(f"{int(df[site].isna().sum())} rows have no site in column {site!r}: name their hospital")
    if group is not None and df[group].isna().any():
        raise ValueError(f"{int(df[group].isna().sum())} rows have no patient in column {group!r}")
    names = df[site].astype(str).to_numpy()
    whose = np.arange(len(df)) if group is None else df[group].astype(str).to_numpy()
    every = Examples(x, y, whose)
    return {name: every.take(np.flatnonzero(names == name)) for name in dict.fromkeys(names.tolist())}
