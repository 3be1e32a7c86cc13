"""Openings of ``test`` are counted over runs, studies and sessions, by the rows and not by the split."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.engine import openings
from fedlab.federation import IID, AcquisitionShift, Federation, Shifts
from fedlab.federation.site import Examples
from fedlab.study.openings import said


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def small(seed: int = 0) -> Federation:
    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Federation.from_tensors({n: (x[k::2], (x[k::2, 0] > 0).long()) for k, n in enumerate("AB")})


def train(fed: Federation, **settings: int) -> fedlab.Run:
    return fedlab.train(fed, rounds=1, progress=False, **settings)


def ask(fed: Federation, *, seeds: int = 2) -> fedlab.Study:
    return fedlab.compare(fed, algorithms=["isolated", "fedavg"], seeds=seeds, rounds=1, progress=False)


# ---------------------------------------------------------------- what counts


def test_runs_and_studies_add_up_whatever_the_split() -> None:
    fed = small()
    assert openings.count(fed) == (0, 0)
    run = train(fed)
    run.report(), run.report(), run.calibration(), run.test_scores("auc")
    assert openings.count(fed) == (3, 1), "the stored report opens nothing"
    train(fed.resplit(5), seed=1).report()
    study = ask(fed, seeds=3)
    study.table(), study.verdict(), study.calibration()
    assert openings.count(fed) == openings.count(fed.resplit(9)) == (6, 3)
    assert study.test_openings == 2
    assert "test opened 2 times in this study, 6 times over 3 runs and studies on these patients" in repr(study)
    assert said(study) in study._repr_html_()


def test_a_part_of_the_hospitals_or_fewer_training_rows_are_the_same_patients() -> None:
    fed = small()
    ask(fed.select("A")).report()
    assert openings.count(fed) == openings.count(fed.thinned(5, seed=0)) == openings.count(fed.select("A")) == (1, 1)
    assert openings.count(fed.select("B")) == (0, 0)
    assert openings.count(fed.lock(0.2)) == openings.count(replace(fed, sites=fed.sites[::-1])) == (1, 1)
    assert openings.count(small(1)) == (0, 0)
    run = train(fed.select("B"))
    run.newcomer(fed["A"]), run.at(fed["A"])
    assert openings.count(fed.select("A")) == (3, 2) and openings.count(fed.select("B")) == (0, 0)


def test_the_same_question_again_is_one_study() -> None:
    fed = small()
    for _ in range(2):
        ask(fed).report()
    assert openings.count(fed) == (2, 1)


def test_a_curve_and_an_atlas_are_one_opening_each() -> None:
    fed = small()
    fedlab.learning_curve(fed, rows=[4, 8], sites=[1], seeds=2, rounds=1, progress=False)
    assert openings.count(fed) == (1, 1)
    fedlab.atlas(fed, algorithms=["fedavg"], resamples=0, rounds=1, progress=False)
    assert openings.count(fed) == (3, 3), "the study, and each hospital unseen"


def test_what_is_refused_or_breaks_opens_nothing() -> None:
    fed = small()
    study = ask(fed)
    with pytest.raises(ValueError, match="no column"):
        study.subgroups(by="nothing")
    with openings.one(fed, "nothing", by=0, words=""):
        pass
    with pytest.raises(KeyError), openings.one(fed, "some", by=0, words=""):
        train(fed).report()
        raise KeyError
    assert openings.count(fed) == (1, 1), "what was seen before it broke was seen"


def test_one_place_counts_for_runs_and_one_for_studies() -> None:
    """Whoever opens test in a new way and adds to the number alone is in no file."""
    adding = [f"{path.parent.name}/{path.name}" for path in Path(fedlab.__file__).parent.rglob("*.py")
              for line in path.read_text().splitlines() if "test_openings += 1" in line]  # fmt: skip
    assert sorted(adding) == ["engine/run.py", "study/openings.py", "study/random_effects.py", "study/two_arms.py"]


# ---------------------------------------------------------------- which rows


@given(data=st.data())
def test_a_patients_hash_is_of_the_rows_in_any_order_and_tells_others(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    rows = Examples(torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rng.integers(2, size=n)),
                    rng.integers(9, size=n))  # fmt: skip
    order = rng.permutation(n)
    mine = rows.patient_hashes
    assert (rows.take(order).patient_hashes == mine).all()
    names = replace(rows, group=np.array([f"p{k}" for k in rows.group]))
    assert (names.patient_hashes == mine).all(), "a patient's name is not the patient"
    x = rows.x.clone()
    x[0, 0] += 1e-9
    for other in (replace(rows, x=x), replace(rows, y=1 - rows.y)):
        assert (other.patient_hashes[rows.patients.of[0]] != mine[rows.patients.of[0]]).all()


def test_patients_are_known_under_other_names_dealt_out_shifted_and_in_another_order() -> None:
    fed = small()
    train(fed).report()
    order = np.random.default_rng(0).permutation(40)
    renamed = replace(fed, sites=tuple(replace(site, name=f"new {site.name}") for site in fed.sites))
    turned = Federation.from_tensors({s.name: (s.rows.x[order], s.rows.y[order]) for s in fed.sites})
    shifted = fed.shift(Shifts({"A": [AcquisitionShift(0.8)]}))
    assert not torch.equal(shifted["A"].rows.x, fed["A"].rows.x)
    for other in (renamed, turned, fed.partition(IID(), sites=4, seed=1).select("site 3"), shifted.select("A"),
                  shifted.partition(IID(), sites=3, seed=0)):  # fmt: skip
        assert openings.count(other) == (1, 1)
    moved = Federation.from_tensors({"A": (fed["A"].rows.x + 1, fed["A"].rows.y)})
    assert openings.count(moved) == (0, 0), "values changed by hand are others"


def test_the_count_is_the_most_of_any_patient() -> None:
    fed = small()
    train(fed.select("A")).report(), train(fed.select("B")).report()
    assert openings.count(fed) == (1, 1)
    train(fed.select("B"), seed=1).report()
    assert openings.count(fed) == (2, 2)


def test_equal_rows_are_not_taken_for_the_same_patients() -> None:
    rng = np.random.default_rng(0)
    few = {n: (torch.from_numpy(rng.integers(2, size=(60, 4))).double(), torch.arange(60) % 2) for n in "AB"}
    one, other = (Federation.from_tensors({n: few[n]}) for n in "AB")
    openings.enter(one, "report", by=0, words="")
    assert openings.count(one) == (1, 1), "the hospital itself is known"
    assert openings.count(other) == (0, 0) and openings.of_test(other).unsure == 1


def test_of_two_at_once_one_is_the_second(state: Path) -> None:
    code = (
        "import torch\nfrom fedlab.engine import openings\nfrom fedlab.federation import Federation\n"
        "x = torch.arange(40.0)[:, None].double()\n"
        "fed = Federation.from_tensors({'A': (x, torch.arange(40) % 2)}).lock(0.3)\n"
        "for k in range(20): print(openings.enter(fed, 'final', by=k, words='', part='locked')[1].openings)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], env=os.environ.copy(), stdout=subprocess.PIPE, text=True)
            for _ in range(2)]  # fmt: skip
    said = [int(number) for each in both for number in each.communicate(timeout=300)[0].split()]
    assert sorted(said) == [*range(40)]


def test_a_lost_key_is_told_of(state: Path) -> None:
    fed = small(3)
    train(fed).report()
    (state / openings.KEY).unlink()
    with pytest.warns(openings.KeyLost, match="Put the key back"):
        assert openings.count(fed) == (0, 0)


# ---------------------------------------------------------------- the file


def test_the_file_holds_hashes_that_nobody_can_try_out(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = small()
    train(fed).report()
    (line,) = (state / openings.FILE).read_text().split("\n")[1:-1]
    entry = json.loads(line)
    assert (
        set(entry) == {*openings.Opening._fields, "patients"} and entry["part"] == "test" and entry["what"] == "report"
    )
    assert not {"A", "B"} & {word.strip(",") for word in line.split('"')}, "no hospital's name"
    assert all(len(each) == 24 for each in [*entry["of"], entry["by"]])
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "elsewhere"))
    train(fed).report()
    other = json.loads((tmp_path / "elsewhere" / openings.FILE).read_text())
    assert set(entry["of"]).isdisjoint(other["of"]), "the key is another one there"
    if os.name == "posix":
        assert (state / openings.KEY).stat().st_mode & 0o077 == 0


def test_a_damaged_line_is_left_out(state: Path) -> None:
    fed = small()
    train(fed).report()
    with (state / openings.FILE).open("a") as file:
        file.write('{"at": 3}\n[1]\nnonsense\n{"half')
    train(fed, seed=1).report()
    assert openings.count(fed) == (2, 2)


def test_a_folder_that_cannot_be_written_warns_once_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "file" / "state"))
    fed = small(7)
    with pytest.warns(openings.NotKept, match="in this process alone. Set FEDLAB_STATE"):
        train(fed).report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(fed, seed=1).report()
    assert openings.count(fed) == (2, 2)


def test_two_processes_lose_no_opening(state: Path) -> None:
    code = (
        "import sys, torch\nfrom fedlab.engine import openings\nfrom fedlab.federation import Federation\n"
        "x = torch.arange(40.0)[:, None].double()\n"
        "fed = Federation.from_tensors({'A': (x, torch.arange(40) % 2)})\n"
        "for k in range(200): openings.enter(fed, 'report', by=sys.argv[1], words='w' * 900)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name], env=os.environ.copy()) for name in "ab"]
    assert [each.wait(timeout=300) for each in both] == [0, 0]
    x = torch.arange(40.0)[:, None].double()
    fed = Federation.from_tensors({"A": (x, torch.arange(40) % 2)})
    assert openings.count(fed) == (400, 2)


def test_openings_of_an_older_fedlab_are_said_not_to_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path))
    line = {"at": "", "part": "test", "what": "report", "by": "a", "words": "a run", "rows": ["b"], "locked": []}
    (tmp_path / "openings.jsonl").write_text(f"{json.dumps(line)}\n" * 2)
    (tmp_path / "openings.key").write_text("00" * 32)
    with pytest.warns(openings.OlderOpenings, match="2 openings of an older fedlab.*are not counted"):
        assert openings.count(fedlab.load("heart_disease")).openings == 0
