"""How a hospital writes otherwise: another unit, a number that stands for *not measured*, codes in another order.

What is further off than a device can be (four spreads, or a fourfold spread) is a matter of writing, not of measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fedlab.federation import Feature
from fedlab.federation.frame import columns
from fedlab.study.explain.removal.columns import FEWEST, Floats, Ints, Line, Table

FAR, WIDE = 4.0, 4.0  # spreads, and times: what no device is off by
ATOM = 0.02  # share of a site's rows that hold the same number
TELLING = 12.0  # nats by which another order of the codes must explain a site better, and three quarters of its misfit


@dataclass(frozen=True)
class Writing:
    """What a site writes otherwise: a number for *not measured* by column, units, codes by feature."""

    sentinels: dict[int, float] = field(default_factory=dict)
    units: Line = field(default_factory=lambda: Line.none(0))
    codes: dict[int, Ints] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return bool(self.sentinels or self.codes or self.units.moves)


def sentinels(tables: Sequence[Table], numbers: Sequence[int]) -> list[dict[int, float]]:
    """Find a number that a site repeats far outside of what most others, and its own other rows, hold."""
    return [{j: v for j in numbers if (v := _sentinel(tables, k, j)) is not None} for k in range(len(tables))]


def _sentinel(tables: Sequence[Table], k: int, j: int) -> float | None:
    mine = tables[k].x[:, j]
    mine = mine[~np.isnan(mine)]
    if len(mine) < FEWEST:
        return None
    values, counts = np.unique(mine, return_counts=True)
    others = [t.x[~np.isnan(t.x[:, j]), j] for i, t in enumerate(tables) if i != k]
    others = [v for v in others if len(v) >= FEWEST]
    if not others:
        return None
    for at in np.argsort(-counts):
        rest = mine[mine != values[at]]
        if counts[at] < max(2, ATOM * len(mine)) or len(rest) < FEWEST:
            return None
        spread = max(_spread(rest), 1e-12)
        inside = np.quantile(rest, [0.0, 1.0])
        gap = max(inside[0] - values[at], values[at] - inside[1])
        strange = np.mean([not v.min() <= values[at] <= v.max() for v in others]) >= 0.5
        if gap > 0 and abs(values[at] - np.median(rest)) > 3 * spread and strange:
            return float(values[at])
    return None


def _spread(values: Floats) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) / 1.349 or float(values.std())


def units(tables: Sequence[Table], numbers: Sequence[int], skip: Sequence[set[int]]) -> list[Line]:
    """Find columns that stand so far from most sites' that no device explains it, and the line that leads back.

    In a column of ``skip`` a wide spread alone is not enough: who is measured there may be another patient.
    """
    width = tables[0].x.shape[1]
    lines = [Line.none(width) for _ in tables]
    for j in numbers:
        found = [t.x[~np.isnan(t.x[:, j]), j] for t in tables]
        at = {k: (float(np.median(v)), _spread(v)) for k, v in enumerate(found) if len(v) >= FEWEST and _spread(v) > 0}
        if len(at) < 2:
            continue
        middle, spread = (float(np.median([each[i] for each in at.values()])) for i in (0, 1))
        nearest = min(at, key=lambda k: abs(at[k][0] - middle) / spread + abs(np.log(at[k][1] / spread)))
        middle, spread = at[nearest]
        for k, (mine, wide) in at.items():
            ratio = max(wide / spread, spread / wide)
            far = abs(mine - middle) > FAR * max(spread, min(wide, 2 * spread))
            if far or (ratio > WIDE and j not in skip[k]):
                lines[k].scale[j] = spread / wide
                lines[k].shift[j] = middle - mine * spread / wide
    return lines


def codes(tables: Sequence[Table], features: Sequence[Feature], skip: Sequence[set[int]]) -> list[dict[int, Ints]]:
    """Find features whose codes a site uses in another order: which code each of its codes stands for."""
    found: list[dict[int, Ints]] = [{} for _ in tables]
    for f, feature in enumerate(features):
        if not feature.codes or len(feature.codes) < 2:
            continue
        number = [code_of(t.x, features, f) for t in tables]
        size = len(feature.codes)
        counts = np.array([_joint(c, t.y, size) for c, t in zip(number, tables, strict=True)], dtype=float)
        for k in range(len(tables)):
            rest = np.median(_share(np.delete(counts, k, axis=0)), axis=0)
            order = _order(counts[k], rest)
            if order is not None and span(features, f).start not in skip[k]:
                found[k][f] = order
    return found


def _joint(code: Ints, y: Ints, size: int) -> Ints:
    classes = int(y.max()) + 1 if len(y) else 1
    table = np.zeros((max(classes, 20), size), dtype=np.int64)
    np.add.at(table, (y[code >= 0], code[code >= 0]), 1)
    return table


def _share(counts: Floats) -> Floats:
    return np.asarray((counts + 0.5) / (counts + 0.5).sum(-1, keepdims=True))


def _order(mine: Floats, others: Floats) -> Ints | None:
    """Match the site's codes to the others': by class, so that a prevalence is not taken for another book."""
    from scipy.optimize import linear_sum_assignment

    fits = mine.T @ np.log(others)  # [code here, code there]
    here, there = linear_sum_assignment(-fits)
    best, as_is, ideal = fits[here, there].sum(), np.trace(fits), (mine * np.log(_share(mine))).sum()
    fitting = ideal - best < (ideal - as_is) / 4  # other patients fit in no order
    return there.astype(np.int64) if best - as_is > TELLING and fitting and (here != there).any() else None


def code_of(x: Floats, features: Sequence[Feature], f: int) -> Ints:
    """Number of the code in each row, −1 where nothing, or no code, is written; of the ``f``-th feature."""
    feature, block = features[f], x[:, span(features, f)]
    empty = np.isnan(block).any(1)
    if feature.kind == "number":
        known = np.array([float(code) for code in feature.codes or {}])
        match = block[:, :1] == known[None]
        return np.where(match.any(1), match.argmax(1), -1)
    if block.shape[1] == 1:
        code = np.nan_to_num(block[:, 0]).round().astype(int)
        return np.where(empty | (code < 0) | (code >= len(feature.codes or {})), -1, code)
    return np.where(empty, -1, np.nan_to_num(block).argmax(1))


def recoded(x: Floats, features: Sequence[Feature], f: int, order: Ints) -> Floats:
    """Write the ``f``-th feature's codes in another order: ``order`` has what each stands for."""
    feature, code = features[f], code_of(x, features, f)
    at, out = span(features, f), x.copy()
    new = order[np.maximum(code, 0)]
    rows = code >= 0
    if feature.kind == "number":
        out[rows, at.start] = np.array([float(c) for c in feature.codes or {}])[new[rows]]
    elif at.stop - at.start == 1:
        out[rows, at.start] = new[rows]
    else:
        out[rows, at] = np.eye(at.stop - at.start)[new[rows]]
    return out


def span(features: Sequence[Feature], f: int) -> slice:
    """Return the columns of the ``f``-th feature."""
    begin = len(columns(features[:f]))
    return slice(begin, begin + len(columns(features[f : f + 1])))
