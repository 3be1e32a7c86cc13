"""The harmoniser and the measures over Flower's nodes: the same as in process, and no row leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import pytest

import fedlab
from data_recipes import heart_disease
from fedlab import Plan
from fedlab.engine import Run, TooFewSites
from fedlab.engine.exchange import Exchange
from fedlab.engine.ledger import Ledger
from fedlab.engine.purposes import Refused
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.federation.documentation import Fault, write
from fedlab.privacy import Policy
from fedlab.study.harmony import Desk
from fedlab.study.heterogeneity import AT_HOME, ROUNDS, UNTRAINED
from fedlab.study.heterogeneity.binned import Leave
from fedlab.study.heterogeneity.by_updates import risks_of
from fedlab.study.heterogeneity.census import AtSite, Terms
from tests.engine.nodes import Grid, app_of, carry
from tests.federation.tables import wards

HOSPITAL = Policy()

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")


@pytest.fixture(autouse=True)
def messages() -> Iterator[None]:
    """This process may make Flower's messages."""
    from fedlab.algorithms.flower_session import _as_flower

    with _as_flower(0):
        yield


def gate_to(held_of: Callable[[str], Any], sites: Any, *, policy: Policy = HOSPITAL, **options: Any) -> Exchange:
    """The gate to nodes, each of which loads what it holds for every message."""
    from fedlab.engine.flower import FlowerTransport, client_app

    def name_of(context: Any) -> str:
        return str(context.node_config["site"])

    grid = Grid()
    app = client_app(lambda context: held_of(name_of(context)), name_of=name_of, policy=policy)
    for name in reversed(list(sites)):
        grid.start(app, site=name)
    return Exchange(FlowerTransport(grid, list(sites), patience=0.3), ledger=Ledger(keep=True), **options)


def messages_of(ledger: pd.DataFrame, *purposes: str) -> list[list[Any]]:
    """What the ledger has of these questions, whatever the order in which the sites were asked."""
    found = ledger[ledger["purpose"].isin(purposes)]
    return sorted(found[["purpose", "site", "direction", "bytes", "content", "status"]].values.tolist())


# ---------------------------------------------------------------------- harmonising


@pytest.mark.parametrize("data", ["hospitals", "wards"])
def test_the_same_is_proposed_asked_and_changed(data: str) -> None:
    tables = dict(sorted(heart_disease.raw().items())) if data == "hospitals" else _wards()
    kept: dict[str, pd.DataFrame] = {}
    desks = {
        site: partial(Desk, table, table, keep=partial(kept.__setitem__, site))  # a new one for every message
        for site, table in tables.items()
    }
    near, far = (fedlab.harmonise(each, progress=False) for each in (tables, gate_to(lambda n: desks[n](), desks)))
    assert len(near.proposals) and far.proposals.equals(near.proposals)
    assert far.questions.equals(near.questions) and far.undecided.equals(near.undecided)
    made = near.accept().apply()
    assert far.accept().apply() == {}, "no table leaves a hospital"
    assert kept.keys() == made.keys() and all(kept[site].equals(made[site]) for site in made)
    assert far.changed == near.changed and sum(map(len, far.changed.values())) >= 1
    both = ("summarise", "apply")
    assert messages_of(far.ledger, *both) == messages_of(near.ledger, *both)
    assert repr(far) == repr(near) and len(far.messages) > len(tables)
    far.refuse().apply()
    assert all(kept[site].equals(tables[site]) for site in tables)


def _wards() -> dict[str, pd.DataFrame]:
    inches = Fault("height", "unit", {"unit": "in", "factor": 0.3937, "offset": 0.0})
    return {site: write(table, [inches] if site == "B" else []) for site, table in sorted(wards().items())}


def test_who_tells_patients_otherwise_is_no_part_of_it() -> None:
    tables = _wards()
    desks = {site: Desk(table, table, "height" if site == "B" else None) for site, table in tables.items()}
    with pytest.raises(TooFewSites, match="answered 'summarise'.*missing: B .ValueError"):
        fedlab.harmonise(gate_to(desks.__getitem__, desks), progress=False)


def test_a_hospital_that_does_not_allow_it_is_said_first() -> None:
    tables = _wards()
    desks = {site: Desk(table, table) for site, table in tables.items()}
    gate = gate_to(desks.__getitem__, desks, policy=Policy(purposes=("greet", "summarise")))
    with pytest.raises(Refused, match="'apply' at A"):
        fedlab.harmonise(gate, progress=False)
    assert set(gate.ledger.frame()["purpose"]) == {"greet"}


# ---------------------------------------------------------------------- the measures


def held_by(plan: Plan, hospitals: Federation, *, least: int = 5) -> Callable[[str], AtSite]:
    """A hospital holds its own rows, and a model made of the plan."""

    def held_of(name: str) -> AtSite:
        run = begin(Plan.from_json(plan.to_json()))
        return AtSite(plan.admit(hospitals[name]), Terms.of(plan), Leave(least), 0, partial(risks_of, run))

    return held_of


def far_run(plan: Plan, hospitals: Federation) -> Run:
    from fedlab.engine.flower import FlowerTransport

    run = begin(plan, hospitals)
    grid = Grid()
    for name in hospitals.names:
        grid.start(app_of(run), site=name)
    return carry(run, FlowerTransport(grid, hospitals.names, patience=0.3))


def test_what_counts_show_is_the_same(hospitals: Federation) -> None:
    plan = Plan.from_json(Plan.of(hospitals, "logistic", rounds=ROUNDS, evaluate=False, seed=0).to_json())
    run = far_run(plan, hospitals)
    gate = gate_to(held_by(plan, hospitals), hospitals.names)
    far = fedlab.heterogeneity(plan, gate=gate, run=run, draws=40, progress=False)
    near = fedlab.heterogeneity(hospitals, draws=40, progress=False)
    both = ["quantity", "label", "features", "missingness", "concept"]
    tables = [each.detail[each.detail["kind"].isin(both)].reset_index(drop=True) for each in (far, near)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert tables[0]["value"].notna().mean() > 0.7 and set(tables[0]["kind"]) == set(both)
    rest = far.detail[~far.detail["kind"].isin(both)]
    assert (
        set(rest["kind"]) == {"joint", "training"} and rest["value"].isna().all() and set(rest["reason"]) == {AT_HOME}
    )
    asked = ("blocks", "histograms", "risks", "bands")
    assert messages_of(far.ledger, *asked) == messages_of(near.ledger, *asked)
    assert far.pairs("label").equals(near.pairs("label"))
    assert far.table()[both].equals(near.table()[both]) and "–" in far._repr_html_()


def test_without_a_run_the_concept_has_no_value_and_says_why(hospitals: Federation) -> None:
    plan = Plan.of(hospitals)
    gate = gate_to(held_by(plan, hospitals), hospitals.names)
    found = fedlab.heterogeneity(plan, gate=gate, draws=20, progress=False).detail
    assert set(found.query("kind == 'concept'")["reason"]) == {UNTRAINED}
    assert found.query("kind == 'label'")["value"].notna().all()


def test_whose_cells_are_others_is_refused(hospitals: Federation) -> None:
    plan = Plan.of(hospitals)
    gate = gate_to(held_by(plan, hospitals, least=7), hospitals.names)
    with pytest.raises(TooFewSites, match="answered 'blocks'.*missing: Cleveland .ValueError"):
        fedlab.heterogeneity(plan, gate=gate, progress=False)


@pytest.mark.parametrize(
    "ask,error,says",
    [
        (lambda fed, plan, gate: fedlab.heterogeneity(plan), TypeError, "or give the gate= to the hospitals"),
        (lambda fed, plan, gate: fedlab.heterogeneity(fed, gate=gate), TypeError, "give the Plan that the hospitals"),
        (lambda fed, plan, gate: fedlab.heterogeneity(fed, run=begin(plan)), ValueError, "run= goes with gate="),
        (lambda fed, plan, gate: fedlab.heterogeneity(plan, gate=gate, run=begin(plan)), ValueError, "no round yet"),
        (
            lambda fed, plan, gate: fedlab.heterogeneity(Plan.of(fed.select("Hungary", "Cleveland")), gate=gate),
            ValueError,
            "the gate leads to Cleveland, Hungary, Long Beach, Switzerland, and the plan is of Hungary, Cleveland",
        ),
    ],
)
def test_what_does_not_go_together(
    ask: Callable[[Federation, Plan, Exchange], Any], error: type[Exception], says: str, hospitals: Federation
) -> None:
    plan = Plan.of(hospitals)
    with pytest.raises(error, match=says):
        ask(hospitals, plan, gate_to(held_by(plan, hospitals), hospitals.names))


def test_a_hospital_that_does_not_allow_a_measure_is_said_first(hospitals: Federation) -> None:
    plan = Plan.of(hospitals)
    gate = gate_to(held_by(plan, hospitals), hospitals.names, policy=Policy(purposes=("greet", "blocks")))
    with pytest.raises(Refused, match="'histograms' at Cleveland"):
        fedlab.heterogeneity(plan, gate=gate, progress=False)
