"""Exercises of notebook 11: an algorithm is judged by its numbers and by ``check_algorithm``, and never raises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

import fedlab
from fedlab.algorithms import Algorithm, FedAvg, FedProx
from fedlab.algorithms.tensors import mean, trained
from fedlab.course import check
from fedlab.course.your_algorithm import Damped, NearL1, Trailing, Unhurried
from fedlab.federation import Federation


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """What ``check`` prints."""

    def says(exercise_id: str, answer: Any) -> str:
        assert check(exercise_id, answer) is None
        return capsys.readouterr().out.strip()

    return says


# ---------------------------------------------------------------- other ways to write the right answers


@dataclass(frozen=True, kw_only=True)
class TermAsGradient(Algorithm):
    """The derivative of the absolute term, put in after the gradient."""

    def direction(self, grad, vars, at):
        return {k: g + 0.1 * torch.sign(vars[k] - at.anchor[k]) for k, g in grad.items()}


class AverageInExtra(Algorithm):
    """The same moving average, with all of the state under other names."""

    def begin(self, params, sites, rng):
        return {"last": {k: v.clone() for k, v in trained(params).items()}, "round": torch.zeros(())}

    def broadcast(self, state):
        return {"w": state["last"]}

    def start(self, at):
        return at.anchor | at.extra["w"]

    def combine(self, params, uploads, extra, weights, state, who):
        last = mean(uploads, weights)
        return {k: params[k] + 0.2 * (w - params[k]) for k, w in last.items()}, {
            "last": trained(last),
            "round": state["round"] + 1,
        }


class ByFactor(Algorithm):
    """The halving as a factor."""

    def objective(self, vars, at):
        loss = at.loss(vars)
        return loss * (1 - 0.5 * (loss < 0.4).to(loss.dtype)).detach()


class WithIf(Algorithm):
    """As the notebook gives it: an ``if`` on a tensor."""

    def objective(self, vars, at):
        loss = at.loss(vars)
        return loss / 2 if loss < 0.4 else loss


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("11.0", "A c b"),
        ("11.1", TermAsGradient),
        ("11.1", NearL1(mu=0.1)),
        ("11.2", AverageInExtra()),
        ("11.2", Trailing),
        ("11.3", ByFactor),
        ("11.3", Unhurried(good=0.4)),
    ],
)
def test_right(exercise_id: str, answer: Any, said) -> None:
    assert said(exercise_id, answer).startswith(f"{exercise_id}: right. ")


class Raises(Algorithm):
    def objective(self, vars, at):
        raise KeyError("nothing")


class NeedsANumber(Algorithm):
    def __init__(self, mu):
        raise AssertionError("never called without mu")


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("11.0", "bcb", "question 1: put 0 for the power"),
        ("11.1", FedProx(mu=0.1), "this is FedProx as it was"),
        ("11.1", NearL1(mu=0.05), "the half in FedProx is there for the square"),
        ("11.1", FedAvg, "comes to what FedAvg comes to"),
        ("11.1", NearL1(mu=0.3), "add self.mu * sum"),
        ("11.1", Raises, "it does not run: TooFewSites"),
        ("11.2", Damped, "the hospitals train from the average"),
        ("11.2", Trailing(beta=0.2), "old and new have changed places"),
        ("11.2", FedAvg(), "comes to what FedAvg comes to"),
        ("11.3", WithIf, "the numbers are right, but check_algorithm says of \"engine 'batched' agrees\""),
        ("11.3", Unhurried(good=0.6), "it must come to the same numbers"),
        ("11.3", NeedsANumber, "of type type, and the exercise asks for a class derived from"),
        ("11.3", Algorithm.combine, "of type function"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str, said) -> None:
    text = said(exercise_id, answer)
    assert text.startswith(f"{exercise_id}: not yet: ") and hint in text


@pytest.mark.parametrize("alg", [NearL1(mu=0), Trailing(beta=0), Damped(beta=0), Unhurried(good=0)])
def test_switched_off_they_are_fedavg_to_the_bit(alg: Algorithm, hospitals: Federation) -> None:
    ours, known = (
        fedlab.train(hospitals, "logistic", which, rounds=4, engine="sequential", progress=False).weights
        for which in (alg, "fedavg")
    )
    assert all(torch.equal(ours[name], known[name]) for name in known)


def test_the_average_by_hand() -> None:
    alg = Trailing(beta=0.75)
    start = {"w": torch.tensor(0.0)}
    state = alg.begin(start, 2, torch.Generator())
    sites = dict(extra={}, weights=torch.tensor([1.0, 3.0]), who=torch.arange(2))
    model, state = alg.combine(start, {"w": torch.tensor([8.0, 8.0])}, state=state, **sites)
    assert (model["w"], state["newest"]["w"], alg.broadcast(state)["w"]) == (2.0, 8.0, 8.0)
    model, state = alg.combine(model, {"w": torch.tensor([2.0, 6.0])}, state=state, **sites)
    assert (model["w"], state["newest"]["w"]) == (0.75 * 2 + 0.25 * 5, 5.0)


@pytest.mark.parametrize("wrong", [dict(beta=1.5), dict(beta=-0.1), dict(beta=float("nan"))])
def test_a_share_is_a_share(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="beta is .*at least 0 and at most 1"):
        replace(Trailing(), **wrong)
