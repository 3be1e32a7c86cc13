"""What is opened of ``test`` is counted in the folder that keeps the study, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedlab.engine.record import RecordDiffers
from fedlab.federation import Federation
from fedlab.study import Study, compare
from fedlab.study.openings import NotEntered


@pytest.fixture(autouse=True)
def no_unasked_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotEntered)
        yield


def ask(fed: Federation, folder: Path | None, *, seeds: int = 2) -> Study:
    return compare(fed, "logistic", ["isolated", "fedavg"], seeds=seeds, rounds=1, progress=False, save=folder)


def test_every_opening_reaches_the_folder_with_its_table(hospitals: Federation, tmp_path: Path) -> None:
    study = ask(hospitals, tmp_path / "study")
    looks = [Study.report, Study.calibration, lambda s: s.subgroups(by="sex"), lambda s: s.delong("isolated", "fedavg")]
    for number, look in enumerate(looks, start=1):
        look(study), look(study)
        again = Study.load(tmp_path / "study", hospitals)
        assert study.test_openings == again.test_openings == number
        assert look(again).equals(look(study)) and again.test_openings == number, "it is there already"
    assert ask(hospitals, tmp_path / "study").test_openings == 4


def test_a_study_that_is_saved_or_loaded_knows_its_folder(uneven: Federation, tmp_path: Path) -> None:
    study = ask(uneven, None)
    study.report()
    study.save(tmp_path / "study")
    other = Study.load(tmp_path / "study", uneven)
    other.calibration()
    study.calibration(bins=5)
    assert study.test_openings == 3, "two copies of one study have opened it three times"
    last = Study.load(tmp_path / "study", uneven)
    assert last.test_openings == 3
    last.report(), last.calibration(), last.calibration(bins=5)
    assert last.test_openings == 3


def test_the_folder_of_another_study_is_left_alone(uneven: Federation, tmp_path: Path) -> None:
    study = ask(uneven, tmp_path / "study")
    ask(uneven, None, seeds=3).save(tmp_path / "study")
    before = (tmp_path / "study" / "study.json").read_bytes()
    with pytest.warns(NotEntered, match="keeps another study by now.*Save the study anew") as told:
        study.report()
    assert told[0].filename == __file__
    assert (tmp_path / "study" / "study.json").read_bytes() == before and study.test_openings == 1


def test_a_folder_that_is_gone_or_full_warns_and_the_study_counts(
    uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ask(uneven, tmp_path / "study")
    before = (tmp_path / "study" / "study.json").read_bytes()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.warns(NotEntered, match="No space left"):
            study.report()
    assert (tmp_path / "study" / "study.json").read_bytes() == before
    shutil.rmtree(tmp_path / "study")
    with pytest.warns(NotEntered, match="there is no record"):
        study.calibration()
    assert study.test_openings == 2


def test_numbers_of_other_versions_are_counted_but_not_kept(
    uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(uneven, tmp_path / "study")
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    with pytest.warns(RecordDiffers):
        Study.load(tmp_path / "study", uneven).report()
    main = json.loads((tmp_path / "study" / "study.json").read_text())
    assert main["study"]["test_openings"] == 1 and main["versions"]["python"] != "3.99.0"
    assert "log_loss" not in json.dumps(main["study"]["_reports"])
