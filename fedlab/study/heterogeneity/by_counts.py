"""Differences that counts show: size, label, features one by one, and what is not measured."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fedlab.study.heterogeneity.census import LABEL, Census, Table, feature_of
from fedlab.study.heterogeneity.chance import Chance, against, finding, redrawn
from fedlab.study.heterogeneity.distances import HISTOGRAM, ORDERED, Floats

COUNTED = ("label", "features", "missingness")


def quantity(census: Census) -> Iterator[dict[str, Any]]:
    """Each site's training patients over the mean of all sites; a count is no sample, and has no chance level."""
    mean = census.patients.mean()
    for site, n in zip(census.sites, census.patients, strict=True):
        told = n / mean if n > 0 else np.nan
        why = "" if n > 0 else f"fewer than {census.leave.least} training patients"
        yield finding("quantity", "patients", site, Chance(told, np.nan, np.nan, np.nan), reason=why)


def of_counts(
    census: Census, kind: str, measures: tuple[str, ...], *, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare each site with all others together, in one kind of difference, variable by variable."""
    for key, table in variables(census, kind):
        drawn = redrawn(table, census.leave, kind, _rng(seed, kind, key), draws)
        counts, many = cells_of(table.counts, kind), cells_of(drawn, kind)
        for measure in fitting(measures, table):
            found = apart(measure, counts, rest(counts), table)
            by_chance = apart(measure, many, rest(many), table)
            for k, site in enumerate(census.sites):
                why = _why(census, table, k, kind) if np.isnan(found[k]) else ""
                chance = against(float(found[k]), by_chance[:, k])
                yield finding(kind, measure, site, chance, feature=feature_of(key), reason=why)
    if kind != "label":
        for feature, why in census.reasons.items():
            yield from (finding(kind, m, s, feature=feature, reason=why) for m in measures for s in census.sites)


def of_pairs(census: Census, kind: str, measure: str, *, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Compare each site with each other one; only counts that were told already are used."""
    for key, table in variables(census, kind):
        drawn = redrawn(table, census.leave, kind, _rng(seed, kind, key), draws)
        counts, many = cells_of(table.counts, kind), cells_of(drawn, kind)
        if not fitting((measure,), table):
            continue
        for a, one in enumerate(census.sites):
            for b, other in enumerate(census.sites[:a]):
                value = apart(measure, counts[a], counts[b], table)
                chance = against(float(value), apart(measure, many[:, a], many[:, b], table))
                yield finding(kind, measure, one, chance, feature=feature_of(key)) | {"other": other}


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


def apart(measure: str, own: Floats, others: Floats, table: Table) -> Floats:
    """Apply a measure by name."""
    own = np.nan_to_num(own)  # an empty histogram gives nan, as it should
    if measure in ORDERED:
        return ORDERED[measure](own, others, table.cells.at)  # type: ignore[no-any-return]
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
