"""Flower's strategies in an algorithm's place: what goes wrong, and what is not taken."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab.algorithms import FedAvg
from fedlab.federation import Federation
from tests.algorithms.flowers import apart, weights
from tests.conftest import ragged

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")

from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import strategy as flower
from flwr.supercore.task_identity import TaskIdentity

from fedlab.algorithms.from_flower import FromFlower


class Poisoned(FromFlower):
    """The loss of the site with 60 training rows is not finite in round 2."""

    def objective(self, vars, at):
        bad = torch.where((at.n == 60) & torch.tensor(at.round == 2), torch.nan, 0.0)
        return at.loss(vars) + bad * sum(v.sum() for k, v in vars.items() if not k.startswith("prepare"))


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
