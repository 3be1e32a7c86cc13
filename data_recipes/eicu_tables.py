"""Reading eICU's tables: every cell the text that stands there, one row a stay, and units that are written in words."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedlab.federation import Feature

DAY = 24 * 60  # minutes
UNIT = r"\(([^()]*)\)\s*$"  # the last bracket of a drug's name: 'Norepinephrine (mcg/min)'
PER_MINUTE, PER_KILOGRAM, VOLUME = "mcg/min", "mcg/kg/min", "ml/hr"


def read_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read one table of text, its column names in lower case (releases differ), an empty cell ``nan``.

    Raises
    ------
    ValueError
        If the file is cut, is no such table, or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False, na_values=[""])
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ValueError(f"{path.name} is cut or is no table of commas ({error}): get the file again") from None
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path.name} is empty: get the file again") from None
    table.columns = table.columns.str.strip().str.lower()
    absent = [column for column in needed if column not in table.columns]
    if absent:
        raise ValueError(
            f"{path.name} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}: is it the table of "
            "release 2.0.1?"
        )
    return table


def first_charted(table: pd.DataFrame, *, offset: str, value: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return what was charted first in a stay's first day, empty values left out.

    Parameters
    ----------
    table : DataFrame of text
    offset, value : str
        Its columns of minutes since admission to the unit, and of the value.
    columns : mapping of str to str
        The columns to keep, and what to call them.

    Returns
    -------
    DataFrame
        Indexed by ``patientunitstayid``.
    """
    minutes = pd.to_numeric(table[offset], errors="coerce")
    there = table.assign(_minutes=minutes)[minutes.between(0, DAY, inclusive="left") & table[value].notna()]
    there = there.sort_values("_minutes", kind="stable").drop_duplicates("patientunitstayid")
    return there.set_index("patientunitstayid")[list(columns)].rename(columns=dict(columns))


def fio2(charting: pd.DataFrame) -> pd.DataFrame:
    """Return the share of oxygen that was charted first, as ``fio2``."""
    oxygen = charting[charting["respchartvaluelabel"].str.contains("fio2", case=False, na=False)]
    return first_charted(oxygen, offset="respchartoffset", value="respchartvalue", columns={"respchartvalue": "fio2"})


def norepinephrine(infusions: pd.DataFrame) -> pd.DataFrame:
    """Return the rate that was charted first, the unit in the drug's name, and the bag's drug (mg) and volume (ml)."""
    drug = infusions[infusions["drugname"].str.startswith("Norepinephrine", na=False)].copy()
    drug["unit"] = drug["drugname"].str.extract(UNIT)[0]
    return first_charted(
        drug,
        offset="infusionoffset",
        value="drugrate",
        columns={
            "drugrate": "norepinephrine",
            "unit": "norepinephrine_unit",
            "drugamount": "norepinephrine_mg",
            "volumeoffluid": "norepinephrine_ml",
        },
    )


def to_number(table: pd.DataFrame, feature: Feature, *, sentinel: str = "") -> pd.Series[Any]:
    """Turn a column of text into numbers, ``nan`` where it is empty or says ``sentinel``.

    Raises
    ------
    ValueError
        For the first cell that is no number.
    """
    text = table[feature.name].str.strip()
    text = text.where(text != sentinel)
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    odd = text.notna() & numbers.isna()
    if odd.any():
        at = odd.idxmax()
        raise ValueError(
            f"stay {at}, column {feature.name!r}: {text[at]!r} is not a number: correct it, or leave the cell empty"
        )
    return numbers


def plausible(numbers: pd.Series[Any], feature: Feature) -> pd.Series[Any]:
    """Make missing what is outside the data dictionary's range.

    Examples
    --------
    >>> plausible(pd.Series([170.0, 67.0]), Feature("height", unit="cm", range=(120, 230))).tolist()
    [170.0, nan]
    """
    low, high = feature.range or (-np.inf, np.inf)
    return numbers.where(numbers.between(low, high))


def as_charted(text: pd.Series[Any]) -> pd.Series[Any]:
    """Return the number in a charted cell, a percent sign or not; ``nan`` where there is none.

    Examples
    --------
    >>> as_charted(pd.Series(["60", "60%", "0.6", "OFF", None])).tolist()
    [60.0, 60.0, 0.6, nan, nan]
    """
    return pd.to_numeric(text.str.strip().str.removesuffix("%"), errors="coerce").astype(float)


def percent(charted: pd.Series[Any]) -> pd.Series[Any]:
    """Return a share of oxygen in percent: what is at most 1 was written as a fraction (air alone has 21 %).

    Examples
    --------
    >>> percent(pd.Series([60.0, 0.6, 1.0])).tolist()
    [60.0, 60.0, 100.0]
    """
    return charted.where(charted > 1, charted * 100)


def per_minute(
    rate: pd.Series[Any], unit: pd.Series[Any], *, weight: pd.Series[Any], mg: pd.Series[Any], ml: pd.Series[Any]
) -> pd.Series[Any]:
    """Return a drug's rate in µg/min.

    Parameters
    ----------
    rate, unit : Series
        As charted. A rate by volume needs the concentration and one by weight the weight; where that, or the unit
        itself, was not written, the dose is not known and becomes ``nan``.
    weight, mg, ml : Series
        The patient's in kg; the bag's drug and volume.

    Examples
    --------
    >>> rate, unit = pd.Series([8.0, 0.1, 30.0, 30.0, 9.0]), pd.Series(["mcg/min", "mcg/kg/min", "ml/hr", "ml/hr", ""])
    >>> mg, none = pd.Series([np.nan, np.nan, 4.0, np.nan, 4.0]), pd.Series([250.0] * 5)
    >>> per_minute(rate, unit, weight=pd.Series([80.0] * 5), mg=mg, ml=none).round(3).tolist()
    [8.0, 8.0, 8.0, nan, nan]
    """
    factor = pd.Series(np.nan, index=rate.index)
    factor = factor.mask(unit == PER_MINUTE, 1.0)
    factor = factor.mask(unit == PER_KILOGRAM, weight)
    factor = factor.mask(unit == VOLUME, mg / ml * 1000 / 60)
    return rate * factor
