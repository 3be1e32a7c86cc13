"""Partitions: a federation's patients dealt out anew, to sites that differ in one stated way.

All sites' patients are thrown together and dealt: exactly, by a seed, every row once and a patient's rows together. A
wish that cannot be met is refused with the nearest one that can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.federation.lock import apart, stacked, together
from fedlab.federation.numbers import whole
from fedlab.federation.schemes import LEAST, Column, Dirichlet, Infeasible, Patients, Scheme
from fedlab.federation.site import Examples, Site
from fedlab.federation.splits import split_rows
from fedlab.tasks import Task

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

Ints = NDArray[np.int64]


def partition(federation: Federation, scheme: Scheme, *, sites: int, seed: int) -> Federation:
    """Deal a federation's patients out anew; :meth:`fedlab.Federation.partition`."""
    sites = whole("sites", sites, 1)
    rows, whose, first, away = _together(federation)
    at = torch.from_numpy(first)
    label = federation.task.stratum(rows.y[at].numpy())
    patients = Patients(rows.x[at], label, len(federation.task.classes) or int(label.max()) + 1, federation)
    if isinstance(scheme, Column):
        names = scheme.names(federation)
    else:
        names = tuple(f"site {k:0{len(str(sites))}}" for k in range(1, sites + 1))
        if (there := int((~away).sum())) < LEAST * sites:
            raise Infeasible(
                f"{there} patients do not make {sites} sites of at least {LEAST}: the nearest is {there // LEAST} sites"
            )

    def deal(scheme: Scheme, sites: int) -> Ints:
        return _dealt(scheme, patients, away, sites, seed)

    try:
        place = deal(scheme, sites)
    except Infeasible as problem:
        raise Infeasible(_with_nearest(str(problem), scheme, sites, deal)) from None
    made = tuple(_sites(rows, whose, place, away, names, seed, federation.task))
    return replace(
        federation, name=f"{federation.name}, {scheme}", sites=made, published=False,
        source=f"{federation.source}; its patients dealt out anew: {scheme}, seed {seed}",
    )  # fmt: skip


def _together(federation: Federation) -> tuple[Examples, Ints, Ints, NDArray[np.bool_]]:
    """All rows; the number of each row's patient; each patient's first row, and whether that one is locked.

    Two sites' patients are never one. Those who are locked are dealt with the others, by one rule, and stay locked: a
    second dealing of them alone would give a site patients who are none of its own.
    """
    sites = sorted(federation.sites, key=lambda site: site.name)
    parts = [together(site) for site in sites]
    whose, first, away, before, at = [], [], [], 0, 0
    for site, part in zip(sites, parts, strict=True):
        _, begins, number = np.unique(part.group, return_index=True, return_inverse=True)
        whose.append(number + before)
        first.append(begins + at)
        away.append(begins >= len(site.rows))
        before, at = before + len(begins), at + len(part)
    group = np.concatenate(whose)
    return replace(stacked(parts), group=group), group, np.concatenate(first), np.concatenate(away)


def _dealt(scheme: Scheme, patients: Patients, away: NDArray[np.bool_], sites: int, seed: int) -> Ints:
    place = scheme.deal(patients, sites, np.random.default_rng([seed, 6]))
    counts = np.bincount(place[~away], minlength=place.max() + 1)
    short = np.flatnonzero((np.bincount(place) > 0) & (counts < LEAST))
    if len(short):
        beside = " who are not locked" if away.any() else ""
        raise Infeasible(f"a site would have {counts[short[0]]} patients{beside}, and needs {LEAST}")
    return place


def _with_nearest(said: str, scheme: Scheme, sites: int, deal: Callable[[Scheme, int], Ints]) -> str:
    """Add what can be had: an easier scheme of the same kind, and fewer sites."""
    if "nearest" in said or isinstance(scheme, Column):
        return said

    def can(scheme: Scheme, sites: int) -> bool:
        try:
            deal(scheme, sites)
        except Infeasible:
            return False
        return True

    found = []
    if isinstance(scheme, Dirichlet):
        easier = scheme.wider()
        while easier.alpha < 1e4 and not can(easier, sites):
            easier = easier.wider()
        found = [str(easier)] if easier.alpha < 1e4 else []
    fewer = _fewer(sites, lambda n: can(scheme, n))
    found += [f"{fewer} site{'s' * (fewer > 1)}"] if fewer else []
    return f"{said}: the nearest is {', or '.join(found)}" if found else said


def _fewer(sites: int, can: Callable[[int], bool]) -> int:
    """Return the largest smaller number of sites that can be had, by bisection; 0 if none."""
    low, high = 0, sites  # low can be had, high cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if can(middle) else (low, middle)
    return low


def _sites(
    rows: Examples, whose: Ints, place: Ints, away: NDArray[np.bool_], names: Sequence[str], seed: int, task: Task
) -> Sequence[Site]:
    of_row = place[whose]
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row, minlength=len(names)))
    dealt = rows.take(order)
    made = []
    for name, begin, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        if begin == end:  # nobody has this value
            continue
        origin = None if dealt.origin is None else dealt.origin[begin:end]
        every = Examples(dealt.x[begin:end], dealt.y[begin:end], dealt.group[begin:end], origin=origin)
        mine, locked = apart(every, away[every.group])
        made.append(Site(name, mine, split_rows(mine, site=name, seed=seed, stratum=task.stratum), locked=locked))
    return made
