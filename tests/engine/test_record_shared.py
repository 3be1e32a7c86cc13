"""A run's folder beside other processes, over many rounds, and with content that this fedlab does not know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlab
from fedlab.cli import app
from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.storage import DamagedRecord, FolderInUse, hold
from fedlab.storage.folder import _own_sum
from tests.engine.records import quick

# ---------------------------------------------------------------- what a save costs


def test_a_save_writes_as_much_late_as_early(
    uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fedlab.engine.record as record

    real, written, each = os.write, [0], []
    real_save = record.save

    def save(*args: Any, **kwargs: Any) -> Path:
        before = written[0]
        path = real_save(*args, **kwargs)
        each.append(written[0] - before)
        return path

    def write(handle: int, raw: Any) -> int:
        done = real(handle, raw)
        written[0] += done
        return done

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(record, "save", save)
    run = quick(uneven, rounds=60, save=tmp_path / "run")
    assert abs(each[58] - each[8]) < 0.02 * each[8]
    again = Run.load(tmp_path / "run", uneven)
    assert again.history.equals(run.history) and again.ledger.equals(run.ledger)
    assert len((tmp_path / "run" / "history.jsonl").read_bytes().splitlines()) == 61


# ---------------------------------------------------------------- a folder in use


def test_a_run_in_a_folder_in_use_is_refused_before_it_trains(uneven: Federation, tmp_path: Path) -> None:
    saved = quick(uneven, rounds=1, save=tmp_path / "run")
    with hold(tmp_path / "run", "run.json", "trains a run"):
        with pytest.raises(FolderInUse, match=r"process \d+ \(this one\).*trains a run there"):
            saved.save(tmp_path / "run")
        with pytest.raises(FolderInUse):
            quick(uneven, save=tmp_path / "run")
        assert len(Run.load(tmp_path / "run", uneven).records) == 1
    saved.save(tmp_path / "run")


TWICE = """
import sys, fedlab
fedlab.compare(fedlab.load("heart_disease"), "logistic", ["isolated", "fedavg", "scaffold"], seeds=2, rounds=20,
               progress=False, save=sys.argv[1])
"""
WRITE = """
import sys, fedlab
fedlab.train(fedlab.load("heart_disease"), rounds=int(sys.argv[2]), progress=False, save=sys.argv[1])
"""


def start(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def beside(folder: Path, hospitals: Federation, rounds: int) -> None:
    """Read a record as fast as can be while another process writes it."""
    writer, looks = start(WRITE, folder, rounds), 0
    while writer.poll() is None:
        try:
            looks += bool(Run.load(folder, hospitals).records)
        except FileNotFoundError:
            continue
    assert writer.returncode == 0, writer.communicate()[1]
    assert looks and len(Run.load(folder, hospitals).records) == rounds


def test_a_reader_beside_a_writer(hospitals: Federation, tmp_path: Path) -> None:
    beside(tmp_path / "run", hospitals, 40)


@pytest.mark.slow
def test_two_comparisons_in_one_folder(hospitals: Federation, tmp_path: Path) -> None:
    """One is refused and told by whom, or comes when the other has ended; nothing is lost either way."""
    both = [start(TWICE, tmp_path / "study") for _ in range(2)]
    told = [process.communicate(timeout=120)[1] for process in both]
    for process, text in zip(both, told, strict=True):
        assert process.returncode == 0 or "FolderInUse" in text and "keeps a comparison there" in text, text
    assert any(process.returncode == 0 for process in both)
    assert fedlab.Study.load(tmp_path / "study", hospitals).arms == ("isolated", "fedavg", "scaffold")
    beside(tmp_path / "run", hospitals, 150)


# ---------------------------------------------------------------- odd records


def change(path: Path, **what: Any) -> None:
    """Write a main file with other content, and a seal that fits."""
    body = json.loads(path.read_text())
    del body["sha256"]
    body = {key: value for key, value in (body | what).items() if value is not None}
    path.write_text(json.dumps(body | {"sha256": _own_sum(body)}))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"settings": None}, "it has no 'settings'"),
        ({"settings": {"seed": 1, "rounds": 2}}, "settings has no 'unsaid'"),
        ({"algorithm": "fedavg"}, "algorithm is a str, not an object"),
        ({"rounds": "two"}, "rounds is a str, not an int"),
        ({"data": {"name": "x", "sites": {}}}, "data has no 'fingerprint'"),
        ({"files": {}}, "KeyError: 'history.jsonl'"),
        ({"files": {"history.jsonl": {"at": "../../secret", "bytes": 1, "sha256": ""}}}, "is no file of the folder"),
        ({"files": {"history.jsonl": 3}}, "it is a int, not an object"),
    ],
)
def test_an_odd_record_is_named_with_its_reason_and_hides_no_other(
    uneven: Federation, tmp_path: Path, what: dict[str, Any], said: str
) -> None:
    run = quick(uneven)
    odd = run.save(tmp_path / "odd")
    run.save(tmp_path / "whole")
    change(odd / "run.json", **what)
    with pytest.raises(DamagedRecord, match="odd") as told:
        Run.load(odd, uneven)
    assert said in str(told.value) and "Read it with the fedlab that wrote it" in str(told.value)
    listed = CliRunner().invoke(app, ["runs", str(tmp_path)], env={"COLUMNS": "200"})
    assert listed.exit_code == 1 and said in listed.output
    assert [line for line in listed.output.splitlines() if line.startswith("whole") and "run, logistic" in line]


def test_odd_settings_are_named(uneven: Federation, tmp_path: Path) -> None:
    folder = quick(uneven).save(tmp_path / "odd")
    settings = json.loads((folder / "run.json").read_text())["settings"]
    change(folder / "run.json", settings=settings | {"optimizer": {"is": "Lion"}})
    with pytest.raises(DamagedRecord, match=r"odd.*run.json: Undecodable: there is no optimizer 'Lion'; known are"):
        Run.load(folder, uneven)
