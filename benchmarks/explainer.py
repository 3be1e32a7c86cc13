"""Whether the explainer finds what was planted: `python -m benchmarks.explainer [--quick] [--seed N] [--json FILE]`.

Hospitals that differ by chance alone (the patients of the four heart hospitals, and of four phantom intensive-care
units, dealt out anew to four sites) are made to differ at one or two of them, and the explainer is not told in what:

- by one kind, of severity .6 to 1, each kind in turn;
- by two kinds at the same hospitals, of severity .4 to .9: correlated causes;
- by what is none of its kinds: 15 to 40 % wrong labels, measurements that are noise (of the standard normal, or of each
  column's own mean and spread), or that are another patient's, all of them together or each column by itself;
- by nothing.

Counted is what it says. Named rightly: one kind, the one that was planted; of a pair the one that costs more, clearly,
by the same question with ``shifts=``. Named wrongly: one kind, and another than that; of a pair any one, where the two
do not differ clearly; of a cause of none of its kinds any. Not to be told apart: several, with all that are right among
them (of a cause of none of its kinds: wrong labels, or what is none of the kinds); several without those are named
wrongly. And none: no kind has a clear part.

Asked is the fall from the pooled model to own models in log loss, which sees all six kinds. A difference that costs
nothing cannot be found in a fall. So devices are up to three spreads off, up to half of the features are never
measured, and a single kind whose known part is below 0.01 nats is drawn again; how many were is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

import fedlab
from benchmarks.figures import Figure, at_least, at_most, load, main, timing
from fedlab.federation import IID, Feature, Federation, Site
from fedlab.federation.frame import columns
from fedlab.federation.shift import (
    KINDS,
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shift,
    Shifts,
)
from fedlab.study.explain.removal.found import NONE_OF_THEM, WRONG_LABELS

ABOUT = "The gap explainer on planted differences"
CASES, MANY, ALIKE = 48, 15, 12  # single kinds; half of the pairs, and of the causes of none of its kinds; nothing
SITES, SEEDS = 4, 6
COSTS = 0.01  # nats that a planted difference must cost
SEVERITY, MILDER = (0.6, 1.0), (0.4, 0.9)
PAIRS = (
    ("label", "concept"),
    ("acquisition", "label"),
    ("practice", "label"),
    ("acquisition", "concept"),
    ("acquisition", "practice"),
)
NONE = ("wrong labels", "standard noise", "noise", "another patient's", "each column another patient's")
ANSWERS = RIGHTLY, TOGETHER, NOT_NAMED, WRONGLY = "named rightly", "not to be told apart", "none", "named wrongly"
PLANT: dict[str, Callable[[float], Shift]] = {
    "acquisition": lambda severity: AcquisitionShift(severity, offset=3.0, gain=0.9),
    "practice": lambda severity: PracticeShift(severity, missing=0.9, never=0.5),
    "documentation": DocumentationShift,
    "concept": ConceptShift,
    "label": LabelShift,
    "quantity": QuantityShift,
}


class Case(NamedTuple):
    """A federation, what is planted in it, and how many draws before cost too little."""

    federation: Federation
    shifts: Shifts
    again: int


def measure(quick: bool, seed: int) -> Iterator[Figure]:
    cases, many, alike = (12, 5, 4) if quick else (CASES, MANY, ALIKE)
    kinds = [KINDS[number % len(KINDS)] for number in range(cases)]
    drawn = [single(kind, number, seed) for number, kind in enumerate(kinds)]
    found = [explained(case.federation.shift(case.shifts)) for case in drawn]
    again = sum(case.again for case in drawn)
    yield from shares("one kind", [judged(e, [k]) for e, k in zip(found, kinds, strict=True)],
                      f"{again} draws cost too little")  # fmt: skip
    largest = [e.table()["kind"][0] == kind for e, kind in zip(found, kinds, strict=True)]
    yield Figure("one kind: its part is the largest, clear or not", 100 * float(np.mean(largest)), "%")
    for kind in KINDS:
        mine = [judged(e, [k]) for e, k in zip(found, kinds, strict=True) if k == kind]
        note = "; ".join(f"{answer} {mine.count(answer)}" for answer in ANSWERS if answer in mine)
        yield Figure(
            f"one kind, {kind}: not named wrongly", 100 * np.mean([m != WRONGLY for m in mine]), "%", note=note
        )
    pairs = [pair(PAIRS[number % len(PAIRS)], number, seed) for number in range(2 * many)]
    told = [explained(case.federation.shift(case.shifts)) for case in pairs]
    answers = [judged(e, right(case)) for e, case in zip(told, pairs, strict=True)]
    yield from shares("two kinds", answers)
    strange = [other(NONE[number % len(NONE)], number, seed) for number in range(2 * many)]
    none = [explained(federation) for federation in strange]
    yield from shares("none of its kinds", [judged(e, []) for e in none])
    nothing = [explained(base(number, np.random.default_rng([seed, 3, number]))) for number in range(alike)]
    yield from shares("nothing", [judged(e, []) for e in nothing])
    held = [not each.table().query("kind != 'residual'")["clear"].any() for each in nothing]
    yield at_least("without a difference, all intervals hold zero", 100 * sum(held) / alike, "%", 100, f"{alike} cases")
    every = [*found, *told, *none, *nothing]
    off = max(abs(float(e.table()["part"].sum()) - e.gap.mean) for e in every)
    yield at_most("parts and residual less the fall", off, "", 1e-9, "largest of all cases")
    against = [e.first != e.table()["kind"][0] for e in every if e.first]
    yield at_most("named first and not first in the table", float(sum(against)), "", 1, f"{len(against)} named alone")
    yield seconds(quick)


def judged(found: fedlab.Explanation, planted: Sequence[str]) -> str:
    """Sort an explanation into one of the ANSWERS; one kind that is planted is right alone, several only together."""
    named = {found.first} if found.first else set(found.together)
    if not named:
        return NOT_NAMED
    if not planted:
        return TOGETHER if named & {WRONG_LABELS, NONE_OF_THEM} else WRONGLY
    if found.first:
        return RIGHTLY if [found.first] == list(planted) else WRONGLY
    return TOGETHER if set(planted) <= named else WRONGLY


def right(case: Case) -> list[str]:
    """Name the kinds of a pair that are right: the one that is known to cost clearly more, or both."""
    known = explained(case.federation, shifts=case.shifts)
    return [known.first] if known.first else list(case.shifts.kinds)


def shares(what: str, answers: list[str], note: str = "") -> Iterator[Figure]:
    """Say in how many per cent of the cases each answer was given, and hold the worst to 5."""
    for answer in ANSWERS:
        share = 100 * answers.count(answer) / len(answers)
        told = "; ".join(filter(None, [f"{answers.count(answer)} of {len(answers)}", note]))
        name = f"{what}: {answer}"
        yield at_most(name, share, "%", 5.001, told) if answer == WRONGLY else Figure(name, share, "%", note=told)


def seconds(quick: bool) -> Figure:
    """Time one explanation of real hospitals, where all kinds differ."""
    before, seeds = load(), 2 if quick else 10
    begun = time.perf_counter()
    fedlab.explain(fedlab.load("heart_disease"), seeds=seeds, progress=False)
    took = time.perf_counter() - begun
    return timing(at_most("one explanation, four hospitals", took, "s", 30, f"{seeds} seeds"), load=before)


@lru_cache(maxsize=2)
def patients(name: str) -> Federation:
    return fedlab.load(name, **({"hospitals": SITES} if name == "phantom_ehr" else {}))


def base(number: int, rng: np.random.Generator) -> Federation:
    """Deal patients out so that sites differ by chance alone."""
    name = ("heart_disease", "phantom_ehr")[number // len(KINDS) % 2]
    return patients(name).partition(IID(), sites=SITES, seed=int(rng.integers(2**31)))


def single(kind: str, number: int, seed: int) -> Case:
    """Draw one difference that costs something."""
    for again in range(20):
        rng = np.random.default_rng([seed, 1, number, again])
        federation = base(number, rng)
        where = rng.choice(federation.names, rng.integers(1, 3), replace=False)
        planted = {str(site): [PLANT[kind](rng.uniform(*SEVERITY))] for site in where}
        case = Case(federation, Shifts(planted, seed=int(rng.integers(2**31))), again)
        if explained(federation, shifts=case.shifts).parts[kind].mean() >= COSTS:
            return case
    raise RuntimeError(f"no {kind} shift in 20 draws costs {COSTS}")


def pair(kinds: tuple[str, str], number: int, seed: int) -> Case:
    """Draw two differences at the same hospitals."""
    rng = np.random.default_rng([seed, 2, number])
    federation = base(number, rng)
    where = rng.choice(federation.names, rng.integers(1, 3), replace=False)
    planted = {str(site): [PLANT[kind](rng.uniform(*MILDER)) for kind in kinds] for site in where}
    return Case(federation, Shifts(planted, seed=int(rng.integers(2**31))), 0)


def other(cause: str, number: int, seed: int) -> Federation:
    """Draw a difference that is none of the kinds."""
    rng = np.random.default_rng([seed, 4, number])
    federation = base(number, rng)
    where = set(rng.choice(federation.names, rng.integers(1, 3), replace=False).tolist())
    numbers = [j for j, f in enumerate(features(federation)) if f.kind == "number" and not f.codes]
    sites = [spoilt(site, cause, numbers, rng) if site.name in where else site for site in federation.sites]
    return replace(federation, sites=tuple(sites))


def features(federation: Federation) -> list[Feature]:
    """Return the feature of each column."""
    return [feature for feature in federation.features for _ in columns([feature])]


def spoilt(site: Site, cause: str, numbers: list[int], rng: np.random.Generator) -> Site:
    """Return a site with wrong labels, or measurements that say nothing."""
    x, y = site.rows.x.double().numpy().copy(), site.rows.y.numpy().copy()
    here = x[:, numbers]
    if cause == "wrong labels":
        y = np.where(rng.random(len(y)) < rng.uniform(0.15, 0.4), 1 - y, y)
    elif cause == "another patient's":
        here = here[rng.permutation(len(here))]
    elif cause == "each column another patient's":
        here = rng.permuted(here, axis=0)
    else:
        noise = rng.standard_normal(here.shape)
        noise = noise if cause == "standard noise" else np.nanmean(here, 0) + np.nanstd(here, 0) * noise
        here = np.where(np.isnan(here), np.nan, noise)
    x[:, numbers] = here
    return replace(site, rows=replace(site.rows, x=torch.from_numpy(x).to(site.rows.x.dtype), y=torch.from_numpy(y)))


def explained(federation: Federation, shifts: Shifts | None = None) -> fedlab.Explanation:
    return fedlab.explain(federation, gap="own", shifts=shifts, seeds=SEEDS, progress=False)


if __name__ == "__main__":
    main("explainer", ABOUT, measure, seeded=True)
