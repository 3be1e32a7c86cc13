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

from fedlab.federation.numbers import whole
from fedlab.federation.schemes import LEAST, Column, Dirichlet, Infeasible, Patients, Scheme
from fedlab.federation.site import Examples, Site
from fedlab.federation.splits import split_rows

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

Ints = NDArray[np.int64]


def partition(federation: Federation, scheme: Scheme, *, sites: int, seed: int) -> Federation:
    """Deal a federation's patients out anew; :meth:`fedlab.Federation.partition`."""
    sites = whole("sites", sites, 1)
    rows, whose, first = _together(federation)
    at = torch.from_numpy(first)
    patients = Patients(rows.x[at], rows.y[at].numpy(), len(federation.task.classes), federation)
    if isinstance(scheme, Column):
        names = scheme.names(federation)
    else:
        names = tuple(f"site {k:0{len(str(sites))}}" for k in range(1, sites + 1))
        if len(patients) < LEAST * sites:
            raise Infeasible(
                f"{len(patients)} patients do not make {sites} sites of at least {LEAST}: the nearest is "
                f"{len(patients) // LEAST} sites"
            )
    try:
        place = _dealt(scheme, patients, sites, seed)
    except Infeasible as problem:
        raise Infeasible(_with_nearest(str(problem), scheme, patients, sites, seed)) from None
    made = tuple(_sites(rows, whose, place, names, seed))
    return replace(
        federation, name=f"{federation.name}, {scheme}", sites=made, published=False,
        source=f"{federation.source}; its patients dealt out anew: {scheme}, seed {seed}",
    )  # fmt: skip


def _together(federation: Federation) -> tuple[Examples, Ints, Ints]:
    """All rows; the number of each row's patient; each patient's first row. Two sites' patients are never one."""
    parts = [site.rows for site in sorted(federation.sites, key=lambda site: site.name)]
    whose, first, before, at = [], [], 0, 0
    for part in parts:
        _, begins, number = np.unique(part.group, return_index=True, return_inverse=True)
        whose.append(number + before)
        first.append(begins + at)
        before, at = before + len(begins), at + len(part)
    masks = [part.mask for part in parts if part.mask is not None]
    group = np.concatenate(whose)
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    return Examples(x, y, group, torch.cat(masks) if masks else None), group, np.concatenate(first)


def _dealt(scheme: Scheme, patients: Patients, sites: int, seed: int) -> Ints:
    place = scheme.deal(patients, sites, np.random.default_rng([seed, 6]))
    counts = np.bincount(place)
    short = np.flatnonzero((counts > 0) & (counts < LEAST))
    if len(short):
        raise Infeasible(f"a site would have {counts[short[0]]} patients, and needs {LEAST}")
    return place


def _with_nearest(said: str, scheme: Scheme, patients: Patients, sites: int, seed: int) -> str:
    """Add what can be had: an easier scheme of the same kind, and fewer sites."""
    if "nearest" in said or isinstance(scheme, Column):
        return said

    def can(scheme: Scheme, sites: int) -> bool:
        try:
            _dealt(scheme, patients, sites, seed)
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


def _sites(rows: Examples, whose: Ints, place: Ints, names: Sequence[str], seed: int) -> Sequence[Site]:
    of_row = place[whose]
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row, minlength=len(names)))
    dealt = rows.take(order)
    made = []
    for name, begin, end in zip(names, [0, *ends[:-1]], ends, strict=True):
        if begin == end:  # nobody has this value
            continue
        mask = None if dealt.mask is None else dealt.mask[begin:end]
        mine = Examples(dealt.x[begin:end], dealt.y[begin:end], dealt.group[begin:end], mask)
        made.append(Site(name, mine, split_rows(mine, site=name, seed=seed)))
    return made
