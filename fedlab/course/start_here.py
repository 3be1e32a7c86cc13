"""Exercises of notebook 00, *Start here*."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, letters, name, number
from fedlab.engine import train
from fedlab.federation import Federation


def _fewest_healthy() -> str:
    return min(hospitals().sites, key=lambda site: int((site.rows.y == 0).sum())).name


@cache
def _unseen() -> float:
    rest, unseen = hospitals().holdout("Hungary")
    scores = train(rest, "logistic", "fedavg", progress=False).report(unseen=[unseen])
    return float(scores[(scores["test"] == "Hungary") & (scores["metric"] == "auc")]["value"].iloc[0])


def _federation(answer: Any) -> str:
    if not isinstance(answer, Federation):
        raise TypeError("not a federation")
    if len(answer.sites) != 2:
        return f"it has {len(answer.sites)} site{'s' if len(answer.sites) != 1 else ''}, and the ward column names two."
    if sum(map(len, answer.sites)) != 12:
        return "the table has twelve rows, and all of them should be in it."
    if max(len(np.unique(site.rows.group)) for site in answer.sites) != 3:
        return "each ward has three patients of two visits: name the patient's column in group=."
    if any(column.startswith("visit") for column in answer.columns):
        return "the number of the visit is no measurement: name the columns to learn from in features=."
    return ""


EXERCISES = (
    Exercise(
        "00.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bca",
            [
                "compare the rows of the map with its diagonal.",
                "what did the federated run get from the hospitals?",
                "who would have to be in the room to train the other one?",
            ],
        ),
        "You have the thread of the whole course.",
    ),
    Exercise(
        "00.1",
        "which hospital has the fewest healthy patients?",
        "the name of a hospital",
        name(
            _fewest_healthy,
            lambda: hospitals().names,
            "multiply the patients by the share that is *not* ill, in hospitals.describe().",
        ),
        "Whatever is said about healthy patients there rests on a handful of people: notebook 03 comes back to it.",
    ),
    Exercise(
        "00.2",
        "the AUC of a federated model at Hungary, which it has never seen.",
        "a number",
        number(
            _unseen,
            "hold out 'Hungary', train 'fedavg' on the rest with the default settings, and read the report of the "
            "unseen hospital, metric 'auc'.",
        ),
        "A hospital that shares nothing can still use what the others learnt.",
    ),
    Exercise(
        "00.3",
        "a federation of the ward table, by patient, without the visit's number.",
        "a Federation",
        _federation,
        "No patient stands in training and test at once.",
    ),
)
