"""A number that stands for *not measured*: many patients have exactly it, far from all others."""

from __future__ import annotations

import math

import numpy as np

from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.proposals.column import CERTAIN, Column, Found, Proposal, Question, share
from fedlab.federation.harmonise.proposals.likelihood import Numbers

STRANGE = 4.0  # spreads between a number and the nearest of the others, beyond which more is no stronger


FAR = 2.0  # spreads, without which a number is no crowd apart
ASKED = 0.4


def find(column: Column) -> Found:
    """Find numbers that stand for nothing, of numbers and of codes."""
    judge = {"number": _number, "category": _code}.get(column.kind)
    if judge is None:
        return []
    found: Found = []
    for site, told in column.told.items():
        for value, count in told["recurring"].items():
            seen = judge(column, site, value, count)
            if seen is not None and seen.confidence >= CERTAIN:
                found.append(seen)
            elif seen is not None and seen.confidence >= ASKED:
                found.append(_question(seen))
    return found


def _question(seen: Proposal) -> Question:
    change = seen.change
    value = change.details["value"]
    ask = f"Ask {change.site}: does {value} in {change.column!r} mean that nothing was measured, or is it a value?"
    return Question(change.site, change.column, (change, None), ask, seen.evidence)


def _number(column: Column, site: str, value: str, count: int) -> Proposal | None:
    v, there = float(value), column.count(site)
    own = column.blocks(site)
    others = [column.blocks(s) for s in column.numeric_sites() if s != site]
    rest = own if len(own) >= 2 else np.concatenate([*others, own]) if others or len(own) else own
    if not len(rest):
        return None
    low, high = (float(q) for q in (np.quantile(rest, [0.05, 0.95]) if rest is not own else (rest.min(), rest.max())))
    whose = "its other patients" if rest is own else "those of other sites"
    told = [f"{count} of {there} patients ({share(count, there)}) have exactly {value}, {whose} {low:.4g} … {high:.4g}"]
    if low <= v <= high:
        return None
    adjacent = column.told[site]["step"] == "1" and min(abs(v - low), abs(v - high)) < 1.5  # as 0 is to 1, 2, 3
    gap = 0.0 if adjacent else _gap(v, rest)
    logit = -4.0 + 1.5 * min(gap, STRANGE)
    most = math.inf
    habit, expected = _elsewhere(column, site, value, count / max(there, 1))
    if expected >= 10:
        logit += 4.0 * (1 - 2 * habit)
        told.append(f"{share(habit, 1)} of the other sites have it often")
    if v < 0 < low:
        logit += 3.5  # a negative number among positive ones
    elif v >= 99 > high:
        logit += 2.0
    if "empty" not in column.told[site]["shapes"] and _empty_elsewhere(column, site) > 0.02:
        logit += 2.0
        told.append("nobody is empty here, unlike elsewhere")
    agreed = column.entry.range if column.entry is not None else None
    if agreed is not None:
        outside = not agreed[0] <= v <= agreed[1]
        logit = max(logit + 3.0, 3.5) if outside else logit - 4.0
        most = math.inf if outside else 0.0  # no urine, no drinks: it can be a value
        told.append(f"{'outside' if outside else 'inside'} the agreed {agreed[0]:g} … {agreed[1]:g}")
    elif gap < FAR:
        most = 0.0
    change = Change(site, column.name, "sentinel", {"value": value})
    return Proposal(change, "; ".join(told), _squashed(min(logit, most)))


def _gap(v: float, rest: Numbers) -> float:
    """Distance from the nearest of the others, in spreads; on the scale, linear or logarithmic, where it is smaller."""
    low, high = float(rest.min()), float(rest.max())
    q = [float(edge) for edge in np.quantile(rest, [0.16, 0.84])]
    linear = max(low - v, v - high) / max((q[1] - q[0]) / 2, 0.02 * abs(float(np.median(rest))), 1e-9)
    if v <= 0 or low <= 0:
        return float(linear)
    spread = max(math.log(q[1] / q[0]) / 2, 0.02)
    return float(min(linear, max(math.log(low / v), math.log(v / high)) / spread))


def _elsewhere(column: Column, site: str, value: str, part: float) -> tuple[float, float]:
    """Share of the other sites that have the number often too, and how many patients would have it, were all alike."""
    others = [s for s in column.told if s != site and column.count(s) * part >= 5]
    has = sum(value in column.told[s]["recurring"] for s in others)
    return has / max(len(others), 1), part * sum(column.count(s) for s in others)


def _empty_elsewhere(column: Column, site: str) -> float:
    shapes = [told["shapes"] for s, told in column.told.items() if s != site]
    return float(sum(told.get("empty", 0) for told in shapes)) / max(sum(sum(told.values()) for told in shapes), 1)


def _code(column: Column, site: str, value: str, count: int) -> Proposal | None:
    levels, there = column.levels(site), column.count(site)
    if column.entry is not None:
        known = set(column.entry.codes or {})
    else:
        rest = [set(column.levels(s)) for s in column.told if s != site]
        known = {level for level in set().union(*rest) if sum(level in one for one in rest) > len(rest) / 2}
    if value in known or not known or len(levels) < 2:
        return None
    mates = [level for level in levels if level != value]
    if column.entry is None and not set(mates) <= known:
        return None
    logit = 1.0 if value in ("0", "9") else 3.0
    if not set(mates) <= known:  # another code book, in which it may be a code
        logit -= 2.0 if len(mates) >= len(known) else 6.0
    if "empty" not in column.told[site]["shapes"] and _empty_elsewhere(column, site) > 0.02:
        logit += 1.5
    evidence = (
        f"{count} of {there} patients ({share(count, there)}) have {value}, which is no code elsewhere or as agreed"
    )
    return Proposal(Change(site, column.name, "sentinel", {"value": value}), evidence, _squashed(logit))


def _squashed(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
