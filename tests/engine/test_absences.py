"""Whoever did not take part is not scored as if it had, and what failed, where and how often is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, Ensemble, FedAvg
from fedlab.engine.absences import NO_MODEL
from fedlab.federation import METRICS, Federation
from tests.conftest import ragged

FED = ragged((35, 45, 60))  # five for valid in every split
BAD = "site 1"
ROWS = len(FED[BAD].train)


def failing(name: str, rounds: tuple[int, ...] | None = None) -> Algorithm:
    """The algorithm, of which one site raises in these rounds, or in all."""
    cls = ALGORITHMS[name]

    def finish(self: Any, vars: Any, at: Any) -> Any:
        if float(at.n) == ROWS and (rounds is None or at.round in rounds):
            raise LookupError("no such patient")
        return cls.finish(self, vars, at)

    return type(cls.__name__, (cls,), {"finish": finish})()


def train(alg: str | Algorithm, **options: Any) -> fedlab.Run:
    return fedlab.train(FED, "mlp_norm", alg, **({"rounds": 4, "engine": "sequential", "progress": False} | options))


OWN = [name for name, cls in ALGORITHMS.items() if not cls.one_model]


@pytest.mark.parametrize("name", OWN)
def test_a_site_that_never_trained_has_no_own_model(name: str) -> None:
    run = train(failing(name))
    table = run.report()
    own = table[table["train"] == BAD]
    if ALGORITHMS[name].adapts:  # what it received, adapted to its rows
        assert own["value"].notna().any() and run.model(BAD) is not None
    else:
        assert len(own) == len(METRICS) * 3 and own["value"].isna().all()
        assert own["reason"].str.fullmatch(rf"{NO_MODEL}: it failed to train in 4 of 4 rounds \(LookupError\)").all()
        with pytest.raises(ValueError, match=f"site '{BAD}' has {NO_MODEL}: it failed to train in 4 of 4 rounds"):
            run.model(BAD)
    assert table[table["train"] != BAD]["value"].notna().any()
    assert any(f"{BAD} failed to train in 4 of 4 rounds (LookupError)" in note for note in run.notes)
    assert f"{BAD} failed to train in 4 of 4 rounds (LookupError)" in repr(run)
    assert run.took_part == {"site 0": 4, "site 2": 4} and run.asked[BAD] == 4


@pytest.mark.parametrize("evaluate", [True, False])
def test_alone_it_is_neither_evaluated_nor_chosen(evaluate: bool) -> None:
    run = train(failing("isolated"), evaluate=evaluate)
    assert BAD not in run.chosen and BAD not in set(run.history["site"]) and BAD not in run.models


def test_a_site_that_misses_the_first_rounds_is_chosen_among_its_own() -> None:
    run = train(failing("isolated", (1, 2)))
    assert set(run.history[run.history["site"] == BAD]["round"]) == {3, 4} and run.chosen[BAD] >= 3
    assert f"{BAD} failed to train in 2 of 4 rounds (LookupError)" in run.notes
    assert run.report()["value"].notna().any() and BAD in run.models


def test_the_shared_model_is_said_to_be_learnt_without_it() -> None:
    run = train(failing("fedavg"))
    assert f"{BAD} failed to train in 4 of 4 rounds (LookupError): the model was learnt without it" in run.notes
    assert run.report().query("metric == 'log_loss'")["value"].notna().all()


def test_nothing_is_said_where_nothing_happened() -> None:
    run = train("fedavg", engine="auto")
    assert run.notes == [] and "failed" not in repr(run)


def test_a_site_without_a_model_has_no_vote() -> None:
    voted = train(failing("ensemble"), rounds=2, dtype="float64")
    without = fedlab.train(FED.select("site 0", "site 2"), "mlp_norm", Ensemble(), rounds=2, engine="sequential",
                           dtype="float64", local_steps=voted.steps_per_round, progress=False)  # fmt: skip
    options: dict[str, Any] = {"rounds": 2, "engine": "sequential", "dtype": "float64", "progress": False}
    alone = fedlab.train(FED, "mlp_norm", "isolated", **options)
    x = FED["site 0"].test.x
    members = [alone.net.vote([alone.models[site][0]], x) for site in ("site 0", "site 2")]
    with torch.no_grad():
        votes = voted.net.vote(voted.models["site 0"], x)
    assert torch.allclose(votes, torch.stack(members).mean(0), atol=1e-12) and len(without.models) == 2
    assert torch.allclose(torch.sigmoid(voted.model()(x))[:, 0], votes[:, 1], atol=1e-12)


def test_who_was_never_asked_is_told() -> None:
    fed = ragged((30, 31, 32, 33, 34, 35, 36, 37))
    run = fedlab.train(fed, "logistic", "ditto", rounds=1, fraction=0.25, progress=False)
    silent = [site for site in fed.names if site not in run.took_part]
    assert len(silent) == 6 and set(run.models) == set(run.took_part)
    for site in silent:
        assert f"{site} was asked to train in none of the 1 rounds: it has no model of its own" in run.notes


def test_who_fails_before_the_first_round_is_counted() -> None:
    """A site whose statistics cannot be taken is in ``errors`` as of round 0."""
    run = fedlab.train(FED, "logistic", rounds=1, engine="sequential", progress=False)
    run.ledger_book.add(0, "statistics", [BAD], "up", {}, status="ValueError")
    assert run.errors.to_dict("list") == {"round": [0], "site": [BAD], "error": ["ValueError"]}
    assert f"{BAD} failed before round 1 (ValueError)" in repr(run)


def test_a_round_that_ends_the_run_counts_too() -> None:
    with pytest.raises(fedlab.TooFewSites) as caught:
        train(failing("fedavg", (3,)), min_sites=3)
    assert f"{BAD} failed to train in 1 of 3 rounds (LookupError)" in repr(caught.value.run).replace("of 2", "of 3")


# ---------------------------------------------------------------- a class that a site does not have


def test_a_site_that_learns_from_one_class_alone_is_marked() -> None:
    rows = {name: (torch.randn(40, 2), (torch.arange(40) % 2)) for name in "AB"}
    rows["B"] = rows["B"][0], torch.zeros(40)
    fed = Federation.from_tensors(rows, task=fedlab.Classification(("well", "ill")))
    run = fedlab.train(fed, "logistic", "isolated", rounds=1, progress=False)
    assert "B: none of its 24 training patients is ill" in run.notes
    assert fedlab.train(fed, "logistic", "fedavg", rounds=1, progress=False).notes == []


# ---------------------------------------------------------------- a last batch of one row


def torch_norm(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


@pytest.mark.parametrize("alg", ["fedavg", "isolated", "centralized"])
def test_a_last_batch_of_one_row_is_answered_before_round_1(alg: str) -> None:
    fed = ragged((30, 45, 60))
    sizes = [len(site.train) for site in fed.sites]
    sizes = [sum(sizes)] if alg == "centralized" else sizes
    bad = next(b for b in range(2, 20) if any(n % b == 1 for n in sizes))
    with pytest.raises(
        ValueError, match=rf"in batches of {bad} the last one has a single row at .*batch_size=\d+"
    ) as caught:
        fedlab.train(fed, torch_norm, alg, batch_size=bad, progress=False)
    assert "fedlab.models.BatchNorm" in str(caught.value) and caught.value.run.records == []  # type: ignore[attr-defined]
    remedy = int(re.search(r"batch_size=(\d+)", str(caught.value))[1])  # type: ignore[index]
    assert not any(n % remedy == 1 for n in sizes)
    run = fedlab.train(fed, torch_norm, alg, batch_size=remedy, rounds=2, progress=False)
    assert run.errors.empty


def test_no_batch_size_helps_a_site_of_one_row() -> None:
    x = torch.randn(10, 2)
    split = fedlab.Split([0], [1, 2], [3, 4, 5, 6, 7, 8, 9])  # type: ignore[arg-type]
    fed = Federation.from_tensors({"A": (x, torch.arange(10) % 2)}, splits={"A": split})
    with pytest.raises(
        ValueError, match=r"A \(1 training rows\).*use fedlab.models.BatchNorm, or leave a site of one row out"
    ):
        fedlab.train(fed, torch_norm, progress=False)


# ---------------------------------------------------------------- uploads and strategies that say nothing


def test_an_upload_that_lacks_a_tensor_is_noted() -> None:
    class Half(FedAvg):
        def finish(self, vars: Any, at: Any) -> Any:
            return {k: v for k, v in vars.items() if k != "bias"}, {}, at.memory

    for engine in ("sequential", "batched"):
        run = fedlab.train(FED, "logistic", Half(), rounds=3, engine=engine, progress=False)
        assert run.notes == ["half sends no bias: what the sites learn of it stays there"]
        assert torch.equal(run.weights["bias"], run.net.start()["bias"])


def test_a_strategy_that_returns_nothing_is_noted() -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")

    class Silent(strategies.FedAvg):  # type: ignore[misc, name-defined]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            got = super().aggregate_train(server_round, replies)
            return got if server_round == 1 else (None, got[1])

    from fedlab.algorithms import FromFlower

    run = fedlab.train(FED, "logistic", FromFlower(Silent()), rounds=4, progress=False)
    assert run.notes == ["Silent gave no model in 3 rounds, the first 2: the model stayed as it was"]


def test_a_vote_is_of_those_that_have_a_model() -> None:
    run = train(failing("ensemble"))
    three = fedlab.train(FED, "mlp_norm", "ensemble", rounds=4, progress=False)
    scores = run.report().query("metric == 'log_loss'")["value"]
    assert scores.notna().all() and not scores.equals(three.report().query("metric == 'log_loss'")["value"])


def test_a_seed_each_is_told_by_itself() -> None:
    from fedlab.study.failed import missed

    seeds = [(1,), (1, 2, 3, 4), (1, 2)]
    runs = [train(failing("isolated", rounds), rounds=4) for rounds in seeds]
    told = missed(runs)[BAD]
    assert told.count("on 1 of 3 seeds") == 3 and "in 4 of 4 rounds" in told and "in 1 of 4 rounds" in told
