"""Runs that are stopped, and sites that fail: what is kept, what is said, what stays at the site."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.engine import Run
from fedlab.engine.exchange import TooFewSites
from fedlab.federation import Federation


def quick(fed: Federation, alg: str | Algorithm = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 3, "progress": False} | options))


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_stop_takes_effect_within_one_batch(engine: str, uneven: Federation) -> None:
    steps = []

    class Slow(Algorithm):
        def objective(self, vars, at):
            steps.append(at.step)
            if len(steps) == 25:
                stop.set()
            return at.loss(vars)

    stop = threading.Event()
    events = list(fedlab.stream(uneven, "mlp", Slow(), rounds=1000, batch_size=8, engine=engine, stop=stop))
    assert len(steps) == 25
    assert all(event.run.records for event in events)


def test_stop_from_another_thread_and_close(uneven: Federation) -> None:
    stop = threading.Event()
    for event in fedlab.stream(uneven, "mlp", rounds=100_000, stop=stop):
        if event.round == 1:
            threading.Thread(target=stop.set).start()
    assert 0 < event.round < 100_000
    assert event.run.model()(uneven.sites[0].test.x).shape == (len(uneven.sites[0].test), 1)
    live = fedlab.stream(uneven, "mlp", "isolated", rounds=10)
    run = next(live).run
    live.close()
    assert len(run.records) == 1 and set(run.models) == set(uneven.names)


def test_an_interrupt_returns_the_rounds_so_far(uneven: Federation) -> None:
    class Interrupted(Algorithm):
        def objective(self, vars, at):
            if at.round == 3:
                raise KeyboardInterrupt
            return at.loss(vars)

    run = quick(uneven, Interrupted(), rounds=9)
    assert len(run.records) == 2 and any("interrupted after 2 of 9" in note for note in run.notes)


# ---------------------------------------------------------------- sites that fail


class Poisoned(Algorithm):
    """The loss of the site with 60 training rows is not finite in round 3."""

    def objective(self, vars, at):
        bad = torch.where((at.n == 60) & torch.tensor(at.round == 3), torch.nan, 0.0)
        return at.loss(vars) + bad * sum(v.sum() for k, v in vars.items() if not k.startswith("prepare"))


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_site_whose_loss_is_not_finite_is_left_out_of_that_round(engine: str, uneven: Federation) -> None:
    assert {len(s.train) for s in uneven.sites} >= {60}, "the poison must hit a site"
    run = quick(uneven, Poisoned(), rounds=5, engine=engine)
    assert run.errors.to_dict("list") == {"round": [3], "site": ["site 1"], "error": ["NotFinite"]}
    assert len(run.records) == 5 and all(v.isfinite().all() for v in run.weights.values())
    bad = run.ledger.query("status != 'ok'")
    assert bad[["round", "purpose", "site", "bytes"]].values.tolist() == [[3, "train", "site 1", 0]]


@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_a_model_that_raises_at_one_site_is_as_it_was_for_the_others(engine: str) -> None:
    """All sites but those of other threads share one module, which computes with tensors that it is lent."""

    class Wary(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = super().forward(x)
            if self.training and float(x.detach().abs().max()) > 1e3:
                raise ArithmeticError("that is no patient")
            return out

    def model(inputs: int, outputs: int) -> Wary:
        return Wary(torch.nn.Linear(inputs, 4), torch.nn.Tanh(), torch.nn.Linear(4, outputs))

    draw = torch.Generator().manual_seed(0)
    tables = {name: (torch.randn(40, 3, generator=draw), torch.arange(40) % 2) for name in "ABC"}
    tables["A"][0][:] = 1e4
    fed = Federation.from_tensors(tables, prepared=True)
    options: dict[str, Any] = dict(engine=engine, batch_size=7)
    assert "ArithmeticError" in quick(fed, model=model, **options).records[0].errors["A"]
    without = quick(fed.select("B", "C"), model=model, **options).weights
    for name, tensor in quick(fed, model=model, **options).weights.items():
        assert torch.equal(tensor, without[name]), name


def test_a_failed_site_keeps_its_memory(uneven: Federation) -> None:
    class PoisonedAlone(Poisoned):
        one_model = False
        alone = True

        def shared(self, name):
            return False

    a = quick(uneven, PoisonedAlone(), rounds=5, engine="batched", dtype="float64", evaluate=False)
    b = quick(uneven, PoisonedAlone(), rounds=5, engine="sequential", dtype="float64", evaluate=False)
    assert torch.allclose(a.models["site 1"][0]["weight"], b.models["site 1"][0]["weight"], atol=1e-9)
    assert a.models["site 1"][0]["weight"].isfinite().all()


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_too_few_sites_stop_the_run_and_lose_nothing(engine: str, uneven: Federation) -> None:
    with pytest.raises(TooFewSites, match="2 of 3 sites.*round 3.*site 1 .NotFinite.*Lower min_sites") as caught:
        quick(uneven, Poisoned(), rounds=5, engine=engine, min_sites=3)
    assert len(caught.value.run.records) == 2 and caught.value.run.model() is not None


def test_a_site_that_raises_shows_its_class_not_its_text(uneven: Federation) -> None:
    class Leaky(Algorithm):
        def finish(self, vars, at):
            if float(at.n) == 60 and at.round == 2:
                raise LookupError("patient 4711 is odd")
            return vars, {}, at.memory

    run = quick(uneven, Leaky(), engine="sequential")
    assert run.errors["error"].tolist() == ["LookupError"]
    assert "4711" not in run.ledger.to_string() + run.errors.to_string()


@pytest.mark.parametrize(
    "bad,sentence",
    [
        (lambda v: {"weight": v["weight"][:, :2]}, "'weight' that does not fit"),
        (lambda v: {**v, "extra": v["bias"]}, "'extra' that does not fit"),
        (lambda v: {"weight": v["weight"].double(), "bias": v["bias"]}, "'weight' that does not fit"),
        (lambda v: {"bias": v["bias"]}, "other tensors than most"),
    ],
)
def test_an_upload_of_another_shape_is_an_error_reply(bad: Any, sentence: str, uneven: Federation) -> None:
    class Odd(Algorithm):
        def finish(self, vars, at):
            return (bad(vars) if float(at.n) == 60 else vars), {}, at.memory

    run = quick(uneven, Odd(), engine="sequential", rounds=1)
    assert run.errors["site"].tolist() == ["site 1"] and sentence in run.errors["error"][0]


def test_combine_may_not_change_the_models_shape(uneven: Federation) -> None:
    class Broken(Algorithm):
        def combine(self, params, uploads, extra, weights, state, who):
            return {"weight": uploads["weight"][:, :, :3].mean(0)}, state

    with pytest.raises(ValueError, match=r"combine gave a tensor 'weight' of shape \[1, 3\]"):
        quick(uneven, Broken())
