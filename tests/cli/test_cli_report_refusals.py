"""``fedlab report`` refuses bad input before any training, and loses nothing to an interrupt or a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedlab.report import measured, report
from tests.cli.called import call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["heart_disease", "--algorithms", "fedavgg"], "did you mean 'fedavg'?"),
        (["heart_disease", "--algorithms", ","], "known are isolated"),
        (["heart_disease", "--model", "mpl"], "did you mean 'mlp'?"),
        (["heart_disease", "--rounds", "-3"], "--rounds"),
        (["heart_disease", "--rounds", "many"], "--rounds"),
        (["heart_disease", "-o", "."], "is a folder"),
        (["heart_disease", "-o", "same", "--json", "./same"], "different names"),
        (["heart_disease", "--json", "same", "--csv", "./same"], "different names"),
        (["heart_disease", "--link", "0"], "--link"),
        ([], "RECIPE"),
    ],
)
def test_wrong_usage_is_one_sentence_before_any_training(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "measure", never)
    done = call("report", *arguments)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = call("report", "heart_disease", "-o", str(tmp_path / "r.html"))
    tmp_path.chmod(0o700)
    assert done.exit_code == 2 and "cannot be written" in done.stderr


def test_a_place_that_refuses_is_found_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    done = call("report", "heart_disease", "-o", str(tmp_path / "r.html"))
    assert done.exit_code == 2 and "cannot be written (No space left on device)" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted: no report was written."),
        (ValueError("the table is altered"), 1, "the table is altered"),
        (OSError("no network"), 1, "no network"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    error: BaseException, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(report, "measure", fails)
    done = call("report", "heart_disease", "-o", str(tmp_path / "r.html"))
    assert done.exit_code == code and words in done.stderr and list(tmp_path.iterdir()) == []


def test_an_interrupt_between_algorithms_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = measured.compare

    def cut(federation: Any, model: Any, arms: Any, **settings: Any) -> Any:
        return real(
            federation, model, arms[:1], **settings
        )  # as `compare` returns when it is interrupted in the second

    monkeypatch.setattr(measured, "compare", cut)
    done = call("report", "heart_disease", "--seeds", "2", "--rounds", "1", "-o", str(tmp_path / "r.html"))
    assert done.exit_code == 130 and list(tmp_path.iterdir()) == []


def test_an_interrupt_while_less_data_are_tried_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = measured.learning_curve

    def cut(*arguments: Any, **settings: Any) -> Any:
        curve = real(*arguments, rows=[8], sites=[], **settings)
        curve.notes.append("interrupted: 1 of 10 points are finished")  # as `learning_curve` says it
        return curve

    monkeypatch.setattr(measured, "learning_curve", cut)
    done = call("report", "heart_disease", "--seeds", "1", "--rounds", "1", "-o", str(tmp_path / "r.html"))
    assert done.exit_code == 130 and list(tmp_path.iterdir()) == []


def test_a_hospital_that_is_not_there_cannot_be_held_out(tmp_path: Path) -> None:
    done = call("report", "heart_disease", "--holdout", "Budapest", "-o", str(tmp_path / "r.html"))
    assert done.exit_code == 2 and "no site 'Budapest'; the sites are Cleveland" in done.stderr


def test_a_disk_that_fills_up_keeps_the_old_report_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, numbers, real = tmp_path / "r.html", tmp_path / "n.json", Path.write_text
    page.write_text("old")

    def full(path: Path, text: str, **options: Any) -> int:
        if len(text) > 1_000_000:  # the page has plotly in it
            real(path, text[:1000], **options)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    line = ["--algorithms", "isolated,centralized", "--seeds", "1", "--rounds", "1"]
    done = call("report", "heart_disease", *line, "-o", str(page), "--json", str(numbers))
    said = " ".join(done.stderr.split())
    assert done.exit_code == 1 and "r.html could not be written (No space left on device)" in said
    assert f"Written: {numbers}. Free some space" in said and "Traceback" not in done.output
    assert page.read_text() == "old" and json.loads(numbers.read_text())["arms"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.json", "r.html"]
