"""The exercises of notebook 05: the right answer by another way, wrong ones with a hint, and what they rest on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fedlab
from fedlab.course.heterogeneity import EXERCISES, alike
from fedlab.federation import AcquisitionShift, Federation, LabelShift, QuantityShift, Shifts
from tests.course.answered import gets_a_hint, is_right

BY_ID = {exercise.id: exercise for exercise in EXERCISES}


def dialled(hospitals: Federation) -> float:
    y = hospitals.shift(Shifts({"Hungary": [LabelShift(0.5)]}))["Hungary"].rows.y.tolist()
    return sum(y) / len(y)


def total_variation(hospitals: Federation) -> float:
    """Half the sum over both classes, from counts."""
    counts = {site.name: np.bincount(site.rows.y.numpy(), minlength=2) for site in hospitals.sites}
    swiss, others = counts.pop("Switzerland"), sum(counts.values())
    return float(np.abs(swiss / swiss.sum() - others / others.sum()).sum() / 2)


def right(exercise_id: str, hospitals: Federation) -> Any:
    answers: dict[str, Any] = {
        "05.0": "b, A c",
        "05.1": dialled(hospitals),
        "05.2": total_variation(hospitals),
        "05.3": "Quantity",
    }
    return answers[exercise_id]


@pytest.mark.parametrize("exercise_id", BY_ID)
def test_right(exercise_id: str, hospitals: Federation) -> None:
    is_right(exercise_id, right(exercise_id, hospitals))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("05.0", "aac", "question 1: counts see the label"),
        ("05.1", 0.36, "too low: hospitals.shift"),
        ("05.2", 0.9, "too high: the others are thrown together"),
        ("05.3", "acquisition", "is another one: explain(alike"),
        ("05.3", "age", "is none of"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    gets_a_hint(exercise_id, answer, hint)


def test_what_costs_more_does_not_hang_by_a_hair() -> None:
    kinds = {site: QuantityShift(0.9) for site in ("site 1", "site 2", "site 3")}
    noisy = {"site 4": AcquisitionShift(0.2)}
    shifts = Shifts({site: [kind] for site, kind in (kinds | noisy).items()})
    parts = fedlab.explain(alike(), shifts=shifts, gap="own", rounds=10, progress=False).table().set_index("kind")
    assert parts.loc["quantity", "clear"] and parts.loc["quantity", "part"] > 3 * parts.loc["acquisition", "part"]


def test_they_are_registered() -> None:
    from fedlab.course import EXERCISES as ALL

    assert {i: ALL.get(i) for i in BY_ID} == BY_ID
