"""One process writes in a folder; another is told which.

The system itself holds the lock (``flock``) and frees it when its process ends, however that ends: a dead holder's is
taken over without a guess about process numbers. The file says who holds it, and which files its holder has made, so
that the next one can clear away what a kill left, and nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCK = ".fedlab.lock"
PATIENCE, PAUSE = 20.0, 0.05
"""Seconds to wait for one that only saves, and between two tries."""


class FolderInUse(OSError):
    """Another process, or another thread of this one, writes in the folder."""


@dataclass
class Lock:
    """A folder that this process holds.

    Attributes
    ----------
    left : list of str
        Files, relative to the folder, that a holder which died had made or was about to make.
    made : bool
        Whether the folder was made by taking the lock.
    """

    path: Path
    handle: int
    about: dict[str, Any]
    left: list[str]
    made: bool = False
    owner: int = field(default_factory=os.getpid)

    def note(self, files: list[str]) -> None:
        """Write down what this process makes here, before it does."""
        raw = json.dumps({**self.about, "files": files}).encode()
        os.ftruncate(self.handle, 0)
        os.lseek(self.handle, 0, os.SEEK_SET)
        os.write(self.handle, raw)

    def holds(self) -> bool:
        """Return whether the folder is still the one that was locked: it may have been removed, or replaced."""
        return _is_at(self.handle, self.path)

    def check(self) -> None:
        """Refuse to go on where it is another.

        Raises
        ------
        OSError
        """
        if not self.holds():
            raise OSError(
                f"the folder {self.path.parent} was removed or replaced while this process kept a record there: save "
                "to another folder"
            )

    def release(self) -> None:
        """Let others write; a folder that was made for nothing goes with it."""
        if self.owner == os.getpid():  # a forked child has the handle too, and nothing to say
            if self.holds():
                with suppress(OSError):
                    self.path.unlink()
            if self.made:
                with suppress(OSError):  # there is a record in it
                    self.path.parent.rmdir()
        os.close(self.handle)


def take(folder: Path, doing: str, *, brief: bool) -> Lock:
    """Lock a folder, which is made if there is none.

    Parameters
    ----------
    folder : Path
    doing : str
        What for, in words that follow "process 7": ``"trains a run"``.
    brief : bool
        Whether it takes moments. Others wait for those, and only for those.

    Raises
    ------
    FolderInUse
        If another holds it: who, since when, and what to do.
    OSError
        If it cannot be locked at all.
    """
    path, made, end = folder / LOCK, False, time.monotonic() + PATIENCE
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "doing": doing, "brief": brief}
    while True:
        made = _make(folder) or made
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # its last holder has just removed the folder again
            continue
        try:
            if not _lock(handle):
                holder = _said(handle)
                if not holder.get("brief", True) or time.monotonic() > end:
                    raise FolderInUse(_in_use(folder, holder))
            elif _is_at(handle, path):
                taken = Lock(path, handle, about, _left(_said(handle)), made)
                taken.note(taken.left)
                return taken
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        time.sleep(PAUSE)


def _make(folder: Path) -> bool:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is the one of that name: another may have been put there."""
    try:
        here, there = os.fstat(handle), os.stat(path)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        os.lseek(handle, 2**30, os.SEEK_SET)  # beyond the text, which others read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise OSError(
                f"its file system has no locks ({error.strerror}), and two processes would spoil each other's record"
            ) from error
        return True


def _said(handle: int) -> dict[str, Any]:
    """Return what the file says; nothing where its holder is just writing it."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        said = json.loads(os.read(handle, 2**20))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _left(said: dict[str, Any]) -> list[str]:
    files = said.get("files")
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _in_use(folder: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"{folder} is in use by another process: wait until it has ended, or choose another folder"
    pid, host, since, doing = (holder.get(name, "?") for name in ("pid", "host", "since", "doing"))
    own = " (this one)" if (pid, host) == (os.getpid(), socket.gethostname()) else ""
    return (
        f"{folder} is in use: process {pid}{own} on {host} {doing} there, since {since}. Wait until it has ended, end "
        "it, or choose another folder"
    )


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")
