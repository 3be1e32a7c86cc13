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
from fedlab.engine.plan import planned
from fedlab.engine.purposes import Refused
from fedlab.engine.train import begin
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
    with pytest.raises(TooFewSites, match="the policy lets no 'model.* out as torch.float32"):
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
    transport = transport_of(grid, uneven.names)
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
    transport = transport_of(far, uneven.names)
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
    assert restored[["round", "site", "direction", "status"]].values.tolist() == [
        [3, "site 1", "down", "ok"],
        [3, "site 1", "up", "ok"],
    ]
    assert run.took_part == {name: 4 for name in uneven.names}


def test_a_node_that_has_lost_its_memory_never_trains_on_in_silence(uneven: Federation) -> None:
    run = run_of(uneven, "scaffold", rounds=4)
    again(run, grid_of(run))
    assert run.took_part == {"site 0": 4, "site 1": 2, "site 2": 4}
    assert set(run.errors["error"]) == {"StateLost"} and set(run.errors["site"]) == {"site 1"}


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


# ---------------------------------------------------------------------- surveys


def test_the_harmoniser_hears_the_same_from_nodes() -> None:
    from data_recipes import heart_disease
    from fedlab.engine.flower import client_app
    from fedlab.engine.survey import survey
    from fedlab.study.harmony import Desk

    desks = {site: Desk(table, table) for site, table in heart_disease.raw().items()}
    grid = Grid()
    app = client_app(lambda context: desks[context.node_config["site"]], name_of=lambda c: str(c.node_config["site"]))
    for site in desks:
        grid.start(app, site=site)
    far, near = Exchange(transport_of(grid, list(desks))), survey(desks)
    question = Ask("summarise", {"least": 5})
    told, expected = far.ask(question), near.ask(question)
    assert told.sites == expected.sites
    for one, other in zip(told.contents, expected.contents, strict=True):
        assert repr(one) == repr(other)
    bytes_of = [gate.ledger.frame().query("purpose == 'summarise'")["bytes"].tolist() for gate in (far, near)]
    assert bytes_of[0] == bytes_of[1]


def test_the_measures_hear_the_same_from_nodes(hospitals: Federation) -> None:
    from functools import partial

    from fedlab.engine.flower import client_app
    from fedlab.engine.survey import survey
    from fedlab.study.heterogeneity.binned import Leave
    from fedlab.study.heterogeneity.by_updates import risks_of
    from fedlab.study.heterogeneity.census import AtSite, take_census
    from fedlab.study.heterogeneity.concept import ask_bands

    run = fedlab.train(hospitals, rounds=1, engine="sequential", progress=False)
    leave, risks = Leave(5), partial(risks_of, run)

    def held_of(context: Any) -> AtSite:
        site = hospitals[str(context.node_config["site"])]
        return AtSite(site, hospitals.select(site.name), leave, 0, risks)  # a node has its own rows alone

    grid = Grid()
    for name in hospitals.names:
        grid.start(client_app(held_of, name_of=lambda context: str(context.node_config["site"])), site=name)
    near = survey({site.name: AtSite(site, hospitals, leave, 0, risks) for site in hospitals.sites})
    far = Exchange(transport_of(grid, hospitals.names))
    one, other = (take_census(gate, hospitals, bins=8, leave=leave) for gate in (far, near))
    assert one.sites == other.sites and one.tables.keys() == other.tables.keys() and len(one.tables) > 5
    for name, table in one.tables.items():
        assert (table.told == other.tables[name].told).all(), name
    bands = [ask_bands(gate, run.weights, leave) for gate in (far, near)]
    assert (bands[0] == bands[1]).all() and bands[0].sum() > 0
