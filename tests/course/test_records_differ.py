"""Exercises of notebook 01, each answer worked out by another way than the course's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data_recipes import heart_disease
from fedlab.federation import Federation
from tests.course.answered import gets_a_hint, is_right


def zeros(column: str) -> dict[str, int]:
    """How many cells of each hospital are written as a zero."""
    return {site: int(table[column].isin(["0", "0.0"]).sum()) for site, table in heart_disease.raw().items()}


def with_cholesterol(hospitals: Federation) -> float:
    tidy = heart_disease.tidy(heart_disease.raw())
    return 1 - float(tidy["chol"].isna().mean())


def spread_lost(hospitals: Federation) -> float:
    at = hospitals.columns.index("thalach")
    rates = [site.train.x[:, at].numpy() for site in hospitals.sites]
    return float(np.nanstd(np.concatenate(rates)) - np.mean([np.nanstd(each) for each in rates]))


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("01.0", lambda hospitals: "B c, B"),
        ("01.1", lambda hospitals: max(zeros("trestbps"), key=zeros("trestbps").get)),
        ("01.2", with_cholesterol),
        ("01.3", spread_lost),
    ],
)
def test_right(exercise_id: str, answer: Callable[[Federation], Any], hospitals: Federation) -> None:
    is_right(exercise_id, answer(hospitals))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("01.0", "bbb", "question 2: look again at the two verdicts"),
        ("01.1", "Switzerland", "is another one: keep the rows of `numbers`"),
        ("01.2", 0.97, "too high: question marks are empty in `numbers`; zeros are not"),
        ("01.3", 0, "too low: scale of the merged summaries"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    gets_a_hint(exercise_id, answer, hint)
