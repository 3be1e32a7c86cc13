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

TURNS = 200
SETTLED = 1e-3  # patients by which a cell may still move


def likeliest(told: Floats, totals: Floats, start: Floats, null: Callable[[Floats], Floats], *, least: int) -> Floats:
    """Return the counts to expect at the shares under which what was told is likeliest.

    Parameters
    ----------
    told : float array, shape [..., sites, cells]
        As screened.
    totals : float array, shape [..., sites]
    start : float array, shape [..., sites, cells]
        Counts to begin with.
    null : callable
        The counts that the sites would have if they did not differ, of the counts that they have.
    least : int

    Examples
    --------
    One of four sites told a cell, which five patients of forty are just enough for; the others stand near it.

    >>> told = np.array([[35.0, 5], [40, 0], [40, 0], [40, 0]])
    >>> alike = lambda counts: counts.sum(0) / counts.sum() * counts.sum(1, keepdims=True)
    >>> likeliest(told, told.sum(1), told, alike, least=5).round(1)[:, 1].tolist()
    [5.0, 2.4, 2.4, 2.4]
    """
    counts, tilt = start, np.ones(totals.shape)
    for _ in range(TURNS):
        before = counts
        counts, tilt = expected(told, totals, shares(null(counts)), tilt, least=least)
        if np.abs(counts - before).max(initial=0) < SETTLED:
            break
    return counts


def expected(told: Floats, totals: Floats, share: Floats, tilt: Floats, *, least: int) -> tuple[Floats, Floats]:
    """Return the counts to expect of patients with these shares, given what was told.

    The withheld cells are taken for Poisson counts below ``least``, tilted until they are as many as were withheld:
    their exact joint law to within a fraction of a patient. ``tilt`` [..., sites] is where the last turn stood, and is
    returned one step nearer.
    """
    hidden = np.where(told == 0, np.nan_to_num(share), 0.0)
    withheld = totals - told.sum(-1)
    top = told.argmax(-1)[..., None]
    alone = (withheld == 0) & ((told > 0).sum(-1) == 1)
    rate = hidden * totals[..., None]
    cut = np.where(alone, _truncated(rate.sum(-1), least), 0.0)
    tilted = _truncated(rate * tilt[..., None], least)
    held = tilted.sum(-1)
    step = np.divide(withheld, held, out=np.ones(held.shape), where=(held > 0) & (withheld > 0))
    out = told + np.where(withheld > 0, step, 0)[..., None] * tilted
    out += shares(hidden + (hidden.sum(-1, keepdims=True) == 0)) * cut[..., None]
    np.put_along_axis(out, top, np.take_along_axis(out, top, -1) - cut[..., None], -1)
    return out, np.clip(tilt * step, 1e-6, 1e6)


def _truncated(rate: Floats, least: int) -> Floats:
    """Mean of a Poisson count of this rate that is known to be below ``least``."""
    term, below, every = np.ones(rate.shape), np.zeros(rate.shape), np.ones(rate.shape)
    for x in range(1, least):
        below = every.copy()
        term = term * rate / x
        every = every + term
    return np.asarray(rate * below / every)
