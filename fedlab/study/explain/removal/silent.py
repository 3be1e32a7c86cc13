"""Columns that say nothing at a site of what they say elsewhere: noise, or another quantity under that name.

Another unit, a number for *not measured* or another device change how a value is written or read. They never take away
what it has to do with the patient's other values. Where that is gone, none of these kinds has done it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.study.explain.removal.columns import FEWEST, Floats, Table

HALF = 0.5  # of what a column has to do with the others: what a noisy device leaves of it
SURE = 3.3  # standard errors below that half
RIDGE = 1.0


def silent(tables: Sequence[Table], numbers: Sequence[int], moved: Sequence[set[int]]) -> list[set[int]]:
    """Name the columns of each site that have much less to do with the other columns and the label than elsewhere.

    Each column is predicted from the others by a regression on all other sites, everything in each site's own ranks, so
    that no unit and no device plays a part. Whether the values here follow the prediction is then asked.

    Parameters
    ----------
    tables : sequence of Table
        With numbers for *not measured* taken out.
    numbers : sequence of int
        Columns of measurements.
    moved : sequence of set of int
        By site, columns that stand elsewhere than those of the others. They are asked together as well: many that say
        a little too little are told from as many that are only written otherwise.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(3, 300, 1)) + rng.normal(size=(3, 300, 2)) / 2
    >>> x[2, :, 0] = rng.normal(size=300)
    >>> silent([Table(each, (each[:, 1] > 0).astype(int)) for each in x], [0, 1], [set()] * 3)
    [set(), set(), {0}]
    """
    ranked = [np.column_stack([*(_ranks(t.x[:, j]) for j in numbers), _ranks(t.y.astype(float))]) for t in tables]
    out = []
    for k, t in enumerate(tables):
        below: dict[int, float] = {}
        rest = np.concatenate([r for i, r in enumerate(ranked) if i != k])
        gaps = np.resize(np.isnan(t.x[:, numbers]), (len(rest), len(numbers)))  # to predict from no more than is here
        seen = np.where(np.column_stack([gaps, np.zeros(len(rest), dtype=bool)]), 0.0, rest)
        away = np.concatenate([u.x for i, u in enumerate(tables) if i != k])
        for at, j in enumerate(numbers):
            here, there = ~np.isnan(t.x[:, j]), ~np.isnan(away[:, j])
            if min(here.sum(), there.sum()) < 3 * FEWEST:
                continue
            known = np.delete(seen, at, axis=1)
            gram = known[there].T @ known[there] + RIDGE * np.eye(known.shape[1])
            line = np.linalg.solve(gram, known[there].T @ rest[there, at])
            elsewhere = _together(known[there] @ line, rest[there, at])
            mine = _together(np.delete(ranked[k], at, axis=1)[here] @ line, ranked[k][here, at])
            error = np.sqrt(1 / (here.sum() - 3) + 1 / (there.sum() - 3))
            if elsewhere > 0:
                below[j] = float(np.arctanh(HALF * elsewhere) - np.arctanh(mine)) / error
        found = {j for j, z in below.items() if z > SURE}
        asked = moved[k] & set(below)
        if asked and sum(below[j] for j in asked) > SURE * np.sqrt(len(asked)):
            found |= asked
        if found:  # where some say nothing, the others are not taken on trust
            found |= {j for j, z in below.items() if z > 0}
        out.append(found)
    return out


def _ranks(values: Floats) -> Floats:
    """Ranks of what is there, with mean 0 and spread 1; 0 where nothing is."""
    from scipy.stats import rankdata

    out = np.zeros(len(values))
    there = ~np.isnan(values)
    if there.sum() > 1:
        ranks = rankdata(values[there])
        out[there] = (ranks - ranks.mean()) / max(float(ranks.std()), 1e-9)
    return out


def _together(one: Floats, other: Floats) -> float:
    spread = float(one.std() * other.std())
    return float(np.clip(np.mean((one - one.mean()) * (other - other.mean())) / spread, -0.99, 0.99)) if spread else 0.0
