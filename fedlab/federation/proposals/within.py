"""Two units within one column of one site: by a column that names the unit, or as a second crowd of values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedlab.federation.changes import Change
from fedlab.federation.proposals.column import Column, Found, Proposal, Undecided
from fedlab.federation.units import Conversion, by_name, to_agreed

GAP = 3  # empty quarter decades between two crowds
CROWD = 0.97  # confidence in a second crowd that one conversion puts into the first


def find(column: Column) -> Found:
    """Find values of a site that lie apart from the most, and fall among them by a conversion known for the column."""
    if column.kind != "number":
        return [], []
    known = _known(column)
    found = [p for site in column.numeric_sites() for p in _apart(column, site, known)]
    return found, []


def _known(column: Column) -> list[Conversion]:
    if column.entry is not None and column.entry.unit:
        return to_agreed(column.entry.unit, column.entry.molar_mass)
    return by_name(column.name)


def _apart(column: Column, site: str, known: list[Conversion]) -> list[Proposal]:
    bins = {float(low): count for low, count in column.told[site]["bins"].items()}
    crowds = _crowds(sorted(bins))
    if len(crowds) != 2:
        return []
    sizes = [sum(bins[low] for low in crowd) for crowd in crowds]
    few, most = (crowds[0], crowds[1]) if sizes[0] < sizes[1] else (crowds[1], crowds[0])
    low, high = few[0], few[-1] * 10**0.25
    middle = float(np.exp(np.average(np.log(few), weights=[bins[b] for b in few]))) * 10**0.125
    fits = [c for c in known if most[0] <= c.factor * middle + c.offset <= most[-1] * 10**0.25]
    agreed = column.entry.range if column.entry is not None else None
    if agreed is not None:  # the crowd itself must be impossible, and possible once converted
        fits = [c for c in fits if not agreed[0] <= middle <= agreed[1]]
    if len(fits) != 1:
        return []
    by = fits[0]
    details = {"factor": by.factor, "offset": by.offset, "written": by.written, "agreed": by.agreed, "above": low,
               "below": high}  # fmt: skip
    evidence = (f"{min(sizes)} patients between {low:.3g} and {high:.3g}, {max(sizes)} between {most[0]:.3g} and "
                f"{most[-1] * 10**0.25:.3g}, nobody between")  # fmt: skip
    return [Proposal(Change(site, column.name, "unit", details), evidence, CROWD)]


def _crowds(lows: list[float]) -> list[list[float]]:
    found: list[list[float]] = []
    for low in lows:
        if not found or np.log10(low / found[-1][-1]) > (GAP + 0.5) / 4:
            found.append([])
        found[-1].append(low)
    return found


def by_unit_column(summaries: Mapping[str, Mapping[str, Mapping[str, object]]]) -> tuple[list[Proposal], list[Undecided]]:
    """Read columns whose codes name units."""
    return [], []
