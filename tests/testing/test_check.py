"""Every algorithm passes the checks, and each check finds what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, FromFlower
from fedlab.algorithms.tensors import mean
from fedlab.testing import check_algorithm

FEW = ("centralized", "ensemble", "scaffold", "fedrep", "trimmedmean")


@pytest.mark.parametrize("name", FEW)
def test_a_few_pass(name: str) -> None:
    assert check_algorithm(name)["holds"].all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in FEW])
def test_all_others_pass(name: str) -> None:
    assert check_algorithm(name)["holds"].all()


@pytest.mark.slow
def test_a_flower_strategy_passes_but_for_what_hangs_on_its_session() -> None:
    from flwr.serverapp.strategy import FedAvg

    table = check_algorithm(FromFlower(FedAvg()), on_fail="report").set_index("property")
    session = ["saved and resumed", "what it is given stays", "who answered", "how many answered"]
    assert table.drop(index=session)["holds"].all()


@pytest.mark.slow
def test_noise_is_normal_and_the_same_in_every_mode() -> None:
    drawn: list[Tensor] = []

    class Noisy(Algorithm):
        def direction(self, grad, vars, at):
            noise = {k: at.noise(g.shape, salt=i) for i, (k, g) in enumerate(grad.items())}
            drawn.append(at.noise([5000]))
            return {k: g + 0.1 * noise[k] for k, g in grad.items()}

    assert check_algorithm(Noisy())["holds"].all()
    normal = next(d for d in drawn if not torch._C._functorch.is_batchedtensor(d))
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05 and normal.abs().max() > 3


# ---------------------------------------------------------------- what each check is for


class DrawsFromTorch(Algorithm):
    def objective(self, vars, at):
        return at.loss(vars) * (1 + 0.1 * torch.rand(()))


class ChangesInPlace(Algorithm):
    def combine(self, params, uploads, extra, weights, state, who):
        for u in uploads.values():
            u.mul_(0.5)
        return {k: u.mean(0) for k, u in uploads.items()}, state


class SaysTheSumDoes(Algorithm):
    """It takes the largest upload, and says that their sum is enough."""

    sums = "rows"

    def combine(self, params, uploads, extra, weights, state, who):
        return {k: u.amax(0) for k, u in uploads.items()}, state


class AsksATensor(Algorithm):
    """The number of a row decides by a Python ``if``; it is hidden from the stack by ``n``'s place in it."""

    def finish(self, vars, at):
        near = {k: v * (1 + 1e-6 * at.n.ndim) for k, v in vars.items()}
        lost = torch._C._functorch.is_batchedtensor(at.n)
        return ({k: v * 1.001 for k, v in near.items()} if lost else near), {}, at.memory


class AsksPython(Algorithm):
    """A Python ``if`` on a tensor."""

    def objective(self, vars, at):
        loss = at.loss(vars)
        return loss if float(loss.detach()) > 0 else 2 * loss


class Remembers(Algorithm):
    seen: ClassVar[list[int]] = []

    def combine(self, params, uploads, extra, weights, state, who):
        self.seen.append(1)
        return {k: u * (1 + 0.01 * len(self.seen)) for k, u in mean(uploads, weights).items()}, state


class WordsInMemory(Algorithm):
    def begin(self, params, sites, rng):
        return {"note": "first"}


class CountsAll(Algorithm):
    def begin(self, params, sites, rng):
        return {"sites": torch.tensor(float(sites))}

    def combine(self, params, uploads, extra, weights, state, who):
        missing = state["sites"] - len(who)
        return {k: u + missing / (1 - missing) for k, u in mean(uploads, weights).items()}, state


class DividesByAll(Algorithm):
    """Divides by all the sites there are."""

    def begin(self, params, sites, rng):
        return {"sites": torch.tensor(float(sites), dtype=torch.float64)}

    def combine(self, params, uploads, extra, weights, state, who):
        return {k: u.sum(0) / state["sites"].to(u.dtype) for k, u in uploads.items()}, state


class ForgetsWho(Algorithm):
    """Keeps a number for each site, and finds it by place."""

    def begin(self, params, sites, rng):
        return {"trust": torch.arange(1.0, sites + 1, dtype=torch.float64)}

    def combine(self, params, uploads, extra, weights, state, who):
        return mean(uploads, state["trust"][: len(who)]), state


class SendsByLoss(Algorithm):
    def finish(self, vars, at):
        return vars, {"more": torch.zeros(3 if at.round > 1 else 2)}, at.memory


class Stands(Algorithm):
    def combine(self, params, uploads, extra, weights, state, who):
        return dict(params), state


@dataclass(frozen=True, kw_only=True)
class Fails(Algorithm):
    strength: float = 2.0

    def objective(self, vars, at):
        raise KeyError("nothing")


@pytest.mark.slow
@pytest.mark.parametrize(
    "make,property,says",
    [
        (DrawsFromTorch, "global generators", "the global generator of torch"),
        (ChangesInPlace, "what it is given stays", "combine changes uploads in place"),
        (SaysTheSumDoes, "sums as stated", "looks at each upload by itself, say sums = None"),
        (AsksATensor, "engine 'batched' agrees", "one site at a time and 'batched' differ"),
        (Remembers, "same seed, same bits", "keep nothing in the algorithm itself"),
        (WordsInMemory, "saved and resumed", "something that is no tensor"),
        (CountsAll, "a site fails", "not finite"),
        (DividesByAll, "how many answered", "divide by those that answered"),
        (ForgetsWho, "who answered", "stands at its number"),
        (AsksPython, "engine 'batched' agrees", "use torch.where"),
        (SendsByLoss, "messages as described", "describe.. says"),
        (Stands, "runs", "no tensor has moved"),
        (Fails, "runs", "TooFewSites"),
    ],
)
def test_each_check_finds_its_fault(make: Callable[[], Algorithm], property: str, says: str) -> None:
    table = check_algorithm(make(), on_fail="report").set_index("property")
    assert not table.loc[property, "holds"]
    with pytest.raises(AssertionError, match=says):
        check_algorithm(make())


def test_whoever_overrides_combine_and_says_nothing_is_taken_to_need_each_upload() -> None:
    assert ChangesInPlace().sums is None and AsksATensor().sums == "rows" and SaysTheSumDoes().sums == "rows"


def test_a_failing_algorithm_is_named_with_all_that_is_wrong() -> None:
    with pytest.raises(AssertionError, match=r"Fails\(strength=2.0\) fails 1 of 1 checks:\n- runs: it cannot be run"):
        check_algorithm(Fails)


# ---------------------------------------------------------------- descriptions


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_describes_itself(name: str) -> None:
    told = ALGORITHMS[name]().describe(sites=5)
    assert told["where"].unique().tolist() == ["to a site", "from a site", "at a site", "at the server"]
    assert (told["arrays"] >= 0).all() and told.query("where == 'from a site'")["bytes"].sum() >= 8


def test_scaffold_sends_twice_what_fedavg_sends() -> None:
    def up(name: str) -> int:
        told = fedlab.algorithms.algorithm(name).describe("logistic")
        return int(told.query("where == 'from a site'")["bytes"].sum()) - 8

    assert up("scaffold") == 2 * up("fedavg")


def test_what_stays_is_named() -> None:
    told = fedlab.algorithms.FedPer().describe("mlp").set_index(["where", "what"])["content"]
    assert told["at a site", "own tensors"] == "head.weight [1, 32], head.bias [1]"
    assert "head" not in told["from a site", "model"]


# ---------------------------------------------------------------- a hospital that joins late


@pytest.mark.parametrize("name", ["finetuned", "perfedavg", "ifca", "ditto", "apfl", "pfedme", "fedper", "isolated"])
def test_a_newcomer_is_served_without_sending_anything(name: str) -> None:
    others, late = fedlab.load("heart_disease").holdout("Long Beach")
    run = fedlab.train(others, "mlp", name, rounds=3, progress=False)
    before = run.ledger
    table = run.newcomer(late, rounds=2).set_index("metric")
    assert table["test"].unique().tolist() == ["Long Beach"] and table["value"].notna().all()
    asked = run.ledger[len(before) :]  # of the newcomer alone, what its models are worth: nothing of it is learnt from
    assert set(asked["purpose"]) <= {"report"} and set(asked["site"]) <= {"Long Beach"}
    assert "Long Beach" not in run.models


def test_a_newcomer_to_a_shared_model_gets_that_model() -> None:
    others, late = fedlab.load("heart_disease").holdout("Hungary")
    run = fedlab.train(others, "logistic", "fedavg", rounds=3, progress=False)
    told = run.newcomer(late).set_index("metric")["value"]
    unseen = run.report(unseen=[late]).query("test == 'Hungary'").set_index("metric")["value"]
    assert told.equals(unseen)


def test_fine_tuning_at_a_newcomer_is_gradient_descent_on_its_rows() -> None:
    others, late = fedlab.load("heart_disease").holdout("Hungary")
    options: dict[str, Any] = dict(rounds=1, progress=False, dtype="float64")
    run = fedlab.train(others, "logistic", fedlab.algorithms.FineTuned(steps=3), **options)
    plain = fedlab.train(others, "logistic", "fedavg", **options)
    model = plain.model()
    x, y = late.train.x, late.train.y.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=run.settings.lr)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y).backward()
        optimizer.step()
    p: Tensor = torch.sigmoid(model(late.test.x)[:, 0]).detach()
    loss = torch.nn.functional.binary_cross_entropy(p, late.test.y.double()).item()
    told = run.newcomer(late).set_index("metric")["value"]
    assert told["log_loss"] == pytest.approx(loss, abs=1e-9)
