"""Flower's nodes: the bits of one site at a time, who is greeted, who comes late, and what a restart loses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab.engine import Run, TooFewSites
from fedlab.engine.exchange import Ask, Exchange
from fedlab.engine.plan import Plan, planned
from fedlab.engine.purposes import Refused
from fedlab.engine.rounds import rounds
from fedlab.engine.train import begin, carry_out
from fedlab.engine.trees import tree_leaves
from fedlab.federation import Federation
from fedlab.privacy import Policy
from tests.engine.nodes import Grid, app_of, carry, site_work

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")


@pytest.fixture(autouse=True)
def messages() -> Iterator[None]:
    """This process may make Flower's messages."""
    from fedlab.algorithms.flower_session import _as_flower

    with _as_flower(0):
        yield


def run_of(federation: Federation, alg: str = "fedavg", model: str = "mlp_norm", **options: Any) -> Run:
    return begin(planned(federation, model, alg, {"rounds": 3, "batch_size": 16, "engine": "sequential"} | options))


def grid_of(run: Run, **options: Any) -> Grid:
    grid = Grid()
    for name in reversed(run.federation.names):
        grid.start(app_of(run, **options), site=name)
    return grid


def transport_of(grid: Grid, sites: Any, **options: Any) -> Any:
    from fedlab.engine.flower import FlowerTransport

    return FlowerTransport(grid, sites, **{"patience": 0.3, **options})


def difference(one: Run, other: Run) -> float:
    pairs = zip(tree_leaves((one.weights, one.models)), tree_leaves((other.weights, other.models)), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("alg", ["fedavg", "scaffold", "fedbn", "fedrep", "isolated"])
def test_nodes_give_the_bits_of_one_site_at_a_time(alg: str, uneven: Federation) -> None:
    near = fedlab.train(uneven, "mlp_norm", alg, rounds=3, batch_size=16, engine="sequential", progress=False)
    run = run_of(uneven, alg)
    far = carry(run, transport_of(grid_of(run), uneven.names))
    assert difference(far, near) == 0.0
    apart = ["seconds", "bytes"]  # of which greetings have some
    assert far.history.drop(columns=apart).equals(near.history.drop(columns=apart))
    greeted = far.ledger["purpose"] == "greet"
    assert far.ledger[greeted]["site"].tolist() == sorted(uneven.names)
    pairs = far.ledger[~greeted].reset_index(drop=True), near.ledger
    assert pairs[0].equals(pairs[1]) and not far.errors.size


# ---------------------------------------------------------------------- two questions in one message


def questions(grid: Grid) -> list[str]:
    """The purposes of the messages to the first node, greeting and preparation aside."""
    first = min(grid.nodes)
    return [purpose for purpose, node in grid.asked if node == first and purpose in ("train", "evaluate", "keep")]


def test_evaluation_travels_with_the_next_training_and_changes_nothing(uneven: Federation) -> None:
    apart = run_of(uneven, "scaffold", rounds=4)
    many = grid_of(apart)
    carry(apart, transport_of(many, uneven.names, dear=False))
    together = run_of(uneven, "scaffold", rounds=4)
    few = grid_of(together)
    carry(together, transport_of(few, uneven.names))
    assert questions(many) == ["train", "evaluate"] * 4
    assert questions(few) == ["train"] * 4 + ["evaluate"], "the last round's has a message of its own"
    assert difference(apart, together) == 0.0 and apart.chosen == together.chosen
    assert apart.history.drop(columns="seconds").equals(together.history.drop(columns="seconds"))
    assert apart.ledger.equals(together.ledger)


def test_what_both_questions_hold_is_sent_once(uneven: Federation) -> None:
    sizes: dict[bool, int] = {}
    for dear in (False, True):
        run = run_of(uneven, rounds=3)
        grid = grid_of(run)
        push, sent = grid.push_messages, []

        def counted(messages: Any, push: Any = push, sent: Any = sent) -> Any:
            every = list(messages)
            sent += [len(part) for m in every for part in m.content.array_records.values()]
            return push(every)

        grid.push_messages = counted  # type: ignore[method-assign]
        carry(run, transport_of(grid, uneven.names, dear=dear))
        sizes[dear] = sum(sent)
    tensors = sum(not name.startswith("prepare.") for name in run.weights)
    assert sizes[False] - sizes[True] == 2 * 3 * tensors, "of three rounds two evaluations send no model, at 3 sites"


@pytest.mark.parametrize(
    ("alg", "options", "why"),
    [
        ("fedbn", {}, "it predicts with layers of its own"),
        ("ensemble", {}, "it predicts with several"),
        ("ifca", {}, "it predicts with one of several"),
        ("fedavg", {"fraction": 0.7}, "sites are sampled"),
        ("fedavg", {"patience": 1}, "the choice may end the run"),
        ("fedavg", {"evaluate": False}, "there is none"),
    ],
)
def test_the_questions_stay_apart_where_one_needs_the_other(
    alg: str, options: dict[str, Any], why: str, uneven: Federation
) -> None:
    run = run_of(uneven, alg, **options)
    sent: list[Any] = []
    transport = transport_of(grid_of(run), uneven.names)
    asked = transport.ask
    transport.ask = lambda *given, **more: sent.append(more) or asked(*given, **more)  # type: ignore[func-returns-value]
    carry(run, transport)
    assert run.records and not any("before" in more for more in sent), why


def test_a_deadline_keeps_the_questions_apart(uneven: Federation) -> None:
    run = run_of(uneven)
    grid = grid_of(run)
    carry(run, transport_of(grid, uneven.names), deadline=60.0)
    assert questions(grid) == ["train", "evaluate"] * 3


def test_who_is_away_keeps_the_questions_of_that_border_apart(uneven: Federation) -> None:
    away = {"site 1": [(3, 3)]}
    run = begin(Plan.of(uneven, "mlp_norm", rounds=5, batch_size=16, engine="sequential", away=away))
    near = carry_out(run.plan, progress=False)
    grid = grid_of(run)
    carry(run, transport_of(grid, uneven.names))
    node = next(k for k, (_, context) in grid.nodes.items() if context.node_config["site"] == "site 0")
    mine = [purpose for purpose, number in grid.asked if number == node and purpose in ("train", "evaluate")]
    assert mine == ["train", "train", "evaluate", "train", "evaluate", "train", "train", "evaluate"]
    assert difference(run, near) == 0.0 and run.chosen == near.chosen
    assert run.history.drop(columns=["seconds", "bytes"]).equals(near.history.drop(columns=["seconds", "bytes"]))


def test_an_event_is_complete_and_away_takes_effect_after_what_is_under_way(uneven: Federation) -> None:
    run = run_of(uneven, rounds=4)
    grid = grid_of(run)
    events = rounds(run, Exchange(transport_of(grid, uneven.names), ledger=run.ledger_book))
    first = next(events)
    assert first.round == 1 and set(first.valid) == set(uneven.names) and first.chosen
    assert len(run.records) == 1 and run.chosen == dict.fromkeys(uneven.names, 1)
    assert questions(grid) == ["train"] * 2, "the second training is under way"
    run.away("site 1")
    assert run.plan.away == {"site 1": ((3, 4),)}
    for _ in events:
        pass
    near = carry_out(Plan.of(uneven, "mlp_norm", rounds=4, batch_size=16, engine="sequential", away=run.plan.away),
                     progress=False)  # fmt: skip
    assert run.asked == {"site 0": 4, "site 1": 2, "site 2": 4} and difference(run, near) == 0.0


def test_in_the_last_round_nobody_can_be_away_any_more(uneven: Federation) -> None:
    run = run_of(uneven, rounds=2)
    events = rounds(run, Exchange(transport_of(grid_of(run), uneven.names), ledger=run.ledger_book))
    next(events)
    with pytest.raises(ValueError, match="the run is in the last of its 2 rounds: nobody can be away any more"):
        run.away("site 1")
    assert len(list(events)) == 1


def test_a_run_that_is_left_has_what_was_under_way_in_its_ledger_alone(uneven: Federation) -> None:
    run = run_of(uneven, rounds=4)
    events = rounds(run, Exchange(transport_of(grid_of(run), uneven.names), ledger=run.ledger_book))
    next(events), next(events)
    events.close()
    whole = fedlab.train(uneven, "mlp_norm", rounds=2, batch_size=16, engine="sequential", progress=False)
    assert len(run.records) == 2 and difference(run, whole) == 0.0 and not run.errors.size
    assert run.took_part == dict.fromkeys(uneven.names, 2)
    last = run.ledger.query("round == 3")
    assert last[["purpose", "direction"]].values.tolist() == [["train", "down"]] * 3 + [["train", "up"]] * 3
    assert (last["bytes"] > 0).all() and (last["status"] == "ok").all()


def test_a_stop_while_both_questions_are_under_way_ends_with_the_round_before(uneven: Federation) -> None:
    from fedlab.engine.work import Stopped

    run = run_of(uneven, rounds=4)
    grid = grid_of(run)
    grid.holds = lambda purpose, node: questions(grid).count("train") == 3
    with pytest.raises(Stopped):
        carry(run, transport_of(grid, uneven.names, stop=lambda: questions(grid).count("train") == 3))
    near = fedlab.train(uneven, "mlp_norm", rounds=1, batch_size=16, engine="sequential", progress=False)
    assert len(run.records) == 1 and run.chosen == near.chosen and difference(run, near) == 0.0


def test_a_site_that_fails_to_train_has_still_said_how_good_the_model_is(uneven: Federation) -> None:
    run = run_of(uneven, rounds=3)

    def held_of(context: Any) -> Any:
        work = site_work(run, str(context.node_config["site"]))
        if work.name == "site 1":
            train = work.train
            work.train = lambda model, extra, job: train(model, extra, job) if job.round != 2 else 1 / 0  # type: ignore[method-assign,assignment,return-value]
        return work

    from fedlab.engine.flower import client_app

    grid = Grid()
    for name in uneven.names:
        grid.start(client_app(held_of, name_of=lambda context: str(context.node_config["site"])), site=name)
    carry(run, transport_of(grid, uneven.names))
    assert run.errors.values.tolist() == [[2, "site 1", "ZeroDivisionError"]]
    assert [sorted(record.valid) for record in run.records] == [sorted(uneven.names)] * 3
    assert run.took_part == {"site 0": 3, "site 1": 2, "site 2": 3}


def test_a_round_is_kept_before_the_next_one_ends_the_run(uneven: Federation) -> None:
    run = run_of(uneven, rounds=3, min_sites=3)

    def held_of(context: Any) -> Any:
        work = site_work(run, str(context.node_config["site"]))
        train = work.train
        work.train = lambda model, extra, job: train(model, extra, job) if job.round == 1 else 1 / 0  # type: ignore[method-assign,assignment,return-value]
        return work

    from fedlab.engine.flower import client_app

    grid = Grid()
    for name in uneven.names:
        grid.start(client_app(held_of, name_of=lambda context: str(context.node_config["site"])), site=name)
    with pytest.raises(TooFewSites, match="answered 'train' in round 2"):
        carry(run, transport_of(grid, uneven.names))
    assert len(run.records) == 1 and set(run.records[0].valid) == set(uneven.names) and run.chosen


# ---------------------------------------------------------------------- what stays at a site


def test_a_patients_cell_in_an_error_of_loading_never_leaves(
    uneven: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    from fedlab.engine.flower import client_app

    run = run_of(uneven)

    def held_of(context: Any) -> Any:
        if context.node_config["site"] == "site 1":
            raise ValueError("row 3: '4711 Miller' is no number")
        return site_work(run, str(context.node_config["site"]))

    grid = Grid()
    for name in uneven.names:
        grid.start(client_app(held_of, name_of=lambda context: str(context.node_config["site"])), site=name)
    sent: list[Any] = []
    pull = grid.pull_messages
    grid.pull_messages = lambda numbers: (sent.append(m) or m for m in pull(numbers))  # type: ignore[method-assign,func-returns-value]
    with caplog.at_level(logging.ERROR, "fedlab.site"):
        carry(run, transport_of(grid, uneven.names))
    assert len(run.records) == 3 and set(run.errors["site"]) == {"site 1"}
    assert set(run.errors["error"]) == {"ValueError"}
    told = "".join(f"{dict(part)}" for message in sent for part in message.content.values())
    assert "Miller" not in told + run.ledger.to_string() and "the site could not answer" in told
    assert "Miller" in caplog.text, "the site's own log has it"


def test_a_policy_is_held_at_the_site_and_said_before_the_first_round(uneven: Federation) -> None:
    run = run_of(uneven)
    grid = grid_of(run, policy=Policy(purposes=("greet", "statistics", "prepare", "train")))
    with pytest.raises(Refused, match=r"'evaluate' at site 0, .*Policy\(purposes=…\), or choose"):
        carry(run, transport_of(grid, uneven.names))
    assert run.ledger["purpose"].unique().tolist() == ["greet"] and not run.records


def test_personal_models_leave_only_where_they_may(uneven: Federation) -> None:
    run = run_of(uneven, "fedbn")
    carry(run, transport_of(grid_of(run, policy=Policy()), uneven.names))
    assert len(run.records) == 3 and run.models == {}
    assert any("models stay there: the policy does not allow 'export' at site 0" in note for note in run.notes)
    assert "export" not in set(run.ledger["purpose"])


def test_names_and_dtypes_that_must_not_leave_are_refused_at_the_site_and_at_the_gate(uneven: Federation) -> None:
    run = run_of(uneven, "scaffold")
    grid = grid_of(run, policy=Policy(names=("rows", "present", "total", "squares", "model.*", "n", "auc", "log_loss")))
    with pytest.raises(TooFewSites, match="site 0 .Refused."):
        carry(run, transport_of(grid, uneven.names))
    run = run_of(uneven)
    with pytest.raises(Refused, match="does not let out: 'model.* of 'train' as float32, "):
        carry(run, transport_of(grid_of(run), uneven.names), policy=Policy(dtypes=("float64",)))


def test_another_fedlab_at_a_site_is_seen(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedlab.engine import flower

    run = run_of(uneven)
    grid, real = grid_of(run), flower.version
    there = iter(["9.9.9"])

    def answer(message: Any, context: Any, app: Any = grid.nodes[1][0]) -> Any:
        monkeypatch.setattr(flower, "version", lambda: next(there, "9.9.9"))
        try:
            return app(message, context)
        finally:
            monkeypatch.setattr(flower, "version", real)

    grid.nodes[1] = answer, grid.nodes[1][1]
    carry(run, transport := transport_of(grid, uneven.names))
    assert set(run.errors["error"]) == {"OtherVersion"} and set(run.errors["site"]) == {"site 2"}
    assert len(run.records) == 3 and transport.notes == []


# ---------------------------------------------------------------------- who comes


def test_a_missing_node_a_strange_one_and_a_broken_one_neither_hang_nor_kill(uneven: Federation) -> None:
    from fedlab.engine.flower import client_app

    run = run_of(uneven, min_sites=1)

    def broken(context: Any) -> Any:
        raise ImportError("no module named patients")

    grid = Grid()
    grid.start(app_of(run), site="site 0")
    grid.start(client_app(broken, name_of=lambda context: "a stranger"))
    grid.start(client_app(broken))
    carry(run, transport := transport_of(grid, uneven.names))
    assert len(run.records) == 3 and set(run.took_part) == {"site 0"}
    assert set(run.errors["error"]) == {"no answer"} and set(run.errors["site"]) == {"site 1", "site 2"}
    assert any("calls itself 'a stranger', which is no site" in note for note in transport.notes)
    assert any("did not say its name (ImportError)" in note for note in transport.notes)


def test_of_two_nodes_of_one_name_neither_is_asked(uneven: Federation) -> None:
    run = run_of(uneven)
    grid = grid_of(run)
    grid.start(app_of(run), site="site 1")
    carry(run, transport := transport_of(grid, uneven.names))
    assert set(run.took_part) == {"site 0", "site 2"} and set(run.errors["site"]) == {"site 1"}
    assert any("two nodes call themselves 'site 1': neither is asked" in note for note in transport.notes)


def test_a_node_with_other_columns_is_left_out(uneven: Federation) -> None:
    from fedlab.engine.flower import client_app

    run = run_of(uneven)

    def held_of(context: Any) -> Any:
        work = site_work(run, str(context.node_config["site"]))
        work.columns = ("age", "sex") if work.name == "site 1" else ("age", "chol")
        return work

    grid = Grid()
    for name in uneven.names:
        grid.start(client_app(held_of, name_of=lambda context: str(context.node_config["site"])), site=name)
    carry(run, transport := transport_of(grid, uneven.names, columns=("age", "chol")))
    assert set(run.took_part) == {"site 0", "site 2"}
    assert transport.notes == ["site 1 holds other columns (chol, sex): it is left out"]


def test_nobody_who_comes_is_an_error_with_the_remedy(uneven: Federation) -> None:
    with pytest.raises(TimeoutError, match="0 of 3 sites came in 0 s: start the others"):
        transport_of(Grid(), uneven.names)


# ---------------------------------------------------------------------- deadlines


def test_a_late_answer_is_entered_and_dropped_at_both_ends(uneven: Federation) -> None:
    """A site whose answer came too late goes on from what the server knows of: as if it had not been asked."""
    run = run_of(uneven, "scaffold", rounds=4)
    grid = grid_of(run)
    node = next(k for k, (_, context) in grid.nodes.items() if context.node_config["site"] == "site 1")
    transport = transport_of(grid, uneven.names, dear=False)  # with a deadline no question waits for another
    asked = transport.ask

    def ask(purpose: str, who: Any, payload: Any, **options: Any) -> Any:
        late = purpose == "train" and payload["job"].round == 2
        grid.holds = lambda purpose, number: late and number == node and purpose == "train"
        return asked(purpose, who, payload, **({"deadline": 0.2} if late else {}))

    transport.ask = ask
    carry(run, transport)
    bad = run.ledger.query("status != 'ok'")
    assert bad[["round", "purpose", "site", "status"]].values.tolist() == [[2, "train", "site 1", "late"]] * 2
    assert bad["bytes"].tolist()[0] == 0 and bad["bytes"].tolist()[1] > 0, "the second is what came later"

    alone = run_of(uneven, "scaffold", rounds=4)
    far = grid_of(alone)
    transport = transport_of(far, uneven.names, dear=False)
    asked_too = transport.ask

    def without(purpose: str, who: Any, payload: Any, **options: Any) -> Any:
        if purpose == "train" and payload["job"].round == 2:
            return asked_too(purpose, [name for name in who if name != "site 1"], payload)
        return asked_too(purpose, who, payload)

    transport.ask = without
    carry(alone, transport)
    assert difference(run, alone) == 0.0


@pytest.mark.parametrize("deadline", [0, -1.5, float("nan"), "5"])
def test_a_deadline_that_is_none_is_refused(deadline: Any, uneven: Federation) -> None:
    with pytest.raises((ValueError, TypeError), match="deadline"):
        fedlab.train(uneven, deadline=deadline, progress=False)
    with pytest.raises((ValueError, TypeError), match="deadline"):
        Exchange(transport_of(grid_of(run_of(uneven)), uneven.names), deadline=deadline)


# ---------------------------------------------------------------------- what a restart loses


@pytest.mark.parametrize(("alg", "folder"), [("scaffold", True), ("fedbn", True), ("fedavg", False)])
def test_a_node_that_starts_again_is_restored(alg: str, folder: bool, uneven: Federation, tmp_path: Path) -> None:
    near = fedlab.train(uneven, "mlp_norm", alg, rounds=4, batch_size=16, engine="sequential", progress=False)
    run = run_of(uneven, alg, rounds=4)
    options: dict[str, Any] = (
        {"folder_of": lambda context: tmp_path / str(context.node_config["site"])} if folder else {}
    )
    again(run, grid_of(run, **options), **options)
    assert difference(run, near) == 0.0
    restored = run.ledger.query("purpose == 'restore'")
    number = 3 if alg == "fedbn" else 2  # the evaluation of round 2 travels with the training of round 3
    assert restored[["round", "site", "direction", "status"]].values.tolist() == [
        [number, "site 1", "down", "ok"],
        [number, "site 1", "up", "ok"],
    ]
    apart = ["seconds", "bytes"]
    assert run.history.drop(columns=apart).equals(near.history.drop(columns=apart))
    assert run.took_part == {name: 4 for name in uneven.names}


def test_a_node_that_has_lost_its_memory_never_trains_on_in_silence(uneven: Federation) -> None:
    run = run_of(uneven, "scaffold", rounds=4)
    again(run, grid_of(run))
    assert run.took_part == {"site 0": 4, "site 1": 2, "site 2": 4}
    assert set(run.errors["error"]) == {"StateLost"} and set(run.errors["site"]) == {"site 1"}


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("how", ["dropped", "rolled back"])
def test_state_that_flower_lost_is_restored_or_said(how: str, folder: bool, uneven: Federation, tmp_path: Path) -> None:
    """The node lives on and what Flower kept for it is gone, or is that of two rounds ago."""
    from flwr.app import RecordDict

    near = fedlab.train(uneven, "mlp_norm", "scaffold", rounds=5, batch_size=16, engine="sequential", progress=False)
    run = run_of(uneven, "scaffold", rounds=5)
    options: dict[str, Any] = {}
    if folder:
        options = {"folder_of": lambda context: tmp_path / str(context.node_config["site"])}
    grid = grid_of(run, **options)
    context = next(context for _, context in grid.nodes.values() if context.node_config["site"] == "site 1")
    early: list[dict[str, Any]] = []
    for event in rounds(run, Exchange(transport_of(grid, uneven.names, dear=False), ledger=run.ledger_book)):
        if event.round == 1:
            early.append(dict(context.state))
        if event.round == 3:
            context.state = RecordDict(early[0] if how == "rolled back" else {})
    if folder:
        assert difference(run, near) == 0.0 and not run.errors.size
        assert run.ledger.query("purpose == 'restore'")[["round", "site"]].values.tolist() == [[4, "site 1"]] * 2
    else:
        assert run.took_part == {"site 0": 5, "site 1": 3, "site 2": 5}
        assert {tuple(each[1:]) for each in run.errors.values.tolist()} == {("site 1", "StateLost")}


def again(run: Run, grid: Grid, **options: Any) -> None:
    """Carry a run through, whose second site is started again after round 2."""
    transport = transport_of(grid, run.federation.names)
    node = next(k for k, (_, context) in grid.nodes.items() if context.node_config["site"] == "site 1")
    asked = transport.ask

    def ask(purpose: str, who: Any, payload: Any, **more: Any) -> Any:
        if purpose == "train" and payload["job"].round == 3 and node in grid.nodes:
            grid.stop(node)
            grid.start(app_of(run, **options), site="site 1")
        return asked(purpose, who, payload, **more)

    transport.ask = ask
    carry(run, transport)


def test_every_site_may_be_sent_something_of_its_own(uneven: Federation) -> None:
    run = run_of(uneven)
    gate = Exchange(transport_of(grid_of(run), uneven.names))
    gate.ask(Ask("prepare", {"buffers": {}}))
    (down,) = gate.ledger.frame().query("purpose == 'prepare' and site == 'site 1' and direction == 'down'")["bytes"]
    assert down == 0
    told = gate.ask(Ask("statistics", {"own": True}, each={"site 1": {"note": "x" * 9}}))
    assert list(told.sites) == sorted(uneven.names)
    sent = gate.ledger.frame().query("purpose == 'statistics' and direction == 'down'").set_index("site")["bytes"]
    assert sent.to_dict() == {"site 0": 0, "site 1": 9, "site 2": 0}
    assert all(torch.is_tensor(what["rows"]) for what in told.contents)
