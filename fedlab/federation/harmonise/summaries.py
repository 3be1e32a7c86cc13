"""What a site tells of its table before anyone trains: counts, means of patients, ranks. Never a row.

Every count is of at least ``least`` patients. Fewer than that are counted with the most frequent value, so that they
follow by no subtraction. Every other number is a mean over at least ``least`` patients.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation.frame import MOST_CODES
from fedlab.federation.harmonise.laws import between
from fedlab.federation.harmonise.units import anything, by_name, is_unit, key
from fedlab.federation.harmonise.written import each, numbers, shape, texts
from fedlab.metrics.cells import ENOUGH, LEAST, block_means, screened

SENTINELS = (0, -1, -8, -9, -99, -999, -9999, 9, 99, 999, 9999, 99999, 88, 888, 8888, 77, 777, 98, 998)
"""Numbers that are written where nothing was measured."""
STEPS = (1.0, 0.1, 0.01)  # of the agreed unit, as charts have
SLACK = 0.04  # share of a step by which conversions are rounded otherwise
TELLING = 14.0  # logarithm of the odds, from which on roundness is no luck over all units and steps tried
Summary = dict[str, Any]
Numbers = dict[str, NDArray[np.float64]]


def summarise(table: pd.DataFrame, *, least: int = LEAST, patient: str | None = None) -> Summary:
    """Summarise a table as a site may tell it.

    Parameters
    ----------
    table : DataFrame
        As the hospital wrote it, text or numbers.
    least : int
        Patients in the smallest cell that leaves.
    patient : str, optional
        Column that names the patient, who then speaks once, by his most frequent cell. Else a row is a patient.

    Returns
    -------
    dict
        By column: ``shapes`` (counts), ``blocks`` (means of equal shares of the sorted numbers), ``recurring`` (numbers
        that may stand for *not measured*), ``levels`` (counts; of columns of few values), ``ranks`` (mean rank, 0 … 1,
        of every other column's numbers, by level), ``bins`` (counts by quarter decade), ``days`` (of dates), ``round``
        (units in which the numbers are rounder than as written, and the places they then have), ``laws`` (a mean over
        patients in the middle of a quotient of two columns, as weight over height squared).

    Raises
    ------
    ValueError
        If the table is empty or has a column twice.

    Examples
    --------
    >>> table = pd.DataFrame({"chol": ["0"] * 5 + [str(180 + k) for k in range(10)]})
    >>> told = summarise(table)["chol"]
    >>> told["shapes"], told["recurring"], told["blocks"]
    ({'number': 15}, {'0': 5}, [182.0, 187.0])
    """
    _refuse(table, patient)
    if patient is not None:
        table = _once(table, patient)
    cells = {str(name): texts(table[name]) for name in table.columns}
    read = {name: numbers(column) for name, column in cells.items()}
    levels = {name: _levels(column, least) for name, column in cells.items()}
    continuous = {name: values for name, values in read.items() if levels[name] is None}
    measured = {name: _without_sentinels(values, least) for name, values in continuous.items()}
    ranked = {name: _ranks(values) for name, values in measured.items()}
    laws = _laws(read, least)
    told: Summary = {}
    for name, column in cells.items():
        told[name] = _numeric(read[name], least) | {
            "shapes": _counts(each(column, shape), least),
            "days": _days(column, least),
            **({"free": "more than 20 different values"} if levels[name] is None else {"levels": levels[name]}),
            **({"round": _rounder(name, measured[name])} if name in measured else {}),
            "laws": laws.get(name, {}),
        }
        told[name] |= _by_code(column, list(levels[name] or {}), ranked, continuous, least)
    return told


def _by_code(cells: pd.Series[Any], codes: list[str], ranked: Numbers, continuous: Numbers, least: int) -> Summary:
    """What is known of the patients of each code: mean ranks, and whole distributions where the code names a unit."""
    told: Summary = {"ranks": {}, "parts": {}} if codes else {}
    for code in codes:
        at = (cells == code).to_numpy()
        ranks = {other: _mean_rank(rank[at], least) for other, rank in ranked.items()}
        told["ranks"][code] = {other: rank for other, rank in ranks.items() if rank is not None}
        if is_unit(code):
            told["parts"][code] = {other: _blocks(values[at], least) for other, values in continuous.items()}
    return told


def _refuse(table: pd.DataFrame, patient: str | None) -> None:
    if table.empty:
        raise ValueError("the table is empty: give at least one row and one column")
    twice = [name for name, count in Counter(map(str, table.columns)).items() if count > 1]
    if twice:
        raise ValueError(f"the table has the column {twice[0]!r} twice: rename one")
    if patient is not None and patient not in table.columns:
        raise ValueError(f"the table has no column {patient!r}, named by patient=")


def _once(table: pd.DataFrame, patient: str) -> pd.DataFrame:
    """One row a patient: of each column his most frequent cell that is not empty."""

    def usual(column: pd.Series[Any]) -> Any:
        counts = Counter(cell for cell in column.tolist() if cell)
        return counts.most_common(1)[0][0] if counts else ""

    rest = table.drop(columns=patient).apply(texts)
    return rest.groupby(texts(table[patient]).to_numpy(), sort=True).agg(usual)


def _counts(cells: list[Any], least: int) -> dict[str, int]:
    """Count, with what is too rare to be told counted as the most frequent."""
    counts = Counter(cells)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    found = np.array([counts[name] for name in names], dtype=np.int64)
    rare = found < least
    if 0 < found[rare].sum() < least and not rare.all():
        found[0] += found[rare].sum()
        found[rare] = 0
    return {name: int(count) for name, count in zip(names, screened(found, least=least), strict=True) if count}


def _levels(cells: pd.Series[Any], least: int) -> dict[str, int] | None:
    """Counts by value, None for a column of many values."""
    there = cells[cells != ""].tolist()
    return None if len(set(there)) > MOST_CODES else _counts(there, least)


def _numeric(values: NDArray[np.float64], least: int) -> Summary:
    values = values[np.isfinite(values)]
    recurring = {f"{v:g}": int(count) for v in SENTINELS if (count := int((values == v).sum())) >= least}
    rest = _without_sentinels(values, least)
    positive = rest[rest > 0]
    bins = np.floor(4 * np.log10(positive)).astype(int)
    if recurring:
        kept = _counts([f"{v:g}" if f"{v:g}" in recurring else "other" for v in values], least)
        recurring = {v: kept[v] for v in recurring if v in kept}
    return {
        "recurring": recurring,
        "blocks": _blocks(rest, least),
        "bins": _counts([f"{10 ** (b / 4):.4g}" for b in bins], least),
        "step": _step(values),
    }


def _without_sentinels(values: NDArray[np.float64], least: int) -> NDArray[np.float64]:
    """Leave out recurring sentinels at the edge of the other values."""
    odd = np.isin(values, SENTINELS)
    rest = values[~odd & np.isfinite(values)]
    low, high = np.quantile(rest, [0.05, 0.95]) if len(rest) >= least else (np.inf, -np.inf)
    out = values.copy()
    for v in SENTINELS:
        if (at := values == v).sum() >= least and not low <= v <= high:
            out[at] = np.nan
    return out


def _blocks(values: NDArray[np.float64], least: int) -> list[float]:
    return [float(f"{mean:.6g}") for mean in block_means(values[np.isfinite(values)], least=least)]


def _step(values: NDArray[np.float64]) -> str:
    """Say how finely most values are written."""
    for places in range(4):
        if len(values) and np.mean(np.isclose(values.round(places), values, atol=1e-9)) > 0.9:
            return f"{10.0**-places:g}"
    return "fine"


def _rounder(column: str, values: NDArray[np.float64]) -> dict[str, str]:
    """Name the units in which nearly all different numbers are round, though as written they need not be.

    A height of 170 cm that a program turned into 66.93 in comes back as 170.00; one measured in inches does not. What
    is written as coarsely as the other unit's steps says nothing.
    """
    some = np.unique(values[np.isfinite(values) & (values != 0)])
    if len(some) < ENOUGH:
        return {}
    written = next((10.0**-d for d in range(5) if np.mean(np.isclose(some.round(d), some, atol=1e-9)) > 0.98), 0.0)
    found: dict[str, str] = {}
    for by in [*by_name(column), *anything()]:
        if not by.offset and np.log10(by.factor).is_integer():
            continue  # zeros at the end are a habit
        for step in STEPS:
            chance = by.factor * written / step + SLACK
            if chance > 0.9 or key(by) in found or len(some) * -np.log(chance) < TELLING:
                continue
            off = (by.factor * some + by.offset) / step
            near = np.abs(off - off.round()) <= chance / 2
            if near.mean() >= 0.98 and len(np.unique(off[near].round())) >= ENOUGH:
                found[key(by)] = f"{step:g}"
    return found


def _laws(columns: Numbers, least: int) -> dict[str, dict[str, list[float]]]:
    """Of two columns that a law is about, what they make together: a mean over patients in the middle."""
    told: dict[str, dict[str, list[float]]] = {}
    for law, first, second in between(columns):
        a, b = (_without_sentinels(columns[name], least) for name in (first, second))
        both = np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)
        made = a[both] ** law.powers[0] * b[both] ** law.powers[1]
        blocks = _blocks(made, least) if len(made) >= max(ENOUGH, least) else []
        if blocks:
            told.setdefault(first, {})[second] = [blocks[len(blocks) // 2]]
    return told


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks: NDArray[np.float64] = pd.Series(values).rank(pct=True).to_numpy(dtype=np.float64)
    return ranks


def _mean_rank(ranks: NDArray[np.float64], least: int) -> float | None:
    there = ranks[np.isfinite(ranks)]
    return round(float(there.mean()), 3) if len(there) >= least else None


def _days(cells: pd.Series[Any], least: int) -> dict[str, dict[str, int]]:
    """Of dates that end in the year, by shape: how many patients show that the day stands first, or second."""
    found = {}
    shapes = pd.Series(each(cells, shape), index=cells.index)
    for name in sorted({s for s in shapes if s.startswith("date 31")}):
        first, second = cells[shapes == name].str.extract(r"^(\d+)\D(\d+)").astype(int).to_numpy().T
        found[name] = _counts(np.select([first > 12, second > 12], ["first", "second"], "either").tolist(), least)
    return found
