"""From a table to sites: which column is the label and whose rows they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedlab.federation.frame import MOST_CODES, need
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples
from fedlab.federation.values import (
    MARKS,
    by_key,
    factorized,
    in_case_only,
    infinite,
    key,
    marks_among,
    numbers,
    text,
    time_unit,
    word,
)
from fedlab.tasks import Classification, Regression, Task


def read_roles(
    df: pd.DataFrame, problems: Problems, *, site: Hashable, label: Hashable, group: Hashable | None
) -> dict[str, str]:
    """Return the columns that play a role, each with the role, or refuse a table without them.

    Raises
    ------
    ValueError
        With all that is wrong: nothing else of the table can be looked at.
    """
    roles: dict[str, str] = {}
    asked = {"site": site, "label": label} | ({} if group is None else {"group": group})
    for role, column in asked.items():
        with problems:
            name = need(df, column, role)
            if name in roles:
                raise ValueError(f"{name!r} is named by {roles[name]}= and by {role}=: they are different columns")
            roles[name] = role
    if df.empty:
        problems.add("the table has no rows")
    problems.raise_all()
    return roles


def read_label(df: pd.DataFrame, label: str, site: str, classes: Sequence[Any] | None) -> tuple[Tensor, Task]:
    """Number the classes of the label column, in sorted order unless ``classes`` or an ordered category gives another.

    Values are compared as :func:`~fedlab.federation.values.key` has it; a blank or "?" is a missing label.
    """
    column = df[label]
    named = [] if classes is None else list(classes)
    asked = None if classes is None else list(by_key(named).values())
    if asked is not None and len(asked) < len(named):
        raise ValueError(f"classes={named} names a class twice")
    codes, found = factorized(column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column)
    known = {key(level) for level in asked or []}
    marks = marks_among(found)
    blank = [isinstance(v, str) and text(v) in marks and key(v) not in known for v in found]
    if endless := [v for v in found if infinite(v)]:
        raise ValueError(f"the label {label!r} holds {word(endless[0])}, which is no class: correct those rows")
    empty = np.array([*blank, True])[codes]
    if empty.any():
        per_site = df.loc[empty, site].value_counts().to_dict()
        raise ValueError(
            f"the label {label!r} is missing in {int(empty.sum())} rows ({per_site}): leave those rows out, have them "
            f"labelled{_or_named(marks, found)}"
        )
    levels = (
        asked if asked is not None else _levels(column, [v for v, none in zip(found, blank, strict=True) if not none])
    )
    _check_levels(label, levels, named=asked is not None)
    number = {key(level): k for k, level in enumerate(levels)}
    each = np.array([number.get(key(v), -1) for v in found])
    if (each < 0).any():
        odd = next(v for v, k in zip(found, each, strict=True) if k < 0)
        raise ValueError(f"the label {label!r} holds {odd!r}, which is not among classes={levels}")
    return torch.from_numpy(each[codes].astype(np.int64)), Classification(tuple(word(level) for level in levels))


def read_quantity(df: pd.DataFrame, label: str, site: str, task: Regression | None) -> tuple[Tensor, Regression]:
    """Read a label that is a quantity, and the task: as given, or with center and scale to one digit of these values.

    Numbers are read however they are written, dates and durations as days; every row must have one.
    """
    column = df[label]
    values, odd = numbers(column)
    if odd.any():
        example = column[odd].iloc[0]
        what = "an infinite value" if infinite(example) else f"{example!r}, which is no number"
        raise ValueError(f"the label {label!r} holds {what}: correct those rows, or leave task= out if it is a class")
    if (empty := np.isnan(values)).any():
        per_site = df.loc[empty, site].value_counts().to_dict()
        raise ValueError(
            f"the label {label!r} is missing in {int(empty.sum())} rows ({per_site}): leave those rows out, or have "
            "them measured"
        )
    if np.isinf(values).any():
        raise ValueError(f"the label {label!r} holds an infinite value: correct those rows")
    y = torch.from_numpy(np.array(values, dtype=np.float64))
    return y, task or Regression.of(y, name=label, unit=time_unit(column))


def _levels(column: pd.Series[Any], found: list[Any]) -> list[Any]:
    """Return the different values in order: that of an ordered category, else numbers before texts."""
    different = by_key(found)
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        return [level for name, level in by_key(column.cat.categories).items() if name in different]
    return sorted(different.values(), key=lambda v: (isinstance(key(v), str), key(v)))


def _or_named(marks: set[str], found: Sequence[Any]) -> str:
    """Say what to do if a mark of *missing* is a class."""
    told = sorted(marks & {text(v) for v in found if isinstance(v, str)} - {""})
    return f", or name {', '.join(map(repr, told))} in classes= if it is a class" if told else ""


def _check_levels(label: str, levels: Sequence[Any], *, named: bool) -> None:
    if len(levels) < 2:
        raise ValueError(f"the label {label!r} has one value only ({levels}): there is nothing to tell apart")
    if len(levels) > MOST_CODES:
        raise ValueError(
            f"the label {label!r} has {len(levels)} different values: a class label has at most {MOST_CODES}. "
            'Of a measured quantity say task="regression"'
        )
    pairs = in_case_only(map(word, levels))
    if pairs and not named:
        one, other = pairs[0]
        raise ValueError(
            f"the label {label!r} holds {one!r} and {other!r}, which differ in small and capital letters alone: make "
            "them one, or name both in classes="
        )


def read_sites(df: pd.DataFrame, site: str) -> np.ndarray[Any, Any]:
    """Return the name of each row's site, of one spelling: without blanks around it, 3 for 3.0."""
    codes, found = factorized(df[site].astype(object))
    empty = np.array([*(isinstance(v, str) and text(v) in MARKS for v in found), True])[codes]
    if empty.any():
        raise ValueError(f"{int(empty.sum())} rows have no site in column {site!r}: name their hospital")
    broken = [v for v in found if isinstance(v, (float, np.floating)) and not float(v).is_integer()]
    if broken:
        raise ValueError(
            f"column {site!r} holds fractions such as {broken[0]!r}, and the same hospital can read as two: write the "
            "hospitals' names as texts or whole numbers"
        )
    names = [word(v) for v in found]
    first: dict[Hashable, str] = {}
    pairs = [(first.setdefault(key(name), name), name) for name in dict.fromkeys(names)]
    if alike := [(one, other) for one, other in pairs if one != other]:
        one, other = alike[0]
        raise ValueError(
            f"column {site!r} holds {one!r} and {other!r}, which are one number: one hospital or two? Write one of "
            "them another way"
        )
    if pairs := in_case_only(names):
        one, other = pairs[0]
        raise ValueError(
            f"column {site!r} holds {one!r} and {other!r}, which differ in small and capital letters alone: one "
            "hospital or two? Write one of them another way"
        )
    return np.array(names, dtype=object)[codes]


def read_groups(df: pd.DataFrame, group: str) -> np.ndarray[Any, Any]:
    """Return whose row each is, as a text."""
    codes, found = factorized(df[group].astype(object))
    empty = np.array([*(isinstance(v, str) and text(v) in MARKS or infinite(v) for v in found), True])[codes]
    if empty.any():
        raise ValueError(
            f"{int(empty.sum())} rows have no patient in column {group!r}: leave them out, or give each a number of "
            "its own"
        )
    return np.array([word(v) for v in found])[codes]


def rows_by_site(every: Examples, names: np.ndarray[Any, Any]) -> Mapping[str, Examples]:
    """Deal the rows to their sites, which come in the order in which the table names them."""
    codes, found = pd.factorize(names)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(found)))
    return {
        str(name): every.take(order[begin:end]) for name, begin, end in zip(found, [0, *ends[:-1]], ends, strict=True)
    }
