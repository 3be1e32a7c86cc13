"""A record's folder: the state before or the one after, whatever kills the process that writes."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlab.storage import DamagedRecord, FolderInUse, Writer, hold, read, resolved

MAIN = "notes.json"
POINTS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "chmod", "ftruncate", "close")
"""What the writer asks of the system; the child dies before or after each such call."""
ENDED = 7


def in_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, and return how that ended: 0, or minus the signal."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dying(number: int, *, after: bool) -> list[int]:
    """Let this process be killed at its so-manieth call; return the list that counts them."""
    calls = [0]

    def wrapped(real: Any) -> Any:
        def f(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            out = real(*args, **kwargs)
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return out

        return f

    for name in POINTS:
        setattr(os, name, wrapped(getattr(os, name)))
    return calls


def write(folder: Path, text: str, *, grown: str = "", brief: bool = True) -> None:
    with hold(folder, MAIN, "writes notes", brief=brief) as writer:
        put(writer, text, grown)


def put(writer: Writer, text: str, grown: str) -> None:
    files = {"a.bin": text.encode(), "deep/er/b.bin": text.encode() * 2}
    writer.commit({"text": text}, files, grown={"log.txt": grown.encode()})


def state(folder: Path) -> tuple[str, str, str, str]:
    found = read(folder, MAIN)
    files = {name: raw.decode() for name, raw in found.files.items()}
    return found.body["text"], files["a.bin"], files["deep/er/b.bin"], files["log.txt"]


def listed(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def theirs(folder: Path) -> Path:
    """Put files of a user where a record's are, and one beside those."""
    (folder / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (folder / "deep" / "mine.csv").write_text("mine")
    (folder / "deep" / "er" / "b.b.bin").write_text("mine too")
    return folder


# ---------------------------------------------------------------- killed anywhere


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fresh", [False, True], ids=["over another", "the first"])
def test_a_kill_at_any_call_leaves_the_state_before_or_after(tmp_path: Path, after: bool, fresh: bool) -> None:
    seen: set[str] = set()
    one, two = ("one", "one", "oneone", "1"), ("two", "two", "twotwo", "12")
    if fresh:
        two = ("two", "two", "twotwo", "2")
    for number in range(1, 300):
        folder = tmp_path / str(number)
        if not fresh:
            write(folder, "one", grown="1")
            theirs(folder)

        def work(folder: Path = folder, number: int = number) -> None:
            calls = dying(number, after=after)
            write(folder, "two", grown="2")
            if calls[0] < number:
                os._exit(ENDED)

        code = in_child(work)
        assert code in (0, ENDED, -signal.SIGKILL)
        if fresh and not (folder / MAIN).exists():
            seen.add("nothing")
            with pytest.raises(FileNotFoundError, match="there is no record"):
                read(folder, MAIN)
        else:
            before = listed(folder)
            found = state(folder)
            assert found in (one, two), f"killed at call {number}"
            seen.add(found[0])
            assert listed(folder) == before, "who reads changes nothing"
        write(folder, "three", grown="3")  # the next one takes the lock of the dead over, and clears away
        assert state(folder)[:3] == ("three", "three", "threethree") and state(folder)[3].endswith("3")
        named = {MAIN, *(entry["at"] for entry in read(folder, MAIN).body["files"].values())}
        assert set(listed(folder)) - named == (set() if fresh else {"deep/mine.csv", "deep/er/b.b.bin"})
        if code == ENDED:
            break
    assert code == ENDED and number > 20 and seen == ({"nothing", "two"} if fresh else {"one", "two"})


# ---------------------------------------------------------------- two hands


def holding(folder: Path, *, brief: bool) -> tuple[int, int]:
    """Start a process that holds a folder until it is killed; return it, and where it says that it does."""
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with hold(folder, MAIN, "keeps notes", brief=brief):
                os.write(into, b".")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(out, 1)
    return pid, out


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_folder_in_use_is_refused_with_its_holder_and_taken_over_when_that_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder, "one")
    pid, _ = holding(folder, brief=False)
    try:
        with pytest.raises(
            FolderInUse, match=rf"process {pid} on .* keeps notes there, since 2.*choose another folder"
        ):
            write(folder, "two")
        assert state(folder)[0] == "one", "who reads waits for nobody"
    finally:
        end(pid)
    write(folder, "two")
    assert state(folder)[0] == "two"
    assert not [name for name in listed(folder) if name.startswith(".")]


def test_one_that_only_saves_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notes"
    write(folder, "one")
    monkeypatch.setattr("fedlab.storage.lock.PATIENCE", 0.2)
    pid, _ = holding(folder, brief=True)
    try:
        with pytest.raises(FolderInUse, match=f"process {pid}"):
            write(folder, "two")
        monkeypatch.setattr("fedlab.storage.lock.PATIENCE", 30)
        monkeypatch.setattr("fedlab.storage.lock.time.sleep", lambda seconds: ended or (ended.append(1), end(pid)))
        ended: list[int] = []
        write(folder, "two")
    finally:
        if not ended:
            end(pid)
    assert ended and state(folder)[0] == "two"


def test_a_thread_of_this_process_is_another_too(tmp_path: Path) -> None:
    with hold(tmp_path / "notes", MAIN, "keeps notes"), pytest.raises(FolderInUse, match=r"\(this one\)"):
        write(tmp_path / "notes", "two")
    assert not (tmp_path / "notes").exists(), "it was made for nothing"


@pytest.mark.parametrize("writers", [3])
def test_many_writers_and_a_reader(tmp_path: Path, writers: int) -> None:
    """Each adds its mark; none is lost, and every reading is of one moment."""
    folder, times = tmp_path / "notes", 15
    write(folder, "start", grown="-")

    def adding() -> None:
        for _ in range(times):
            with hold(folder, MAIN, "adds", brief=True) as writer:
                number = str(int(writer.body["count"]) + 1 if writer.body and "count" in writer.body else 1)
                writer.commit({"text": number, "count": number}, {"a.bin": number.encode()}, grown={"log.txt": b"x"})

    pids = []
    for _ in range(writers):
        pid = os.fork()
        if not pid:
            try:
                adding()
                os._exit(0)
            except BaseException:
                os._exit(1)
        pids.append(pid)
    looks, running = 0, list(pids)
    while running:
        found = read(folder, MAIN)
        if "count" in found.body:
            looks += 1
            assert found.files["a.bin"].decode() == found.body["count"]
            assert len(found.files["log.txt"]) == 1 + int(found.body["count"])
        running = [pid for pid in running if os.waitpid(pid, os.WNOHANG)[0] == 0]
    assert looks
    last = read(folder, MAIN)
    assert last.body["count"] == str(writers * times) and last.files["log.txt"] == b"-" + b"x" * writers * times


def test_a_folder_that_was_replaced_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    with hold(folder, MAIN, "writes notes") as writer:
        put(writer, "one", "")
        folder.rename(tmp_path / "moved")
        write(folder, "of another", grown="2")
        there = listed(folder)
        with pytest.raises(OSError, match="was removed or replaced while this process kept a record there"):
            put(writer, "two", "")
    assert listed(folder) == there and state(folder)[0] == "of another"


# ---------------------------------------------------------------- names, permissions, files of others


def test_links_a_dot_and_a_tilde_lead_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    write(tmp_path / "link", "one")
    write(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink() and state(real)[0] == "two"
    monkeypatch.chdir(real)
    write(Path("."), "three")
    assert state(tmp_path / "link")[0] == "three"
    monkeypatch.setenv("HOME", str(tmp_path))
    write(Path("~/real"), "four")
    assert state(real)[0] == "four" and resolved("~/link") == real
    for nowhere in ("", "~nobody-of-that-name/x"):
        with pytest.raises(ValueError, match="empty|leads to no folder"):
            resolved(nowhere)


def test_permissions_stay_and_new_files_have_the_users(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    before = os.umask(0o027)
    try:
        write(folder, "one")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
        assert set(modes.values()) == {0o640} and stat.S_IMODE(folder.stat().st_mode) == 0o750
        os.umask(0o000)
        folder.chmod(0o700)
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o600)
        write(folder, "two", grown="2")
        with hold(folder, MAIN, "adds", brief=True) as writer:
            writer.commit({"text": "three"}, {"new/c.bin": b"c"}, kept=writer.entries)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "new").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}, modes


def test_files_of_others_are_neither_replaced_nor_removed(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder, "one")
    theirs(folder)
    for text in ("two", "three", "four"):
        write(folder, text)
        assert state(folder)[0] == text
    assert (folder / "deep" / "mine.csv").read_text() == "mine"
    assert (folder / "deep" / "er" / "b.b.bin").read_text() == "mine too"
    with hold(folder, MAIN, "writes notes") as writer:
        writer.commit({"text": "no files"})
    assert set(listed(folder)) == {MAIN, "deep/mine.csv", "deep/er/b.b.bin"}
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_text("downloaded")
    with pytest.raises(ValueError, match=r"files that are no record's \(a.bin\): choose another folder"):
        write(tmp_path / "weights", "one")
    assert listed(tmp_path / "weights") == {"a.bin": b"downloaded"}


def test_what_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder, "one")
    raw = (folder / MAIN).read_bytes()
    (folder / MAIN).write_bytes(raw[:50])
    with pytest.raises(DamagedRecord, match=r"notes.json: it is no JSON.*save it to another folder"):
        write(folder, "two")
    assert (folder / MAIN).read_bytes() == raw[:50]


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b'{"format": true}', b'{"format": 0}', b"\xff\xfe", b"[" * 100_000,
            b'{"format": 2, "x": NaN}', b'{"format": 2, "x": 1e999}', b'{"format": 2, "files": []}']
)  # fmt: skip
def test_odd_main_files_are_refused_by_name(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / MAIN).write_bytes(raw)
    with pytest.raises(DamagedRecord, match=MAIN):
        read(tmp_path, MAIN)


def test_a_growing_file_that_was_changed_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write(folder, "one", grown="abc")
    (folder / "log.txt").write_text("aXc")
    with pytest.raises(DamagedRecord, match="log.txt: its sum differs"):
        write(folder, "two", grown="d")
    (folder / "log.txt").write_text("abc and half of what a kill cut off")
    assert state(folder)[3] == "abc"
    write(folder, "two", grown="d")
    assert state(folder)[3] == "abcd" and (folder / "log.txt").read_text() == "abcd"
