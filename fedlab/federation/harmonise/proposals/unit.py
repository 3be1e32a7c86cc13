"""Another unit: one conversion explains, much better than nature, where a site's numbers lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.proposals.column import CERTAIN, Column, Found, Proposal, Undecided
from fedlab.federation.harmonise.proposals.likelihood import Numbers, Place, Reference, Scale, groups
from fedlab.federation.harmonise.units import WEIGHT, Conversion, anything, by_name, common, to_agreed

EXPECTED = 0.05  # share of columns in another unit of those that are known for it
SURPRISING = 0.01  # and in any other unit
ENOUGH = 20  # patients; of fewer the agreed range must say that something is wrong
OUTSIDE = 6.0  # what all patients outside the agreed range cost a conversion, in logarithms


def find(column: Column) -> Found:
    """Find the sites that write numbers in another unit than most, or than agreed."""
    if column.kind != "number":
        return [], []
    sites = [s for s in column.numeric_sites() if 2 * column.count(s, "percent") <= column.count(s)]
    few = [Undecided(site, column.name, f"fewer than {column.least} patients with a number: no unit can be told")
           for site in column.told if site not in sites and not column.told[site]["recurring"]]  # fmt: skip
    if not sites:
        return [], few
    blocks = {site: column.blocks(site) for site in sites}
    scale = Scale.of(list(blocks.values()))
    places = {s: p for s in sites if (p := scale.place(blocks[s], column.count(s))) is not None}
    together = groups(places)
    agreed, tie = _agreed(column, together, blocks)
    candidates = _candidates(column)
    if tie:
        return [], few + _undecidable(column, together, places, scale, blocks, candidates)
    reference = Reference.of({s: places[s] for s in agreed}, scale.finest) if agreed else None
    found = [
        proposal
        for site in places
        if site not in agreed
        and (proposal := _proposal(column, site, blocks[site], scale, reference, candidates)) is not None
    ]
    return [p for p in found if p.confidence >= CERTAIN], few + [
        Undecided(p.change.site, column.name, f"perhaps {p.change.words} ({p.evidence}), but too unsure")
        for p in found
        if p.confidence < CERTAIN
    ]


def _candidates(column: Column) -> list[tuple[Conversion, float]]:
    """Conversions and how likely each is before anything is seen."""
    if column.entry is not None and column.entry.unit:
        return _shared(to_agreed(column.entry.unit, column.entry.molar_mass), EXPECTED)
    hinted = by_name(column.name)
    keys = {f"{c.factor:.2g} {c.offset:.2g}" for c in hinted}
    others = [c for c in anything() if f"{c.factor:.2g} {c.offset:.2g}" not in keys]
    return _shared(hinted, EXPECTED) + _shared(others, SURPRISING)


def _shared(known: Sequence[Conversion], prior: float) -> list[tuple[Conversion, float]]:
    whole = sum(map(common, known))
    return [(c, prior * common(c) / whole) for c in known]


def _agreed(column: Column, together: Sequence[list[str]], blocks: dict[str, Numbers]) -> tuple[list[str], bool]:
    """Return the sites that set the standard: within the agreed range, else most; and whether nobody can say."""
    if column.entry is not None and column.entry.range is not None:
        fit = [g for g in together if np.mean([_outside(column, blocks[s], None) for s in g]) < 0.2]
        if not fit:
            return [], False
        together = fit
    best = len(together[0])
    if len([g for g in together if len(g) == best]) > 1:
        return [], True
    return together[0], False


def _outside(column: Column, blocks: Numbers, by: Conversion | None) -> float:
    """Share of a site's numbers outside the agreed range, after a conversion."""
    if column.entry is None or column.entry.range is None:
        return 0.0
    values = blocks if by is None else by.factor * blocks + by.offset
    low, high = column.entry.range
    return float(np.mean((values < low) | (values > high)))


def _score(column: Column, blocks: Numbers, place: Place, reference: Reference | None, by: Conversion | None) -> float:
    fits = reference.log_likelihood(place) if reference is not None else 0.0
    return fits - OUTSIDE * _outside(column, blocks, by)


def _proposal(
    column: Column, site: str, blocks: Numbers, scale: Scale, reference: Reference | None,
    candidates: Iterable[tuple[Conversion, float]],
) -> Proposal | None:  # fmt: skip
    """Return the best conversion of a site with its posterior probability; None if none is better than nothing."""
    count = column.count(site)
    here = scale.place(blocks, count)
    outside = _outside(column, blocks, None)
    if here is None or np.ptp(blocks) == 0 or (count < ENOUGH and outside < 0.5):
        return None
    same = _score(column, blocks, here, reference, None)
    scores: list[tuple[float, Conversion | None]] = [(same + math.log(1 - EXPECTED), None)]
    for c, prior in candidates:
        place = scale.place(blocks, count, c)
        if place is not None:
            scores.append((_score(column, blocks, place, reference, c) + math.log(prior), c))
    top = max(score for score, _ in scores)
    whole = sum(math.exp(score - top) for score, _ in scores)
    best = max(scores, key=lambda pair: pair[0])[1]
    if best is None:
        return None
    there = scale.place(blocks, count, best)
    assert there is not None
    far = f"{abs(reference.far(here)):.0f} → {abs(reference.far(there)):.1f} sd from the others" if reference else ""
    middle = float(np.median(blocks))
    told = f"median {middle:.4g}, as agreed {best.factor * middle + best.offset:.4g}; {count} patients"
    out = [outside, _outside(column, blocks, best)]
    ranged = f"{100 * out[0]:.0f} % → {100 * out[1]:.0f} % outside the agreed range" if max(out) > 0 else ""
    change = Change(site, column.name, "unit", _details(column, best))
    return Proposal(change, "; ".join(filter(None, (told, far, ranged))), 1 / whole)


def _details(column: Column, by: Conversion) -> dict[str, object]:
    known = column.entry.unit if column.entry is not None else by.agreed
    told = {"factor": by.factor, "offset": by.offset, "written": by.written, "agreed": known}
    if by.per_weight and column.weight is not None:
        told |= {"weight": column.weight, "divide": by.factor * WEIGHT > 0 and "kg" in by.agreed}
    return told


def _undecidable(
    column: Column, together: Sequence[list[str]], places: dict[str, Place], scale: Scale, blocks: dict[str, Numbers],
    candidates: Sequence[tuple[Conversion, float]],
) -> list[Undecided]:  # fmt: skip
    """Say where equally many sites write one unit and another, so that nobody can tell who is to change."""
    first = Reference.of({s: places[s] for s in together[0]}, scale.finest)
    told = []
    for site in (s for group in together[1:] for s in group):
        seen = _proposal(column, site, blocks[site], scale, first, candidates)
        if seen is not None and seen.confidence >= CERTAIN:
            reason = f"as many sites write it like {together[0][0]} ({seen.change.words} would make them agree): "
            told.append(Undecided(site, column.name, reason + "a data dictionary with a range tells who is to change"))
    return told
