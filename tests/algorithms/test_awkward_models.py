"""Models that are awkward: frozen, tied, of two dtypes, with buffers; and a last batch of one row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import (
    FedAvg,
    FedProx,
)
from fedlab.engine import SGD
from fedlab.federation import Federation
from tests.algorithms.asked import ENGINES, run_of
from tests.algorithms.references import Small, apart, ours, prepared, state


@pytest.mark.parametrize("alg", ["fedavg", "moon", "fedbn", "ditto", "apfl", "perfedavg", "pfedme", "fedprox"])
def test_a_last_batch_of_one_row_passes_a_batch_norm(alg: str) -> None:
    fed = prepared(55, 40, 70)
    assert {len(s.train) % 16 for s in fed.sites} >= {1}, "33 rows: a batch of one row is left"
    each = [ours(fed, "mlp_norm", alg, engine=engine) for engine in ("sequential", "batched")]
    assert apart(each[0][0][-1], each[1][0][-1]) < 1e-9
    assert all(v.isfinite().all() for v in each[0][0][-1].values())


class Frozen(Small):
    """The first layer is not to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body.requires_grad_(False)


class Scaled(Small):
    """Holds a number of its own that is no parameter: a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 0.5))

    def features(self, x: Tensor) -> Tensor:
        return super().features(x * self.scale)


AWKWARD = ["fedavg", "scaffold", "fednova", "fedadam", "ditto", "qfedavg", "krum", "isolated"]


def far_from_start(fed: Federation, model: nn.Module, alg: str, engine: str) -> dict[str, float]:
    """How far each tensor is from the start, in what is predicted with, after rounds with momentum and decay."""
    _, run = ours(fed, model, alg, engine=engine, optimizer=SGD(momentum=0.5, weight_decay=0.1))
    found = [run.model(site) for site in run.models] if run.models else [run.model()]
    start = state(model.double())
    return {k: max((state(m.net)[k] - v).abs().max().item() for m in found) for k, v in start.items()}


@ENGINES
@pytest.mark.parametrize("alg", AWKWARD)
def test_a_frozen_parameter_does_not_move(alg: str, engine: str, fed: Federation) -> None:
    """Not by a gradient, nor by decay, nor at the server."""
    far = far_from_start(fed, Frozen(), alg, engine)
    assert far["head.weight"] > 1e-3 and max(far["body.0.weight"], far["body.0.bias"]) < 1e-12


@ENGINES
@pytest.mark.parametrize("alg", AWKWARD)
def test_a_buffer_does_not_move(alg: str, engine: str, fed: Federation) -> None:
    far = far_from_start(fed, Scaled(), alg, engine)
    assert far["head.weight"] > 1e-3 and far["scale"] < 1e-12


class Tied(nn.Module):
    """Two layers share one parameter."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


@ENGINES
def test_tied_parameters_stay_tied(engine: str, fed: Federation) -> None:
    """Trained as one: both uses add to its gradient."""
    _, run = ours(fed.select("site 1"), Tied(), FedAvg(), engine=engine, batch_size=1000)
    model = Tied().double()
    steps = torch.optim.SGD(model.parameters(), 0.1)
    site = fed["site 1"]
    for _ in range(3):
        steps.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(site.train.x)[:, 0], site.train.y.double())
        loss.backward()
        steps.step()
    trained = run.model()
    assert torch.allclose(trained(site.test.x), model(site.test.x), atol=1e-9)
    assert torch.equal(trained.net.one.weight, trained.net.two.weight)


class Mixed(nn.Module):
    """A layer of doubles among floats."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one, self.head = nn.Linear(4, 4), nn.Linear(4, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.one(x)).to(self.head.weight.dtype))


@ENGINES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_two_dtypes_gets_the_runs(dtype: str, engine: str, fed: Federation) -> None:
    got, run = ours(fed, Mixed(), FedAvg(), engine=engine, dtype=dtype)
    assert {v.dtype for v in got[-1].values()} == {getattr(torch, dtype)}
    assert run.model()(fed.sites[0].test.x).isfinite().all()


def test_what_the_caller_gave_is_left_as_it_was(fed: Federation) -> None:
    model = Small()
    before = state(model)
    run_of(fed, FedProx(), model)
    assert apart(before, state(model)) == 0.0 and model.head.weight.requires_grad and model.training


def test_an_empty_tensor_is_averaged(fed: Federation) -> None:
    class Empty(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.none = nn.Parameter(torch.zeros(0, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + self.none.sum()

    run = fedlab.train(fed, Empty, "fedavg", rounds=2, progress=False)
    assert run.weights["none"].shape == (0, 3) and run.weights["weight"].abs().sum() > 0
