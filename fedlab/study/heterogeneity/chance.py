"""What a measure would be if there were no difference: the level that small sites reach by chance.

Two random halves of one hospital are not equal, and the smaller they are, the less. Each value is therefore set against
draws under *no difference*: where only counts arrived, patients are drawn anew from the hospitals' common shares and
sent on the same terms (screened, or noised) as the real ones, which is a parametric bootstrap (Efron & Tibshirani, *An
introduction to the bootstrap*, 1993); where rows are in this process, the patients' hospitals are permuted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fedlab.study.heterogeneity.binned import Leave, filled
from fedlab.study.heterogeneity.census import Table
from fedlab.study.heterogeneity.distances import Floats, shares

DRAWS = 200


class Chance(NamedTuple):
    """A value beside what no difference would give: its mean, its 95 % quantile, and the one-sided p."""

    value: float
    expected: float
    level: float
    p: float


NOTHING = Chance(np.nan, np.nan, np.nan, np.nan)


def against(value: float, draws: Floats) -> Chance:
    """Judge a value by draws under no difference.

    p is the share of draws that reach the value, itself counted as one. Where none reaches it, this would end at
    1 / (draws + 1), so the tail is read off a Pearson type III curve with the draws' mean, variance and skewness
    (Kazi-Aoual et al., Computational Statistics & Data Analysis 20, 1995).

    Parameters
    ----------
    value : float
    draws : float array, shape [draws]
        ``nan`` is a draw in which nothing was told; where that is more than half, nothing can be judged, and p is
        ``nan``.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=200)
    >>> against(0.0, draws).p > 0.3, against(9.0, draws).p < 1e-9
    (True, True)
    """
    kept = draws[~np.isnan(draws)]
    if np.isnan(value) or 2 * len(kept) < len(draws):
        return Chance(value, np.nan, np.nan, np.nan)
    reached = int((kept >= value - 1e-9).sum())
    p = (1 + reached) / (1 + len(kept))
    if not reached and kept.std() > 0:
        p = min(p, _tail(value, kept))
    return Chance(value, float(kept.mean()), float(np.quantile(kept, 0.95)), p)


def _tail(value: float, draws: Floats) -> float:
    from scipy.stats import pearson3  # a second to import: only when somebody asks

    z = (draws - draws.mean()) / draws.std()
    return float(pearson3.sf((value - draws.mean()) / draws.std(), max(float((z**3).mean()), 0.0)))


def redrawn(table: Table, leave: Leave, kind: str, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Draw the sites' counts as they would arrive if all sites were alike in one thing.

    Parameters
    ----------
    table : Table
    leave : Leave
        The terms on which counts leave a site.
    kind : {"label", "features", "missingness"}
        ``"label"``: the same shares; ``"features"``: the same shares among those who have a value, each site having it
        as often as it does; ``"missingness"``: the feature missing equally often, each site with its own values.

    Returns
    -------
    float array, shape [draws, sites, cells]
    """
    counts = np.nan_to_num(table.counts)
    pooled = counts.sum(0)
    sizes = np.round(counts.sum(1)).astype(int)
    out = np.empty((draws, *counts.shape))
    for site, (own, n) in enumerate(zip(counts, sizes, strict=True)):
        p = shares(alike(own, pooled, kind)) if n else np.full(len(own), np.nan)
        out[:, site] = rng.multinomial(n, p, size=draws) if n else 0
    told = leave(out.astype(np.int64), rng)
    return told if leave.epsilon is not None else filled(told, out.sum(-1), least=leave.least, missing=kind != "label")


def alike(own: Floats, pooled: Floats, kind: str) -> Floats:
    """Return the counts that a site would have if it were as all others in one thing, its total kept.

    Examples
    --------
    >>> own, pooled = np.array([8.0, 0.0, 2.0]), np.array([50.0, 50.0, 300.0])
    >>> alike(own, pooled, "features").tolist(), alike(own, pooled, "missingness").tolist()
    ([4.0, 4.0, 2.0], [2.5, 0.0, 7.5])
    """
    if kind == "label":
        return np.asarray(shares(pooled) * own.sum())
    if kind == "features":
        values = shares(pooled[:-1]) if pooled[:-1].any() else np.zeros(len(own) - 1)
        return np.append(values * own[:-1].sum(), own[-1])
    missing = shares(pooled)[-1]
    values = shares(own[:-1]) if own[:-1].any() else shares(pooled[:-1])
    there = own.sum() * (1 - missing)
    return np.append(np.nan_to_num(values) * there, own.sum() * missing)


def finding(
    kind: str, measure: str, site: str, chance: Chance = NOTHING, *, feature: str = "",
    reason: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One row of a table of findings; ``reason`` says why there is no value."""
    return {"kind": kind, "measure": measure, "site": site, "feature": feature, **chance._asdict(), "reason": reason}
