"""Another unit: every reading of a site's numbers is weighed; only what says more than where they lie is proposed.

A liver unit's bilirubin in mg/dl lies where a ward's would in µmol/l. So a conversion is proposed where the numbers
cannot be as agreed: outside the agreed range, against a law of two columns, or round in the other unit alone. Where
they can, both readings are asked about, ordered by how well they fit the other sites. How many other columns of a site
lie elsewhere, and by no conversion, tells whether it treats other patients: an age that explains the heights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.laws import Law, between
from fedlab.federation.harmonise.proposals.column import CERTAIN, WORTH, Column, Found, Proposal, Question, Undecided
from fedlab.federation.harmonise.proposals.likelihood import MARKS, Numbers, Place, Reference, Scale, groups
from fedlab.federation.harmonise.units import WEIGHT, Conversion, anything, by_name, common, convert, key, to_agreed

EXPECTED = 0.05  # share of columns in another unit of those that are known for it
SURPRISING = 0.01  # and in any other unit
ENOUGH = 20  # patients; of fewer the agreed range must say that something is wrong
OUTSIDE = 10.0  # what all patients outside the agreed range cost a reading, in logarithms
BROKEN, EDGE = 12.0, 0.1  # what a broken law costs a reading at most; by how much, in logarithms, it is a little broken
ROUND = 12.0  # what being round in another unit alone is worth to it
AGREE = 0.7  # of the other sites, that have to agree on a law where no unit was agreed on
MOVED = 4.0  # sds of hospitals, beyond which a column lies elsewhere
OTHERS, EACH, MOST = 0.05, 0.3, 0.9  # probability of other patients: at least, more by each moved column, at most


@dataclass(frozen=True)
class Reading:
    """One way to read a site's numbers: as agreed (``by`` is None), or in another unit."""

    by: Conversion | None
    prior: float  # logarithm
    place: Place
    outside: float  # share outside the agreed range


@dataclass(frozen=True, eq=False)
class Readings:
    """All of one site's column, as agreed first; ``weights`` are logarithms, ``reasons`` beyond where numbers lie."""

    column: Column
    site: str
    each: tuple[Reading, ...]
    reference: Reference | None
    tie: str = ""  # a site of as many others that lie elsewhere, where no dictionary tells who is right
    weights: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def likely(self) -> Numbers:
        """Probability of each."""
        weights = np.exp(np.array(self.weights) - max(self.weights))
        out: Numbers = weights / weights.sum()
        return out

    @property
    def moved(self) -> bool:
        """Whether the numbers lie elsewhere than the others', and no reading brings them back."""
        far = [abs(self.reference.far(r.place)) if self.reference is not None else 0.0 for r in self.each]
        return far[0] > MOVED and not any(
            f < MOVED and r.outside < 0.2 and (r.by is None or common(r.by) == 1)
            for f, r in zip(far, self.each, strict=True)
        )

    @property
    def stranger(self) -> bool:
        """Whether the numbers are outside the agreed range, and no reading brings them into it."""
        return self.each[0].outside >= 0.5 and all(r.outside >= 0.2 for r in self.each)

    def nearer(self, number: int) -> bool:
        """Whether a reading lies no farther from the other sites than the numbers as written, or among them."""
        if self.reference is None:
            return True
        far, before = (abs(self.reference.far(self.each[k].place)) for k in (number, 0))
        return far <= max(before, MOVED)

    def weighed(self, others: float) -> Readings:
        """Weigh all, with a probability that the site treats other patients."""
        fits = [self.reference.log_likelihood(r.place, others) if self.reference is not None else 0.0
                for r in self.each]  # fmt: skip
        return replace(
            self, weights=tuple(r.prior + fit - OUTSIDE * r.outside for r, fit in zip(self.each, fits, strict=True))
        )


def find(columns: Mapping[str, Column]) -> dict[str, Found]:
    """Weigh every reading of every column of numbers at every site, and say what is proposed and what is asked."""
    readings: dict[tuple[str, str], Readings] = {}
    told: dict[str, Found] = {}
    for name, column in columns.items():
        of_column, told[name] = _readings(column)
        readings |= {(one.site, name): one for one in of_column}
    moved = [place for place, one in readings.items() if one.moved]
    strangers = [place for place, one in readings.items() if one.stranger]
    for (site, name), one in readings.items():
        elsewhere = sum(s == site and other != name for s, other in moved)
        readings[site, name] = _rounder(one.weighed(min(OTHERS + EACH * elsewhere, MOST)))
    lawful = _lawful(readings, columns)
    for (site, name), one in lawful.items():
        known = not any(s == site and other != name for s, other in strangers)
        told[name] += _told(one, known)
    return told


# --------------------------------------------------------------------------- what a column may mean


def _readings(column: Column) -> tuple[list[Readings], Found]:
    """Every reading at every site that is large enough, and what is to be said of the others."""
    sites = [s for s in column.numeric_sites() if 2 * column.count(s, "percent") <= column.count(s)]
    few: Found = [Undecided(site, column.name, f"fewer than {column.least} patients with a number: no unit can be told")
                  for site in column.told if site not in sites and not column.told[site]["recurring"]]  # fmt: skip
    if not sites:
        return [], few
    blocks = {site: column.blocks(site) for site in sites}
    scale = Scale.of(list(blocks.values()))
    places = {s: p for s in sites if (p := scale.place(blocks[s], column.count(s))) is not None}
    together = groups(places)
    fit, equal = _agreed(column, together, blocks)
    candidates = _candidates(column)
    found = []
    for site in places:
        if np.ptp(blocks[site]) == 0 or (column.count(site) < ENOUGH and _outside(column, blocks[site], None) < 0.5):
            continue
        own = next(group for group in together if site in group)
        others = [s for s in fit if s != site] if not equal else [s for s in fit if s not in own]
        reference = Reference.of({s: places[s] for s in others}, scale.finest) if others else None
        marks, count = np.quantile(blocks[site], MARKS), column.count(site)
        each = [Reading(None, math.log(1 - EXPECTED), places[site], _outside(column, blocks[site], None))]
        each += [Reading(c, math.log(prior), place, _outside(column, blocks[site], c)) for c, prior in candidates
                 if (place := scale.placed(marks, count, c)) is not None]  # fmt: skip
        tie = others[0] if equal and not _unit(column) and others else ""
        found.append(Readings(column, site, tuple(each), reference, tie))
    return found, few


def _unit(column: Column) -> str:
    return column.entry.unit if column.entry is not None else ""


def _candidates(column: Column) -> list[tuple[Conversion, float]]:
    """Conversions and how likely each is before anything is seen."""
    if column.entry is not None and column.entry.unit:
        return _shared(to_agreed(column.entry.unit, column.entry.molar_mass), EXPECTED)
    hinted = by_name(column.name)
    return _shared(hinted, EXPECTED) if hinted else _shared(anything(), SURPRISING)


def _shared(known: Sequence[Conversion], prior: float) -> list[tuple[Conversion, float]]:
    whole = sum(map(common, known))
    return [(c, prior * common(c) / whole) for c in known]


def _agreed(column: Column, together: Sequence[list[str]], blocks: dict[str, Numbers]) -> tuple[list[str], bool]:
    """Return the sites that set the standard: within the agreed range, else most; all of them if nobody can say."""
    if column.entry is not None and column.entry.range is not None:
        together = [g for g in together if np.mean([_outside(column, blocks[s], None) for s in g]) < 0.2]
        if not together:
            return [], False
    best = [group for group in together if len(group) == len(together[0])]
    return [site for group in best for site in group], len(best) > 1


def _outside(column: Column, blocks: Numbers, by: Conversion | None) -> float:
    """Share of a site's numbers outside the agreed range, after a conversion."""
    if column.entry is None or column.entry.range is None:
        return 0.0
    values = blocks if by is None else by.factor * blocks + by.offset
    low, high = column.entry.range
    return float(np.mean((values < low) | (values > high)))


# --------------------------------------------------------------------------- what says more than where numbers lie


def _rounder(one: Readings) -> Readings:
    """Favour a reading in whose unit the numbers are round, though as written they need not be."""
    told = one.column.told[one.site].get("round", {})
    gain = [ROUND * (r.by is not None and key(r.by) in told) for r in one.each]
    if not any(gain):
        return one
    weights = tuple(w + g for w, g in zip(one.weights, gain, strict=True))
    steps = [f"{r.by.written}: multiples of {told[key(r.by)]} {r.by.agreed}"
             for r, g in zip(one.each, gain, strict=True) if g and r.by is not None]  # fmt: skip
    best = int(np.argmax(weights))
    reasons = (*one.reasons, f"round only if read in {steps[0]}") if gain[best] and one.nearer(best) else one.reasons
    return replace(one, weights=weights, reasons=reasons)


def _lawful(
    readings: Mapping[tuple[str, str], Readings], columns: Mapping[str, Column]
) -> dict[tuple[str, str], Readings]:
    """Weigh the readings of two columns together where a law says how they go together."""
    out = dict(readings)
    for law, first, second in between(columns):
        told = {site: one["laws"][second][0] for site, one in columns[first].told.items()
                if second in one.get("laws", {})}  # fmt: skip
        for site, value in told.items():
            a, b = readings.get((site, first)), readings.get((site, second))
            bounds = _bounds(law, columns[first], columns[second], [v for s, v in told.items() if s != site])
            if a is None or b is None or bounds is None:
                continue
            made = value * np.outer([_scaled(r, law.powers[0]) for r in a.each],
                                    [_scaled(r, law.powers[1]) for r in b.each])  # fmt: skip
            out[site, first] = _by_law(out[site, first], b, made, law, bounds)
            out[site, second] = _by_law(out[site, second], a, made.T, law, bounds)
    return out


def _bounds(law: Law, first: Column, second: Column, others: list[float]) -> tuple[float, float] | None:
    """Bounds of a law in the agreed units, or around what the other sites have; None if neither is known."""
    scale = 1.0
    for column, unit, power in zip((first, second), law.units, law.powers, strict=True):
        by = convert(unit, _unit(column)) if _unit(column) else None
        if by is None or by.offset or by.per_weight:
            return _around(law, others)
        scale *= by.factor**power
    return law.bounds[0] * scale, law.bounds[1] * scale


def _around(law: Law, others: list[float]) -> tuple[float, float] | None:
    """Bounds around what the other sites have, where they agree."""
    if len(others) < 2:
        return None
    usual = sorted(others)[len(others) // 2]
    low, high = (bound / law.usual * usual for bound in law.bounds)
    return (low, high) if np.mean([low <= one <= high for one in others]) > AGREE else None


def _scaled(reading: Reading, power: float) -> float:
    if reading.by is None:
        return 1.0
    return float("nan") if reading.by.offset else reading.by.factor**power


def _by_law(one: Readings, mate: Readings, made: Numbers, law: Law, bounds: tuple[float, float]) -> Readings:
    """Let a law judge a column's readings (rows of ``made``), over those of the other column."""
    beyond = np.log(np.nan_to_num(made, nan=bounds[0]) / np.clip(np.nan_to_num(made, nan=bounds[0]), *bounds))
    holds = np.exp(-np.minimum((beyond / EDGE) ** 2 / 2, BROKEN))  # nan: by an offset, nothing is known
    kept = holds @ mate.likely  # how well the law holds, by reading
    weights = tuple(w + math.log(k) for w, k in zip(one.weights, kept, strict=True))
    best, at = int(np.argmax(weights)), int(np.argmax(mate.likely))
    reasons = one.reasons
    if best and kept[0] < 0.05 and kept[best] > 0.5 and one.nearer(best):
        reasons += (f"{law.words} would be {made[0, at]:.3g}, of living patients {bounds[0]:.3g} … {bounds[1]:.3g}; "
                    f"converted {made[best, at]:.3g}",)  # fmt: skip
    return replace(one, weights=weights, reasons=reasons)


# --------------------------------------------------------------------------- what is said


def _told(one: Readings, known: bool) -> Found:
    """Propose where more than place speaks for one reading, ask where several fit, be silent where it is as agreed."""
    likely = one.likely
    order = sorted(range(len(likely)), key=lambda k: -likely[k])
    best = order[0]
    other = best or (order[1] if len(order) > 1 else 0)
    if not other or likely[other] < WORTH:
        return []
    reasons = list(one.reasons)
    before, after = one.each[0].outside, one.each[other].outside
    if before >= 0.5 and after < 0.2:
        reasons.insert(0, f"{100 * before:.0f} % → {100 * after:.0f} % outside the agreed range")
    column, site = one.column, one.site
    evidence = "; ".join([_where(one, one.each[other]), *reasons])
    changes = {k: Change(site, column.name, "unit", _details(column, by)) for k in order
               if (by := one.each[k].by) is not None}  # fmt: skip
    if best and reasons and known and likely[best] >= CERTAIN:
        return [Proposal(changes[best], evidence, float(likely[best]))]
    if one.tie and not reasons:
        reason = f"as many sites write it like {one.tie} ({changes[other].words} would make them agree): "
        return [Undecided(site, column.name, reason + "a data dictionary with a range tells who is to change")]
    fits = [k for k in order if likely[k] >= WORTH / 10][:3]
    fits = fits if other in fits and len(fits) > 1 else [*dict.fromkeys((best, other, 0))]
    units = [changes[k].details["written"] for k in fits if k]
    agreed = _unit(column) or "the other sites' unit"
    ask = (f"Ask {site}: is {column.name!r} written in {' or '.join(units)}, or in {agreed}? "
           "If in that, which patients are they? One patient's chart tells")  # fmt: skip
    return [Question(site, column.name, tuple(changes.get(k) for k in fits), ask, evidence)]


def _where(one: Readings, reading: Reading) -> str:
    blocks, by = one.column.blocks(one.site), reading.by
    middle = float(np.median(blocks))
    told = f"median {middle:.4g}"
    told += f", converted {by.factor * middle + by.offset:.4g}" if by is not None else ""
    told += f"; {one.column.count(one.site)} patients"
    if one.reference is None:
        return told
    far = [abs(one.reference.far(r.place)) for r in (one.each[0], reading)]
    return f"{told}; {far[0]:.0f} → {far[1]:.1f} sd from the others"


def _details(column: Column, by: Conversion) -> dict[str, object]:
    known = column.entry.unit if column.entry is not None else by.agreed
    told = {"factor": by.factor, "offset": by.offset, "written": by.written, "agreed": known}
    if by.per_weight and column.weight is not None:
        told |= {"weight": column.weight, "divide": by.factor * WEIGHT > 0 and "kg" in by.agreed}
    return told
