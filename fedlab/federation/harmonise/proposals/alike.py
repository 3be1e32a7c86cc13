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


def direction(
    column: Column, site: str, own: list[str], known: list[str], peers: list[str], best: tuple[int, ...]
) -> float:
    """How much better, in logarithms, a mapping fits than none what differs *between* the codes.

    How frequent a code is says nothing here, nor how high all ranks are, nor how far apart: another population moves
    that, and leaves the direction alone.
    """
    levels, here = column.levels(site), column.told[site].get("ranks", {})
    gain = 0.0
    for name in sorted({name for code in own for name in here.get(code, {})}):
        there = {code: _median_rank(column, code, name, peers) for code in known}
        rows = [(here[code][name], there[code], there[known[k]], levels.get(code, 5))
                for code, k in zip(own, best, strict=True) if name in here.get(code, {})]  # fmt: skip
        met = np.array([row for row in rows if None not in row], dtype=np.float64).reshape(-1, 4)
        if len(met) > 1:
            sd = np.hypot(0.29 / np.sqrt(met[:, 3]), BETWEEN)
            gain += TEMPER * (_apart(met[:, 0], met[:, 1], sd) - _apart(met[:, 0], met[:, 2], sd)) / 2
    return gain


def _median_rank(column: Column, code: str, name: str, peers: list[str]) -> float | None:
    met = [r[name] for s in peers if name in (r := column.told[s].get("ranks", {}).get(code, {}))]
    return median(met) if met else None


def _apart(here: Numbers, there: Numbers, sd: Numbers) -> float:
    """Squared distances in sds of ranks here from a rising line in those elsewhere."""
    weight = sd**-2
    x, y = (values - np.average(values, weights=weight) for values in (there, here))
    slope = max(float((weight * x * y).sum() / max((weight * x * x).sum(), 1e-12)), 0.0)
    return float(np.minimum(((y - slope * x) / sd) ** 2, 25.0).sum())


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
