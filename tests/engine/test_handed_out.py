"""What user code is handed is its own: nothing that it does in place reaches other sites, rounds or the caller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import Algorithm, FedAvg, QFedAvg, Scaffold
from fedlab.engine import SGD, Run
from fedlab.engine.site import RowsChanged
from fedlab.federation import Federation
from fedlab.testing.trial import apart
from tests.conftest import ragged

ENGINES = ["sequential", "batched", "threads"]
OPTIONS: dict[str, Any] = {"rounds": 4, "dtype": "float64", "batch_size": 8, "lr": 0.05, "progress": False}


class Halves(nn.Module):
    """Reads half of every value."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(inputs, 4), nn.Linear(4, outputs)

    def features(self, x: Tensor) -> Tensor:
        return torch.tanh(self.body(x * 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class HalvesInPlace(Halves):
    def features(self, x: Tensor) -> Tensor:
        return torch.tanh(self.body(x.mul_(0.5)))


@pytest.fixture
def fed() -> Iterator[Federation]:
    """Rows as they are: what is handed to a model would be the stored ones. Unchanged when all is done."""
    made = ragged((17, 29, 40), missing=False)
    ready = Federation.from_tensors({s.name: (s.rows.x, s.rows.y) for s in made.sites}, prepared=True)
    before = ready.fingerprint
    yield ready
    assert ready.fingerprint == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("alg", ["fedavg", "qfedavg", "moon", "isolated", "finetuned", "ifca"])
def test_a_model_may_work_in_place_on_its_input(alg: str, engine: str, fed: Federation) -> None:
    runs = [fedlab.train(fed, model, alg, engine=engine, **OPTIONS) for model in (Halves, HalvesInPlace)]
    assert apart(*runs)[0] < 1e-12
    assert runs[0].report().equals(runs[1].report())


def test_one_that_does_so_now_and_then_ends_the_run_by_name(fed: Federation) -> None:
    class Sometimes(Halves):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x.add_(0.0) if len(x) > 2 and not self.training else x)

    for engine in ("sequential", "threads"):
        with pytest.raises(RowsChanged, match="changed the rows of .* in place.*load it again") as caught:
            fedlab.train(fed, Sometimes, engine=engine, **OPTIONS)
        assert caught.value.run.records == []  # type: ignore[attr-defined]


# ---------------------------------------------------------------- algorithms


class Anchors(FedAvg):
    """The objective doubles what the site received, having read it."""

    def objective(self, vars: Any, at: Any) -> Tensor:
        loss = at.loss(vars) + 0.1 * sum(((vars[k] - w.clone()) ** 2).sum() for k, w in at.anchor.items())
        return self._then(loss, at.anchor)

    def _then(self, loss: Tensor, tree: Any) -> Tensor:
        return loss


class AnchorsInPlace(Anchors):
    def _then(self, loss: Tensor, tree: Any) -> Tensor:
        for tensor in tree.values():
            tensor.mul_(1.0).add_(0.0)
        return loss


class Rows(FedAvg):
    """Looks at all its rows."""

    def finish(self, vars: Any, at: Any) -> Any:
        x, *_ = at.rows
        return vars, {"mean": self._mean(x)}, at.memory

    def _mean(self, x: Tensor) -> Tensor:
        return (x - x.mean()).sum()


class RowsInPlace(Rows):
    def _mean(self, x: Tensor) -> Tensor:
        return x.sub_(x.mean()).sum()


class Half(FedAvg):
    """Sends half of its model and keeps the whole; the server adds the halves up."""

    def remember(self, params: Any) -> Any:
        return {"kept": params}

    def finish(self, vars: Any, at: Any) -> Any:
        return vars, {}, {"kept": vars}

    def combine(self, params: Any, uploads: Any, extra: Any, weights: Tensor, state: Any, who: Tensor) -> Any:
        return {k: (u * 0.5).mean(0) + params[k] * 0.5 for k, u in uploads.items()}, state

    def personal(self, at: Any) -> Any:
        return [at.memory["kept"]]


class HalfInPlace(Half):
    def combine(self, params: Any, uploads: Any, extra: Any, weights: Tensor, state: Any, who: Tensor) -> Any:
        return {k: u.mul_(0.5).mean(0).add_(params[k].mul_(0.5)) for k, u in uploads.items()}, state


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pair", [(Anchors, AnchorsInPlace), (Rows, RowsInPlace), (Half, HalfInPlace)])
def test_an_algorithm_may_work_in_place(pair: tuple[type[FedAvg], type[FedAvg]], engine: str, fed: Federation) -> None:
    runs = [fedlab.train(fed, "mlp", cls(), engine=engine, **OPTIONS) for cls in pair]
    gap, where = apart(*runs)
    assert gap < 1e-12, where
    seeds = [
        next(
            reversed(
                list(fedlab.stream(fed, "mlp", cls(), seeds=2, **{k: v for k, v in OPTIONS.items() if k != "progress"}))
            )
        )
        for cls in pair
    ]
    for one, other in zip(seeds[0].runs, seeds[1].runs, strict=True):
        assert apart(one, other)[0] < 1e-12


@dataclass(frozen=True)
class StepsInPlace:
    """Plain SGD that writes into what it is given."""

    def init(self, params: Any, lr: Any) -> Any:
        return {}

    def step(self, params: Any, grads: Any, state: Any, lr: Any) -> Any:
        for name in params:
            params[name] -= lr[name] * grads[name]
        return params, state


@pytest.mark.parametrize("engine", ENGINES)
def test_an_optimizer_may_step_in_place(engine: str, fed: Federation) -> None:
    """Also where a site is done, and its tensors must stay."""
    runs = [fedlab.train(fed, "mlp", optimizer=o, engine=engine, **OPTIONS) for o in (SGD(), StepsInPlace())]
    assert apart(*runs)[0] < 1e-12


def test_what_a_round_hands_out_is_no_part_of_the_run(fed: Federation) -> None:
    plain = fedlab.train(fed, "mlp", **OPTIONS)
    options = {k: v for k, v in OPTIONS.items() if k != "progress"}
    for event in fedlab.stream(fed, "mlp", **options):
        for tensor in (*event.weights.values(), *event.run.weights.values()):
            tensor.zero_()
    best = [event for event in event.run.records]
    assert repr([r.valid for r in best]) == repr([r.valid for r in plain.records])  # nan is not nan


# ---------------------------------------------------------------- errors, and names


class Breaks(Algorithm):
    """The server half fails in round 3, with an error of its own."""

    def combine(self, params: Any, uploads: Any, extra: Any, weights: Tensor, state: Any, who: Tensor) -> Any:
        if int(state.get("round", torch.zeros(()))) == 2:
            raise ZeroDivisionError("nobody is left")
        return super().combine(params, uploads, extra, weights, {"round": state.get("round", torch.zeros(())) + 1}, who)

    def begin(self, params: Any, sites: int, rng: Any) -> Any:
        return {"round": torch.zeros(())}


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_any_error_that_ends_a_run_carries_the_rounds_before(engine: str, fed: Federation) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        fedlab.train(fed, "mlp", Breaks(), engine=engine, **OPTIONS)
    run: Run = caught.value.run  # type: ignore[attr-defined]
    assert len(run.records) == 2 and run.model() is not None
    with pytest.raises(ZeroDivisionError) as caught:
        list(fedlab.stream(fed, "mlp", Breaks(), seeds=2, rounds=4, engine=engine))
    assert len(caught.value.run.records) == 2  # type: ignore[attr-defined]


class Turned(Scaffold):
    """Gives its directions in the opposite order."""

    def direction(self, grad: Any, vars: Any, at: Any) -> Any:
        return dict(reversed(super().direction(grad, vars, at).items()))


class Projects(FedAvg):
    def project(self, vars: Any, at: Any) -> Any:
        return dict(reversed({k: v.clamp(-1, 1) for k, v in vars.items()}.items()))


class ProjectsInOrder(FedAvg):
    def project(self, vars: Any, at: Any) -> Any:
        return {k: v.clamp(-1, 1) for k, v in vars.items()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pair", [(Scaffold, Turned), (ProjectsInOrder, Projects)])
def test_tensors_are_joined_by_name(
    pair: tuple[type[Algorithm], type[Algorithm]], engine: str, fed: Federation
) -> None:
    runs = [fedlab.train(fed, "mlp", cls(), engine=engine, **OPTIONS) for cls in pair]
    assert apart(*runs)[0] < 1e-12


class Forgets(FedAvg):
    def direction(self, grad: Any, vars: Any, at: Any) -> Any:
        return {k: g for k, g in grad.items() if "bias" not in k}


def test_a_direction_that_lacks_a_tensor_says_so(fed: Federation) -> None:
    with pytest.raises(fedlab.TooFewSites) as caught:
        fedlab.train(fed, "logistic", Forgets(), engine="sequential", **OPTIONS)
    assert "direction must give a tensor for each that is trained, by its name: it lacks bias" in str(
        caught.value.__cause__
    )


def test_a_shared_objective_does_not_reach_the_kept_best_round(fed: Federation) -> None:
    """q-FedAvg reads the received model once more after training."""
    runs = [fedlab.train(fed, HalvesInPlace, QFedAvg(), engine=e, **OPTIONS) for e in ("sequential", "threads")]
    assert apart(*runs)[0] < 1e-12


class Anchored(FedAvg):
    """Looks at what was sent, all of it, the preparation too."""

    def look(self, sent: Any) -> Any:
        return {k: v * 0.5 for k, v in sent.items()}

    def objective(self, vars: Any, at: Any) -> Any:
        far = self.look(at.anchor)
        return at.loss(vars) + 0.1 * sum(((vars[k] - far[k]) ** 2).sum() for k in vars)


class AnchoredInPlace(Anchored):
    def look(self, sent: Any) -> Any:
        for tensor in sent.values():
            tensor.mul_(0.5)
        return sent


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_sent_may_be_written_over_with_its_preparation(engine: str) -> None:
    raw = ragged((17, 29, 40))
    runs = [fedlab.train(raw, "mlp", alg, engine=engine, **OPTIONS) for alg in (Anchored(), AnchoredInPlace())]
    assert apart(*runs)[0] < 1e-12


class Counts(FedAvg):
    """Sends a number that its server holds."""

    def begin(self, params: Any, sites: int, rng: Any) -> Any:
        return {"told": torch.zeros((), dtype=torch.float64)}

    def broadcast(self, state: Any) -> Any:
        return {"told": state["told"] + 1.0}

    def objective(self, vars: Any, at: Any) -> Any:
        return at.loss(vars) * (1 + at.extra["told"])


class CountsInPlace(Counts):
    def broadcast(self, state: Any) -> Any:
        state["told"].add_(1.0)
        return state


@pytest.mark.parametrize("evaluate", [True, False])
def test_what_a_server_holds_may_be_written_over_when_it_is_sent(evaluate: bool, fed: Federation) -> None:
    runs = [fedlab.train(fed, "mlp", alg, evaluate=evaluate, **OPTIONS) for alg in (Counts(), CountsInPlace())]
    assert all(torch.equal(runs[0].weights[k], tensor) for k, tensor in runs[1].weights.items())
    assert runs[0].extra == runs[1].extra


class OneBuffer(FedAvg):
    """Sends every site's model in one and the same memory."""

    def finish(self, vars: Any, at: Any) -> Any:
        for name, tensor in vars.items():
            BUFFER.setdefault(name, torch.empty_like(tensor)).copy_(tensor)
        return BUFFER, {}, at.memory


BUFFER: dict[str, Tensor] = {}


def test_an_upload_is_taken_as_it_is_when_it_comes(fed: Federation) -> None:
    runs = [fedlab.train(fed, "mlp", alg, engine="sequential", **OPTIONS) for alg in (FedAvg(), OneBuffer())]
    assert apart(*runs)[0] < 1e-12


@pytest.mark.parametrize("gives", ["nothing", "half", "None", "one"])
def test_what_a_server_leaves_out_is_noted_and_what_is_no_model_refused(gives: str, fed: Federation) -> None:
    class Odd(FedAvg):
        def combine(self, params: Any, uploads: Any, extra: Any, weights: Any, state: Any, who: Any) -> Any:
            new, state = super().combine(params, uploads, extra, weights, state, who)
            part = dict(list(new.items())[:1])
            return {"nothing": ({}, state), "half": (part, state), "None": None, "one": new}[gives]

    if gives in ("nothing", "half"):
        run = fedlab.train(fed, "mlp", Odd(), **OPTIONS)
        assert any("combine gives no" in note and "keeps what it had" in note for note in run.notes)
    else:
        with pytest.raises(TypeError, match=r"Odd.combine must give \(params, state\), two dicts"):
            fedlab.train(fed, "mlp", Odd(), **OPTIONS)
