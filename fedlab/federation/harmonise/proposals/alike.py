"""How well a code of one site fits a code of the others: how frequent it is, and what else its patients have."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

import numpy as np

from fedlab.federation.harmonise.proposals.column import Column
from fedlab.federation.harmonise.proposals.likelihood import Numbers

BETWEEN = 0.06  # sd of a code's mean rank between hospitals
PREVALENCE = 0.8  # sd of the log odds of a code between hospitals
RARE = 2  # patients of a code that is withheld
TEMPER = 0.5  # measurements are not independent of each other


def fit(column: Column, site: str, own: list[str], known: list[str], peers: list[str]) -> Numbers:
    """Log likelihood [own, known] that a code of the site is that of the others: prevalence and mean ranks."""
    out = np.zeros((len(own), len(known)))
    between = _prevalence(column, known, peers)
    for i, code in enumerate(own):
        for k, other in enumerate(known):
            here, n = _odds(column, site, code)
            if peers:
                z = (here - median(_odds(column, s, other)[0] for s in peers)) / between
                out[i, k] -= 2 * math.log1p(z * z / 3)  # Student's t of three degrees of freedom
            out[i, k] -= TEMPER * sum(min(z * z, 25) for z in _distances(column, site, code, other, peers, n)) / 2
    return out


def _prevalence(column: Column, known: list[str], peers: list[str]) -> float:
    """Sd of the log odds of a code between sites: as seen among the peers, from a guess where they are few."""
    seen, count = 2 * PREVALENCE**2, 2
    for code in known:
        odds = [_odds(column, s, code)[0] for s in peers if code in column.levels(s)]
        if len(odds) > 2:
            seen += float(np.minimum((np.array(odds) - np.median(odds)) ** 2, 1.0).sum())
            count += len(odds) - 1
    return math.sqrt(seen / count)


def _odds(column: Column, site: str, code: str) -> tuple[float, int]:
    levels = column.levels(site)
    n, whole = max(levels.get(code, 0), RARE), sum(levels.values())
    return math.log((n + 1) / (whole - n + 1)), n


def _distances(column: Column, site: str, code: str, other: str, peers: list[str], n: int) -> list[float]:
    """How far a code's mean rank of each measurement is from that of a code elsewhere, in sds."""
    here = column.told[site].get("ranks", {}).get(code, {})
    found = []
    for name, rank in here.items():
        met = [(column.told[s].get("ranks", {}).get(other, {}), column.levels(s).get(other, 0)) for s in peers]
        there = [(ranks[name], n) for ranks, n in met if name in ranks and n]
        if there:
            known, counts = zip(*there, strict=True)
            chance = 0.29 * math.sqrt(1 / max(n, 5) + 1 / sum(counts))
            found.append((rank - median(known)) / math.hypot(chance, BETWEEN))
    return found


def why(column: Column, site: str, own: list[str], best: list[str], peers: list[str]) -> str:
    """Name the measurement in which the codes differ most, and what it says."""
    spread: Counter[str] = Counter()
    ranks = column.told[site].get("ranks", {})
    for name in {n for code in own for n in ranks.get(code, {})}:
        values = [ranks[code][name] for code in own if name in ranks.get(code, {})]
        spread[name] = round(1000 * (max(values) - min(values)))
    if not spread or not peers:
        return "nothing else is known of these patients"
    name = spread.most_common(1)[0][0]
    told = []
    for code, other in zip(own, best, strict=True):
        there = [r[name] for s in peers if name in (r := column.told[s].get("ranks", {}).get(other, {}))]
        if name in ranks.get(code, {}) and there:
            told.append(f"{code} has {ranks[code][name]:.2f}, {other} elsewhere {np.median(there):.2f}")
    return f"mean rank of {name}: " + "; ".join(told)
