"""One site at a time and all at once give the same numbers: for what ships, and for what the contract promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.utils._pytree import tree_leaves

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, FedAvg, Scaffold
from fedlab.algorithms.base import statistic, trained
from fedlab.engine import SGD, Adam, Run
from fedlab.federation import Federation
from fedlab.models import BatchNorm, Dropout
from tests.conftest import ragged


def both(fed: Federation, model: Any, alg: Algorithm | str, **options: Any) -> tuple[Run, Run]:
    options = {"rounds": 4, "batch_size": 16, "local_epochs": 2, "progress": False} | options
    return tuple(fedlab.train(fed, model, alg, engine=engine, **options) for engine in ("sequential", "batched"))  # type: ignore[return-value]


def difference(a: Run, b: Run) -> float:
    pairs = zip(tree_leaves((a.weights, a.models)), tree_leaves((b.weights, b.models)), strict=True)
    weights = max((x - y).abs().max().item() for x, y in pairs)
    return max(weights, float((a.history[["log_loss", "auc"]] - b.history[["log_loss", "auc"]]).abs().max().max()))


@pytest.mark.parametrize("dtype,bound", [("float64", 1e-9), ("float32", 5e-5)])
@pytest.mark.parametrize("model", ["logistic", "mlp"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_modes_agree_on_ragged_sites(name: str, model: str, dtype: str, bound: float, uneven: Federation) -> None:
    assert difference(*both(uneven, model, name, dtype=dtype)) < bound


@pytest.mark.parametrize("optimizer,lr", [(SGD(momentum=0.9), 0.05), (Adam(), 0.005)])
@pytest.mark.parametrize("name", ["fedavg", "isolated", "scaffold", "centralized"])
def test_modes_agree_with_other_optimisers(name: str, optimizer: Any, lr: float, uneven: Federation) -> None:
    assert difference(*both(uneven, "mlp", name, dtype="float64", optimizer=optimizer, lr=lr)) < 1e-9


@pytest.mark.parametrize("optimizer,lr", [(SGD(momentum=0.9), 0.05), (Adam(), 0.005)])
def test_our_optimisers_are_torchs(optimizer: Any, lr: float) -> None:
    one = ragged((80,), missing=False)
    ours = fedlab.train(
        one, "mlp", "isolated", rounds=3, optimizer=optimizer, lr=lr, dtype="float64", shuffle=False, evaluate=False,
        progress=False, batch_size=1000,
    ).models["site 0"][0]  # fmt: skip
    model = fedlab.models.build("mlp", 10, 1).double()
    adam = isinstance(optimizer, Adam)
    torchs = torch.optim.Adam(model.parameters(), lr) if adam else torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    train = one.sites[0].train
    x = fedlab.federation.prepare(train.x, fedlab.federation.fit(fedlab.federation.summarise(train.x)))
    for _ in range(3):  # isolated: the optimiser goes on over the rounds
        torchs.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], train.y.double()).backward()
        torchs.step()
    assert max((v - ours[k]).abs().max().item() for k, v in model.state_dict().items()) < 1e-9


# ---------------------------------------------------------------- layers


def normed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8, bias=False), BatchNorm(8), nn.ReLU(), Dropout(0.3), nn.Linear(8, outputs))


def torchs_own(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, outputs))


def test_batch_norm_and_dropout_agree_and_move(uneven: Federation) -> None:
    a, b = both(uneven, normed, "fedavg", dtype="float64")
    assert difference(a, b) < 1e-9
    assert a.weights["1.running_mean"].abs().max() > 0


def test_torchs_own_layers_run_one_at_a_time_and_say_so(uneven: Federation) -> None:
    torch.manual_seed(0)
    a = fedlab.train(uneven, torchs_own, rounds=2, progress=False)
    torch.manual_seed(1)
    b = fedlab.train(uneven, torchs_own, rounds=2, progress=False)
    assert any("BatchNorm1d (fedlab.models.BatchNorm can)" in note for note in a.notes)
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    with pytest.raises(ValueError, match="engine='batched' cannot run torch's"):
        fedlab.train(uneven, torchs_own, engine="batched")


def test_a_model_that_cannot_be_stacked_falls_back_and_says_so(uneven: Federation) -> None:
    class Picky(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.layer = nn.Linear(inputs, outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if bool((x.sum() > -1e9).item()) else self.layer(-x)

    run = fedlab.train(uneven, Picky, rounds=2, progress=False)
    assert any("one site at a time" in note for note in run.notes) and len(run.records) == 2


# ---------------------------------------------------------------- the contract, beyond what ships


class FedPer(Algorithm):
    one_model: ClassVar[bool] = False

    def shared(self, name):
        return not name.startswith("head.")


class FedRep(FedPer):
    def moves(self, name, at):
        return (at.step < torch.floor(at.steps / 2)) == name.startswith("head.")


@dataclass(frozen=True, kw_only=True)
class Ditto(Algorithm):
    one_model: ClassVar[bool] = False
    lam: float = 0.5

    def remember(self, params):
        return {"v": params}

    def start(self, at):
        return {"w": at.anchor, "v": at.memory["v"]}

    def objective(self, vars, at):
        w, v = vars["w"], vars["v"]
        return (
            at.loss(w) + at.loss(v) + self.lam / 2 * sum(((t - at.anchor[k]) ** 2).sum() for k, t in trained(v).items())
        )

    def finish(self, vars, at):
        return vars["w"], {}, {"v": vars["v"]}

    def personal(self, at):
        return [at.memory["v"]]


class APFL(Algorithm):
    one_model: ClassVar[bool] = False

    def remember(self, params):
        return {"v": params, "w": params, "a": torch.full((), 0.5, dtype=next(iter(trained(params).values())).dtype)}

    def start(self, at):
        return {"w": at.anchor, "v": at.memory["v"], "a": at.memory["a"]}

    def mix(self, w, v, a):
        return {k: a * t + (1 - a) * w[k].detach() if k in trained(v) else t for k, t in v.items()}

    def objective(self, vars, at):
        mixed = self.mix(vars["w"], vars["v"], vars["a"].clamp(0, 1))
        return at.loss(vars["w"]) + at.loss(mixed, into=vars["v"])

    def finish(self, vars, at):
        return vars["w"], {}, {**vars, "a": vars["a"].clamp(0, 1)}

    def personal(self, at):
        return [self.mix(at.memory["w"], at.memory["v"], at.memory["a"])]


class IFCA(Algorithm):
    one_model: ClassVar[bool] = False

    def begin(self, params, sites, rng):
        noise = {k: torch.randn((3, *p.shape), generator=rng, dtype=p.dtype) for k, p in trained(params).items()}
        return {k: params[k] + 0.3 * n for k, n in noise.items()}

    def broadcast(self, state):
        return state

    def pick(self, at):
        return vmap(lambda m: at.risk({**at.anchor, **m}))(at.extra).argmin()

    def start(self, at):
        j = self.pick(at)
        return {**at.anchor, **{k: m.index_select(0, j[None])[0] for k, m in at.extra.items()}}

    def finish(self, vars, at):
        one = nn.functional.one_hot(self.pick(at), 3).to(at.lr.dtype)
        return {}, {"one": one, "model": trained(vars)}, at.memory

    def combine(self, params, uploads, extra, weights, state, who):
        w = extra["one"] * weights[:, None]
        n = w.sum(0)
        new = {k: torch.einsum("sk,s...->k...", w / n.clamp(min=1e-9), u) for k, u in extra["model"].items()}
        return {}, {k: torch.where((n > 0).view(-1, *[1] * (s.ndim - 1)), new[k], s) for k, s in state.items()}

    def personal(self, at):
        return [self.start(at)]


class PerFedAvg(Algorithm):
    def objective(self, vars, at):
        g = at.gradient(vars, (0, 2))
        return at.loss({**vars, **{k: vars[k] - 0.05 * v for k, v in g.items()}}, (1, 2), into=vars)


class Moon(Algorithm):
    def remember(self, params):
        return {"last": params}

    def objective(self, vars, at):
        z, zg, zp = at.features(vars), at.features(at.anchor).detach(), at.features(at.memory["last"]).detach()
        near = nn.functional.cosine_similarity
        apart = nn.functional.softplus((near(z, zp, -1) - near(z, zg, -1)) / 0.5)
        w = at.batch[2]
        return at.loss(vars) + (apart * w).sum() / w.sum().clamp(min=1)

    def finish(self, vars, at):
        return vars, {}, {"last": vars}


class Sampled(Scaffold):
    def asks(self, round, sites, rng):
        return rng.choice(sites, 2, replace=False).tolist()


class Cyclic(Algorithm):
    def asks(self, round, sites, rng):
        return [(round - 1) % sites]


class Median(Algorithm):
    statistics: ClassVar[str] = "combine"

    def combine(self, params, uploads, extra, weights, state, who):
        return {k: u.median(0).values for k, u in uploads.items()}, state


@pytest.mark.parametrize("make", [FedPer, FedRep, Ditto, APFL, IFCA, PerFedAvg, Moon, Sampled, Cyclic, Median])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9)])
def test_the_contract_carries_the_hard_ones(make: Callable[[], Algorithm], optimizer: Any, uneven: Federation) -> None:
    a, b = both(uneven, "mlp", make(), dtype="float64", optimizer=optimizer, lr=0.05)
    assert difference(a, b) < 1e-9
    moved = [v for k, v in tree_leaves_named(a) if not statistic(k)]
    assert any(v.abs().max() > 0 for v in moved)


def tree_leaves_named(run: Run) -> list[tuple[str, torch.Tensor]]:
    models = [run.weights, *(m for members in run.models.values() for m in members)]
    return [(k, v) for model in models for k, v in model.items()]


def test_what_does_not_travel_is_not_in_the_messages(uneven: Federation) -> None:
    run = fedlab.train(uneven, "mlp", FedPer(), rounds=2, progress=False)
    sent = run.ledger.query("purpose == 'train'")["content"]
    assert sent.str.contains("body.0.weight").all() and not sent.str.contains("head").any()
    heads = [models[0]["head.weight"] for models in run.models.values()]
    assert not torch.equal(heads[0], heads[1])


def test_fedavg_stands_for_the_whole_contract() -> None:
    assert [n for n in vars(FedAvg) if not n.startswith("__")] == []
