"""Exercises of notebook 07, *Personalization*."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd

from fedlab.algorithms import Ditto, FedPer, FineTuned
from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.tensors import Tensors
from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, letters, number
from fedlab.engine import Run, train

LAMS = (0.0, 0.1, 0.5, 2.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Hedged(FineTuned):
    """Trained like FineTuned; a site predicts with what the server sent and with the fine-tuned model."""

    def personal(self, at: At) -> list[Tensors]:
        """Both, averaged by the engine."""
        return [at.anchor, *super().personal(at)]


def _run(algorithm: Algorithm) -> Run:
    return train(hospitals(), "mlp", algorithm, progress=False)


def _validated(lam: float) -> float:
    run = train(hospitals().resplit(0), "mlp", Ditto(lam=lam), progress=False)
    chosen = run.history.query("chosen")
    return float((chosen["log_loss"] * chosen["patients"]).sum() / chosen["patients"].sum())


@cache
def _best_lam() -> float:
    return min(LAMS, key=_validated)


def _log_loss(scores: pd.DataFrame) -> float:
    return float(scores.query("metric == 'log_loss'")["value"].mean())


@cache
def _gained_by_training() -> float:
    rest, hungary = hospitals().holdout("Hungary")
    run = train(rest, "mlp", FedPer(), progress=False)
    return _log_loss(run.newcomer(hungary)) - _log_loss(run.newcomer(hungary, rounds=10))


@cache
def _hedged() -> float:
    return _log_loss(_run(Hedged()).report().query("train == test"))


EXERCISES = (
    Exercise(
        "07.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bca",
            [
                "which panel moved most when the dial was turned?",
                "a head that never left its hospital cannot be sent to another one.",
                "the best of twenty is also the luckiest of twenty.",
            ],
        ),
        "Personal where it helps, and shared where it can.",
    ),
    Exercise(
        "07.1",
        "which of the five values of lam has the lowest log loss on the validation patients of all hospitals?",
        "a number",
        number(
            _best_lam,
            "for each, keep the rows of run.history that are chosen, and weigh log_loss by patients.",
            within=1e-9,
        ),
        "Chosen without opening test: whatever the report now says is an honest number.",
    ),
    Exercise(
        "07.2",
        "by how much does the log loss of FedPer in Hungary, which joins late, fall from 0 rounds of its own to 10?",
        "a number",
        number(
            _gained_by_training,
            "hold out 'Hungary', train FedPer on the rest with 'mlp', and take the log loss of run.newcomer(hungary) "
            "less that of run.newcomer(hungary, rounds=10).",
        ),
        "A hospital without training rows of its own cannot have that.",
    ),
    Exercise(
        "07.3",
        "the mean log loss at home of an algorithm that averages the shared and the fine-tuned model.",
        "a number",
        number(
            _hedged,
            "derive a class from FineTuned whose personal returns [at.anchor, *super().personal(at)], and average the "
            "rows of its report with metric 'log_loss' and train == test.",
            within=0.002,
        ),
        "A new algorithm in two lines. Whether it is a better one is for a comparison over seeds to say.",
    ),
)
