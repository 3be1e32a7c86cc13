"""A run's folder is refused where it is not what was written, and is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.storage import DamagedRecord
from tests.engine.records import content, quick

FILES = ("run.json", "history.jsonl", "weights.safetensors")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["changed", "cut", "missing", "empty"])
def test_damage_is_refused_by_name(saved: tuple[Run, Path], uneven: Federation, name: str, what: str) -> None:
    path = saved[1] / name
    raw = path.read_bytes()
    if what == "missing":
        path.unlink()
    elif what == "changed":  # a digit for a digit, so that it stays readable
        at = next(i for i in range(len(raw) - 9, 0, -1) if raw[i : i + 1].isdigit() or name.endswith("tensors"))
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    else:
        path.write_bytes(raw[: len(raw) // 2 if what == "cut" else 0])
    with pytest.raises(DamagedRecord, match=rf"{name}.*[Tt]ake a copy that is whole, or make it again"):
        Run.load(saved[1], uneven)


def test_a_number_changed_by_hand_is_found(saved: tuple[Run, Path], uneven: Federation) -> None:
    path = saved[1] / "run.json"
    body = json.loads(path.read_text())
    body["test_openings"] = 5
    path.write_text(json.dumps(body))
    with pytest.raises(DamagedRecord, match="changed after it was written"):
        Run.load(saved[1], uneven)
    path.write_text('["run"]')
    with pytest.raises(DamagedRecord, match="does not say its format"):
        Run.load(saved[1], uneven)


def test_a_newer_format_is_refused_by_name(saved: tuple[Run, Path], uneven: Federation) -> None:
    path = saved[1] / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99, "versions": {"fedlab": "9.1"}}))
    with pytest.raises(ValueError, match=r"format 99.*reads up to 2.*newer fedlab \(9.1\), install that"):
        Run.load(saved[1], uneven)


def test_no_record_is_said_to_be_none(uneven: Federation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no record"):
        Run.load(tmp_path / "nothing", uneven)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(DamagedRecord, match="run.json is missing; it has a study.json, another kind"):
        Run.load(tmp_path / "study", uneven)


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("call", range(8))
def test_a_full_disk_leaves_the_old_record(
    saved: tuple[Run, Path], uneven: Federation, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Every flush and every replacing fails once, in turn."""
    run, folder = saved
    before, other, calls = content(folder), quick(uneven, rounds=3), [0]

    def failing(real: Any) -> Any:
        def f(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == call + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return f

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        patch.setattr(os, "replace", failing(os.replace))
        try:
            other.save(folder)
            ended = True
        except OSError as error:
            assert str(folder) in str(error) and "No space left" in str(error) and "stands" in str(error)
            ended = False
    assert ended == (call > 4)  # three files, their folder, one replacing; what follows it undoes nothing
    if ended:
        assert len(Run.load(folder, uneven).records) == 3
    else:
        assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_an_older_fedlab_left_between_two_renamings_is_found(saved: tuple[Run, Path], uneven: Federation) -> None:
    run, folder = saved
    left = folder.rename(folder.with_name(f".{folder.name}.old"))  # as a kill there left it
    assert len(Run.load(folder, uneven).records) == 2
    assert left.exists() and not folder.exists(), "who reads repairs nothing"
    run.report()
    run.save(folder)
    assert Run.load(folder, uneven).test_openings == 1 and not left.exists()


def test_a_kill_while_writing_leaves_the_old_record(
    saved: tuple[Run, Path], uneven: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(saved[1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quick(uneven, rounds=3).save(saved[1])
    assert content(saved[1]) == before


def test_what_is_somebody_elses_is_not_replaced(saved: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = saved
    (folder / "my notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"my notes.txt.*choose another folder"):
        run.save(folder)
    assert (folder / "my notes.txt").read_text() == "keep me"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: a record is a folder"):
        run.save(tmp_path / "file")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(ValueError, match=r"something else than a run.json"):
        run.save(tmp_path / "study")
    (tmp_path / "empty").mkdir()
    assert run.save(tmp_path / "empty").is_dir()


def test_saving_again_replaces(saved: tuple[Run, Path], uneven: Federation) -> None:
    run, folder = saved
    run.report()
    run.save(folder)
    assert Run.load(folder, uneven).test_openings == 1


def test_a_run_of_no_rounds_is_not_saved(uneven: Federation, tmp_path: Path) -> None:
    run = quick(uneven)
    run.records.clear()
    with pytest.raises(ValueError, match="no round has finished"):
        run.save(tmp_path / "run")
