"""How numbers and dates are written: a decimal comma, a percent sign, the day before the month."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.proposals.column import Column, Found, Proposal, Question, Undecided, share
from fedlab.federation.harmonise.proposals.likelihood import Reference, Scale


def decimal(column: Column) -> Found:
    """Find sites that write a comma where a point is meant."""
    if column.kind not in ("number", "category"):
        return []
    found: Found = []
    for site in column.told:
        commas, doubtful = column.count(site, "comma"), column.count(site, "thousands")
        there = column.count(site)
        if commas + doubtful < there / 2 and column.count(site, "text"):  # a list, not a number
            continue
        if not commas + doubtful:
            continue
        told = f"{commas + doubtful} of {there} patients ({share(commas + doubtful, there)}) have a comma"
        change = Change(site, column.name, "decimal")
        if commas >= doubtful / 20 and commas:
            found.append(Proposal(change, told, 0.99))
        elif _impossible(column, site, 1000.0) and not _impossible(column, site, 1.0):
            found.append(Proposal(change, f"{told}; read as thousands they are outside the agreed range", 0.95))
        elif _thousandfold(column, site):
            found.append(Undecided(site, column.name, f"{told} before three digits: decimals, or thousands?"))
        else:
            ask = f"Ask {site}: is the comma in {column.name!r} a decimal point, or does it part the thousands?"
            seen = f"{told} before three digits; read as decimals they lie where the other sites do"
            found.append(Question(site, column.name, (change, None), ask, seen))
    return found


def _impossible(column: Column, site: str, factor: float) -> bool:
    """Tell whether most numbers, times this, are outside the agreed range."""
    agreed = column.entry.range if column.entry is not None else None
    values = factor * column.blocks(site)
    return agreed is not None and len(values) > 0 and bool(np.mean((values < agreed[0]) | (values > agreed[1])) > 0.5)


def _thousandfold(column: Column, site: str) -> bool:
    """Tell whether ``1,234`` fits the others less well as 1.234 than as 1234, or cannot be told."""
    others = [s for s in column.numeric_sites() if s != site and not column.count(s, "thousands")]
    here = column.blocks(site)
    if not others or not len(here):
        return True
    scale = Scale.of([column.blocks(s) for s in [*others, site]])
    places = {s: p for s in others if (p := scale.place(column.blocks(s), column.count(s))) is not None}
    read = [scale.place(here * factor, column.count(site)) for factor in (1.0, 1000.0)]
    if not places or None in read:
        return True
    reference = Reference.of(places, scale.finest)
    small, large = (reference.log_likelihood(p) for p in read if p is not None)
    return small < large + 3


def percent(column: Column) -> Found:
    """Find sites that write a percent sign; whether the number changes is seen by where the others lie."""
    if column.kind != "number":
        return []
    plain = [column.blocks(s) for s in column.numeric_sites() if not column.count(s, "percent")]
    agreed = column.entry.unit if column.entry is not None else ""
    if agreed in ("fraction", "%"):
        fraction = agreed == "fraction"
    else:
        fraction = bool(plain) and float(np.median(np.concatenate(plain))) <= 1.0
    found: Found = []
    for site in column.told:
        signs = column.count(site, "percent")
        if not signs:
            continue
        told = f"{signs} of {column.count(site)} patients have a percent sign; the others' are "
        told += "fractions" if fraction else "without"
        details = {"factor": 0.01 if fraction else 1.0, "offset": 0.0, "written": "%",
                   "agreed": "fraction" if fraction else "%", "shape": "percent"}  # fmt: skip
        found.append(Proposal(Change(site, column.name, "unit", details), told, 0.97))
    return found


def _date_shapes(told: Mapping[str, Any]) -> tuple[str, ...]:
    """How a site writes its dates, and where the day stands."""
    days = [f"{shape} {which}" for shape, counts in told["days"].items() for which in counts if which != "either"]
    return tuple(sorted(days or [name for name in told["shapes"] if name.startswith("date")] or ["empty"]))


def date(column: Column) -> Found:
    """Find dates that are not written year-month-day, where patients tell which of two numbers is the day."""
    if column.kind != "date":
        return []
    if column.entry is None and len({_date_shapes(told) for told in column.told.values()} - {("empty",)}) == 1:
        return []
    found: Found = []
    for site, told in column.told.items():
        for shape, days in told["days"].items():
            first, second = days.get("first", 0), days.get("second", 0)
            if bool(first) == bool(second):
                why = "both numbers go beyond 12" if first else "no number goes beyond 12 in five patients"
                why = f"{shape.removeprefix('date ')}: {why}, so day and month cannot be told"
                found.append(Undecided(site, column.name, why))
                continue
            which, count = ("first", first) if first else ("second", second)
            evidence = (
                f"the {which} number is above 12 in {count} patients, the other never (or in fewer than {column.least})"
            )
            found.append(Proposal(Change(site, column.name, "date", {"shape": shape, "day": which}), evidence,
                                  1 - 0.5 ** min(count, 10) / 2))  # fmt: skip
    return found
