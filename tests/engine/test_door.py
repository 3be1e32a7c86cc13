"""The site's door: one way for every question, whatever carries it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fedlab
from fedlab.algorithms import FedAvg
from fedlab.engine import local
from fedlab.engine.client import Door
from fedlab.engine.exchange import Ask, Exchange, TooFewSites
from fedlab.engine.local import LocalTransport
from fedlab.engine.plan import planned
from fedlab.engine.purposes import PURPOSES, Purpose, Refused, register
from fedlab.engine.rounds import rounds
from fedlab.engine.site import SiteWork
from fedlab.engine.survey import survey
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.privacy import SIMULATED, Policy


@pytest.fixture
def entered() -> Iterator[None]:
    """Purposes that a test enters are taken out again."""
    before = dict(PURPOSES)
    yield
    PURPOSES.clear()
    PURPOSES.update(before)


def total(rows: list[float], asked: dict[str, Any]) -> dict[str, Any]:
    return {"sum": sum(rows), "rows": torch.tensor(rows)} if asked.get("all") else {"sum": sum(rows)}


def test_a_new_purpose_is_one_entry(entered: None) -> None:
    register(Purpose("total", total, sends=("sum",)))
    gate = survey({"A": [1.0, 2.0], "B": [3.0]})
    assert gate.ask(Ask("total", {})).contents == [{"sum": 3.0}, {"sum": 3.0}]
    assert gate.ledger.frame()["purpose"].tolist() == ["total"] * 4


def test_what_the_entry_does_not_name_stays(entered: None) -> None:
    register(Purpose("total", total, sends=("sum",)))
    reply = Door("A", lambda: [1.0]).answer("total", {"all": True})
    assert reply.error == "Refused" and reply.content == {}
    register(Purpose("total", total, sends=None, numbers=True))
    assert Door("A", lambda: [1.0, 2.0]).answer("total", {"all": True}).error == "Refused"
    with pytest.raises(TooFewSites, match=r"A \(Refused\)"):
        survey({"A": [1.0, 2.0]}).ask(Ask("total", {"all": True}))


def test_a_purpose_is_entered_once(entered: None) -> None:
    register(Purpose("total", total))
    with pytest.raises(ValueError, match="a purpose 'total' already, answered by .*test_door.total"):
        register(Purpose("total", lambda rows, asked: {}))


def test_what_nobody_answers_is_refused_before_anything_is_sent() -> None:
    gate = survey({"A": [1.0]})
    with pytest.raises(ValueError, match="no site answers 'rows of everybody': known are"):
        gate.ask(Ask("rows of everybody", {}))
    assert gate.ledger.rows == []


def test_loading_is_guarded_done_once_and_tried_again(entered: None, caplog: pytest.LogCaptureFixture) -> None:
    register(Purpose("total", total, sends=("sum",)))
    loaded: list[int] = []

    def load() -> list[float]:
        loaded.append(1)
        if len(loaded) == 1:
            raise ValueError("cell 4711 'Miller' is no number")
        return [1.0]

    door = Door("A", load, log=logging.getLogger("fedlab.site"))
    with caplog.at_level(logging.INFO, "fedlab.site"):
        first = door.answer("total", {})
        assert first.error == "ValueError" and first.cause is None and "Miller" not in repr(first)
        assert door.answer("total", {}).content == door.answer("total", {}).content == {"sum": 1.0}
    assert len(loaded) == 2 and "Miller" in caplog.text
    assert "A: answered 'total' with 8 bytes: sum" in caplog.text


def test_even_an_exit_is_an_error_reply(entered: None) -> None:
    def leave(rows: Any, asked: Any) -> dict[str, Any]:
        raise SystemExit(3)

    register(Purpose("leave", leave))
    assert Door("A", list).answer("leave", {}).error == "SystemExit"


# ---------------------------------------------------------------------- the policy


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_few_patients_are_not_told_of(engine: str, uneven: Federation) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2, "engine": engine, "evaluate": False}))
    sizes = {site.name: len(site.train) for site in uneven.sites}
    least = sorted(sizes.values())[1]
    transport = LocalTransport(run, stop=lambda: False, policy=Policy(least=least))
    for _ in rounds(run, Exchange(transport, ledger=run.ledger_book)):
        pass
    few = [name for name, n in sizes.items() if n < least]
    assert len(few) == 1 and set(run.errors["site"]) >= set(few) and set(run.errors["error"]) == {"Refused"}
    assert few[0] not in run.took_part and len(run.records) == 2


@pytest.mark.parametrize("engine", ["sequential", "batched", "threads"])
def test_a_policy_bites_in_every_mode(engine: str, uneven: Federation) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2, "engine": engine}))
    policy = Policy(purposes=("*",), names=("rows", "present", "total", "squares", "model.bias"), least=0)
    with pytest.raises(TooFewSites, match=r"'train' in round 1.*\(Refused\).* The policy of those sites forbids it"):
        list(rounds(run, Exchange(LocalTransport(run, stop=lambda: False, policy=policy))))
    again = begin(planned(uneven, "logistic", "scaffold", {"rounds": 2, "engine": engine}))
    policy = Policy(purposes=("*",), names=(*policy.names, "model.*", "log_loss", "auc", "n"), least=0)
    with pytest.raises(TooFewSites, match="the policy lets no 'extra.* out as torch.float32"):
        list(rounds(again, Exchange(LocalTransport(again, stop=lambda: False), policy=policy)))


@pytest.mark.parametrize(
    ("policy", "held_back"),
    [
        ({"names": ("rows", "present", "total", "squares", "n", "auc", "log_loss", "model.bias")},
         "'model.weight' of 'train' as float32. "),
        ({"names": ("model.*", "rows", "present", "total", "squares", "n", "log_loss")}, "'auc' of 'evaluate'. "),
        ({"names": ("model.*", "rows", "n", "auc", "log_loss")}, "'present' of 'statistics' as float64, "),
        ({"dtypes": ("float64",)}, "'model.weight' of 'train' as float32, 'model.bias' of 'train' as float32. "),
    ],
)  # fmt: skip
def test_the_gate_says_before_the_first_question_what_it_does_not_let_out(
    policy: dict[str, Any], held_back: str, uneven: Federation
) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2}))
    gate = Exchange(LocalTransport(run, stop=lambda: False), policy=Policy(**policy))
    with pytest.raises(Refused, match=f"does not let out: {re.escape(held_back)}.*Policy\\(names=…, dtypes=…\\)"):
        list(rounds(run, gate))
    assert gate.ledger.rows == []


def test_what_is_let_out_by_name_trains_as_ever(uneven: Federation) -> None:
    names = ("model.*", "rows", "present", "total", "squares", "n", "auc", "log_loss")
    held, free = (begin(planned(uneven, "logistic", "fedavg", {"rounds": 2})) for _ in range(2))
    list(rounds(held, Exchange(LocalTransport(held, stop=lambda: False), policy=Policy(names=names))))
    list(rounds(free, Exchange(LocalTransport(free, stop=lambda: False))))
    assert all(torch.equal(w, free.weights[name]) for name, w in held.weights.items())


def test_where_all_sites_refuse_the_policy_is_the_remedy(uneven: Federation) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2}))
    transport = LocalTransport(run, stop=lambda: False, policy=Policy(least=10_000))
    with pytest.raises(
        TooFewSites, match=r"forbids it \(\d+ patients in train: .* at least 10000\): allow it there"
    ) as no:
        list(rounds(run, Exchange(transport)))
    assert "min_sites" not in str(no.value)


def test_the_gate_says_before_the_first_round_what_it_forbids(uneven: Federation) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2}))
    gate = Exchange(LocalTransport(run, stop=lambda: False), policy=Policy(purposes=("statistics", "prepare", "train")))
    with pytest.raises(Refused, match="asks what the policy does not allow: 'evaluate' here. Allow it in Policy"):
        list(rounds(run, gate))
    assert gate.ledger.rows == []
    quiet = begin(planned(uneven, "logistic", "fedavg", {"rounds": 2, "evaluate": False}))
    assert len(list(rounds(quiet, Exchange(LocalTransport(quiet, stop=lambda: False), policy=gate.policy)))) == 2


def test_personal_models_are_handed_out_only_where_they_may(uneven: Federation) -> None:
    run = begin(planned(uneven, "mlp_norm", "fedbn", {"rounds": 2, "engine": "sequential"}))
    for _ in rounds(run, Exchange(LocalTransport(run, stop=lambda: False), policy=Policy(least=0))):
        pass
    assert run.models == {} and any("does not allow 'export' here" in note for note in run.notes)
    assert SIMULATED.allows("export", reserved=True)


def test_a_question_that_is_too_large_is_not_read(uneven: Federation) -> None:
    gate = survey({"A": [1.0]}, policy=Policy(largest=100))
    door = Door("A", list, policy=gate.policy)
    assert door.answer("prepare", {"buffers": {"mean": torch.ones(100)}}).error == "Refused"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"purposes": "train"}, "purposes is 'train': give a tuple of texts"),
        ({"names": (1,)}, "names is"),
        ({"least": -1}, "least is -1: it must be a whole number of at least 0"),
        ({"least": 2.5}, "least is 2.5"),
        ({"largest": 0}, "largest is 0"),
    ],
)
def test_a_policy_that_is_none_is_refused(bad: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Policy(**bad)


# ---------------------------------------------------------------------- deadlines in this process


@pytest.mark.parametrize("engine", ["sequential", "threads", "batched"])
def test_a_site_that_trains_too_long_is_late(engine: str, uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow(FedAvg):
        def objective(self, vars: Any, at: Any) -> Any:
            if at.round == 2 and (engine == "batched" or float(at.n) == 60):
                now[0] += 100
            return at.loss(vars)

    options: dict[str, Any] = dict(rounds=3, batch_size=8, engine=engine, deadline=60, progress=False)
    if engine == "batched":
        with pytest.raises(TooFewSites, match=r"'train' in round 2.*site 1 \(late\)") as caught:
            fedlab.train(uneven, "logistic", Slow(), **options)
        assert len(caught.value.run.records) == 1
        return
    run = fedlab.train(uneven, "logistic", Slow(), **options)
    assert ["site 1", "late"] in run.errors.query("round == 2")[["site", "error"]].values.tolist()
    assert len(run.records) == 3 and run.took_part["site 1"] == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("rows", -3.0, "says that it has -3 training rows"), ("rows", float("nan"), "says that it has nan training rows"),
     ("total", float("inf"), "told of its rows what is not finite")],
)  # fmt: skip
def test_what_a_site_tells_of_its_rows_is_screened(
    name: str, value: float, says: str, uneven: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(planned(uneven, "logistic", "fedavg", {"rounds": 1, "engine": "sequential"}))
    honest = SiteWork.statistics

    def odd(site: SiteWork, *, own: bool) -> dict[str, torch.Tensor]:
        told = honest(site, own=own)
        return told if site.name != "site 1" else {**told, name: torch.full_like(told[name], value)}

    monkeypatch.setattr(SiteWork, "statistics", odd)
    list(rounds(run, Exchange(LocalTransport(run, stop=lambda: False), ledger=run.ledger_book)))
    first = run.errors[run.errors["round"] == 0]
    assert first[["site", "error"]].values.tolist() == [["site 1", says]] and len(run.records) == 1
