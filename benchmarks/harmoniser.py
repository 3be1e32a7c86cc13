"""The harmoniser on planted faults, and on hospitals without any: `python -m benchmarks.harmoniser [--quick] [--seed N]
[--json FILE]`.

Half of the federations with faults are generated intensive-care units (``phantom_ehr``, 4 to 7 hospitals of 150 to 300
patients), half are wards of which each fifth treats another population (``benchmarks.populations``). A third of the
columns has no fault; each of the others has one, of a kind drawn from those it can have, at fewer than half of the
hospitals. What fewer than five patients show is not counted as planted: no summary may tell it. A change is right if
that hospital writes that column with a fault of that kind; of units, decimals and sentinels it must also give back what
was written before, to what rounding left of it. A fault is found if the right change is proposed, or asked as the first
reading of a question.

The federations without faults are ordinary wards and one hospital of another population. Whatever is proposed there is
wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.figures import Figure, at_least, at_most, main
from benchmarks.populations import FEATURES, POPULATIONS, UNITS, hospital
from data_recipes import heart_disease, phantom_ehr
from fedlab.federation.dictionary import DataDictionary
from fedlab.federation.documentation import Fault, draw_faults, write
from fedlab.federation.harmonise import Findings, apply, propose, summarise
from fedlab.federation.harmonise.changes import Change
from fedlab.federation.harmonise.written import numbers, texts
from fedlab.federation.site import Feature

ABOUT = "The harmoniser on federations with planted faults, on other populations without any, and on real hospitals"
FEDERATIONS = 200  # with faults
OF_A_POPULATION = 100
KINDS = ("unit", "codes", "sentinel", "order", "decimal")
PRECISION, FOUND = 95, 95
SEEN = 5  # patients
BINS, IN_A_BIN, APART = 10, 50, 0.1
PROPOSED = 0.5  # confidence from which on it is a proposal
ELSEWHERE = 0.2  # of the wards with faults, those that treat another population
ABSENT = 0.08  # of the cells that a ward has not measured
Tables = dict[str, pd.DataFrame]
Faults = dict[str, list[Fault]]


@dataclass(frozen=True)
class Judged:
    """Of one federation, the faults planted, proposed and asked by kind; every proposal's confidence, and if right."""

    planted: Counter[str]
    proposed: Counter[str]
    asked: Counter[str]
    told: tuple[tuple[str, float, bool], ...]


def federation(seed: int) -> tuple[Tables, Tables, Faults]:
    """Return intensive-care units as agreed, as written, and the faults that stand between them."""
    rng = np.random.default_rng([seed, 5])
    size = {"hospitals": int(rng.integers(4, 8)), "patients": int(rng.integers(150, 301)), "seed": seed}
    clean = phantom_ehr.raw(**size)
    faults = planted(list(clean), phantom_ehr.FEATURES, rng)
    return clean, phantom_ehr.raw(**size, faults=faults), faults


def wards(seed: int) -> tuple[Tables, Tables, Faults]:
    """Return wards as agreed, as written, and the faults that stand between them."""
    rng = np.random.default_rng([seed, 6])
    names = [f"Hospital {k + 1}" for k in range(rng.integers(4, 8))]
    tables = {}
    for name in names:
        kind = str(rng.choice(list(POPULATIONS))) if rng.random() < ELSEWHERE else "ordinary"
        table = hospital(kind, int(rng.integers(150, 301)), rng)
        tables[name] = table.mask(rng.random(table.shape) < ABSENT)
    faults = planted(names, FEATURES, rng)
    return (
        {name: write(table) for name, table in tables.items()},
        {name: write(table, faults[name]) for name, table in tables.items()},
        faults,
    )


def planted(names: list[str], features: tuple[Feature, ...], rng: np.random.Generator) -> Faults:
    """Draw the faults: a column has one kind, at fewer than half of the hospitals."""
    faults: Faults = {name: [] for name in names}
    for k in rng.permutation(len(features))[: round(2 * len(features) / 3)]:
        able = [kind for kind in KINDS if draw_faults([features[k]], 1.0, np.random.default_rng(0), kinds=[kind])]
        other = UNITS.get(features[k].name) if features is FEATURES else None
        able += ["unit"] * (other is not None and "unit" not in able)
        kind = able[rng.integers(len(able))]
        for site in rng.permutation(names)[: rng.integers(1, (len(names) - 1) // 2 + 1)]:
            if kind == "unit" and other is not None:
                of = dict(zip(("unit", "factor", "offset"), other, strict=True))
                faults[str(site)].append(Fault(features[k].name, "unit", of))
            else:
                faults[str(site)] += draw_faults([features[k]], 1.0, rng, kinds=[kind])
    return faults


def judge(seed: int) -> tuple[Judged, Judged]:
    """Let the harmoniser loose on one federation, with the data dictionary and without."""
    clean, written, faults = (wards if seed % 2 else federation)(seed)
    summaries = {site: summarise(table) for site, table in written.items()}
    features, dates = (FEATURES, ()) if seed % 2 else (phantom_ehr.FEATURES, phantom_ehr.DATES)
    agreed = DataDictionary.of(features, dates=dates)
    with_it, without = (propose(summaries, dictionary) for dictionary in (agreed, None))
    return compared(with_it, clean, written, faults), compared(without, clean, written, faults)


def compared(findings: Findings, clean: Tables, written: Tables, faults: Faults) -> Judged:
    """Hold what was proposed and asked against what was planted."""
    every = {(site, f.column, f.kind) for site, those in faults.items() for f in those}
    hidden = {key for key in every if key[2] == "sentinel" and (clean[key[0]][key[1]] == "").sum() < SEEN}

    def right(change: Change | None) -> bool:
        if change is None or (change.site, change.column, change.kind) not in every:
            return False
        return restored(change, clean[change.site], written[change.site])

    told = [(p.change, p.confidence, right(p.change)) for p in findings.proposals]
    proposed = {(c.site, c.column, c.kind) for c, _, good in told if good} - hidden
    asked = {(q.site, q.column, q.kind) for q in findings.questions if right(q.readings[0])} - hidden - proposed
    return Judged(
        *(Counter(kind for *_, kind in those) for those in (every - hidden, proposed, asked)),
        tuple((change.kind, sure, good) for change, sure, good in told),
    )


def restored(change: Change, clean: pd.DataFrame, written: pd.DataFrame) -> bool:
    """Tell whether a change of numbers gives back what was there; codes are judged by their kind alone."""
    if change.kind not in ("unit", "sentinel", "decimal"):
        return True
    before, after = (numbers(texts(t[change.column])) for t in (clean, apply(written, [change])))
    if (np.isnan(before) != np.isnan(after)).any():
        return False
    there = before[~np.isnan(before)]
    # an inch, or a dose by each patient's own weight, is coarser than what it was written from
    return bool(np.median(np.abs(after[~np.isnan(after)] - there)) <= 0.35 * max(float(there.std()), 1e-9))


def measure(quick: bool, seed: int = 0) -> Iterator[Figure]:
    seeds = range(1000 * seed, 1000 * seed + (12 if quick else FEDERATIONS))
    others = range(1000 * seed, 1000 * seed + (5 if quick else OF_A_POPULATION))
    with ProcessPoolExecutor() as pool:
        judged = list(pool.map(judge, seeds))
        left = list(pool.map(without_faults, others))
    yield from figures([with_it for with_it, _ in judged], "with a data dictionary", by_kind=True)
    yield from figures([without for _, without in judged], "without", by_kind=False)
    yield from calibration([with_it for with_it, _ in judged])
    yield from of_populations(left)
    yield real()


def figures(judged: list[Judged], how: str, *, by_kind: bool) -> Iterator[Figure]:
    """How many proposals are right, and how many faults are found, over all federations and by kind."""
    planted, proposed, asked = (sum((getattr(j, what) for j in judged), Counter[str]())
                                for what in ("planted", "proposed", "asked"))  # fmt: skip
    told = [one for j in judged for one in j.told]
    yield precision(f"all kinds, {how}", len(judged), [right for *_, right in told])
    share = found(f"all kinds, {how}", planted.total(), proposed.total(), asked.total())
    yield share if by_kind else Figure(share.name, share.value, share.unit, note=share.note)
    for kind in KINDS if by_kind else ():
        yield precision(kind, len(judged), [right for k, _, right in told if k == kind])
        yield found(kind, planted[kind], proposed[kind], asked[kind])


def precision(what: str, federations: int, rights: list[bool]) -> Figure:
    value = 100 * float(np.mean(rights)) if rights else 100.0
    wrong = len(rights) - sum(rights)
    note = f"{wrong} of {len(rights)} proposals wrong; {federations} federations"
    return at_least(f"right of what is proposed, {what}", value, "%", PRECISION, note)


def found(what: str, planted: int, proposed: int, asked: int) -> Figure:
    note = f"{proposed} proposed, {asked} asked with the right reading first, of {planted} planted"
    return at_least(f"found, {what}", 100 * (proposed + asked) / max(planted, 1), "%", FOUND, note)


def calibration(judged: list[Judged]) -> Iterator[Figure]:
    """Hold confidences against the share that is right, in bins by confidence.

    What confidences are off by on average is learned on one half of the federations, and the other half is judged: as
    stated, and with that added.
    """
    first, second = ([(sure, right) for j in half for _, sure, right in j.told]
                     for half in (judged[::4] + judged[1::4], judged[2::4] + judged[3::4]))  # fmt: skip
    count = min(BINS, len(second) // IN_A_BIN)
    if not count or not first:
        return
    off = float(np.mean([right - sure for sure, right in first]))
    yield Figure("share right less confidence, learned on half", off, "", note=f"{len(first)} proposals")
    bins = [one.mean(axis=0) for one in np.array_split(np.array(sorted(second), dtype=np.float64), count)]
    for words, added in (("as stated", 0.0), ("with what was learned", off)):
        apart = [abs(right - min(sure + added, 1.0)) for sure, right in (one.tolist() for one in bins)]
        worst = int(np.argmax(apart))
        note = (f"{count} bins of {len(second) // count} proposals or more, mean confidence {bins[0][0]:.2f} … "
                f"{bins[-1][0]:.3f}; in the worst {bins[worst][1]:.3f} are right of {bins[worst][0]:.3f}")  # fmt: skip
        yield at_most(f"share right apart from confidence, other half, {words}", float(max(apart)), "", APART, note)


def without_faults(seed: int) -> dict[str, tuple[int, int, int, int]]:
    """Count proposals and questions, with the dictionary and without: ordinary wards and one other hospital each."""
    rng = np.random.default_rng([seed, 7])
    sizes = rng.integers(150, 301, rng.integers(3, 7))
    alike = {f"Hospital {k + 1}": summarise(write(hospital("ordinary", int(n), rng))) for k, n in enumerate(sizes)}
    out = {}
    for kind in POPULATIONS:
        every = alike | {"Other": summarise(write(hospital(kind, int(rng.integers(60, 301)), rng)))}
        both = [propose(every, dictionary) for dictionary in (DataDictionary.of(FEATURES), None)]
        counts = [n for f in both for n in (sum(p.confidence > PROPOSED for p in f.proposals), len(f.questions))]
        out[kind] = (counts[0], counts[1], counts[2], counts[3])
    return out


def of_populations(left: list[dict[str, tuple[int, int, int, int]]]) -> Iterator[Figure]:
    """What was proposed where nobody made a fault, by population."""
    for kind in POPULATIONS:
        proposed, asked, without, asked_without = np.sum([one[kind] for one in left], axis=0).tolist()
        note = (f"{len(left)} federations; {proposed} proposals and {asked} questions with a dictionary, {without} and "
                f"{asked_without} without")  # fmt: skip
        yield Figure(f"proposals, no fault, {kind}", proposed + without, "", "none", proposed + without == 0, note)


def real() -> Figure:
    """The four real hospitals: cholesterol 0 at two of them, and nothing else."""
    proposals = propose({site: summarise(table) for site, table in heart_disease.raw().items()}).proposals
    told = sorted(f"{p.change.site} {p.change.column}" for p in proposals)
    holds = told == ["Long Beach chol", "Switzerland chol"]
    return Figure(
        "proposals at the four heart hospitals", len(told), "", "cholesterol 0 at two", holds, ", ".join(told)
    )


if __name__ == "__main__":
    main("harmoniser", ABOUT, measure, seeded=True)
