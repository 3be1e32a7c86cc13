"""Exercises of notebook 04, *Federated training*."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fedlab.algorithms import FedAvg
from fedlab.algorithms.tensors import Tensors, mean
from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, letters, number
from fedlab.engine import train


def _mean_age() -> float:
    column = hospitals().columns.index("age")
    ages = [site.train.x[:, column] for site in hospitals().sites]
    return float(sum(a.nansum() for a in ages) / sum((~a.isnan()).sum() for a in ages))


@cache
def _left() -> float:
    ledger = train(hospitals(), "logistic", "fedavg", rounds=30, progress=False).ledger
    return float(ledger[(ledger["site"] == "Switzerland") & (ledger["direction"] == "up")]["bytes"].sum())


@dataclass(frozen=True, kw_only=True)
class EqualVoices(FedAvg):
    """FedAvg in which every hospital counts alike, whatever its size."""

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average with equal weights."""
        return mean(uploads, torch.ones_like(weights)), state


@cache
def _trained(equal: bool) -> Tensors:
    run = train(
        hospitals(), "logistic", EqualVoices() if equal else FedAvg(), rounds=10, shuffle=False, evaluate=False,
        engine="sequential", dtype="float64", progress=False,
    )  # fmt: skip
    return {name: run.weights[name] for name in ("weight", "bias")}


def _same(answer: Mapping[str, Any], expected: Tensors) -> bool:
    return all(
        torch.allclose(torch.as_tensor(answer[name], dtype=torch.float64), tensor, rtol=0, atol=1e-6)
        for name, tensor in expected.items()
    )


def _equal_voices(answer: Any) -> str:
    lacks = [name for name in ("weight", "bias") if name not in answer]
    if lacks:
        return f"it has no tensor {lacks[0]!r}: give the server's dict after ten rounds."
    if _same(answer, _trained(True)):
        return ""
    if _same(answer, _trained(False)):
        return "this is FedAvg as it was: divide by the number of hospitals, not by their training rows."
    return "neither FedAvg nor its plain mean: start from zeros, ten rounds, same step size and batches as above."


EXERCISES = (
    Exercise(
        "04.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "cba",
            [
                "read the column 'content' of the ledger.",
                "one step on all rows is a weighted mean of gradients.",
                "a sum over one patient is that patient's value.",
            ],
        ),
        "You know what travels.",
    ),
    Exercise(
        "04.1",
        "the mean age of all training patients, from what each hospital tells.",
        "a number",
        number(
            _mean_age,
            "add the four sums of the column 'age' and divide by the sum of the four counts; a mean of four means "
            "is something else.",
            within=0.001,
        ),
        "Exactly the pooled mean, and no age left its hospital.",
    ),
    Exercise(
        "04.2",
        "how many bytes left Switzerland in a federated run of 30 rounds (logistic, default settings)?",
        "a number",
        number(_left, "sum the column 'bytes' of run.ledger over site 'Switzerland' and direction 'up'.", within=0.4),
        "Most of them are model weights, sent once a round.",
    ),
    Exercise(
        "04.3",
        "the server's tensors after ten rounds in which each hospital counts alike.",
        "a dict of tensors",
        _equal_voices,
        "A weighting is a choice: who should have how much say?",
    ),
)
