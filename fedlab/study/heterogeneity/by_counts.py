"""Differences that counts show: size, label, features one by one, and what is not measured."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.study.heterogeneity.census import LABEL, Census, Table, feature_of
from fedlab.study.heterogeneity.chance import Chance, each_against, finding, null_counts, redrawn
from fedlab.study.heterogeneity.distances import HISTOGRAM, ORDERED, Floats
from fedlab.study.paired import LEVEL

COUNTED = ("label", "features", "missingness")
MORE = 10_000  # draws where some counts were withheld and none of the first draws reaches the value
AGAIN = 2**23  # drawn counts that are held at once then
TOGETHER = 2**20  # drawn counts that are held at once, or those of one variable


def quantity(census: Census) -> Iterator[dict[str, Any]]:
    """Each site's training patients over the mean of all sites; a count is no sample, and has no chance level."""
    mean = census.patients.mean()
    for site, n in zip(census.sites, census.patients, strict=True):
        told = n / mean if n > 0 else np.nan
        why = "" if n > 0 else f"fewer than {census.leave.least} training patients"
        yield finding("quantity", "patients", site, Chance(told, np.nan, np.nan, np.nan), reason=why)


def of_counts(
    census: Census, kind: str, measures: tuple[str, ...], *, cells: int, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare each site with all others together, in one kind of difference, variable by variable.

    ``cells`` are the sites times kinds that are judged together.
    """
    tables = variables(census, kind)
    for some in _alike(tables, draws):
        null = null_counts([table for _, table in some], census.leave, kind)
        judged, smooth = _judged(some, null, census, kind, fitting(measures, some[0][1]), draws=draws, seed=seed)
        for row, (key, table) in enumerate(some):
            first = {m: chances[row * len(census.sites) :][: len(census.sites)] for m, chances in judged.items()}
            again = _judged_again(
                some[row], null[[row]], first, smooth[row], census, kind, len(tables) * cells, draws=draws, seed=seed
            )
            for measure, chances in judged.items():
                for k, site in enumerate(census.sites):
                    chance = again.get((measure, k), chances[row * len(census.sites) + k])
                    why = _why(census, table, k, kind) if np.isnan(chance.value) else ""
                    yield finding(kind, measure, site, chance, feature=feature_of(key), reason=why)
    if kind != "label":
        for feature, why in census.reasons.items():
            yield from (finding(kind, m, s, feature=feature, reason=why) for m in measures for s in census.sites)


def _judged(
    some: list[tuple[str, Table]],
    null: Floats,
    census: Census,
    kind: str,
    measures: list[str],
    *,
    draws: int,
    seed: int,
) -> tuple[dict[str, list[Chance]], NDArray[np.bool_]]:
    """Judge each site of each table, by each measure, table after table; and where a curve may tell [tables, sites]."""
    counts, many, at, smooth = _stacked(some, null, census, kind, draws=draws, seed=seed)
    judged = {
        measure: _each_against(
            apart(measure, counts, rest(counts), at), apart(measure, many, rest(many), at[:, None]), smooth
        )
        for measure in measures
    }
    return judged, smooth


def _judged_again(
    one: tuple[str, Table], null: Floats, judged: dict[str, list[Chance]], smooth: NDArray[np.bool_], census: Census,
    kind: str, family: int, *, draws: int, seed: int,
) -> dict[tuple[str, int], Chance]:  # fmt: skip
    """Judge by more draws what no draw reached and no curve tells, where more can make it clear among all tables."""
    more = _affordable(one[1], family)
    far = {
        (measure, k)
        for measure, chances in judged.items()
        for k, chance in enumerate(chances)
        if not smooth[k] and chance.p * (1 + draws) < 1.5
    }
    if not far or not more:
        return {}
    again, _ = _judged([one], null, census, kind, sorted({measure for measure, _ in far}), draws=more, seed=seed)
    return {(measure, k): again[measure][k] for measure, k in far}


def _affordable(table: Table, family: int) -> int:
    """Return how many more draws can be made where they could make a value clear among so many; else 0.

    A value that none of them reaches has a p of one over their number, times all that it is judged among.
    """
    more = max(MORE, math.ceil(1.25 * family / LEVEL))
    return more if more <= AGAIN // table.counts.size else 0


def out_of_reach(census: Census, kind: str, detail: pd.DataFrame, *, cells: int, draws: int) -> int:
    """Count the values that no draw reached, and that cannot be called clear for lack of draws, however large they are.

    So it is where counts were withheld, no curve tells of the tail, and tables times ``cells`` are too many.
    """
    tables = variables(census, kind)
    gone = [feature_of(key) for key, table in tables if not _affordable(table, len(tables) * cells)]
    rows = detail[(detail["kind"] == kind) & detail["feature"].isin(gone)]
    return int(np.isclose(rows["p"] * (1 + draws), 1).sum())


def of_pairs(census: Census, kind: str, measure: str, *, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Compare each site with each other one; only counts that were told already are used."""
    pairs = [(a, b) for a in range(len(census.sites)) for b in range(a)]
    one, other = map(list, zip(*pairs, strict=True))
    for some in _alike(variables(census, kind), draws):
        if not fitting((measure,), some[0][1]):
            continue
        null = null_counts([table for _, table in some], census.leave, kind)
        counts, many, at, smooth = _stacked(some, null, census, kind, draws=draws, seed=seed)
        found = apart(measure, counts[:, one], counts[:, other], at)
        by_chance = apart(measure, many[:, :, one], many[:, :, other], at[:, None])
        chances = iter(_each_against(found, by_chance, smooth[:, one] & smooth[:, other]))
        for key, _ in some:
            for a, b in pairs:
                told = finding(kind, measure, census.sites[a], next(chances), feature=feature_of(key))
                yield told | {"other": census.sites[b]}


def _alike(tables: list[tuple[str, Table]], draws: int) -> Iterator[list[tuple[str, Table]]]:
    """Cut into runs of tables with as many cells, ordered or not, that can be compared in one go and held at once."""
    for _, alike in groupby(tables, lambda each: (each[1].counts.shape, each[1].cells.at is None)):
        run = list(alike)
        size = max(1, TOGETHER // (draws * run[0][1].counts.size))
        yield from (run[start : start + size] for start in range(0, len(run), size))


def _stacked(
    some: list[tuple[str, Table]], null: Floats, census: Census, kind: str, *, draws: int, seed: int
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Return what the sites told [tables, sites, cells], draws of it, and where the cells lie [tables, 1, cells].

    Last, of which sites [tables, sites] every count was told as it is, and is in the draws.
    """
    tables = [table for _, table in some]
    drawn, smooth = redrawn(null, census.leave, kind, [_rng(seed, kind, key) for key, _ in some], draws)
    at = np.stack([np.empty(0) if table.cells.at is None else table.cells.at for table in tables])
    smooth &= np.stack([(table.told == table.counts).all(1) for table in tables])
    return cells_of(np.stack([table.counts for table in tables]), kind), cells_of(drawn, kind), at[:, None], smooth


def _each_against(found: Floats, by_chance: Floats, smooth: NDArray[np.bool_]) -> list[Chance]:
    """Judge values [tables, sites] by draws [tables, draws, sites]; table after table, site after site."""
    draws = np.moveaxis(by_chance, 1, -1)
    return each_against(found.ravel(), np.ascontiguousarray(draws.reshape(-1, draws.shape[-1])), smooth.ravel())


def variables(census: Census, kind: str) -> list[tuple[str, Table]]:
    """Return the tables that a kind of difference is read off."""
    return [(key, table) for key, table in census.tables.items() if (key == LABEL) == (kind == "label")]


def fitting(measures: tuple[str, ...], table: Table) -> list[str]:
    """Leave out measures that need an order of the cells, where there is none."""
    return [name for name in measures if name in HISTOGRAM or table.cells.at is not None]


def cells_of(counts: Floats, kind: str) -> Floats:
    """Return the cells that a kind of difference compares: all, those with a value, or with against without."""
    if kind == "label":
        return counts
    there = counts[..., :-1]
    return there if kind == "features" else np.stack([there.sum(-1), counts[..., -1]], axis=-1)


def rest(counts: Floats) -> Floats:
    """Return the sum over all other sites, [..., sites, cells]; a site that told nothing adds nothing."""
    known = np.nan_to_num(counts)
    out: Floats = np.maximum(known.sum(-2, keepdims=True) - known, 0)
    return out


def apart(measure: str, own: Floats, others: Floats, at: Floats) -> Floats:
    """Apply a measure by name to counts whose cells lie ``at``."""
    own = np.nan_to_num(own)  # an empty histogram gives nan, as it should
    if measure in ORDERED:
        return ORDERED[measure](own, others, at)  # type: ignore[no-any-return]
    return HISTOGRAM[measure](own, others)  # type: ignore[no-any-return]


def _why(census: Census, table: Table, site: int, kind: str) -> str:
    least, told = census.leave.least, table.counts[site]
    if census.patients[site] == 0:
        return f"fewer than {least} training patients"
    if np.isnan(told).any():
        return f"no cell of {least} patients or more"
    if not cells_of(told, kind).any():
        return f"fewer than {least} values at this site"
    return f"fewer than {least} values at the other sites"


def _rng(seed: int, kind: str, key: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{kind} {key}".encode())])
