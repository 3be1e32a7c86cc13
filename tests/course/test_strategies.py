"""The exercises of notebook 06: the right answer by another way, wrong ones with a hint, and what they rest on."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import fedlab
from fedlab.algorithms import FedProx
from fedlab.course.cast import paradox
from fedlab.course.strategies import DRIFT, EXERCISES, MUS
from fedlab.federation import Federation
from tests.course.answered import gets_a_hint, is_right

BY_ID = {exercise.id: exercise for exercise in EXERCISES}


@cache
def validated(mu: float) -> float:
    """The lowest of all rounds, for that is the round which a run reports."""
    run = fedlab.train(paradox().resplit(0), "logistic", FedProx(mu=mu), seed=0, lr=0.1, progress=False, **DRIFT)
    sites = run.federation.sites
    patients = [len(site.valid) for site in sites]
    return min(np.average([r.valid[s.name]["log_loss"] for s in sites], weights=patients) for r in run.records)


def everywhere(algorithm: str) -> float:
    """Mean AUC of three seeds, each trained by itself."""
    found = []
    for seed in range(3):
        fed = paradox().resplit(seed)
        run = fedlab.train(fed, "logistic", algorithm, seed=seed, lr=0.1, progress=False, **DRIFT)
        found.append(run.report().query("metric == 'auc'")["value"].mean())
    return float(np.mean(found))


def right(exercise_id: str, hospitals: Federation) -> Any:
    """Each answer by another way than the course's own."""
    study = fedlab.compare(hospitals, "logistic", ["fedavg"], seeds=1, rounds=1, progress=False)
    answers = {
        "06.0": lambda: "B, c, A",
        "06.1": lambda: math.sqrt((1 / 10 + study.overlap) / (1 / 10)),
        "06.2": lambda: everywhere("centralized") - everywhere("fedavg"),
        "06.3": lambda: min(MUS, key=validated),
    }
    return answers[exercise_id]()


@pytest.mark.parametrize("exercise_id", BY_ID)
def test_right(exercise_id: str, hospitals: Federation) -> None:
    is_right(exercise_id, right(exercise_id, hospitals))


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("06.0", "aca", "question 1: how often do two of the splits"),
        ("06.1", 1, "1 is too low: the variance of the mean"),
        ("06.2", 0, "0 is too low: compare(paradox()"),
        ("06.3", 0.01, "0.01 is too low: one run for each"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    gets_a_hint(exercise_id, answer, hint)


def test_the_choice_of_mu_does_not_hang_by_a_hair() -> None:
    losses = sorted(map(validated, MUS))
    assert losses[1] - losses[0] > 1e-3


def test_the_mean_of_the_clinics_slopes_points_the_wrong_way_and_pooled_rows_do_not() -> None:
    clinics = paradox(patients=2000)
    rows = [(site.rows.x.numpy(), site.rows.y.numpy()) for site in clinics.sites]
    own = [LogisticRegression().fit(x, y).coef_[0] for x, y in rows]
    pooled = LogisticRegression().fit(*map(np.concatenate, zip(*rows, strict=True))).coef_[0]
    assert (np.mean(own, 0)[:2] < -0.5).all() and (pooled[:2] > 0).all()
    assert paradox().fingerprint == paradox().fingerprint != paradox(seed=1).fingerprint


def test_they_are_registered() -> None:
    from fedlab.course import EXERCISES as ALL

    assert set(BY_ID) <= set(ALL)
