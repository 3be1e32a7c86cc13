"""Flower's strategies in an algorithm's place."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import Algorithm, FedAvg
from fedlab.engine.replicas import train_seeds
from fedlab.federation import Federation
from fedlab.models import BatchNorm
from tests.algorithms.flowers import apart, weights

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")

from flwr.serverapp import strategy as flower
from flwr.supercore.task_identity import TaskIdentity

from fedlab.algorithms.from_flower import FromFlower

STRATEGIES: dict[str, Any] = {
    "fedavgm": lambda: flower.FedAvgM(server_momentum=0.9, server_learning_rate=0.5),
    "fedadagrad": flower.FedAdagrad,
    "fedadam": flower.FedAdam,
    "fedyogi": flower.FedYogi,
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "krum": flower.Krum,
    "multikrum": lambda: flower.MultiKrum(num_nodes_to_select=2),
    "bulyan": flower.Bulyan,
    "qfedavg": lambda: flower.QFedAvg(client_learning_rate=0.1, q=0.5),
    "fedxgbcyclic": flower.FedXgbCyclic,
}


def normed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6, bias=False), BatchNorm(6), nn.ReLU(), nn.Linear(6, outputs))


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("engine", ["sequential", "batched", "auto"])
@pytest.mark.parametrize("model", ["mlp", normed])
def test_flowers_fedavg_is_fedlabs(engine: str, model: Any, uneven: Federation) -> None:
    options: dict[str, Any] = dict(model=model, engine=engine, dtype="float64", local_epochs=2)
    ours = weights(uneven, "fedavg", **options)
    assert apart(ours, weights(uneven, FromFlower(flower.FedAvg()), **options)) < 1e-9


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_runs_and_a_rerun_gives_the_same_bits(name: str, uneven: Federation) -> None:
    alg = FromFlower(STRATEGIES[name]())
    a, b = (weights(uneven, alg, model=normed, engine="batched") for _ in range(2))
    assert apart(a, b) == 0.0 and all(v.isfinite().all() for v in a.values())
    assert alg.name == f"flower.{name}"
    start = weights(uneven, alg, model=normed, engine="batched", rounds=1)
    assert any((a[k] - start[k]).abs().max() > 1e-6 for k in a if not k.startswith("prepare"))
    one_by_one = weights(uneven, alg, model=normed, engine="sequential", dtype="float64")
    assert apart(one_by_one, weights(uneven, alg, model=normed, engine="batched", dtype="float64")) < 1e-9


def test_fedavgm_goes_its_rate_of_the_way(uneven: Federation) -> None:
    avg = weights(uneven, "fedavg", rounds=1, dtype="float64")
    *_, event = fedlab.stream(uneven, "mlp", "fedavg", rounds=1, dtype="float64", evaluate=False)
    start = event.run.net.start()
    slow = weights(uneven, FromFlower(flower.FedAvgM(server_learning_rate=0.25)), rounds=1, dtype="float64")
    for k, w in start.items():
        assert torch.allclose(slow[k], w + 0.25 * (avg[k] - w), atol=1e-12)


def test_qfedavg_is_told_the_loss_of_the_model_that_was_received(uneven: Federation) -> None:
    seen = []

    class Listening(flower.QFedAvg):
        def aggregate_train(self, server_round, replies):
            seen.append([dict(m.content["metrics"]) for m in replies])
            return super().aggregate_train(server_round, replies)

    for engine in ("sequential", "batched"):
        strategy = Listening(client_learning_rate=0.1, q=0, train_loss_key="f/k", weighted_by_key="rows")
        got = weights(uneven, FromFlower(strategy), dtype="float64", engine=engine)
        assert apart(got, weights(uneven, FedAvg(weights="equal"), dtype="float64", engine=engine)) < 1e-8
    first, rows = seen[0], sorted((s.name, len(s.train)) for s in uneven.sites)
    assert [m["rows"] for m in first] == [n for _, n in rows]
    assert all(0.3 < m["f/k"] < 1.5 for m in first), "the loss of a model that knows nothing"
    assert sum(m["f/k"] for m in seen[2]) < sum(m["f/k"] for m in first)


def test_another_key_for_the_arrays(uneven: Federation) -> None:
    kept = FromFlower(flower.FedAvg(arrayrecord_key="model", configrecord_key="how", weighted_by_key="n"))
    assert apart(weights(uneven, kept), weights(uneven, FromFlower(flower.FedAvg()))) == 0.0


# ---------------------------------------------------------------- runs do not meet


def test_seeds_in_a_comparison_are_what_each_is_alone(uneven: Federation) -> None:
    alg = FromFlower(flower.FedAdam(eta=0.05, fraction_train=0.7))
    study = fedlab.compare(uneven, "mlp", ["fedavg", alg], seeds=2, rounds=4, progress=False, dtype="float64")
    assert study.arms == ("fedavg", "flower.fedadam")
    splits = [uneven.resplit(seed) for seed in (0, 1)]
    *_, together = train_seeds(splits, "mlp", alg, seeds=[0, 1], rounds=4, dtype="float64")
    for seed, run in enumerate(together):
        alone = fedlab.train(splits[seed], "mlp", alg, seed=seed, rounds=4, dtype="float64", progress=False)
        assert apart(alone.weights, run.weights) < 1e-9 and alone.chosen == run.chosen
    assert alg.strategy.m_t is None, "the strategy that was given is left alone"


def test_two_settings_of_a_strategy_are_told_apart(uneven: Federation) -> None:
    arms = [FromFlower(flower.FedAdam(eta=eta)) for eta in (0.01, 0.1)]
    study = fedlab.compare(uneven, algorithms=arms, seeds=1, rounds=1, progress=False)
    assert study.arms == ("FromFlower(FedAdam(eta=0.01))", "FromFlower(FedAdam())")


def test_copies_and_pickles_of_a_bound_algorithm(uneven: Federation) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    model = nn.Linear(3, 1)
    params, who = {k: v.detach() for k, v in model.state_dict().items()}, torch.arange(3)
    uploads = {k: torch.stack([v, v + 1, v + 5]) for k, v in params.items()}

    def round_of(alg: Algorithm, number: int) -> dict[str, Tensor]:
        assert alg.asks(number, 3, np.random.default_rng(number)) == [0, 1, 2]
        return alg.combine(params, uploads, {}, torch.ones(3), {}, who)[0]

    bound = FromFlower(flower.FedAdam()).bind(model, 3)
    bound.begin(params, 3, torch.Generator().manual_seed(0))
    first = round_of(bound, 1)
    assert bound.asks(2, 3, np.random.default_rng(2)) == [0, 1, 2]  # a copy in mid-round
    twin = copy.deepcopy(bound)
    a = bound.combine(params, uploads, {}, torch.ones(3), {}, who)[0]
    for _ in range(3):
        round_of(bound, 3)
    b = twin.combine(params, uploads, {}, torch.ones(3), {}, who)[0]
    assert apart(a, b) == 0.0 and apart(a, first) > 0

    away = cloudpickle.loads(cloudpickle.dumps(bound))
    assert away.name == bound.name and str(away) == str(bound)
    with pytest.raises(RuntimeError, match="one is made by bind"):
        away.asks(1, 3, np.random.default_rng(0))
    again = away.bind(model, 3)
    again.begin(params, 3, torch.Generator().manual_seed(0))
    assert apart(round_of(again, 1), first) == 0.0
    run = fedlab.train(uneven, "mlp", FromFlower(flower.FedYogi()), rounds=2, progress=False)
    rerun = fedlab.train(uneven, "mlp", run.algorithm, rounds=2, progress=False)
    assert apart(run.weights, rerun.weights) == 0.0


# ---------------------------------------------------------------- whom it asks


def test_half_of_the_sites_are_asked_and_others_in_other_rounds(hospitals: Federation) -> None:
    alg = FromFlower(flower.FedAvg(fraction_train=0.5))
    runs = [fedlab.train(hospitals, "logistic", alg, rounds=6, seed=s, progress=False) for s in (0, 0, 1)]
    asked = [
        [
            sorted(rows["site"])
            for _, rows in run.ledger.query("purpose == 'train' & direction == 'up'").groupby("round")
        ]
        for run in runs
    ]
    assert all(len(sites) == 2 for sites in asked[0]) and len(asked[0]) == 6
    assert len({tuple(sites) for sites in asked[0]}) > 1 and asked[0] == asked[1] and asked[0] != asked[2]


def test_what_belongs_to_the_process_is_left_as_it_was(uneven: Federation) -> None:
    class Drawing(flower.FedAvg):
        def aggregate_train(self, server_round, replies):
            drawn.append((random.random(), float(np.random.rand())))
            return super().aggregate_train(server_round, replies)

    drawn: list[tuple[float, float]] = []
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    for seed in (0, 0, 1):
        weights(uneven, FromFlower(Drawing(fraction_train=0.7)), seed=seed, rounds=2)
    assert random.getstate() == before[0] and np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert drawn[0:2] == drawn[2:4] != drawn[4:6] and drawn[0] != drawn[1]
    with pytest.raises(RuntimeError):
        _ = TaskIdentity.run_id


def test_an_identity_of_flowers_own_stays(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("_task_id", 5), ("_run_id", 6), ("_node_id", 1)):
        monkeypatch.setattr(TaskIdentity, name, number)
    weights(uneven, FromFlower(flower.FedAvg()), rounds=1)
    assert (TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id) == (5, 6, 1)
