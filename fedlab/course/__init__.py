"""The course's self-checks: ``check("04.2", answer)`` says whether an answer is right, or gives a hint."""

from __future__ import annotations

from typing import Any

from fedlab.course import (
    central_baseline,
    federated_training,
    heterogeneity,
    intensive_care,
    isolated_models,
    personalization,
    records_differ,
    start_here,
    strategies,
    your_algorithm,
)
from fedlab.course.core import Exercise, verdict, verdict_on
from fedlab.course.solutions import reveal

EXERCISES: dict[str, Exercise] = {
    exercise.id: exercise
    for notebook in (
        start_here,
        records_differ,
        central_baseline,
        isolated_models,
        federated_training,
        heterogeneity,
        strategies,
        personalization,
        your_algorithm,
        intensive_care,
    )
    for exercise in notebook.EXERCISES
}


def check(exercise_id: str, answer: Any) -> None:
    """Print whether an answer is right and, if not, a hint; never raises.

    Parameters
    ----------
    exercise_id : str
        For example ``"04.2"``: notebook 04, exercise 2.
    answer : object
        Yours. ``...`` (not answered yet) repeats the question.

    Examples
    --------
    >>> check("00.1", ...)
    00.1: no answer yet. It asks for the name of a hospital: which hospital has the fewest healthy patients?
    """
    print(verdict_on(EXERCISES, exercise_id, answer))


__all__ = ["EXERCISES", "Exercise", "check", "reveal", "verdict"]
