"""Reports at the sites: the same numbers through Flower's nodes as in this process, and nothing of a patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab import Plan
from fedlab.engine import Run, openings
from fedlab.engine.exchange import Exchange
from fedlab.engine.purposes import Refused
from fedlab.engine.reported import withhold
from fedlab.engine.rounds import rounds
from fedlab.engine.site import SiteWork
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.privacy import SIMULATED, Policy
from tests.engine.nodes import Grid

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")

WANTED: dict[str, dict[str, Any]] = {
    "report": {"resamples": 20},
    "calibration": {"bins": 4},
    "calibration_summary": {},
    "decisions": {"threshold": 0.2},
    "subgroups": {"by": "sex"},
}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process may make Flower's messages; its openings are its own."""
    from fedlab.algorithms.flower_session import _as_flower

    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "state"))
    with _as_flower(0):
        yield


def plan_of(federation: Federation, alg: str = "fedavg", **options: Any) -> Plan:
    """A plan that a server reads from its file: without a row."""
    made = Plan.of(federation, "mlp_norm", alg, **{"rounds": 2, "engine": "sequential"} | options)
    return Plan.from_json(made.to_json())


def app(federation: Federation, plan: Plan, policy: Policy, broken: str = "") -> Any:
    from fedlab.engine.flower import client_app

    def held_of(context: Any) -> SiteWork:
        site = federation[str(context.node_config["site"])]
        made = plan.setup()
        net = made.net
        if site.name == broken:
            net.each_probabilities = fail  # type: ignore[method-assign]
        return SiteWork.of(site, alg=made.algorithm, net=net, optimizer=made.settings.optimizer, prepared=plan.prepared)

    return client_app(held_of, name_of=lambda context: str(context.node_config["site"]), policy=policy)


def fail(*_: Any) -> Any:
    raise ValueError("patient 4711 Miller")


def carry(federation: Federation, plan: Plan, *, policy: Policy = SIMULATED, broken: str = "", sent: Any = None) -> Run:
    """Carry a plan through over nodes, at a server without a row."""
    from fedlab.engine.flower import FlowerTransport

    run, grid = begin(plan), Grid()
    for name in federation.names:
        grid.start(app(federation, plan, policy, broken), site=name)
    if sent is not None:
        pull = grid.pull_messages

        def watched(numbers: Any) -> Iterator[Any]:
            for message in pull(numbers):
                sent.append(message)
                yield message

        grid.pull_messages = watched  # type: ignore[method-assign]
    gate = Exchange(FlowerTransport(grid, plan.sites, patience=0.3), ledger=run.ledger_book)
    for _ in rounds(run, gate):
        pass
    run.asked_gate = gate  # type: ignore[attr-defined]
    return run


def alike(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Up to the last bit: sums over several models at once, as in this process, have another order."""
    pd.testing.assert_frame_equal(one, other, rtol=1e-12, atol=1e-14)


def same(far: Run, near: Run) -> None:
    for name, options in WANTED.items():
        one, other = getattr(far, name)(**options), getattr(near, name)(**options)
        assert one.equals(other), name


def test_the_report_of_nodes_is_that_of_this_process_to_the_bit(hospitals: Federation) -> None:
    near = fedlab.train(hospitals, "mlp_norm", "fedavg", rounds=2, engine="sequential", progress=False)
    far = carry(hospitals, plan_of(hospitals, report=WANTED))
    assert not far.has_rows and far.test_openings == len(WANTED)
    same(far, near)
    ledger = far.ledger.query("purpose == 'report'")
    assert len(ledger) == len(WANTED) * 2 * len(hospitals.names) and (ledger["bytes"] > 0).all()
    own = near.ledger.query("purpose == 'report'")
    assert ledger.groupby("direction")["bytes"].sum().equals(own.groupby("direction")["bytes"].sum())
    with pytest.raises(ValueError, match="hospital holds its own: ask where the rows are"):
        far.report(resamples=7)


def test_personal_models_stay_and_are_judged_where_they_are(hospitals: Federation) -> None:
    near = fedlab.train(hospitals, "mlp_norm", "fedbn", rounds=2, engine="sequential", progress=False)
    far = carry(hospitals, plan_of(hospitals, "fedbn", report={"report": {}, "calibration": {}}))
    assert far.models == {} and "export" not in set(far.ledger["purpose"])
    assert any("the plan does not allow their export" in note for note in far.notes)
    keys = ["train", "test", "metric"]
    found = far.report()
    home = found["train"] == found["test"]
    expected = near.report().query("train == test").reset_index(drop=True)
    mine = found[home].reset_index(drop=True)
    alike(mine, expected)
    away = found[~home]
    assert away["value"].isna().all() and away["reason"].str.startswith("its model stays at ").all()
    assert len(found) == len(near.report()) and not found.duplicated(keys).any()
    alike(far.calibration(), near.calibration().query("train == test").reset_index(drop=True))
    with pytest.raises(ValueError, match="has not left it: ask for its report there"):
        far.model("Cleveland")


def test_an_export_that_plan_and_policy_allow_hands_the_models_out(hospitals: Federation) -> None:
    far = carry(hospitals, plan_of(hospitals, "fedbn", export=True))
    assert set(far.models) == set(hospitals.names) and far.model("Cleveland") is not None
    kept = carry(hospitals, plan_of(hospitals, "fedbn", export=True), policy=Policy())
    assert kept.models == {} and any("the policy does not allow 'export'" in note for note in kept.notes)


def test_nothing_that_leaves_grows_with_the_patients(hospitals: Federation) -> None:
    """Leaves of a reply are single values, as many for 50 patients as for 75."""
    from fedlab.engine.flower import unpack

    sent: list[Any] = []
    carry(hospitals, plan_of(hospitals, report=WANTED), sent=sent)
    replies = [unpack(m.content) for m in sent if "counted" in str(m.content["plain"].get("nest", ""))]
    assert len(replies) == len(WANTED) * len(hospitals.names)

    def leaves(value: Any, listed: bool = False) -> Iterator[Any]:
        if isinstance(value, (dict, list)):
            for part in value.values() if isinstance(value, dict) else value:
                yield from leaves(part, isinstance(value, list))
            return
        assert not listed and isinstance(value, (bool, int, float, str)), value
        yield value

    sizes: dict[str, set[int]] = {}
    for reply in replies:
        sizes.setdefault(",".join(reply), set()).add(len(list(leaves(reply))))
    assert len(sizes) == len(WANTED) and all(len(found) == 1 for found in sizes.values()), sizes


def test_a_hospital_withholds_small_cells_and_the_others_stand(hospitals: Federation) -> None:
    near = fedlab.train(hospitals, "mlp_norm", "fedavg", rounds=2, engine="sequential", progress=False)
    far = carry(hospitals, plan_of(hospitals, report={"report": {}, "subgroups": {"by": "sex", "smallest": 1}}),
                policy=Policy())  # fmt: skip
    told, full = far.report(), near.report()
    few = (full["test"] == "Switzerland").to_numpy()  # two of its test patients are healthy
    assert told[~few].drop(columns=["patients", "fewest"]).equals(full[~few].drop(columns=["patients", "fewest"]))
    rare = told[few].set_index("metric")
    assert rare["fewest"].isna().all() and np.isnan(rare.loc["auc", "value"])
    assert rare.loc["auc", "reason"] == "fewer than 5 test patients of a class"
    assert rare.loc["log_loss", "value"] == full[few].set_index("metric").loc["log_loss", "value"]
    groups = far.subgroups(by="sex", smallest=1)
    here = groups.query("test == 'Switzerland' and group == 'female'")  # four patients
    assert here["patients"].isna().all() and here["value"].isna().all()
    others = groups.query("test == 'Switzerland' and group == 'male'")
    assert others["patients"].isna().all(), "the rest would tell it by subtraction"
    counts = groups[["patients", "fewest"]].to_numpy()
    assert not ((counts > 0) & (counts < 5)).any() and (counts == 0).any(), "of an empty group it is told"


def test_withholding_a_bin_a_decision_and_a_sentence() -> None:
    bins = [{"low": 0.0, "high": 0.5, "predicted": 0.2, "patients": 7, "reason": ""}]
    risk = {"threshold": 0.1, "measure": "sensitivity", "value": 0.5, "small": True, "reason": ""}
    content = {
        "counted": {"patients": 31, "fewest": 12},
        "reliability": [{"bins": bins, "error": 0.1}],
        "decisions": [[risk, {**risk, "small": False}]],
        "scores": [{"accuracy": {"value": 0.5, "reason": "the 3 valid patients are of one class"}}],
    }
    five, nine = withhold(content, 5), withhold(content, 9)
    assert five["reliability"] == content["reliability"] and np.isnan(nine["reliability"][0]["bins"][0]["patients"])
    assert np.isnan(five["decisions"][0][0]["value"]) and five["decisions"][0][1]["value"] == 0.5
    assert np.isnan(nine["decisions"][0][1]["value"])
    assert five["scores"][0]["accuracy"]["reason"] == "the few valid patients are of one class"


def test_a_broken_site_is_named_and_the_others_report(hospitals: Federation) -> None:
    far = carry(hospitals, plan_of(hospitals, report={"report": {}, "decisions": {"threshold": 0.2}}), broken="Hungary")
    near = fedlab.train(hospitals, "mlp_norm", "fedavg", rounds=2, engine="sequential", progress=False)
    found, expected = far.report(), near.report()
    good = found["test"] != "Hungary"
    assert found[good]["value"].equals(expected[good]["value"])
    assert found[~good]["value"].isna().all() and "Miller" not in found.to_string() + far.ledger.to_string()
    assert set(found[~good]["reason"]) == {"the site could not answer (ValueError)"}
    assert set(far.decisions(threshold=0.2).query("test == 'Hungary'")["reason"]) == set(found[~good]["reason"])


def test_a_policy_without_reports_is_said_before_the_first_round_or_when_asked(hospitals: Federation) -> None:
    policy = Policy(purposes=("greet", "statistics", "prepare", "train", "evaluate"))
    with pytest.raises(Refused, match="'report' at Cleveland"):
        carry(hospitals, plan_of(hospitals, report={"report": {}}), policy=policy)
    run = carry(hospitals, plan_of(hospitals), policy=policy)
    assert len(run.records) == 2
    with pytest.raises(Refused, match="'report' at Cleveland"), run.through(run.asked_gate):  # type: ignore[attr-defined]
        run.report()


def test_each_site_counts_its_openings(hospitals: Federation) -> None:
    run = carry(hospitals, plan_of(hospitals))
    assert openings.count(hospitals) == (0, 0)
    with run.through(run.asked_gate):  # type: ignore[attr-defined]
        run.report(), run.report(), run.calibration()
    one = hospitals.select("Hungary")
    assert openings.count(one) == (2, 1), "the stored report opens nothing"
    near = fedlab.train(hospitals, rounds=1, progress=False)
    near.report()
    assert openings.count(one) == (3, 2), "in this process the run enters it, once"


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"risks": {}}, "there is no report 'risks'; known are report, calibration"),
        ({"calibration": {"bin": 3}}, "calibration: got an unexpected keyword argument 'bin'"),
        ({"subgroups": {"by": "shoe size"}}, "no column 'shoe size'"),
        ({"decisions": {"threshold": 1.5}}, "threshold is 1.5"),
    ],
)
def test_a_plan_refuses_a_report_that_there_is_not(report: Any, says: str, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=says):
        Plan.of(hospitals, report=report)


def test_a_plan_in_this_process_gives_its_report_too(hospitals: Federation, tmp_path: Path) -> None:
    from fedlab.engine.train import carry_out

    run = carry_out(Plan.of(hospitals, rounds=1, report={"report": {}}), progress=False, save=tmp_path / "run")
    assert run.test_openings == 1
    again = Run.load(tmp_path / "run", hospitals)
    assert again.plan.report == {"report": {}} and again.report().equals(run.report()) and again.test_openings == 1


@pytest.mark.parametrize("alg", ["fedavg", "fedbn"])
def test_a_server_saves_what_the_sites_reported(alg: str, hospitals: Federation, tmp_path: Path) -> None:
    run = carry(hospitals, plan_of(hospitals, alg, report={"report": {}, "subgroups": {"by": "sex"}}))
    again = Run.load(run.save(tmp_path / "run"))
    assert not again.has_rows and again.plan == run.plan and again.test_openings == 2
    assert again.report().equals(run.report()) and again.subgroups(by="sex").equals(run.subgroups(by="sex"))
    assert again.ledger.equals(run.ledger) and all(again.weights[k].equal(v) for k, v in run.weights.items())
    with pytest.raises(ValueError, match="hospital holds its own: ask where the rows are"):
        again.calibration()
    with pytest.raises(ValueError, match="leave out model= and algorithm="):
        Run.load(tmp_path / "run", model="logistic")
