"""A study's folder: the same study to the bit, and a comparison that goes on where it was stopped."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedlab
from fedlab.algorithms import FedAvg, FedProx
from fedlab.engine.record import RecordDiffers
from fedlab.federation import Federation
from fedlab.storage import DamagedRecord
from fedlab.study import Study, compare

ARMS = ["isolated", "fedavg", "fedadam"]


def ask(fed: Federation, arms: Any = ARMS, **options: Any) -> Study:
    return compare(
        fed, options.pop("model", "logistic"), arms, **({"seeds": 2, "rounds": 2, "progress": False} | options)
    )


@pytest.fixture(autouse=True)
def no_unasked_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordDiffers)
        yield


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which arms were computed, in order."""
    module = sys.modules["fedlab.study.compare"]
    seen: list[str] = []
    real = module.train_trials

    def counting(splits: Any, model: Any, alg: Any, **options: Any) -> Any:
        seen.append(alg.name)
        return real(splits, model, alg, **options)

    monkeypatch.setattr(module, "train_trials", counting)
    return seen


def same(a: Study, b: Study) -> None:
    assert (a.arms, a.seeds, a.model_name) == (b.arms, b.seeds, b.model_name)
    pd.testing.assert_frame_equal(a.trials, b.trials, check_exact=True)
    for arm in a.arms:
        for one, other in zip(a.runs[arm], b.runs[arm], strict=True):
            left, right = one.history.drop(columns="seconds"), other.history.drop(columns="seconds")
            pd.testing.assert_frame_equal(left, right, check_exact=True)
            trained = [run.ledger.query("purpose != 'report'").reset_index(drop=True) for run in (one, other)]
            pd.testing.assert_frame_equal(*trained)
            assert one.settings == other.settings and one.algorithm == other.algorithm
    pd.testing.assert_frame_equal(a.report(), b.report(), check_exact=True)


# ---------------------------------------------------------------- to the disk and back


def test_what_is_loaded_is_what_was_saved(hospitals: Federation, tmp_path: Path) -> None:
    study = ask(hospitals, model="mlp", tune={"lr": [0.03, 0.3], "clip": [None, 1.0]})
    table = study.table()
    again = Study.load(study.save(tmp_path / "a study"), hospitals)
    assert again.test_openings == 1
    pd.testing.assert_frame_equal(again.table(), table, check_exact=True)
    assert again.test_openings == 1 and again.runs["fedavg"][0].test_openings == 1
    same(again, study)
    pd.testing.assert_frame_equal(again.cost(), study.cost(), check_exact=True)
    again._reports.clear()
    for runs in again.runs.values():
        for run in runs:
            run._reports.clear()
    pd.testing.assert_frame_equal(again.table(), table, check_exact=True)  # computed anew
    assert again.test_openings == 2


def test_without_a_federation_the_recipe_is_loaded_again(hospitals: Federation, tmp_path: Path) -> None:
    study = ask(hospitals, ["fedavg"])
    same(Study.load(study.save(tmp_path / "study")), study)


def test_other_data_warn_once_with_both_values(hospitals: Federation, uneven: Federation, tmp_path: Path) -> None:
    folder = ask(hospitals, ["fedavg"]).save(tmp_path / "study")
    other = hospitals.resplit(9)
    with pytest.warns(RecordDiffers) as told:
        Study.load(folder, other)
    assert len(told) == 1 and told[0].filename == __file__
    assert hospitals.fingerprint[:12] in str(told[0].message) and other.fingerprint[:12] in str(told[0].message)


def test_damage_anywhere_is_refused_by_name(uneven: Federation, tmp_path: Path) -> None:
    folder = ask(uneven, ["fedavg", "isolated"]).save(tmp_path / "study")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(paths) == 7
    for path in paths:
        raw = path.read_bytes()
        for damaged in (raw[:-9], raw[: (at := raw.rfind(b"1"))] + b"2" + raw[at + 1 :], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(DamagedRecord, match=path.name):
                Study.load(folder, uneven)
            path.write_bytes(raw)
    assert Study.load(folder, uneven).arms == ("fedavg", "isolated")


def test_arms_of_two_studies_cannot_be_mixed(uneven: Federation, tmp_path: Path) -> None:
    """Each is whole by itself; the sum in study.json tells."""
    one, two = (ask(uneven, ["fedavg"], rounds=rounds).save(tmp_path / str(rounds)) for rounds in (2, 3))
    (one / "arms").rename(tmp_path / "away")
    (two / "arms").rename(one / "arms")
    with pytest.raises(DamagedRecord, match="arm.json: its sum differs"):
        Study.load(one, uneven)


def test_a_newer_format_is_refused(uneven: Federation, tmp_path: Path) -> None:
    path = ask(uneven, ["fedavg"]).save(tmp_path / "study") / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    with pytest.raises(ValueError, match="format 3, and this fedlab reads up to 2"):
        Study.load(path.parent, uneven)


def test_a_full_disk_leaves_the_old_study(uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask(uneven, ["fedavg"])
    folder = study.save(tmp_path / "study")
    study.report()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"study \(No space left.*what was there before stands"):
        study.save(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def full(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# ---------------------------------------------------------------- stopped, and on again


def test_a_second_call_computes_nothing(hospitals: Federation, tmp_path: Path, trained: list[str]) -> None:
    first = ask(hospitals, save=tmp_path / "study", tune={"lr": [0.03, 0.3]})
    assert trained == ARMS
    again = ask(hospitals, save=tmp_path / "study", tune={"lr": [0.03, 0.3]})
    assert trained == ARMS
    same(again, first)
    same(Study.load(tmp_path / "study", hospitals), first)


def test_an_interrupted_comparison_goes_on(
    hospitals: Federation, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["fedlab.study.compare"]
    counting = module.train_trials

    def interrupted(splits: Any, model: Any, alg: Any, **options: Any) -> Any:
        steps = counting(splits, model, alg, **options)
        yield next(steps)
        if alg.name == "fedavg":
            raise KeyboardInterrupt
        yield from steps

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_trials", interrupted)
        part = ask(hospitals, save=tmp_path / "study")
    assert part.arms == ("isolated",)
    part.report()
    part.save(tmp_path / "study")  # that test was opened is kept
    trained.clear()
    whole = ask(hospitals, save=tmp_path / "study")
    assert trained == ["fedavg", "fedadam"]
    assert whole.test_openings == 1
    same(whole, ask(hospitals))
    assert whole.test_openings == 2


def test_a_killed_comparison_goes_on(hospitals: Federation, tmp_path: Path, trained: list[str]) -> None:
    """The process ends by itself in the middle of the second arm, without any cleaning up."""
    code = f"""
import os, sys, fedlab
from fedlab.study import compare
module = sys.modules["fedlab.study.compare"]
real = module.train_trials
def dying(splits, model, alg, **options):
    for number, done in enumerate(real(splits, model, alg, **options)):
        if alg.name == "fedavg" and number == 1:
            os._exit(9)
        yield done
module.train_trials = dying
options = dict(seeds=2, rounds=2, progress=False, save={str(tmp_path / "s")!r})
compare(fedlab.load("heart_disease"), "logistic", {ARMS}, **options)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert Study.load(tmp_path / "s", hospitals).arms == ("isolated",)
    whole = ask(hospitals, save=tmp_path / "s")
    assert trained == ["fedavg", "fedadam"]
    same(whole, ask(hospitals))


def test_arms_may_be_added(uneven: Federation, tmp_path: Path, trained: list[str]) -> None:
    ask(uneven, ["fedavg"], save=tmp_path / "study")
    more = ask(uneven, ["isolated", "fedavg"], save=tmp_path / "study")
    assert trained == ["fedavg", "isolated"] and more.arms == ("isolated", "fedavg")
    assert set(Study.load(tmp_path / "study", uneven).arms) == {"isolated", "fedavg"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 3}, r"seeds \(\[0, 1\] there, \[0, 1, 2\] asked\)"),
        ({"rounds": 3}, r"rounds \(2 there, 3 asked\)"),
        ({"lr": 0.2}, r"lr \(0.1 there, 0.2 asked\)"),
        ({"tune": {"lr": [0.1, 0.2]}}, r"trials"),
        ({"model": "mlp"}, r"model name \(logistic there, mlp asked\)"),
        ({"arms": {"fedavg": FedProx()}}, r"the arm fedavg \(FedAvg\(\) there, FedProx\(mu=0.1\) asked\)"),
        ({"arms": ["isolated"]}, r"the arm fedavg \(FedAvg\(\) there, nothing asked\)"),
    ],
)
def test_another_comparison_is_refused_with_the_difference(
    uneven: Federation, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    ask(uneven, ["fedavg"], save=tmp_path / "study")
    with pytest.raises(ValueError, match=rf"study keeps another comparison: .*{said}.*Choose another folder"):
        ask(uneven, change.pop("arms", ["fedavg"]), save=tmp_path / "study", **change)


def test_other_data_are_refused(uneven: Federation, tmp_path: Path) -> None:
    ask(uneven, ["fedavg"], save=tmp_path / "study")
    other = uneven.resplit(5)
    with pytest.raises(ValueError, match=rf"fingerprint \({uneven.fingerprint[:12]} there, {other.fingerprint[:12]}"):
        ask(other, ["fedavg"], save=tmp_path / "study")


def test_a_record_whose_fingerprint_hangs_on_the_order_of_the_sites_is_of_the_same_data(
    uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    turned = uneven.select(*reversed(uneven.names))
    with monkeypatch.context() as then:
        then.setattr(Federation, "fingerprint", property(lambda self: self.fingerprint_of(self.names)))
        study = ask(turned, ["fedavg"], save=tmp_path / "study")
        fedlab.train(turned, rounds=1, progress=False, save=tmp_path / "run")
    trained.clear()
    assert ask(uneven, ["fedavg"], save=tmp_path / "study").arms == ("fedavg",) and trained == []
    same(Study.load(tmp_path / "study", turned), study)
    assert len(fedlab.Run.resume(tmp_path / "run", uneven).records) == 1


def test_a_folder_of_something_else_is_refused_before_training(
    uneven: Federation, tmp_path: Path, trained: list[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt"):
        ask(uneven, save=tmp_path)
    folder = fedlab.train(uneven, rounds=1, progress=False).save(tmp_path / "run")
    with pytest.raises(ValueError, match="something else than a study.json"):
        ask(uneven, save=folder)
    assert trained == []


def test_a_disk_that_fills_up_keeps_the_arms_before(
    uneven: Federation, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["fedlab.study.compare"]
    counting = module.train_trials

    def filling(splits: Any, model: Any, alg: Any, **options: Any) -> Any:
        yield from counting(splits, model, alg, **options)
        if alg.name == "fedavg":
            patch.setattr(os, "fsync", full)

    with monkeypatch.context() as patch:
        patch.setattr(module, "train_trials", filling)
        with pytest.raises(OSError, match=r"study.*No space left on device.*save again"):
            ask(uneven, save=tmp_path / "study")
    assert Study.load(tmp_path / "study", uneven).arms == ("isolated",)
    trained.clear()
    ask(uneven, save=tmp_path / "study")
    assert trained == ["fedavg", "fedadam"]


def halving(round: int, rounds: int) -> float:
    return 0.5**round


def test_settings_of_ones_own_go_on_too(uneven: Federation, tmp_path: Path, trained: list[str]) -> None:
    options: dict[str, Any] = {"tune": {"schedule": [halving, "cosine"]}, "save": tmp_path / "study"}
    first = ask(uneven, ["fedavg"], **options)
    again = ask(uneven, ["fedavg"], **options)
    assert trained == ["fedavg"]
    assert again.trials["schedule"].tolist()[1] == "cosine" and "halving" in again.trials["schedule"][0]
    assert [run.settings for run in again.runs["fedavg"]] == [run.settings for run in first.runs["fedavg"]]


# ---------------------------------------------------------------------- the remedy is one that this door takes


@dataclass(frozen=True, kw_only=True)
class Mine(FedAvg):
    """An algorithm that no name leads to."""

    much: float = 0.5


def test_the_remedy_for_an_algorithm_of_ones_own_can_be_followed(uneven: Federation, tmp_path: Path) -> None:
    study = ask(uneven, {"theirs": "fedavg", "it's mine": Mine(much=0.25)})
    folder = study.save(tmp_path / "study")
    with pytest.raises(ValueError, match=r"not known here: give algorithms=\{\"it's mine\": Mine\(…\)\}"):
        Study.load(folder, uneven)
    with pytest.raises(ValueError, match=r"give one of the class Mine, algorithms=\{\"it's mine\": Mine"):
        Study.load(folder, uneven, algorithms={"it's mine": FedProx()})
    same(Study.load(folder, uneven, algorithms={"it's mine": Mine()}), study)
