"""The exercises of notebook 07: the right answer by another way, wrong ones with a hint, and what they rest on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fedlab
from fedlab.algorithms import Ditto, FedPer, FineTuned
from fedlab.course.core import verdict_on
from fedlab.course.personalization import EXERCISES, LAMS, Hedged
from fedlab.federation import Federation
from tests.course.answered import gets_a_hint, is_right

BY_ID = {exercise.id: exercise for exercise in EXERCISES}


def train(federation: Federation, algorithm: Any) -> fedlab.Run:
    return fedlab.train(federation, "mlp", algorithm, progress=False)


def at_home(run: fedlab.Run) -> float:
    return run.report().query("metric == 'log_loss' and train == test")["value"].mean()


@pytest.fixture(scope="module")
def dialled(hospitals: Federation) -> dict[float, float]:
    """The first split of the notebook's dial, as it is trained there: several seeds in one pass."""
    dial = fedlab.compare(hospitals, "mlp", [Ditto(lam=lam) for lam in LAMS], seeds=5, progress=False)
    return {lam: validated(runs[0]) for lam, runs in zip(LAMS, dial.runs.values(), strict=True)}


def validated(run: fedlab.Run) -> float:
    """The lowest of all rounds, for that is the round which a run reports."""
    sites = run.federation.sites
    patients = [len(site.valid) for site in sites]
    return min(np.average([r.valid[s.name]["log_loss"] for s in sites], weights=patients) for r in run.records)


def averaged_by_hand(run: fedlab.Run) -> float:
    """Mean over the sites of the log loss of the mean of two models' probabilities."""
    losses = []
    for site in run.federation.sites:
        received, tuned = run.models[site.name]
        with torch.no_grad():
            p = sum(run.net.probabilities([model], site.test.x)[:, 1] for model in (received, tuned)) / 2
        losses.append(F.binary_cross_entropy(p.double(), site.test.y.double()).item())
    return float(np.mean(losses))


def right(exercise_id: str, hospitals: Federation, dialled: dict[float, float]) -> Any:
    def gained() -> float:
        others, late = hospitals.holdout("Hungary")
        run = train(others, FedPer())
        scores = [run.newcomer(late, rounds=n).set_index("metric")["value"] for n in (0, 10)]
        return scores[0]["log_loss"] - scores[1]["log_loss"]

    answers = {
        "07.0": lambda: "B, c, A",
        "07.1": lambda: min(dialled, key=dialled.__getitem__),
        "07.2": gained,
        "07.3": lambda: averaged_by_hand(train(hospitals, Hedged())),
    }
    return answers[exercise_id]()


@pytest.mark.parametrize("exercise_id", BY_ID)
def test_right(exercise_id: str, hospitals: Federation, dialled: dict[float, float]) -> None:
    is_right(exercise_id, right(exercise_id, hospitals, dialled))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("07.0", "aca", "question 1: which panel moved most"),
        ("07.0", "bcb", "question 3: the best of twenty"),
        ("07.1", 1, "1 is too high: for each, keep the rows"),
        ("07.1", 0.10001, "is too high"),
        ("07.2", 0.0, "0 is too low: hold out 'Hungary'"),
        ("07.3", math.nan, "nan is no number: derive a class from FineTuned"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    gets_a_hint(exercise_id, answer, hint)


@pytest.mark.parametrize("algorithm", ["isolated", FineTuned()], ids=str)
def test_a_hedge_is_told_from_what_it_is_made_of(algorithm: Any, hospitals: Federation) -> None:
    assert "not yet" in verdict_on(BY_ID, "07.3", at_home(train(hospitals, algorithm)))


def test_the_choice_of_lam_does_not_hang_by_a_hair(dialled: dict[float, float]) -> None:
    losses = sorted(dialled.values())
    assert losses[1] - losses[0] > 1e-3


def test_validation_alone_is_looked_at(hospitals: Federation) -> None:
    assert train(hospitals, Ditto(lam=LAMS[0])).test_openings == 0


def test_they_are_registered() -> None:
    from fedlab.course import EXERCISES as ALL

    assert {i: ALL.get(i) for i in BY_ID} == BY_ID
