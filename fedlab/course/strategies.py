"""Exercises of notebook 06, *Strategies*."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from fedlab.algorithms import FedProx
from fedlab.course.cast import hospitals, paradox
from fedlab.course.core import Exercise, letters, number
from fedlab.study import compare
from fedlab.study.statistics import overlap

MUS = (0.01, 0.1, 1.0, 10.0)
DRIFT: dict[str, Any] = dict(
    rounds=10, local_epochs=20, batch_size=64
)  # how much the clinics work between two averages


def _wider() -> float:
    """How many times wider the corrected interval of ten seeds is than the plain one."""
    return math.sqrt(1 + 10 * overlap(hospitals()))


@cache
def _best_mu() -> float:
    arms = {str(mu): FedProx(mu=mu) for mu in MUS}
    study = compare(paradox(), "logistic", arms, seeds=[0], lr=0.1, progress=False, **DRIFT)
    losses = {}
    for arm, (run,) in study.runs.items():
        chosen = run.history.query("chosen")
        losses[float(arm)] = (chosen["log_loss"] * chosen["patients"]).sum() / chosen["patients"].sum()
    return min(losses, key=lambda mu: losses[mu])


@cache
def _lost_to_drift() -> float:
    study = compare(paradox(), "logistic", ["centralized", "fedavg"], seeds=3, lr=0.1, progress=False, **DRIFT)
    means = study.table().query("where == 'everywhere' and metric == 'auc'").set_index("arm")["mean"]
    return float(means["centralized"] - means["fedavg"])


EXERCISES = (
    Exercise(
        "06.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bca",
            [
                "how often do two of the splits share a patient?",
                "what does SCAFFOLD send besides the model, and when is there anything to correct?",
                "one in twenty intervals of equals leaves zero out, and somebody looked at ten.",
            ],
        ),
        "First equal terms, then intervals, then names.",
    ),
    Exercise(
        "06.1",
        "how many times wider is the corrected interval over ten seeds of the four hospitals than the plain one?",
        "a number",
        number(_wider, "the variance of the mean is (1/J + overlap) s², not s²/J; see study.overlap.", within=0.01),
        "More seeds narrow the plain interval without end, the corrected one only so far.",
    ),
    Exercise(
        "06.2",
        "how much AUC everywhere, mean of three seeds, does FedAvg lose to pooled training on the four clinics?",
        "a number",
        number(
            _lost_to_drift,
            "compare(paradox(), 'logistic', ['centralized', 'fedavg'], seeds=3, rounds=10, local_epochs=20, "
            "batch_size=64, lr=0.1), and subtract the two means in the table.",
        ),
        "With one local epoch, or with a rate of 0.003, next to nothing would be lost: the way between two averages "
        "costs, and it is steps times rate.",
    ),
    Exercise(
        "06.3",
        "which of the four values of mu has the lowest log loss on the validation patients of all clinics?",
        "a number",
        number(
            _best_mu,
            "one run for each with seeds=[0] and lr=0.1: keep the rows of run.history that are chosen, and weigh "
            "log_loss by patients.",
            within=1e-9,
        ),
        "FedProx holds the clinics back, which is not the same as telling them where the others go.",
    ),
)
