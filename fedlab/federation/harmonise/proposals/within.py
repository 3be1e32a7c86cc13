"""Two units within one column of one site: a crowd of values apart, or rows whose unit another column names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.proposals.column import CERTAIN, Column, Found, Proposal, Question, Undecided
from fedlab.federation.harmonise.units import Conversion, by_name, common, convert, family, named, to_agreed

GAP = 3  # empty quarter decades between two crowds
SURE = 0.95  # a crowd that one known conversion puts among the others
NATURE = 1.0  # logarithm: how far apart two crowds of one unit lie by nature
WIDE = 10**0.25


def find(column: Column, whole: Collection[str] = ()) -> Found:
    """Find values of a site that lie apart from the most, and fall among them by a conversion known for the column.

    ``whole`` are the sites whose whole column may be written otherwise.
    """
    if column.kind != "number":
        return []
    if column.entry is not None and column.entry.unit:
        known = to_agreed(column.entry.unit, column.entry.molar_mass)
    else:
        known = by_name(column.name)
    sites = [site for site in column.numeric_sites() if site not in whole]
    return [seen for site in sites if (seen := _apart(column, site, known)) is not None]


def _apart(column: Column, site: str, known: list[Conversion]) -> Proposal | Question | None:
    bins = {float(low): count for low, count in column.told[site]["bins"].items()}
    agreed = column.entry.range if column.entry is not None else None
    few, (low, high) = _outside(bins, agreed) if agreed is not None else _lesser(bins)
    part = sum(bins[b] for b in few) / max(sum(bins.values()), 1)
    if not few or part >= 0.5 or (agreed is None and part < 0.1):
        return None
    middle = _middle(bins, few)
    usual = math.log(_middle(bins, [b for b in bins if b not in few]))
    fits = [c for c in known if low <= c.factor * middle + c.offset <= high]
    weight = {c: common(c) / (1 + ((math.log(c.factor * middle + c.offset) - usual) / NATURE) ** 2) for c in fits
              if c.factor * middle + c.offset > 0}  # fmt: skip
    if not weight:
        return None
    ranked = sorted(weight, key=lambda c: -weight[c])
    sure = SURE * weight[ranked[0]] / sum(weight.values())
    below, above = few[0], few[-1] * WIDE
    if agreed is not None:  # the last bin may reach into what is agreed
        above = min(above, agreed[0] * (1 - 1e-9)) if above > agreed[0] > below else above
        below = max(below, agreed[1] * (1 + 1e-9)) if below < agreed[1] < above else below
    changes = [Change(site, column.name, "unit", {"factor": by.factor, "offset": by.offset, "written": by.written,
                      "agreed": by.agreed, "above": below, "below": above}) for by in ranked[:2]]  # fmt: skip
    count = sum(bins[b] for b in few)
    evidence = (f"{count} patients between {below:.3g} and {above:.3g}, the other {sum(bins.values()) - count} "
                f"{low:.3g} … {high:.3g}")  # fmt: skip
    if agreed is not None and sure >= CERTAIN:
        return Proposal(changes[0], evidence, sure)
    ask = f"Ask {site} in which unit {column.name!r} of these {count} patients is, and whether they are others"
    readings = (*changes, None) if agreed is None else tuple(changes)
    return Question(site, column.name, readings, ask, evidence)


def _middle(bins: Mapping[float, int], those: list[float]) -> float:
    """Geometric mean of the bins' patients."""
    return float(math.exp(np.average(np.log(those), weights=[bins[b] for b in those])) * WIDE**0.5)


def _outside(bins: Mapping[float, int], agreed: tuple[float, float]) -> tuple[list[float], tuple[float, float]]:
    """Bins on the one side of the agreed range that has the most patients."""
    below = [low for low in sorted(bins) if low * WIDE <= agreed[0] * 1.001]
    above = [low for low in sorted(bins) if low >= agreed[1] * 0.999]
    return max(below, above, key=lambda side: sum(bins[low] for low in side)), agreed


def _lesser(bins: Mapping[float, int]) -> tuple[list[float], tuple[float, float]]:
    """The smaller of two crowds with nobody between, and where the larger is; nothing if there are not two."""
    crowds: list[list[float]] = []
    for low in sorted(bins):
        if not crowds or np.log10(low / crowds[-1][-1]) > (GAP + 0.5) / 4:
            crowds.append([])
        crowds[-1].append(low)
    if len(crowds) != 2:
        return [], (0.0, 0.0)
    few, most = sorted(crowds, key=lambda crowd: sum(bins[low] for low in crowd))
    ends = np.quantile(np.repeat(most, [bins[low] for low in most]), [0.1, 0.9])
    return few, (float(ends[0]), float(ends[1]) * WIDE)


def named_units(naming: Column, column: Column, *, amount: str | None = None, volume: str | None = None) -> Found:
    """Find rows of a column whose unit another column names, and which is not the agreed one.

    Parameters
    ----------
    naming : Column
        Its codes name units, as ``norepinephrine_unit`` does.
    column : Column
        The numbers.
    amount, volume : str, optional
        Columns with the drug (mg) in so much fluid (ml), without which a rate in ml/h is no dose.
    """
    units = {code: it for told in naming.told.values() for code in told.get("levels") or {} if (it := named(code))}
    agreed = column.entry.unit if column.entry is not None and column.entry.unit else _usual(naming, units)
    found: Found = []
    for site, told in naming.told.items():
        for code, count in (told.get("levels") or {}).items():
            if site not in column.told or code not in units:
                continue
            by = convert(units[code], agreed, column.entry.molar_mass if column.entry is not None else None)
            bag: dict[str, Any] = {}
            if by is None and amount is not None and volume is not None and convert(units[code], "ml/h") is not None:
                by = convert("mg/h", agreed)
                bag = {"amount": amount, "volume": volume, "written": units[code]}
            if by is None:
                why = f"{count} patients have {naming.name} {code!r}, which says nothing of {agreed}"
                found.append(Undecided(site, column.name, why))
            elif (by.factor, by.offset) != (1.0, 0.0) or by.per_weight:
                details: dict[str, Any] = {"factor": by.factor, "offset": by.offset, "written": by.written,
                                           "agreed": agreed, "where": {naming.name: code}} | bag  # fmt: skip
                if by.per_weight and column.weight is not None:
                    details |= {"weight": column.weight, "divide": "kg" in agreed.split("/")[1:]}
                evidence = f"{count} patients have {naming.name} {code!r}"
                found.append(Proposal(Change(site, column.name, "unit", details), evidence, 0.98))
    return found


def _usual(naming: Column, units: Mapping[str, str]) -> str:
    """The unit that most patients of all sites have."""
    counts: Counter[str] = Counter()
    for told in naming.told.values():
        for code, count in (told.get("levels") or {}).items():
            if code in units:
                counts[units[code]] += count
    return max(counts, key=lambda one: (family(one) is not None, counts[one]))  # a volume an hour is no dose
