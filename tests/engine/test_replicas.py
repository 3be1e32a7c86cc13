"""Seeds in one stacked pass: each gets what its own run gives, to the round it reports and the bytes it sends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.engine import SGD, Adam, Run, TooFewSites
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
def test_each_seed_is_its_own_run(name: str, model: str, short: Federation) -> None:
    together, alone, events = both(short, model, name)
    assert events == 3
    same(together, alone)


@pytest.mark.parametrize("name", ["fedper", "fedrep", "ditto", "apfl", "ifca", "scaffold", "isolated"])
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam()])
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
