"""Exercises of notebook 11, *Your algorithm*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fedlab.algorithms import Algorithm, FedAvg, FedProx
from fedlab.algorithms.base import At
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, mean, trained
from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, Judge, letters
from fedlab.engine import train
from fedlab.testing import check_algorithm

AN_ALGORITHM = "a class derived from fedlab.algorithms.Algorithm, or an object of one"


@dataclass(frozen=True, kw_only=True)
class NearL1(Algorithm):
    """FedAvg with a term that holds each weight near the server's by its distance, not by the square."""

    mu: float = 0.1

    def __post_init__(self) -> None:
        in_range("mu", self.mu, 0)

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss plus ``mu`` times the sum of the distances."""
        away = [(w - at.anchor[k]).abs().sum() for k, w in trained(vars).items()]
        return at.loss(vars) + self.mu * torch.stack(away).sum()


@dataclass(frozen=True, kw_only=True)
class Trailing(Algorithm):
    """FedAvg whose reported model is the moving average of the models that the sites train from."""

    beta: float = 0.8

    def __post_init__(self) -> None:
        in_range("beta", self.beta, 0, 1)

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The newest mean: at first the start."""
        return {"newest": trained(params)}

    def broadcast(self, state: Tensors) -> Tensors:
        """The newest mean travels besides the average."""
        newest: Tensors = state["newest"]
        return newest

    def start(self, at: At) -> Tensors:
        """Train from the newest mean."""
        return {**at.anchor, **at.extra}

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Move the average towards the new mean."""
        newest = mean(uploads, weights)
        average = {k: self.beta * params[k] + (1 - self.beta) * w for k, w in newest.items()}
        return average, {"newest": trained(newest)}


@dataclass(frozen=True, kw_only=True)
class Damped(Trailing):
    """What one writes first: the sites train from the average itself."""

    def start(self, at: At) -> Tensors:
        """Train from what is reported."""
        return at.anchor


@dataclass(frozen=True, kw_only=True)
class Unhurried(Algorithm):
    """FedAvg that counts a batch half where it is predicted well already."""

    good: float = 0.4

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Half the loss where it is small."""
        loss = at.loss(vars)
        return torch.where(loss < self.good, loss / 2, loss)


def _trained(alg: Algorithm) -> Tensors:
    """Weights after five rounds of logistic regression, in float64."""
    settings: dict[str, Any] = dict(rounds=5, evaluate=False, engine="sequential", dtype="float64", progress=False)
    run = train(hospitals(), "logistic", alg, **settings)
    return {name: run.weights[name] for name in ("weight", "bias")}


_known = cache(_trained)


def _same(one: Tensors, other: Tensors) -> bool:
    return all(torch.allclose(one[name], tensor, rtol=0, atol=1e-9) for name, tensor in other.items())


def _made(answer: Any) -> Algorithm:
    if isinstance(answer, type) and issubclass(answer, Algorithm):
        return answer()
    if not isinstance(answer, Algorithm):
        raise TypeError("not an algorithm")
    return answer


def _algorithm(expected: Callable[[], Algorithm], near: Sequence[tuple[Algorithm, str]], hint: str) -> Judge:
    """Judge an algorithm by the weights that it comes to, and by ``check_algorithm``.

    Parameters
    ----------
    expected : callable
        Makes the algorithm that is asked for.
    near : sequence of (Algorithm, str)
        What may have been written in its place, and what to say of it.
    hint : str
        For anything else.
    """

    def judge(answer: Any) -> str:
        alg = _made(answer)
        try:
            weights = _trained(alg)
        except Exception as error:
            return f"it does not run: {type(error).__name__}: {error}"
        if not _same(weights, _known(expected())):
            return next((said for other, said in near if _same(weights, _known(other))), hint)
        table = check_algorithm(alg, on_fail="report")
        failed = table[~table["holds"]]
        if len(failed):
            first = failed.iloc[0]
            return f"the numbers are right, but check_algorithm says of {first['property']!r}: {first['says']}"
        return ""

    return judge


FEDAVG = FedAvg(), "this comes to what FedAvg comes to: nothing that you wrote has changed a weight."

EXERCISES = (
    Exercise(
        "11.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "acb",
            [
                "put 0 for the power into the formula of the weight.",
                "an interval with zero inside is no proof that there is nothing.",
                "what is a loss, when all hospitals stand in one stack?",
            ],
        ),
        "You can judge a new algorithm, your own first.",
    ),
    Exercise(
        "11.1",
        "FedProx whose term is mu times the sum of |w - w_t|, with mu = 0.1 by default.",
        AN_ALGORITHM,
        _algorithm(
            NearL1,
            [
                (FedProx(mu=0.1), "this is FedProx as it was: take the absolute value in place of the square."),
                (NearL1(mu=0.05), "this is half of it: the half in FedProx is there for the square, leave it out."),
                FEDAVG,
            ],
            "add self.mu * sum of |w - at.anchor[k]| over all trained tensors to at.loss(vars).",
        ),
        "The square pulls harder the farther a weight has gone; the distance pulls alike everywhere.",
    ),
    Exercise(
        "11.2",
        "FedAvg that reports the moving average of its models, with beta = 0.8 by default.",
        AN_ALGORITHM,
        _algorithm(
            Trailing,
            [
                (
                    Damped(),
                    "the hospitals train from the average: send them the newest mean (broadcast), and start there.",
                ),
                (Trailing(beta=0.2), "old and new have changed places: beta belongs to the old average."),
                FEDAVG,
            ],
            "keep the newest mean in the server's state (begin, combine), send it (broadcast), start from at.extra, "
            "and return beta * params + (1 - beta) * newest as the model.",
        ),
        "It costs a second model on the way down, and nothing on the way up.",
    ),
    Exercise(
        "11.3",
        "the given algorithm, repaired: the same numbers, in every engine.",
        AN_ALGORITHM,
        _algorithm(
            Unhurried,
            [FEDAVG],
            "it must come to the same numbers as before: half the loss where it is below good, else the loss.",
        ),
        "torch.where takes both ways and picks, for each hospital of the stack its own.",
    ),
)
