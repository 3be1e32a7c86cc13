"""Faults of documentation: how a hospital writes the same patients in another way than was agreed.

Another unit, a number that stands for *not measured*, another code book, codes in another order, a decimal comma, a
date written otherwise.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fedlab.federation.shift.kinds import fraction
from fedlab.federation.site import Feature

KINDS = ("unit", "sentinel", "codes", "order", "decimal", "date")
SENTINELS = (0, -1, 999, 9999)
AGREED_DATE = "%Y-%m-%d"
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y")
FAULTY = 2 / 3  # of the columns that can have a fault, at severity 1

ALSO_WRITTEN: dict[str | tuple[str, str], tuple[str, float, float]] = {
    "cm": ("in", 1 / 2.54, 0.0),
    "kg": ("lb", 1 / 0.45359237, 0.0),
    "°C": ("°F", 1.8, 32.0),
    "fraction": ("%", 100.0, 0.0),
    "mmHg": ("kPa", 0.133322387415, 0.0),
    "µg/kg/min": ("µg/min", 80.0, 0.0),  # by a pump that is not told the weight: for 80 kg
    ("creatinine", "mg/dl"): ("µmol/l", 1e4 / 113.12, 0.0),
    ("bilirubin", "mg/dl"): ("µmol/l", 1e4 / 584.66, 0.0),
    ("glucose", "mg/dl"): ("mmol/l", 10 / 180.16, 0.0),
    ("chol", "mg/dl"): ("mmol/l", 10 / 386.65, 0.0),
    ("lactate", "mmol/l"): ("mg/dl", 90.08 / 10, 0.0),
}
"""What hospitals also write, by the agreed unit, where it needs the molar mass by name and unit: the other unit, and
factor and offset of ``factor * value + offset`` in it."""
CODE_BOOKS = (tuple("123456789"), tuple("0123456789"), tuple(string.ascii_uppercase))


@dataclass(frozen=True)
class Fault:
    """One column that one hospital writes in its own way.

    Parameters
    ----------
    column : str
    kind : {"unit", "sentinel", "codes", "order", "decimal", "date"}
    details : mapping
        ``unit``: ``unit`` as written, and what is written, ``factor * value + offset``. ``sentinel``: ``value`` written
        where nothing was measured. ``codes`` and ``order``: ``map``, from each agreed code to the one written.
        ``date``: ``format`` as of :func:`time.strftime`. ``decimal``: nothing.
    """

    column: str
    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault of {self.column!r} is of kind {self.kind!r}: the kinds are {', '.join(KINDS)}")


def draw_faults(
    features: Sequence[Feature],
    severity: float,
    rng: np.random.Generator,
    *,
    dates: Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
) -> list[Fault]:
    """Draw faults, at most one a column, and only such as the column can have.

    Of the columns that can have one, a share of ``2/3 * severity`` does. Of one generator, a higher severity has the
    faults of a lower one and more.

    Parameters
    ----------
    features : sequence of Feature
    severity : float
        0 … 1.
    rng : numpy Generator
    dates : sequence of str
        Columns that hold dates.
    kinds : sequence of str
        What may be drawn.

    Examples
    --------
    >>> height = Feature("height", unit="cm", range=(100, 230))
    >>> draw_faults([height], 1.0, np.random.default_rng(0), kinds=["unit"])
    [Fault(column='height', kind='unit', details={'unit': 'in', 'factor': 0.39370078740157477, 'offset': 0.0})]
    """
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"there is no kind of fault {sorted(unknown)[0]!r}: the kinds are {', '.join(KINDS)}")
    severity = fraction(severity, "severity")
    drawn = []
    for feature in features:
        able = [fault for kind in kinds if (fault := _fault(feature, kind, rng)) is not None]
        if able:
            drawn.append(able[rng.integers(len(able))])
    if "date" in kinds:
        drawn += [Fault(column, "date", {"format": DATES[rng.integers(len(DATES))]}) for column in dates]
    chosen = np.sort(rng.permutation(len(drawn))[: int(np.ceil(FAULTY * severity * len(drawn) - 1e-9))])
    return [drawn[k] for k in chosen]


def _fault(feature: Feature, kind: str, rng: np.random.Generator) -> Fault | None:
    """One fault of the kind, None where the feature cannot have it."""
    codes = list(feature.codes or {})
    if kind == "unit" and not codes:
        other = ALSO_WRITTEN.get(feature.unit) or ALSO_WRITTEN.get((feature.name, feature.unit))
        return Fault(feature.name, kind, dict(zip(("unit", "factor", "offset"), other, strict=True))) if other else None
    if kind == "sentinel" and not codes:
        low, high = feature.range or (-1.0, 999.0)
        free = [value for value in SENTINELS if not low <= value <= high]
        return Fault(feature.name, kind, {"value": free[rng.integers(len(free))]}) if free else None
    if kind == "codes" and feature.kind == "category":
        books = [book for book in CODE_BOOKS if len(codes) <= len(book) and not {*map(str, codes)} & {*book}]
        if books:
            return Fault(feature.name, kind, {"map": dict(zip(codes, books[rng.integers(len(books))], strict=False))})
    if kind == "order" and len(codes) > 2 and not any(isinstance(code, str) for code in codes):
        order = rng.permutation(len(codes)) if rng.random() < 0.5 else np.arange(len(codes))[::-1]
        order = order if (order != np.arange(len(codes))).any() else order[::-1]
        return Fault(feature.name, kind, {"map": {code: codes[k] for code, k in zip(codes, order, strict=True)}})
    return Fault(feature.name, kind) if kind == "decimal" and not codes else None


# ---------------------------------------------------------------------- writing


def write(df: pd.DataFrame, faults: Sequence[Fault] = ()) -> pd.DataFrame:
    """Write a table as text, as the hospital with these faults would have: what its export holds.

    Parameters
    ----------
    df : DataFrame
        As agreed: numbers, codes, dates (as such or as ``2026-01-31``).
    faults : sequence of Fault
        None: as agreed, but as text.

    Returns
    -------
    DataFrame
        Text, each column with as many decimals as it needs; empty text where nothing was measured.

    Raises
    ------
    ValueError
        For a column that is not there, two faults of one kind in a column, or a fault the column cannot have.

    Examples
    --------
    >>> table = pd.DataFrame({"height": [180.0, None], "sex": ["M", "F"]})
    >>> inches = Fault("height", "unit", {"unit": "in", "factor": 0.3937, "offset": 0.0})
    >>> numbers = Fault("sex", "codes", {"map": {"F": "1", "M": "2"}})
    >>> write(table, [inches, Fault("height", "sentinel", {"value": 999}), numbers]).to_numpy().tolist()
    [['71', '2'], ['999', '1']]
    """
    by_column: dict[str, dict[str, Fault]] = {str(column): {} for column in df.columns}
    for fault in faults:
        if fault.column not in by_column:
            raise ValueError(f"there is no column {fault.column!r}; the columns are {', '.join(by_column)}")
        if by_column[fault.column].setdefault(fault.kind, fault) is not fault:
            raise ValueError(f"column {fault.column!r} has two faults of kind {fault.kind!r}: give one")
    return pd.DataFrame({c: _written(df[c], by_column[str(c)]) for c in df.columns}, index=df.index, dtype=object)


def _written(column: pd.Series[Any], faults: Mapping[str, Fault]) -> list[str]:
    missing = column.isna().to_numpy()
    number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    wrong = {"unit", "decimal"} & {*faults} if not number else {"date"} & {*faults}
    if wrong:
        what = "numbers" if number else "no numbers"
        raise ValueError(f"column {column.name!r} holds {what}: it cannot have a fault of kind {sorted(wrong)[0]!r}")
    if pd.api.types.is_datetime64_any_dtype(column) or "date" in faults:
        text = _days(column).dt.strftime(faults["date"].details["format"] if "date" in faults else AGREED_DATE).tolist()
    elif number:
        text = _numbers(column.to_numpy(dtype=float, na_value=np.nan), faults)
    else:
        text = column.astype(str).tolist()
    for kind in ("order", "codes"):
        if kind in faults:
            book = {f"{code}": f"{other}" for code, other in faults[kind].details["map"].items()}
            text = [book.get(cell, cell) for cell in text]
    empty = str(faults["sentinel"].details["value"]) if "sentinel" in faults else ""
    return [empty if gone else cell for gone, cell in zip(missing.tolist(), text, strict=True)]


def _days(column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_datetime(column, format=AGREED_DATE)
    except ValueError as wrong:
        raise ValueError(f"column {column.name!r} does not hold dates as agreed, 2026-01-31: {wrong}") from None


def _numbers(values: Any, faults: Mapping[str, Fault]) -> list[str]:
    there = values[~np.isnan(values)]
    places = next((d for d in range(7) if np.allclose(there.round(d), there, rtol=0, atol=1e-9)), 7)
    if "unit" in faults:
        factor, offset = faults["unit"].details["factor"], faults["unit"].details["offset"]
        values = values * factor + offset
        places = max(0, round(places - np.log10(abs(factor))))  # as fine as it was, not finer
    if "decimal" in faults:
        return [f"{value:.{max(places, 1)}f}".replace(".", ",") for value in values.tolist()]
    return [f"{value:.{places}f}" for value in values.tolist()]
