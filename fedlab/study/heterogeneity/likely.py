"""Which shares make what the sites told likeliest, where small cells were withheld.

A cell that came as 0 holds 0 to ``least - 1`` patients. Shares read off the told cells alone lack all of these, and
a rare cell that twenty sites would have told only by luck looks as if the one site that told it were another. So the
shares are those of maximum likelihood for counts that are known only up to an interval, by expectation and maximisation
in turn (Dempster, Laird & Rubin, *Maximum likelihood from incomplete data via the EM algorithm*, Journal of the Royal
Statistical Society B 39, 1977).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedlab.study.heterogeneity.distances import Floats, shares

TURNS = 100
SETTLED = 1e-2  # patients by which a cell may still move


def likeliest(told: Floats, totals: Floats, start: Floats, null: Callable[[Floats], Floats], *, least: int) -> Floats:
    """Return the counts to expect at the shares under which what was told is likeliest.

    Parameters
    ----------
    told : float array, shape [tables, sites, cells]
        As screened.
    totals : float array, shape [tables, sites]
    start : float array, shape [tables, sites, cells]
        Counts to begin with.
    null : callable
        Of counts of some tables, those that the sites would have if they did not differ; each table by itself.
    least : int

    Examples
    --------
    One of four sites told a cell, which five patients of forty are just enough for; the others stand near it.

    >>> told = np.array([[[35.0, 5], [40, 0], [40, 0], [40, 0]]])
    >>> alike = lambda counts: 0 * counts + counts.mean(1, keepdims=True)
    >>> likeliest(told, told.sum(-1), told, alike, least=5).round(1)[0, :, 1].tolist()
    [5.0, 2.4, 2.4, 2.4]
    """
    totals = np.round(totals)  # whole patients: a sum of shares is off by a bit, and that is no patient withheld
    counts, tilt, moving = start.copy(), np.ones(totals.shape), np.arange(len(told))
    for _ in range(TURNS):
        before = counts[moving]
        counts[moving], tilt[moving] = expected(
            told[moving], totals[moving], shares(null(before)), tilt[moving], least=least
        )
        moving = moving[np.abs(counts[moving] - before).max((1, 2), initial=0) >= SETTLED]
        if not len(moving):
            break
    return counts


def expected(told: Floats, totals: Floats, share: Floats, tilt: Floats, *, least: int) -> tuple[Floats, Floats]:
    """Return the counts to expect of patients with these shares, given what was told; sums are kept.

    Three things may have happened at a site. All but one cell are small, and were told to stand in it; or all withheld
    cells are small; or they are too few together, and one more was withheld to hide them. Small cells are taken for
    Poisson counts below ``least``, tilted until they are as many as were withheld. ``tilt`` [..., sites] is where the
    last turn stood, and is returned one step nearer.
    """
    hidden = np.where(told == 0, np.nan_to_num(share), 0.0)
    withheld = totals - told.sum(-1)
    hidden = np.divide(hidden, hidden.sum(-1, keepdims=True), out=np.zeros_like(hidden), where=hidden > 0)
    tilted = _truncated(hidden * (withheld * tilt)[..., None], least)
    held = tilted.sum(-1)
    step = np.divide(withheld, held, out=np.ones(held.shape), where=(held > 0) & (withheld > 0))
    out = _with_neighbour(told, hidden, withheld, step[..., None] * tilted, least)
    out = np.where(withheld[..., None] > 0, told + out, told)
    alone = (withheld == 0) & ((told > 0).sum(-1) == 1)
    elsewhere = np.where(told == 0, np.nan_to_num(share), 0.0)
    cut = np.where(alone[..., None], _truncated(elsewhere.sum(-1) * totals, least)[..., None], 0.0)
    out = out + hidden * cut - np.where(told > 0, cut, 0.0) * hidden.any(-1, keepdims=True)
    return out, np.clip(tilt * step, 1e-6, 1e6)


def _with_neighbour(told: Floats, hidden: Floats, withheld: Floats, small: Floats, least: int) -> Floats:
    """Mix what stands in withheld cells if all are ``small`` with what does if one went with the others."""
    kept = np.where(told > 0, told, np.inf).min(-1, keepdims=True)
    n, q = withheld[..., None], 1 - hidden
    term, mass, others = np.maximum(hidden, 1e-300) ** n, np.zeros_like(hidden), np.zeros_like(hidden)
    for few in range(1, least):  # so many stand in all withheld cells but this one
        term = term * np.maximum(n - few + 1, 0) / few * q / np.maximum(hidden, 1e-300)
        fits = (n - few >= least) & (n - few <= kept) & np.isfinite(kept) & (hidden > 0)
        mass, others = mass + fits * term, others + fits * term * few
    total = mass.sum(-1, keepdims=True) + _all_small(hidden, withheld, least)[..., None]
    total = np.where(total > 0, total, 1.0)
    per = np.divide(others, q, out=np.zeros_like(q), where=q > 1e-12)
    mixed = mass * n - others + hidden * (per.sum(-1, keepdims=True) - per)
    none = mass.sum(-1, keepdims=True)
    return np.asarray((mixed + (total - none) * small) / total)


def _all_small(hidden: Floats, withheld: Floats, least: int) -> Floats:
    """Probability that no cell holds ``least`` of the withheld patients, dealt out by these shares."""
    most = (least - 1) * hidden.shape[-1]
    n = np.where(withheld <= most, withheld, 0).astype(int)
    ways = np.zeros((*withheld.shape, most + 1))  # that so many stand in the cells so far, as Poisson counts
    ways[..., 0] = 1
    for cell in range(hidden.shape[-1]):
        rate = (hidden[..., cell] * n)[..., None]
        term = np.exp(-rate)
        before, ways = ways, ways * term
        for few in range(1, least):
            term = term * rate / few
            ways[..., few:] += term * before[..., :-few]
    logs = np.cumsum(np.log(np.maximum(np.arange(most + 1), 1)))
    unbounded = np.exp(n * np.log(np.maximum(n, 1)) - n - logs[n])  # the same sum: a Poisson count of n is n
    dealt = np.take_along_axis(ways, n[..., None], -1)[..., 0] / unbounded
    return np.where((withheld <= most) & (n > 0), dealt, 0.0)


def _truncated(rate: Floats, least: int) -> Floats:
    """Mean of a Poisson count of this rate that is known to be below ``least``."""
    full = np.ones(rate.shape)  # how likely the largest count is that may be: Erlang's recursion, which never overflows
    for count in range(1, least):
        full = rate * full / (count + rate * full)
    return np.asarray(rate * (1 - full))
