"""Exercises of notebook 05, *Heterogeneity*."""

from __future__ import annotations

from functools import cache

from data_recipes import phantom_ehr
from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, letters, name, number
from fedlab.federation import IID, AcquisitionShift, Federation, LabelShift, QuantityShift, Shifts
from fedlab.federation.shift import KINDS
from fedlab.study import explain


@cache
def alike() -> Federation:
    """Return four sites of made-up patients that differ by chance alone."""
    return phantom_ehr.load(hospitals=4, patients=300).partition(IID(), sites=4)


def _dialled() -> float:
    shifted = hospitals().shift(Shifts({"Hungary": [LabelShift(0.5)]}))
    return float(shifted["Hungary"].rows.y.double().mean())


def _total_variation() -> float:
    ill = {site.name: site.rows.y.double() for site in hospitals().sites}
    swiss = ill.pop("Switzerland")
    return abs(float(swiss.mean()) - float(sum(y.sum() for y in ill.values())) / sum(map(len, ill.values())))


@cache
def _costs_more() -> str:
    small, noisy = [QuantityShift(0.9)], [AcquisitionShift(0.2)]
    both = Shifts({"site 1": small, "site 2": small, "site 3": small, "site 4": noisy})
    return explain(alike(), shifts=both, gap="own", rounds=10, progress=False).first


EXERCISES = (
    Exercise(
        "05.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bac",
            [
                "counts see the label that was written, not why.",
                "no colour is no proof: how many patients are there?",
                "what is a fall made of that none of the kinds removes?",
            ],
        ),
        "Measure, dial, explain, in that order.",
    ),
    Exercise(
        "05.1",
        "what share of Hungary's patients is ill when its label dial stands at 0.5?",
        "a number",
        number(
            _dialled,
            "hospitals.shift(Shifts({'Hungary': [LabelShift(0.5)]})).describe() has the shares.",
        ),
        "Nobody fell ill: healthy patients are no longer seen there.",
    ),
    Exercise(
        "05.2",
        "how large is the total variation between the classes of Switzerland and of the three others together?",
        "a number",
        number(
            _total_variation,
            "the others are thrown together: their ill over their patients. Of two classes, half the sum of both "
            "differences is the difference of one.",
        ),
        "Four counts were enough, and no row.",
    ),
    Exercise(
        "05.3",
        "which kind costs more from the pooled model to own models, quantity or acquisition?",
        "the name of a kind",
        name(
            _costs_more,
            lambda: KINDS,
            "explain(alike, shifts=…, gap='own', rounds=10).first, with the four sites in one Shifts.",
        ),
        "At these four sites the small ones have most to lose by learning alone.",
    ),
)
