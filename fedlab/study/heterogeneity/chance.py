"""What a measure would be if there were no difference: the level that small sites reach by chance.

Two random halves of one hospital are not equal, and the smaller they are, the less. Each value is therefore set against
draws under *no difference*: where only counts arrived, patients are drawn anew from the common shares that make what
was told likeliest, and sent on the same terms (screened, or noised) as the real ones, which is a parametric bootstrap
(Efron & Tibshirani, *An introduction to the bootstrap*, 1993); where rows are in this process, the patients' hospitals
are permuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.study.heterogeneity.binned import Leave, filled
from fedlab.study.heterogeneity.census import Table
from fedlab.study.heterogeneity.distances import Floats, shares
from fedlab.study.heterogeneity.likely import likeliest

DRAWS = 200
NEARLY = 0.95  # of the draws told in full: then they fall into no lumps
ROUNDING = 1e-9  # draws that differ by less do not differ: a curve has no tail without a spread


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
    (Kazi-Aoual et al., Computational Statistics & Data Analysis 20, 1995): the skewness one standard error up, and what
    is normal of it by Student's law, for the curve is known from so many draws only.

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
    return each_against(np.array([value]), draws[None])[0]


def each_against(values: Floats, draws: Floats, curve: NDArray[np.bool_] | None = None) -> list[Chance]:
    """Judge many values [values], each by its own draws [values, draws]; as :func:`against` does one.

    ``curve`` tells of which the tail may be read off a curve (default: of all): where counts are withheld, the value's
    or many of the draws', draws fall into lumps, and no curve through them has a tail that holds.
    """
    curve = np.ones(len(values), dtype=bool) if curve is None else curve
    found = np.full((4, len(values)), np.nan)
    found[0] = values
    known = ~np.isnan(draws)
    many = known.sum(1)
    judged = ~np.isnan(values) & (2 * many >= draws.shape[1])
    for n in np.unique(many[judged]):  # what has as many draws left is a matrix again
        rows = np.flatnonzero(judged & (many == n))
        kept, value = draws[rows][known[rows]].reshape(len(rows), n), values[rows]
        reached = (kept >= value[:, None] - ROUNDING).sum(1)
        p = (1 + reached) / (1 + n)
        far = np.flatnonzero((reached == 0) & (kept.std(1) > ROUNDING) & curve[rows])
        if len(far):
            p[far] = np.minimum(p[far], _tail(value[far], kept[far]))
        found[1:, rows] = kept.mean(1), np.quantile(kept, 0.95, axis=1), p
    return [Chance(*row) for row in found.T.tolist()]


def _tail(values: Floats, draws: Floats) -> Floats:
    from scipy.stats import norm, pearson3, t  # a second to import: only when somebody asks

    n = draws.shape[1]
    mean, sd = draws.mean(1), draws.std(1, ddof=1)
    skew = ((draws - mean[:, None]) ** 3).mean(1) / sd**3
    # fifty draws leave a curve so uncertain that, read as if known, it tells of p < .0004 six times too often
    p = pearson3.sf((values - mean) / sd, np.maximum(skew + np.sqrt(6 / n), 0.0))
    out: Floats = t.sf(norm.isf(p) / np.sqrt(1 + 1 / n), n - 1)
    return out


def redrawn(
    expected: Floats, leave: Leave, kind: str, rngs: Sequence[np.random.Generator], draws: int = DRAWS
) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw the sites' counts as they would arrive if all sites were alike in one thing.

    Parameters
    ----------
    expected : float array, shape [tables, sites, cells]
        Of :func:`null_counts`.
    leave : Leave
        The terms on which counts leave a site.
    kind : {"label", "features", "missingness"}
    rngs : sequence of numpy Generator
        One a table: what is drawn for it does not depend on the others.

    Returns
    -------
    (float array of shape [tables, draws, sites, cells], bool array of shape [tables, sites])
        The counts, and at which sites nearly all draws are told in full: others fall into lumps.
    """
    drawn = np.stack([_drawn(c, rng, draws) for c, rng in zip(expected, rngs, strict=True)])
    if leave.epsilon is not None:
        noised = np.stack([leave(counts, rng) for counts, rng in zip(drawn, rngs, strict=True)])
        return noised, np.ones(expected.shape[:2], dtype=bool)
    told = leave(drawn, rngs[0])  # screening draws nothing
    smooth = in_full(told, drawn)
    return filled(told, drawn.sum(-1), least=leave.least, missing=kind != "label"), smooth


def in_full(told: Floats, drawn: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell at which sites nearly all draws [..., draws, sites, cells] were told as they are."""
    return (told == drawn).all(-1).mean(-2) >= NEARLY  # type: ignore[no-any-return]


def null_counts(tables: Sequence[Table], leave: Leave, kind: str) -> Floats:
    """Return the counts [tables, sites, cells] that are expected of sites which are alike in one thing.

    ``"label"``: the same shares; ``"features"``: the same shares among those who have a value, each site having it as
    often as it does; ``"missingness"``: the feature missing equally often, each site with its own values.
    """
    counts = np.nan_to_num(np.stack([table.counts for table in tables]))
    null = partial(alike, kind=kind)
    if leave.epsilon is None:
        told = np.stack([table.told for table in tables])
        counts = likeliest(told, counts.sum(-1), counts, null, least=leave.least)
    return null(counts)


def _drawn(expected: Floats, rng: np.random.Generator, draws: int) -> NDArray[np.int64]:
    """Draw one table, [draws, sites, cells]."""
    out = np.zeros((draws, *expected.shape), dtype=np.int64)
    for site, (n, share) in enumerate(zip(expected.sum(1).round().astype(int), shares(expected), strict=True)):
        if n:
            out[:, site] = rng.multinomial(n, share, size=draws)
    return out


def alike(counts: Floats, *, kind: str) -> Floats:
    """Return the counts [..., sites, cells] that sites would have if they were alike in one thing, their totals kept.

    Examples
    --------
    >>> counts = np.array([[8.0, 0, 2], [42, 50, 298]])
    >>> alike(counts, kind="features")[0].tolist(), alike(counts, kind="missingness")[0].tolist()
    ([4.0, 4.0, 2.0], [2.5, 0.0, 7.5])
    """
    pooled, totals = counts.sum(-2, keepdims=True), counts.sum(-1, keepdims=True)
    if kind == "label":
        return np.asarray(np.nan_to_num(shares(pooled)) * totals)
    there, gone = counts[..., :-1], counts[..., -1:]
    common = np.nan_to_num(shares(pooled[..., :-1]))
    if kind == "features":
        return np.concatenate([common * there.sum(-1, keepdims=True), gone], axis=-1)
    values = np.where(there.any(-1, keepdims=True), np.nan_to_num(shares(there)), common)
    missing = np.nan_to_num(shares(pooled))[..., -1:]
    return np.concatenate([values * totals * (1 - missing), totals * missing], axis=-1)


def finding(
    kind: str, measure: str, site: str, chance: Chance = NOTHING, *, feature: str = "",
    reason: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One row of a table of findings; ``reason`` says why there is no value."""
    return {"kind": kind, "measure": measure, "site": site, "feature": feature, **chance._asdict(), "reason": reason}
