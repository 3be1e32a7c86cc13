"""Whether the explainer finds what was planted: `python -m benchmarks.explainer [--quick] [--seed N] [--json FILE]`.

Hospitals that differ by chance alone (the patients of the four heart hospitals, and of four phantom intensive-care
units, dealt out anew to four sites) get one difference at one or two of them, of severity .6 to 1, of each kind in
turn. The explainer is not told which, and counts if its largest part is of that kind. Asked is the fall from the pooled
model to own models in log loss, which sees all six kinds.

A difference that costs nothing cannot be found in a fall. So devices are up to three spreads off, up to half of the
features are never measured, and a draw whose known part (the same question with ``shifts=``) is below 0.01 nats is
drawn again; how many were is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import fedlab
from benchmarks.figures import Figure, at_least, at_most, load, main, timing
from fedlab.federation import IID, Federation
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

ABOUT = "The gap explainer on planted differences"
CASES, MANY, ALIKE = 100, 12, 20
SITES, SEEDS = 4, 4
COSTS = 0.01  # nats that a planted difference must cost
SEVERITY = (0.6, 1.0)
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
    cases, many, alike = (12, 6, 4) if quick else (CASES, MANY, ALIKE)
    kinds = [KINDS[number % len(KINDS)] for number in range(cases)]
    drawn = [single(kind, number, seed) for number, kind in enumerate(kinds)]
    found = [explained(case.federation.shift(case.shifts)) for case in drawn]
    right = [each.first == kind for each, kind in zip(found, kinds, strict=True)]
    clear = [r and bool(e.table()["clear"][0]) for e, r in zip(found, right, strict=True)]
    told = f"{sum(right)} of {cases}; clear in {sum(clear)}; {sum(case.again for case in drawn)} draws cost too little"
    yield at_least("planted kind named first", 100 * sum(right) / cases, "%", 90, told)
    for kind in KINDS:
        mine = [r for r, planted in zip(right, kinds, strict=True) if planted == kind]
        others = [e.first or "none" for e, planted in zip(found, kinds, strict=True) if planted == kind != e.first]
        note = f"{sum(mine)} of {len(mine)}" + (f"; else {', '.join(sorted(others))}" if others else "")
        yield Figure(f"named first, {kind}", 100 * sum(mine) / len(mine), "%", note=note)
    large = [mixed(number, seed) for number in range(many)]
    named = [explained(case.federation, shifts=case.shifts).first == kind for case, kind in large]
    yield at_least("largest of several known kinds named first", 100 * sum(named) / many, "%", 90, f"{many} cases")
    nothing = [explained(base(number, np.random.default_rng([seed, 3, number]))) for number in range(alike)]
    held = [not each.table().query("kind != 'residual'")["clear"].any() for each in nothing]
    yield at_least("without a difference, all intervals hold zero", 100 * sum(held) / alike, "%", 100, f"{alike} cases")
    off = max(abs(float(e.table()["part"].sum()) - e.gap.mean) for e in [*found, *nothing])
    yield at_most("parts and residual less the fall", off, "", 1e-9, "largest of all cases")
    yield seconds(quick)


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


def mixed(number: int, seed: int) -> tuple[Case, str]:
    """Draw one large difference among two small ones, all known."""
    kind = KINDS[number % len(KINDS)]
    case = single(kind, number, seed + 1_000_003)
    rng = np.random.default_rng([seed, 2, number])
    small = rng.choice([k for k in KINDS if k not in (kind, "documentation")], 2, replace=False)
    sites = {site: list(shifts) for site, shifts in case.shifts.sites.items()}
    for other in small:
        sites.setdefault(str(rng.choice(case.federation.names)), []).append(PLANT[other](0.1))
    return case._replace(shifts=Shifts(sites, seed=case.shifts.seed)), kind


def explained(federation: Federation, shifts: Shifts | None = None) -> fedlab.Explanation:
    return fedlab.explain(federation, gap="own", shifts=shifts, seeds=SEEDS, progress=False)


if __name__ == "__main__":
    main("explainer", ABOUT, measure, seeded=True)
