"""Who gets measured: what a site misses more often than others, and what would have been seen there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedlab.study.explain.removal.columns import FEWEST, LEVEL, Floats, Table

NEAREST = 5  # donors to draw from


def missed(tables: Sequence[Table]) -> list[NDArray[np.bool_]]:
    """Tell which columns a site misses for other reasons than chance, by site [columns].

    Where a class is measured more often than another, a prevalence changes the rate in all patients but not within the
    classes: both must differ.
    """
    from scipy.stats import norm

    width = tables[0].x.shape[1]
    gone = [np.isnan(t.x) for t in tables]
    p = np.ones((2, len(tables), width))
    for k, (t, mine) in enumerate(zip(tables, gone, strict=True)):
        rest = np.concatenate([g for i, g in enumerate(gone) if i != k])
        label = np.concatenate([u.y for i, u in enumerate(tables) if i != k])
        p[0, k] = 2 * norm.sf(np.abs(_z(mine, rest)))
        each = [_z(mine[t.y == c], rest[label == c]) for c in np.unique(t.y) if (label == c).any()]
        p[1, k] = 2 * norm.sf(np.abs(np.sum(each, axis=0)) / np.sqrt(max(len(each), 1)))
    found = p.max(0) < LEVEL / (len(tables) * max(1, width))
    hit = found.any(0)
    rate = np.array([g.mean(0) for g in gone])
    return [hit & (rate[k] > rate.min(0)) for k in range(len(tables))]


def _z(mine: NDArray[np.bool_], rest: NDArray[np.bool_]) -> Floats:
    n, m = len(mine), len(rest)
    share = (mine.sum(0) + rest.sum(0)) / (n + m)
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / m))
    apart: Floats = mine.mean(0) - rest.mean(0)
    return np.asarray(np.divide(apart, error, out=np.zeros(len(error)), where=error > 0))


def filled(
    tables: Sequence[Table], columns: Sequence[NDArray[np.bool_]], blocks: Sequence[slice], rng: np.random.Generator
) -> list[Floats]:
    """Write in what was missed, until a site misses no more than the site that misses least.

    Of a patient who is alike in the rest and of the same class, at the sites that measured (hot deck, one of the five
    nearest): nothing is smoothed.

    Parameters
    ----------
    tables : sequence of Table
        As the sites write and measure when all do it alike.
    columns : sequence of bool array
        What :func:`missed` found.
    blocks : sequence of slice
        Columns that belong together: a category's are filled from one donor.
    rng : numpy Generator
    """
    near = _standard(tables)
    out = [t.x.copy() for t in tables]
    for block in blocks:
        at = block.start
        rate = [float(np.isnan(t.x[:, at]).mean()) for t in tables]
        for k, t in enumerate(tables):
            if not columns[k][at]:
                continue
            empty = np.flatnonzero(np.isnan(t.x[:, at]))
            number = round(len(empty) - min(rate) * len(t.x))
            for row in rng.permutation(empty)[:number]:
                out[k][row, block] = _donated(tables, near, k, int(row), block, rng)
    return out


def _standard(tables: Sequence[Table]) -> list[Floats]:
    every = np.concatenate([t.x for t in tables])
    seen = ~np.isnan(every)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, every, 0).sum(0) / count
    spread = np.sqrt(np.where(seen, (every - mean) ** 2, 0).sum(0) / count)
    return [np.nan_to_num((t.x - mean) / np.where(spread > 0, spread, 1)) for t in tables]


def _donated(
    tables: Sequence[Table], near: Sequence[Floats], k: int, row: int, block: slice, rng: np.random.Generator
) -> Floats:
    best: list[tuple[float, int, int]] = []
    for i, t in enumerate(tables):
        able = np.flatnonzero(~np.isnan(t.x[:, block.start]) & (t.y == tables[k].y[row]))
        if i == k or len(able) < FEWEST:
            continue
        apart = (near[i][able] - near[k][row]) ** 2
        apart[:, block] = 0
        distance = apart.sum(1)
        best += [(float(distance[n]), i, int(able[n])) for n in np.argsort(distance)[:NEAREST]]
    if not best:
        return np.full(block.stop - block.start, np.nan)
    _, i, donor = sorted(best)[:NEAREST][rng.integers(min(NEAREST, len(best)))]
    return tables[i].x[donor, block]
