"""Patients who are put away before anything is looked at: drawn at each site, and seen by ``study.final()`` alone.

They leave a site's rows for a place of their own (``site.locked``), so that nothing that reads rows can meet them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.federation.numbers import is_number, whole
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples, Site
from fedlab.federation.splits import split_rows
from fedlab.tasks import Task

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

LEFT = 3  # patients that a lock leaves at least: train, valid and test need one each


def lock(federation: Federation, *, share: float, seed: int) -> Federation:
    """Put patients away; :meth:`fedlab.Federation.lock`."""
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(f"share is {share!r}: it must be a number between 0 and 1, 0.15 for 15 % of the patients")
    share, seed = float(share), whole("seed", seed, 0)
    if federation.published:
        raise ValueError(
            f"the split of {federation.name!r} is published, so its test patients have been looked at already, and "
            "without some of them it would be another one: lock a federation that was made without splits="
        )
    if any(site.locked is not None for site in federation.sites):
        how = f", {federation.locking[0]:.0%} with seed {federation.locking[1]}" if federation.locking else ""
        raise ValueError(f"patients of {federation.name!r} are locked already{how}: lock the federation before that")
    sites, problems = [], Problems()
    for site in federation.sites:
        with problems:
            sites.append(_locked(site, share, seed, federation.task))
    problems.raise_all()
    return replace(federation, sites=tuple(sites), locking=(share, seed))


def draw_patients(rows: Examples, number: int, *, site: str, seed: int) -> NDArray[np.bool_]:
    """Mark the rows of ``number`` patients, each class of patients in its share to within one.

    Systematic: the patients stand in a random order class by class, and every so many-th is drawn from a random start.
    So each patient is as likely to be drawn as any other, of whatever class.

    Parameters
    ----------
    rows : Examples
    number : int
        Of 0 … as many as there are.
    site : str
    seed : int
        The draw depends on this and the site's name alone.

    Examples
    --------
    >>> rows = Examples(torch.zeros(10, 1), torch.arange(10) % 2, np.arange(10) // 2)
    >>> drawn = draw_patients(rows, 2, site="A", seed=0)
    >>> drawn.sum(), len(set(rows.group[drawn]))
    (np.int64(4), 2)
    """
    who, first, _ = rows.patients
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode()), 7]))
    drawn = rng.permutation(len(first))
    order = drawn[np.argsort(rows.y.numpy()[first][drawn], kind="stable")]
    marks = np.floor(np.arange(len(first) + 1) * number / len(first) + rng.random())
    chosen = np.zeros(len(first), dtype=bool)
    chosen[order] = np.diff(marks) > 0
    marked: NDArray[np.bool_] = chosen[who]
    return marked


def _locked(site: Site, share: float, seed: int, task: Task) -> Site:
    patients = len(site.rows.patients.first)
    number = max(1, round(share * patients))
    if patients - number < LEFT:
        most = (patients - LEFT) / patients
        remedy = f"lock at most {most:.0%}" if most > 0 else "leave the site out, or join it to another one"
        raise ValueError(
            f"site {site.name!r} has {patients} patients, and a lock of {share:.0%} takes {number} of them: it must "
            f"leave {LEFT}, one each for train, valid and test; {remedy}"
        )
    away = draw_patients(site.rows, number, site=site.name, seed=seed)
    rows, locked = apart(site.rows, away)
    split = split_rows(rows, site=site.name, seed=seed, stratum=task.stratum)
    return replace(site, rows=rows, locked=locked, split=split)


def together(site: Site) -> Examples:
    """Return a site's rows and after them the locked ones: for what makes the world and learns nothing of it."""
    return site.rows if site.locked is None else stacked([site.rows, site.locked])


def stacked(parts: Sequence[Examples]) -> Examples:
    """Return all rows, in this order."""
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    changed = any(part.origin is not None for part in parts)
    origin = np.concatenate([part.row_hashes for part in parts]) if changed else None
    return Examples(x, y, np.concatenate([part.group for part in parts]), origin=origin)


def apart(rows: Examples, away: NDArray[np.bool_]) -> tuple[Examples, Examples | None]:
    """Return the rows that stay, and those that are locked; none if there are none."""
    if not away.any():
        return rows, None
    return rows.take(np.flatnonzero(~away)), rows.take(np.flatnonzero(away))


def through(site: Site, changed: Site) -> Site:
    """Lock again what was locked, in a site that was made of all of its rows (:func:`together`).

    Raises
    ------
    ValueError
        If none of the locked patients is left.
    """
    if site.locked is None:
        return changed
    away = np.isin(changed.rows.group, site.locked.group)
    rows, locked = apart(changed.rows, away)
    if locked is None:
        raise ValueError(f"site {site.name!r} would keep none of its locked patients: shift it first, then lock")
    return replace(changed, rows=rows, locked=locked)
