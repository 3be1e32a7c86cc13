"""Seeds in one stacked pass: each gets what its own run gives, to the round it reports and the bytes it sends."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.algorithms.tensors import mean
from fedlab.engine import SGD, Adam, Run, TooFewSites, replicas
from fedlab.engine.combined import CombineError
from fedlab.engine.replicas import train_seeds
from fedlab.engine.trees import tree_leaves
from fedlab.federation import Federation
from tests.conftest import pairs
from tests.engine.test_modes import normed, torchs_own

SEEDS = (0, 3, 8)


def both(fed: Federation, model: Any, alg: Any, **options: Any) -> tuple[list[Run], list[Run], int]:
    options = {"rounds": 3, "batch_size": 16, "local_epochs": 2, "dtype": "float64"} | options
    splits = [fed.resplit(seed) for seed in SEEDS]
    events = list(train_seeds(splits, model, alg, seeds=SEEDS, **options))
    alone = [
        fedlab.train(split, model, alg, seed=seed, progress=False, **options)
        for split, seed in zip(splits, SEEDS, strict=True)
    ]
    return events[-1], alone, len(events)


def same(together: list[Run], alone: list[Run], bound: float = 1e-9) -> None:
    for a, b in zip(together, alone, strict=True):
        models = (a.weights, *a.models.values()), (b.weights, *b.models.values())
        pairs = zip(tree_leaves(models[0]), tree_leaves(models[1]), strict=True)
        assert max((x - y).abs().max().item() for x, y in pairs) < bound
        assert a.chosen == b.chosen and list(a.models) == list(b.models)
        scores = ["log_loss", "auc"]
        assert a.history.empty == b.history.empty
        if not a.history.empty:
            assert float((a.history[scores] - b.history[scores]).abs().max().max()) < bound
        assert a.ledger.equals(b.ledger)


@pytest.mark.parametrize("name,model", pairs())
def test_each_seed_is_its_own_run(name: str, model: str, short: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "_in_turns", lambda *given: pytest.fail(f"{name} is not stacked"))
    together, alone, events = both(short, model, name)
    assert events == 3
    same(together, alone)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *product(["fedper", "fedrep", "ditto", "apfl", "ifca", "scaffold", "isolated"], [SGD(momentum=0.9)]),
        *product(["fedper", "fedrep", "ditto", "apfl", "ifca", "isolated"], [Adam()]),  # scaffold refuses it
    ],
)
def test_other_optimisers_too(name: str, optimizer: Any, short: Federation) -> None:
    together, alone, events = both(short, "mlp", name, optimizer=optimizer, lr=0.01)
    assert events == 3
    same(together, alone)


def test_layers_with_state_and_runs_without_evaluation(short: Federation) -> None:
    same(*both(short, normed, "fedavg")[:2])
    same(*both(short, "mlp", "isolated", evaluate=False)[:2])


def test_what_cannot_be_stacked_takes_turns(uneven: Federation) -> None:
    class Branching(Algorithm):
        def objective(self, vars, at):
            loss = at.loss(vars)
            return loss if float(loss.detach()) > 0 else -loss

    for model, alg in ((torchs_own, "fedavg"), ("mlp", Branching())):
        together, alone, events = both(uneven, model, alg, rounds=2)
        assert events == 2
        same(together, alone)
        assert all("one site" in " ".join(run.notes) for run in together)
    assert all("one seed at a time: they cannot be stacked (RuntimeError)" in run.notes for run in together)


def test_a_site_that_fails_in_one_seed_is_left_out_there(uneven: Federation) -> None:
    class Poisoned(Algorithm):
        def objective(self, vars, at):
            hit = (vars["bias"].sum() > 1e9) | ((at.n == 60) & torch.tensor(at.round == 2))
            return at.loss(vars) + torch.where(hit, torch.nan, 0.0) * vars["bias"].sum()

    together, alone, _ = both(uneven, lambda i, o: nn.Linear(i, o), Poisoned())
    assert [run.errors["round"].tolist() for run in together] == [[2], [2], [2]]
    same(together, alone)
    with pytest.raises(TooFewSites) as caught:
        both(uneven, lambda i, o: nn.Linear(i, o), Poisoned(), min_sites=3)
    assert len(caught.value.run.records) == 1


def test_stop_keeps_the_rounds_so_far(uneven: Federation) -> None:
    splits = [uneven.resplit(seed) for seed in SEEDS]
    running = train_seeds(splits, "mlp", "isolated", seeds=SEEDS, rounds=50, stop=lambda: len(done) == 3)
    done: list[list[Run]] = []
    for runs in running:
        done.append(runs)
    assert len(done) == 3 and all(len(run.records) == 3 and set(run.models) == set(uneven.names) for run in done[-1])


# ---------------------------------------------------------------- combining for all of them


@pytest.mark.parametrize("name", ["fedavg", "fedadam", "scaffold", "feddyn", "fedmedian", "krum", "rfa", "ifca"])
def test_a_seed_has_the_bits_of_its_own_run_beside_any_number(name: str, short: Federation) -> None:
    splits = [short.resplit(seed) for seed in range(4)]
    *_, three = train_seeds(splits[:3], "mlp_norm", name, seeds=range(3), rounds=3)
    *_, four = train_seeds(splits, "mlp_norm", name, seeds=range(4), rounds=3)
    alone = fedlab.train(splits[1], "mlp_norm", name, seed=1, rounds=3, progress=False)
    for run in (three[1], four[1]):
        pairs = zip(tree_leaves((run.weights, run.extra)), tree_leaves((alone.weights, alone.extra)), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)


def test_a_server_half_that_looks_at_its_numbers_goes_run_by_run(uneven: Federation) -> None:
    class Looking(Algorithm):
        def combine(self, params, uploads, extra, weights, state, who):
            tries.append(len(who))
            new, state = super().combine(params, uploads, extra, weights, state, who)
            return new if float(weights.sum()) > 0 else params, state

    tries: list[int] = []
    together, alone, events = both(uneven, "mlp", Looking())
    assert events == 3
    assert len(tries) == 1 + 2 * 9, "tried for all once, then for three runs in three rounds, here and alone"
    same(together, alone)


def test_a_server_half_that_can_be_stacked_is_asked_once_a_round(uneven: Federation) -> None:
    class Counted(Algorithm):
        def combine(self, params, uploads, extra, weights, state, who):
            calls.append(len(who))
            return super().combine(params, uploads, extra, weights, state, who)

    calls: list[int] = []
    splits = [uneven.resplit(seed) for seed in SEEDS]
    assert len(list(train_seeds(splits, "mlp", Counted(), seeds=SEEDS, rounds=4))) == 4
    assert len(calls) == 4


@pytest.mark.parametrize("fault", ["value", "shape"])
def test_a_seed_whose_models_cannot_be_combined_is_lost_alone(fault: str, uneven: Federation) -> None:
    class Breaks(Algorithm):
        def begin(self, params, sites, rng):
            return {"ill": (torch.rand(1, generator=rng) < 0.5).float(), "rounds": torch.zeros(1)}

        def broadcast(self, state):
            return {}

        def combine(self, params, uploads, extra, weights, state, who):
            new, state = super().combine(params, uploads, extra, weights, state, who)
            late = {**state, "rounds": state["rounds"] + 1}
            if fault == "shape":
                return {k: v[None] if float(state["ill"] * state["rounds"]) > 0 else v for k, v in new.items()}, late
            return {k: v / (1 - state["ill"] * (state["rounds"] > 0)) for k, v in new.items()}, late

    splits, lost = [uneven.resplit(seed) for seed in range(6)], dict[int, Exception]()
    *_, runs = train_seeds(
        splits, "mlp", Breaks(), seeds=range(6), rounds=3,
        lose=lambda run, error: lost.update({run.settings.seed: error}),
    )  # fmt: skip
    ill = {seed for seed in range(6) if torch.rand(1, generator=torch.Generator().manual_seed(seed)) < 0.5}
    assert set(lost) == ill and 0 < len(ill) < 6
    assert all(isinstance(error, CombineError) for error in lost.values())
    assert [len(run.records) for run in runs] == [1 if seed in ill else 3 for seed in range(6)]


def test_weights_that_are_all_zero_are_named_beside_other_seeds(uneven: Federation) -> None:
    class Nobody(Algorithm):
        def combine(self, params, uploads, extra, weights, state, who):
            return mean(uploads, weights * 0), state

    with pytest.raises(ValueError, match="the weights of all sites are zero: there is no mean"):
        list(train_seeds([uneven] * 2, "mlp", Nobody(), seeds=(0, 1), rounds=2))
