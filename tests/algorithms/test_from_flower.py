"""Flower's strategies in an algorithm's place."""

from __future__ import annotations

import copy
import random
import threading
import warnings
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
from tests.conftest import ragged

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")

from flwr.app import Array, ArrayRecord, ConfigRecord
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


def weights(fed: Federation, alg: str | Algorithm, **options: Any) -> dict[str, Tensor]:
    """The server's tensors after the last round."""
    *_, event = fedlab.stream(fed, options.pop("model", "mlp"), alg, **({"evaluate": False, "rounds": 3} | options))
    return event.weights


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape for k in a)
    return max((a[k] - b[k]).abs().max().item() for k in a)


def normed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6, bias=False), BatchNorm(6), nn.ReLU(), nn.Linear(6, outputs))


class Poisoned(FromFlower):
    """The loss of the site with 60 training rows is not finite in round 2."""

    def objective(self, vars, at):
        bad = torch.where((at.n == 60) & torch.tensor(at.round == 2), torch.nan, 0.0)
        return at.loss(vars) + bad * sum(v.sum() for k, v in vars.items() if not k.startswith("prepare"))


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("engine", ["sequential", "batched", "auto"])
@pytest.mark.parametrize("dtype,near", [("float64", 1e-9), ("float32", 1e-6)])
@pytest.mark.parametrize("model", ["mlp", normed])
def test_flowers_fedavg_is_fedlabs(engine: str, dtype: str, near: float, model: Any, uneven: Federation) -> None:
    options: dict[str, Any] = dict(model=model, engine=engine, dtype=dtype, local_epochs=2)
    ours = weights(uneven, "fedavg", **options)
    assert apart(ours, weights(uneven, FromFlower(flower.FedAvg()), **options)) < near


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


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_failing_site_is_an_error_reply(engine: str, uneven: Federation) -> None:
    seen = []

    class Counting(flower.FedAdam):
        def aggregate_train(self, server_round, replies):
            seen.append([m.has_error() for m in replies])
            return super().aggregate_train(server_round, replies)

    assert 60 in {len(s.train) for s in uneven.sites}, "the poison must hit a site"
    run = fedlab.train(uneven, "mlp", Poisoned(Counting()), rounds=3, engine=engine, progress=False)
    assert run.errors.to_dict("list") == {"round": [2], "site": ["site 1"], "error": ["NotFinite"]}
    assert seen == [[False] * 3, [False, True, False], [False] * 3]
    assert all(v.isfinite().all() for v in run.weights.values())


@pytest.mark.parametrize("made", [None, ArrayRecord()])
def test_a_strategy_that_makes_nothing_leaves_the_model(made: Any, uneven: Federation) -> None:
    class Nothing(flower.FedAvg):
        def aggregate_train(self, server_round, replies):
            return made if server_round == 2 else super().aggregate_train(server_round, replies)[0], None

    events = [e.weights for e in fedlab.stream(uneven, "mlp", FromFlower(Nothing()), rounds=3)]
    assert apart(events[0], events[1]) == 0.0 and apart(events[1], events[2]) > 0


def test_bulyan_without_enough_replies_leaves_the_model(uneven: Federation) -> None:
    alg = FromFlower(flower.Bulyan(num_malicious_nodes=1))
    *_, event = fedlab.stream(uneven, "mlp", alg, rounds=2)
    assert all(torch.equal(event.weights[k], v) for k, v in event.run.net.start().items())


@pytest.mark.parametrize(
    "change,sentence",
    [
        (lambda a: {k: a[k] for k in list(a)[1:]}, "other names than the model's: weight"),
        (lambda a: dict(a) | {"weight": Array(np.zeros(2))}, r"'weight' the shape \[2\].*has \[1, 10\]"),
    ],
)
def test_arrays_that_are_not_the_models_are_refused(change: Any, sentence: str, uneven: Federation) -> None:
    class Odd(flower.FedAvg):
        def aggregate_train(self, server_round, replies):
            arrays, metrics = super().aggregate_train(server_round, replies)
            return ArrayRecord(change(arrays)), metrics

    with pytest.raises(ValueError, match=f"Odd gave .*{sentence}"):
        weights(uneven, FromFlower(Odd()), model="logistic")


def test_a_strategy_that_raises_is_named(uneven: Federation) -> None:
    class Breaking(flower.FedAvg):
        def aggregate_train(self, server_round, replies):
            raise LookupError("no such thing")

    with pytest.raises(RuntimeError, match="Flower's Breaking failed in aggregate_train in round 1 .LookupError.: no"):
        weights(uneven, FromFlower(Breaking()))
    assert TaskIdentity._run_id is None


class Says(flower.FedAvg):
    """Does something to its messages."""

    def __init__(self, how: Any) -> None:
        super().__init__()
        self.how = how

    def configure_train(self, server_round, arrays, config, grid):
        return self.how(list(super().configure_train(server_round, arrays, config, grid)), grid)


def other_arrays(messages: Any, grid: Any) -> Any:
    messages[0].content["arrays"] = ArrayRecord({"weight": Array(np.zeros(2))})
    return messages


def more_arrays(messages: Any, grid: Any) -> Any:
    messages[0].content["control"] = ArrayRecord({"c": Array(np.zeros(2))})
    return messages


@pytest.mark.parametrize(
    "how,error,sentence",
    [
        (other_arrays, ValueError, "something else than the server's model"),
        (more_arrays, ValueError, "something else than the server's model"),
        (lambda messages, grid: [], ValueError, "Says asks no site in round 1: raise fraction_train"),
        (lambda messages, grid: messages[:1] * 2, ValueError, "a node is one of 1 to 3, asked once"),
        (lambda messages, grid: grid.send_and_receive(messages), RuntimeError, "Says failed.*talks to the nodes"),
    ],
)
def test_messages_that_plain_sgd_cannot_follow_are_refused(
    how: Any, error: type[Exception], sentence: str, uneven: Federation
) -> None:
    with pytest.raises(error, match=sentence):
        weights(uneven, FromFlower(Says(how)), rounds=1)


def test_configuration_that_sites_leave_unread_is_said_once(uneven: Federation) -> None:
    def scheduled(messages: Any, grid: Any) -> Any:
        messages[0].content["config"] = ConfigRecord({"server-round": 1, "lr": 0.5})
        return messages

    with pytest.warns(UserWarning, match="Says tells its sites lr, which they leave unread") as caught:
        weights(uneven, FromFlower(Says(scheduled)))
    assert len([w for w in caught if "unread" in str(w.message)]) == 1


@pytest.mark.parametrize("setting", ["min_available_nodes", "min_train_nodes"])
def test_waiting_for_sites_that_do_not_exist_is_refused(setting: str, uneven: Federation) -> None:
    with pytest.raises(ValueError, match=f"FedAvg waits for {setting}=4 sites, and there are 3"):
        fedlab.train(uneven, "mlp", FromFlower(flower.FedAvg(**{setting: 4})))
    with pytest.raises(ValueError, match="waits for min_.*=2 sites, and there are 1"):
        fedlab.train(ragged((40,)), "mlp", FromFlower(flower.FedAvg()))


def test_a_strategy_that_waits_in_vain_is_told(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlab.algorithms.flower_session.PATIENCE", 0.0)
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda seconds: None)
    with pytest.raises(RuntimeError, match="FedAvg failed in configure_train.*waits for more nodes, and there are 3"):
        weights(uneven, FromFlower(flower.FedAvg(fraction_train=2.0)))


# ---------------------------------------------------------------- what it takes


def test_what_is_no_strategy_is_refused() -> None:
    class Legacy:
        __module__ = "flwr.server.strategy.fedavg"

    for wrong, sentence in [
        (flower.FedAdam, "not the class FedAdam: call it"),
        ("fedadam", "not a str"),
        (FedAvg(), "not a FedAvg"),
        (Legacy(), "the Legacy of the legacy flwr.server.strategy"),
    ]:
        with pytest.raises(TypeError, match=f"strategy of Flower's message API.*{sentence}"):
            FromFlower(wrong)


def test_what_needs_the_sites_to_help_is_refused(uneven: Federation) -> None:
    with pytest.raises(ValueError, match=r"use fedlab.algorithms.FedProx\(mu=0.3\)"):
        FromFlower(flower.FedProx(proximal_mu=0.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = weights(uneven, FromFlower(flower.FedProx(proximal_mu=0.0)))
    assert apart(plain, weights(uneven, FromFlower(flower.FedAvg()))) == 0.0
    with pytest.raises(ValueError, match="ClientSideFixedClipping clips at the sites.*FromFlower cannot run it"):
        FromFlower(flower.DifferentialPrivacyClientSideFixedClipping(flower.FedAvg(), 1.0, 1.0, 3))
    with pytest.raises(ValueError, match="FedXgbBagging puts trees together"):
        FromFlower(flower.FedXgbBagging())


def test_clipping_at_the_server_runs_and_says_what_its_noise_is(uneven: Federation) -> None:
    private = flower.DifferentialPrivacyServerSideFixedClipping(flower.FedAvg(weighted_by_key="n"), 0.1, 1.0, 3)
    with pytest.warns(UserWarning, match="draws its noise from the run's seed.*protects nobody"):
        alg = FromFlower(private)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b, c = (weights(uneven, alg, seed=seed) for seed in (0, 0, 1))
    assert apart(a, b) == 0.0 and apart(a, c) > 0
    assert "FedAvg(weighted_by_key='n')" in str(alg) and alg.name.startswith("flower.differentialprivacy")


def test_a_strategy_that_cannot_be_copied_is_refused(uneven: Federation) -> None:
    strategy = flower.FedAvg()
    strategy.lock = threading.Lock()
    with pytest.raises(TypeError, match="FedAvg cannot be copied"):
        fedlab.train(uneven, "mlp", FromFlower(strategy))
