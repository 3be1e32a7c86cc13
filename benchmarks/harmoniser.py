"""The harmoniser on planted faults: `python -m benchmarks.harmoniser [--quick] [--seed N] [--json FILE]`.

Each federation has its own hospitals (``phantom_ehr``, 4 to 7 of 150 to 300 patients). A third of its columns has no
fault; each of the others has one, of a kind drawn from those it can have, at fewer than half of the hospitals. What
fewer than five patients show is not counted as planted: no summary may tell it. A proposal is right if that hospital
writes that column with a fault of that kind. Of units, decimals and sentinels the change must also give back what was
written before, to what rounding left of it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.figures import Figure, at_least, main
from data_recipes import heart_disease, phantom_ehr
from fedlab.federation.dictionary import DataDictionary
from fedlab.federation.documentation import Fault, draw_faults
from fedlab.federation.harmonise import Proposal, apply, propose, summarise
from fedlab.federation.harmonise.written import numbers, texts

ABOUT = "The harmoniser on federations with planted faults, and on real hospitals"
FEDERATIONS = 200
KINDS = ("unit", "codes", "sentinel", "order", "decimal")
PRECISION, RECALL = 95, 90
SEEN = 5  # patients
BINS = ((0.8, 0.95), (0.95, 0.99), (0.99, 1.01))


@dataclass(frozen=True)
class Judged:
    """What came of one federation: planted and found by kind, and every proposal's confidence and whether right."""

    planted: Counter[str]
    found: Counter[str]
    told: tuple[tuple[str, float, bool], ...]


def federation(seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], dict[str, list[Fault]]]:
    """Return the tables as agreed, the tables as written, and the faults that stand between them."""
    rng = np.random.default_rng([seed, 5])
    size = {"hospitals": int(rng.integers(4, 8)), "patients": int(rng.integers(150, 301)), "seed": seed}
    clean = phantom_ehr.raw(**size)
    names, features = list(clean), phantom_ehr.FEATURES
    faults: dict[str, list[Fault]] = {name: [] for name in names}
    for k in rng.permutation(len(features))[: round(2 * len(features) / 3)]:
        able = [kind for kind in KINDS if draw_faults([features[k]], 1.0, np.random.default_rng(0), kinds=[kind])]
        kind = able[rng.integers(len(able))]
        for site in rng.permutation(names)[: rng.integers(1, (len(names) - 1) // 2 + 1)]:
            faults[str(site)] += draw_faults([features[k]], 1.0, rng, kinds=[kind])
    return clean, phantom_ehr.raw(**size, faults=faults), faults


def judge(seed: int) -> tuple[Judged, Judged]:
    """Let the harmoniser loose on one federation, with the data dictionary and without."""
    clean, written, faults = federation(seed)
    summaries = {site: summarise(table) for site, table in written.items()}
    agreed = DataDictionary.of(phantom_ehr.FEATURES, dates=phantom_ehr.DATES)
    with_it, without = (propose(summaries, dictionary)[0] for dictionary in (agreed, None))
    return compared(with_it, clean, written, faults), compared(without, clean, written, faults)


def compared(
    proposals: list[Proposal],
    clean: dict[str, pd.DataFrame],
    written: dict[str, pd.DataFrame],
    faults: dict[str, list[Fault]],
) -> Judged:
    """Hold proposals against what was planted."""
    every = {(site, f.column, f.kind) for site, those in faults.items() for f in those}
    hidden = {key for key in every if key[2] == "sentinel" and (clean[key[0]][key[1]] == "").sum() < SEEN}
    told, found = [], set()
    for p in proposals:
        key = (p.change.site, p.change.column, p.change.kind)
        right = key in every and restored(p, clean[key[0]], written[key[0]])
        told.append((key[2], p.confidence, right))
        found |= {key} if right else set()
    return Judged(
        Counter(kind for *_, kind in every - hidden), Counter(kind for *_, kind in found - hidden), tuple(told)
    )


def restored(p: Proposal, clean: pd.DataFrame, written: pd.DataFrame) -> bool:
    """Tell whether a change of numbers gives back what was there; codes are judged by their kind alone."""
    column = p.change.column
    if p.change.kind not in ("unit", "sentinel", "decimal"):
        return True
    before, after = (numbers(texts(t[column])) for t in (clean, apply(written, [p.change])))
    if (np.isnan(before) != np.isnan(after)).any():
        return False
    there = before[~np.isnan(before)]
    # an inch, or a dose by each patient's own weight, is coarser than what it was written from
    return bool(np.median(np.abs(after[~np.isnan(after)] - there)) <= 0.35 * max(float(there.std()), 1e-9))


def measure(quick: bool, *, seed: int = 0) -> Iterator[Figure]:
    seeds = range(1000 * seed, 1000 * seed + (12 if quick else FEDERATIONS))
    with ProcessPoolExecutor() as pool:
        judged = list(pool.map(judge, seeds))
    yield from figures([with_it for with_it, _ in judged], "with a data dictionary", by_kind=True)
    yield from figures([without for _, without in judged], "without", by_kind=False)
    yield real()


def figures(judged: list[Judged], how: str, *, by_kind: bool) -> Iterator[Figure]:
    """Precision and recall over all federations, by kind, and what a confidence is worth."""
    planted = sum((j.planted for j in judged), Counter())
    found = sum((j.found for j in judged), Counter())
    told = [one for j in judged for one in j.told]
    yield precision(f"all kinds, {how}", len(judged), [right for *_, right in told])
    yield recall(f"all kinds, {how}", planted.total(), found.total())
    if not by_kind:
        return
    for kind in KINDS:
        rights = [right for k, _, right in told if k == kind]
        yield precision(kind, len(judged), rights)
        yield recall(kind, planted[kind], found[kind])
    for low, high in BINS:
        inside = [(c, right) for _, c, right in told if low <= c < high]
        if inside:
            sure = 100 * float(np.mean([c for c, _ in inside]))
            right = 100 * float(np.mean([r for _, r in inside]))
            name = f"right, of proposals with confidence {low:g} … {min(high, 1):g}"
            yield Figure(name, right, "%", note=f"mean confidence {sure:.1f} %; {len(inside)} proposals")


def precision(what: str, federations: int, rights: list[bool]) -> Figure:
    value = 100 * float(np.mean(rights)) if rights else 100.0
    wrong = len(rights) - sum(rights)
    note = f"{wrong} of {len(rights)} proposals wrong; {federations} federations"
    return at_least(f"precision, {what}", value, "%", PRECISION, note)


def recall(what: str, planted: int, found: int) -> Figure:
    return at_least(f"recall, {what}", 100 * found / max(planted, 1), "%", RECALL, f"{found} of {planted} planted")


def real() -> Figure:
    """The four real hospitals: cholesterol 0 at two of them, and nothing else."""
    proposals, _ = propose({site: summarise(table) for site, table in heart_disease.raw().items()})
    told = sorted(f"{p.change.site} {p.change.column}" for p in proposals)
    holds = told == ["Long Beach chol", "Switzerland chol"]
    return Figure(
        "proposals at the four heart hospitals", len(told), "", "cholesterol 0 at two", holds, ", ".join(told)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int, default=0)
    known, rest = parser.parse_known_args()
    main("harmoniser", ABOUT, partial(measure, seed=known.seed), rest)
