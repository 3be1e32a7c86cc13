"""``fedlab run``: a plan from its file, what is said of it, and what is refused before round 1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import fedlab
from fedlab import Plan, Run
from fedlab.federation import Federation
from tests.cli.called import call


@pytest.fixture
def plan(hospitals: Federation, tmp_path: Path) -> Path:
    return Plan.of(hospitals, rounds=2).save(tmp_path / "plan.json")


def test_a_plan_is_carried_out_and_kept_beside_it(plan: Path, hospitals: Federation) -> None:
    result = call("run", str(plan))
    assert result.exit_code == 0, result.output
    near = fedlab.train(hospitals, rounds=2, progress=False)
    kept = Run.load(plan.with_suffix(""), hospitals)
    assert kept.history.drop(columns="seconds").equals(near.history.drop(columns="seconds"))
    assert "FedAvg() of logistic on heart_disease: 2 rounds, seed 0." in result.output
    best = near.history[near.history["chosen"]].set_index("site")["log_loss"]
    assert f"{best['Hungary']:.3f}" in result.output and "test stays unopened" in result.output


def test_without_scores_it_says_so(hospitals: Federation, tmp_path: Path) -> None:
    result = call("run", str(Plan.of(hospitals, rounds=2, evaluate=False).save(tmp_path / "plan.json")))
    assert result.exit_code == 0, result.output
    assert "No round was scored on valid (evaluate=False): the last one is reported." in result.output


def test_a_quantity_is_told_in_its_own_scores(tmp_path: Path) -> None:
    federation = fedlab.load("heart_disease")
    rows = federation["Hungary"].rows
    import pandas as pd

    frame = pd.DataFrame({"age": rows.x[:, 0].numpy(), "y": rows.x[:, 0].numpy() * 2.0 + 1.0})
    frame["site"] = ["A", "B"] * (len(frame) // 2) + ["A"] * (len(frame) % 2)
    made = Federation.from_frame(frame, site="site", label="y", task="regression")
    from fedlab.cli.run import _told

    run = fedlab.train(made, "linear", rounds=2, progress=False)
    said = list(_told(run, tmp_path / "x"))
    assert run.task.choosing in said[0] and "auc" not in said[0]


@pytest.mark.parametrize(
    "name,content,says",
    [
        ("nothing.json", None, "there is no plan"),
        ("plan.json", "[1]", "is no plan: plan.save(FILE) writes one"),
        ("plan.json", "{", "is no plan: it is no JSON"),
    ],
)
def test_what_is_no_plan(name: str, content: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    result = call("run", str(path))
    assert result.exit_code == 1 and says in result.output and "Traceback" not in result.output


def test_an_edited_plan_is_refused(plan: Path) -> None:
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"primary": "auc"}))
    result = call("run", str(plan))
    assert result.exit_code == 1 and "was changed after it was written" in result.output
    assert not plan.with_suffix("").exists()


def test_what_cannot_be_carried_out_is_said_before_anything_is_done(hospitals: Federation, tmp_path: Path) -> None:
    made = Plan.of(hospitals, rounds=2, away=dict.fromkeys(hospitals.names, [(2, 2)])).save(tmp_path / "plan.json")
    result = call("run", str(made))
    assert result.exit_code == 1 and "in round 2 0 of 4 sites are there" in result.output
    assert "of logistic on" not in result.output and not (tmp_path / "plan").exists()


def test_a_folder_that_cannot_be_used(plan: Path, tmp_path: Path) -> None:
    assert call("run", str(plan), "-o", str(tmp_path / "first")).exit_code == 0
    again = call("run", str(plan), "-o", str(tmp_path / "first"))
    assert again.exit_code == 1 and "keeps a run already: go on with Run.resume, or choose another" in again.output
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    other = call("run", str(plan), "-o", str(tmp_path / "other"))
    assert other.exit_code == 1 and "holds files that are no record's (notes.txt)" in other.output
    itself = call("run", str(plan), "-o", str(plan))
    assert itself.exit_code == 1 and "is a file: a record is a folder" in itself.output
    assert Plan.load(plan).rounds == 2, "the plan stands"
    bare = Plan.load(plan).save(tmp_path / "bare")
    result = call("run", str(bare))
    assert result.exit_code == 1 and "has no ending, and its record would take its name: give -o" in result.output


def test_a_folder_in_use(plan: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom fedlab.storage import hold\nfrom fedlab.engine import record\n"
        f"with hold({str(tmp_path / 'busy')!r}, record.RUN, 'trains a run'):\n"
        "    print('holds', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline().strip() == b"holds"
        result = call("run", str(plan), "-o", str(tmp_path / "busy"))
        other.stdin.close()
    assert result.exit_code == 1 and "busy is in use: process" in result.output
    assert "choose another folder" in result.output


def test_data_that_are_not_here(tmp_path: Path, uneven: Federation) -> None:
    result = call("run", str(Plan.of(uneven, rounds=2).save(tmp_path / "plan.json")))
    assert result.exit_code == 1 and "cannot be made again. Give the federation in Python" in result.output


def test_code_beside_the_plan_is_found_and_checked(hospitals: Federation, tmp_path: Path) -> None:
    mine = "from fedlab.algorithms import FedAvg\nclass Gentle(FedAvg):\n    def objective(self, vars, at):\n"
    (tmp_path / "gentle_run.py").write_text(mine + "        return at.loss(vars) / 2\n")
    make = "import fedlab\nfrom gentle_run import Gentle\n"
    make += "fedlab.Plan.of(fedlab.load('heart_disease'), 'logistic', Gentle(), rounds=2).save('plan.json')\n"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    command = [sys.executable, "-c", "from fedlab.cli import app; app()", "run", "plan.json", "-o"]
    done = subprocess.run([*command, "out"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Gentle" in done.stdout
    (tmp_path / "gentle_run.py").write_text(mine + "        return at.loss(vars) / 4\n")
    done = subprocess.run([*command, "out2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "gentle_run:Gentle is another here than in the plan" in done.stderr
    assert not (tmp_path / "out2").exists() and "Traceback" not in done.stderr
