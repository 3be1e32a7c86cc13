"""A plan: the same run from its file, here and in another process, and what is refused before round 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab import Plan
from fedlab.engine.plan import PlanDiffers
from fedlab.engine.spec import sum_of
from fedlab.engine.train import begin, carry_out
from fedlab.federation import Federation, Site
from fedlab.federation.dictionary import DataDictionary, Entry
from fedlab.privacy import Policy
from tests.conftest import ragged

AGREED = DataDictionary(entries=[Entry(name="age", unit="years"), Entry(name="bp", unit="mmHg")])


def resealed(plan: Plan, **change: Any) -> str:
    """A plan that somebody edited, with a sum that fits: ``{"settings.lr": -1}`` and so on."""
    body = json.loads(plan.to_json())
    del body["sum"]
    for path, value in change.items():
        *inner, last = path.split(".")
        part = body
        for name in inner:
            part = part[name]
        part[last] = value
    return json.dumps({**body, "sum": sum_of(body)})


def table(*, quantity: bool = False, **more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"site": np.repeat(["A", "B"], 60), "age": rng.normal(50, 9, 120), "bp": rng.normal(size=120)})
    return rows.assign(**{"y": rng.normal(size=120) if quantity else rng.integers(0, 2, 120), **more})


def test_from_its_file_the_same_run(hospitals: Federation, tmp_path: Path) -> None:
    plan = Plan.of(hospitals.select("Cleveland", "Hungary").resplit(3), "mlp", "fedprox", rounds=2)
    again = Plan.load(plan.save(tmp_path / "plan.json"))
    assert again == plan and again.data_here is None
    a, b = (carry_out(each, progress=False).history.drop(columns="seconds") for each in (plan, again))
    assert a.equals(b)


def test_a_server_begins_without_a_row(hospitals: Federation) -> None:
    run = begin(Plan.from_json(Plan.of(hospitals, "logistic", "trimmedmean").to_json()))
    assert run.algorithm.name == "trimmedmean" and not run.has_rows
    with pytest.raises(ValueError, match="each hospital holds its own"):
        run.report()


# ---------------------------------------------------------------------- files that are none, or others than agreed


@pytest.mark.parametrize(
    "change,says",
    [
        ({"format": 2}, "has format 2.*install that, or make the plan again"),
        ({"sites": ["A"]}, "changed after it was written.*Take the file as it was agreed"),
        ({"odd": 1}, "changed after"),
    ],
)
def test_what_was_edited_is_refused(change: dict[str, Any], says: str, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=says):
        Plan.from_json(json.dumps(json.loads(Plan.of(hospitals).to_json()) | change))


@pytest.mark.parametrize(
    "content,says",
    [
        (b"\xff\xfe\x00", "is no plan: it is no text"),
        (b"[1]", r"is no plan: plan.save\(FILE\)"),
        (b'{"format": NaN}', "is no plan: it is no JSON .NaN is no number"),
    ],
)
def test_what_is_no_plan_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"plan.json {says}"):
        Plan.load(tmp_path / "plan.json")


def test_another_fedlab_is_said(hospitals: Federation) -> None:
    with pytest.warns(PlanDiffers, match="written by fedlab 9.9.9, and here is"):
        Plan.from_json(resealed(Plan.of(hospitals), fedlab="9.9.9"))


@pytest.mark.parametrize(
    "change,says",
    [
        ({"odd": 1}, "there is no 'odd' in a plan of fedlab"),
        ({"settings.warp": 9}, "there is no setting 'warp'; known are"),
        ({"settings.unsaid": 5}, "the settings' unsaid is 5, where names"),
        ({"settings.code": [1]}, "the settings' code is .1., where names"),
        ({"settings.deadline": 0}, "deadline is 0: it must be more than 0"),
        ({"settings.rounds": 0}, "rounds is 0"),
        ({"settings.lr": "fast"}, "lr is 'fast': the learning rate must be"),
        ({"settings.min_sites": 9}, "min_sites is 9, but the federation has 4 sites"),
        ({"settings.optimizer": {"is": "Foo"}}, "there is no optimizer 'Foo'; known are SGD, Adam"),
        ({"settings.optimizer": {"is": "SGD", "warp": 1}}, "SGD does not take what the plan has of it"),
        ({"algorithm.name": "fedprox"}, "'fedprox' is of fedlab.algorithms.fedavg:FedAvg, and here of .*:FedProx"),
        ({"algorithm.name": "fedfoo"}, "algorithm is 'fedfoo', and its class .*:FedAvg is 'fedavg' here"),
        ({"algorithm.name": None, "algorithm.class": "nowhere:Mine"}, "nowhere cannot be imported here.*PYTHONPATH"),
        ({"algorithm.name": None, "algorithm.class": "os:system"}, "os:system, which is Python's own"),
        ({"algorithm.fields": {"warp": 9}}, "does not take what the plan has of it"),
        ({"model.name": "logistc"}, "there is no model 'logistc' .did you mean 'logistic'"),
        ({"data.name": "nowhere"}, "'nowhere', which is no recipe here: install the package"),
        ({"data.arguments": {"warp": 9}}, "the plan's data cannot be made of what it says .*no option 'warp'"),
        ({"data.steps": [{"x": 1}]}, "the plan's data cannot be made of what it says .KeyError: 'step'"),
        ({"data.steps": [{"step": "steal"}]}, "made by 'steal', which this fedlab does not know"),
        ({"data.fingerprint": "0" * 64}, "other rows, or another split"),
        ({"task": {}}, "the plan's task is a dict, and no task"),
        ({"task": {"$": "object"}}, "the plan's task cannot be made of what it says .KeyError: 'at'"),
        ({"primary": "nonsense"}, "primary is 'nonsense', and a binary task of 2 classes has auc, "),
        ({"away": {"Nowhere": [[1, 1]]}}, "away names 'Nowhere', which is no site"),
        ({"away": {"Hungary": [[2, 99]]}}, "give first and last round of each absence, in 1 … 30"),
    ],
)
def test_what_cannot_be_carried_out_is_said_before_round_1(
    change: dict[str, Any], says: str, hospitals: Federation
) -> None:
    text = resealed(Plan.of(hospitals), **change)
    with pytest.raises(ValueError, match=says):
        carry_out(Plan.from_json(text), progress=False)


def test_a_lambda_trains_and_is_not_written(uneven: Federation) -> None:
    run = fedlab.train(uneven, "logistic", rounds=1, schedule=lambda round, rounds: 1.0, progress=False)
    with pytest.raises(ValueError, match="schedule: a lambda.*write it as a function"):
        run.plan.to_json()


# ---------------------------------------------------------------------- plans that cannot be made


@pytest.mark.parametrize(
    "make,error,says",
    [
        (lambda fed: Plan.of("heart"), TypeError, "federation is a str: load one"),
        (lambda fed: Plan.of(fed, "logistc"), ValueError, "no model 'logistc' .did you mean 'logistic'"),
        (lambda fed: Plan.of(fed, "logistic", "fedpox"), ValueError, "no algorithm 'fedpox' .did you mean 'fedprox'"),
        (lambda fed: Plan.of(fed, warp=9), TypeError, "there is no setting 'warp'"),
        (lambda fed: Plan.of(fed, deadline=0), ValueError, "deadline is 0"),
        (lambda fed: Plan.of(fed, primary="nonsense"), ValueError, "primary is 'nonsense', and"),
        (lambda fed: Plan.of(fed).changed(primary="mse"), ValueError, "primary is 'mse', and"),
        (lambda fed: Plan.agreed(AGREED, "AB", ["0", "1"]), TypeError, "sites is 'AB', a text: give a list"),
        (lambda fed: Plan.agreed(AGREED, ["A", "B"], "01"), TypeError, "classes is '01', a text: give a list"),
        (lambda fed: Plan.agreed(AGREED, ["A", "A"], ["0", "1"]), ValueError, "name each hospital once"),
        (lambda fed: carry_out("plan.json"), TypeError, r"no plan: give Plan.of\(…\) or Plan.load\(FILE\)"),
        (lambda fed: Plan.agreed(AGREED, ["A", "B"], ["0", "1"]).federation(), ValueError, "Run it over their nodes"),
    ],
)
def test_what_is_no_plan_to_begin_with(
    make: Callable[[Federation], Any], error: type[Exception], says: str, hospitals: Federation
) -> None:
    with pytest.raises(error, match=says):
        make(hospitals)


@pytest.mark.parametrize("spells", ["all", [2], (2, 2), [(1.5, 2)], [(True, 2)], [(1, 2, 3)], [None]])
def test_absences_that_are_none(spells: Any, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=r"away of Hungary is .*: give first and last round of each absence"):
        Plan.of(hospitals, rounds=3, away={"Hungary": spells})


def test_absences_in_no_order_and_of_nobody(hospitals: Federation) -> None:
    with pytest.raises(TypeError, match="give each site's absences"):
        Plan.of(hospitals, away=["Hungary"])  # type: ignore[arg-type]
    for spells in ([(3, 2)], [(0, 1)], [(1, 2), (2, 3)]):
        with pytest.raises(ValueError, match="in 1 … 3, none within another"):
            Plan.of(hospitals, rounds=3, away={"Hungary": spells})
    with pytest.raises(ValueError, match="in round 2 0 of 4 sites are there"):
        carry_out(Plan.of(hospitals, rounds=3, away=dict.fromkeys(hospitals.names, [(2, 2)])), progress=False)


# ---------------------------------------------------------------------- a hospital's own rows


def site_of(rows: pd.DataFrame, **options: Any) -> Site:
    return Federation.from_frame(rows, site="site", label="y", **options)["A"]


@pytest.mark.parametrize(
    "site,says",
    [
        (lambda: site_of(table().rename(columns={"bp": "chol"})), "no column 'bp' .it has 'age', 'chol'"),
        (lambda: site_of(table(quantity=True), task="regression"), "A does not fit the plan: labels of torch.float64"),
        (lambda: site_of(table(y=np.arange(120) % 3)), "the label .here '0', '1'. has no code for '2'"),
        (lambda: site_of(table(site=np.repeat(["A", "C"], 60))), ""),
    ],
)
def test_a_hospital_whose_rows_are_others_is_refused(site: Callable[[], Site], says: str) -> None:
    plan = Plan.agreed(AGREED, ["A", "B"], ["0", "1"])
    if not says:
        assert plan.admit(site()).features == plan.known
        return
    with pytest.raises(ValueError, match=says):
        plan.admit(site())


def test_classes_are_no_quantity() -> None:
    federation = Federation.from_frame(table(quantity=True), site="site", label="y", task="regression")
    with pytest.raises(ValueError, match="A has classes for labels, and the plan's task is a regression of 'y'"):
        Plan.of(federation, "linear").admit(site_of(table()))
    with pytest.raises(TypeError, match="'A' is a str, and no site"):
        Plan.of(federation, "linear").admit("A")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'Hungary' is none of the plan's sites"):
        Plan.of(federation, "linear").admit(fedlab.load("heart_disease")["Hungary"])


# ---------------------------------------------------------------------- who is away from the next round on


@pytest.mark.parametrize(
    "names,error,says",
    [
        (["Nowhere"], ValueError, "there is no site 'Nowhere'; the sites are"),
        ([["Hungary"]], TypeError, r"no site's name: give each by itself, run.away\('Hungary'"),
        (["Cleveland", "Hungary", "Long Beach", "Switzerland"], ValueError, "in round 2 0 of 4 sites are there"),
    ],
)
def test_an_absence_that_cannot_be_leaves_the_run_as_it_was(
    names: list[Any], error: type[Exception], says: str, hospitals: Federation
) -> None:
    events = fedlab.stream(hospitals, rounds=3)
    run = next(events).run
    run.away("Hungary")
    with pytest.raises(error, match=says):
        run.away(*names)
    assert run.plan.away == {"Hungary": ((2, 3),)}
    for _ in events:
        pass
    assert run.asked == {"Cleveland": 3, "Hungary": 1, "Long Beach": 3, "Switzerland": 3}


def test_away_is_the_run_of_a_plan_that_says_so_beforehand(hospitals: Federation) -> None:
    events = fedlab.stream(hospitals, rounds=5)
    for event in events:
        run = event.run
        if event.round == 2:
            run.away("Hungary", "Cleveland")
        if event.round == 3:
            run.away("Hungary")
        if event.round == 4:
            run.away()
    assert run.plan.away == {"Cleveland": ((3, 3),), "Hungary": ((3, 4),)}
    again = carry_out(Plan.from_json(run.plan.to_json()), progress=False)
    assert again.history.drop(columns="seconds").equals(run.history.drop(columns="seconds"))
    with pytest.raises(ValueError, match="has had its 5 rounds"):
        run.away("Hungary")


def test_pooled_rows_are_not_away(hospitals: Federation) -> None:
    events = fedlab.stream(hospitals, "logistic", "centralized", rounds=2)
    with pytest.raises(ValueError, match=r"moves all rows into one place.*federation.select"):
        next(events).run.away("Hungary")


# ---------------------------------------------------------------------- code from a file, in another process

MINE = """
from dataclasses import dataclass
from fedlab.algorithms import Algorithm, mean

@dataclass(frozen=True, kw_only=True)
class Mine(Algorithm):
    share: float = 0.5

    def combine(self, params, uploads, extra, weights, state, who):
        target = mean(uploads, weights)
        return {name: params[name] + self.share * (new - params[name]) for name, new in target.items()}, state
"""
ASK = """
import sys
import fedlab
from mine import Mine
plan = fedlab.Plan.of(fedlab.load("heart_disease"), "logistic", Mine(share=0.25), rounds=2)
plan.save(sys.argv[1])
print(fedlab.train(fedlab.load("heart_disease"), "logistic", Mine(share=0.25), rounds=2).history["log_loss"].tolist())
"""
DO = """
import sys
import fedlab
from fedlab.engine.train import carry_out
try:
    print(carry_out(fedlab.Plan.load(sys.argv[1])).history["log_loss"].tolist())
except ValueError as error:
    print("refused:", error)
"""


def in_another_process(code: str, folder: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_code_from_a_file_runs_in_another_process_only_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    plan = str(tmp_path / "plan.json")
    asked = in_another_process(ASK, tmp_path, plan)
    body = json.loads(Path(plan).read_text())
    assert body["algorithm"]["class"] == "mine:Mine" and "sha256:" in json.dumps(body["algorithm"]["content"])
    assert in_another_process(DO, tmp_path, plan) == asked, "the same source: the same bits"

    (tmp_path / "mine.py").write_text(
        MINE.replace("        target", "        # a comment is no difference\n        target")
    )
    assert in_another_process(DO, tmp_path, plan) == asked

    (tmp_path / "mine.py").write_text(MINE.replace("self.share *", "2 * self.share *"))
    refused = in_another_process(DO, tmp_path, plan)
    there = body["algorithm"]["content"]["class"]["combine"]
    sums = refused.partition("(")[2].partition(")")[0].replace(" there, ", " ").removesuffix(" here").split(" ")
    assert refused.startswith("refused: mine:Mine is another here than in the plan: the source of class.combine (")
    assert len(set(sums)) == 2 and any(str(total).startswith(sums[0]) for total in there.values())
    assert refused.endswith("Take the file that the plan was made with, or make the plan again")

    (tmp_path / "mine.py").write_text(MINE.replace("class Mine", "class Other"))
    assert "mine has no Mine here: take the file that the plan was made with" in in_another_process(DO, tmp_path, plan)
    (tmp_path / "mine.py").unlink()
    refused = in_another_process(DO, tmp_path, plan)
    assert refused.startswith("refused: the plan names mine:Mine, and mine cannot be imported here")
    assert "put its file on the path (PYTHONPATH), or install the package that brings it" in refused


# --------------------------------------------------------------------------- what may leave

ALL_IT_ASKS = ("statistics", "prepare", "train", "evaluate")


@pytest.mark.parametrize("engine", ["sequential", "batched", "threads"])
def test_a_plans_policy_is_kept_at_every_site_and_at_the_gate(engine: str) -> None:
    open_plan = Plan.of(ragged(), rounds=2, engine=engine)
    plan = open_plan.changed(policy=Policy(purposes=ALL_IT_ASKS))
    assert Plan.from_json(plan.to_json()) == plan != open_plan and plan.policy == Policy(purposes=ALL_IT_ASKS)
    free, held = (carry_out(each, progress=False) for each in (open_plan, plan))
    assert all(torch.equal(w, held.weights[name]) for name, w in free.weights.items())
    closed = plan.changed(policy=Policy(names=("rows", "present", "total", "squares", "model.bias")))
    with pytest.raises(PermissionError, match="does not let out: 'model.weight' of 'train' as float32, "):
        carry_out(closed, progress=False)


def test_a_plan_that_forbids_what_its_run_needs_is_refused_before_round_1() -> None:
    plan = Plan.of(ragged(), rounds=2, policy=Policy(purposes=("statistics", "prepare", "train")))
    with pytest.raises(PermissionError, match="'evaluate' here. Allow it in Policy"):
        carry_out(plan, progress=False)


def test_personal_models_leave_a_site_only_where_the_plan_names_it() -> None:
    options = {"rounds": 2, "policy": Policy(least=0)}
    kept = carry_out(Plan.of(ragged(), "mlp", "fedper", **options), progress=False)
    assert kept.models == {} and any("does not allow 'export'" in note for note in kept.notes)
    options["policy"] = Policy(purposes=("*",), least=0)
    assert len(carry_out(Plan.of(ragged(), "mlp", "fedper", **options), progress=False).models) == 3


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        ("none", "give a Policy"),
        ({"purposes": ["train"], "unknown": 1}, "give a Policy"),
        ({"least": -1}, "least is -1"),
        ({"names": "model.*"}, "give a tuple of texts"),
    ],
)
def test_a_policy_that_is_none_is_refused(policy: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Plan.of(ragged(), policy=policy)


def test_a_policy_is_kept_with_the_run_and_when_it_goes_on(tmp_path: Path) -> None:
    fed = ragged()
    plan = Plan.of(fed, rounds=2, policy=Policy(purposes=ALL_IT_ASKS))
    carry_out(plan, fed, progress=False, save=tmp_path / "run")
    assert fedlab.Run.load(tmp_path / "run", fed).plan.policy == plan.policy
    assert fedlab.Run.resume(tmp_path / "run", fed, progress=False).plan.policy == plan.policy


def test_a_policy_without_reports_keeps_test_closed_in_this_process_too() -> None:
    fed = ragged()
    run = carry_out(Plan.of(fed, rounds=2, policy=Policy(purposes=ALL_IT_ASKS)), fed, progress=False)
    with pytest.raises(PermissionError, match="does not allow 'report': name it in Policy"):
        run.report()
    assert run.test_openings == 0 and "report" not in set(run.ledger["purpose"])
    asked = (*ALL_IT_ASKS, "report")
    assert len(carry_out(Plan.of(fed, rounds=2, policy=Policy(purposes=asked)), fed, progress=False).report())
