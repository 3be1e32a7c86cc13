"""A record's folder: any number of files that change all at once or not at all.

One file, the main one, seals itself and names every other with its length and SHA-256. A save writes new files beside
those that are there, waits for the disk, and then replaces the main file in one step: before it the record is the old
one, after it the new one, whenever the process is killed. A file may also grow at its end, at the cost of what is
added: what lies beyond the length in the main file does not count yet.

Who writes holds the folder's lock (:func:`hold`). Who reads (:func:`read`) takes none, changes nothing, and looks again
where a save came between. Files of others are never replaced or removed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from fedlab.storage.codec import Undecodable, as_json, from_json
from fedlab.storage.lock import LOCK, FolderInUse, Lock, take
from fedlab.storage.shape import Shape, fault

FORMAT = 2
"""1 had one sum a file and moved whole folders; it is read, and replaced when it is saved over."""

MAINS = ("run.json", "study.json")
REMEDY = "take a copy that is whole, or make it again and save it to another folder"
ENTRY = {"at": str, "bytes": int, "sha256": str}
LOOKS, PAUSE = 50, 0.02


class DamagedRecord(ValueError):
    """A record that is not what was written: half of it, or changed since, or of another kind."""


@dataclass(frozen=True)
class Content:
    """A record as it was at one moment.

    Attributes
    ----------
    folder : Path
    body : dict
        What the main file says, without its seal.
    files : dict of str to bytes
        Every other file, checked.
    """

    folder: Path
    body: dict[str, Any]
    files: dict[str, bytes]


def resolved(folder: str | Path) -> Path:
    """Return the folder that a name leads to, through ``~``, ``.`` and links.

    Raises
    ------
    ValueError
        If it leads nowhere.
    """
    if not str(folder):
        raise ValueError("the name of the folder is empty: give one, or '.' for the one you are in")
    try:
        return Path(folder).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{folder} leads to no folder ({error}): choose another") from error


def sums(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the sum of each file that a main file names."""
    return {name: said if isinstance(said, str) else said["sha256"] for name, said in body["files"].items()}


# --------------------------------------------------------------------------- reading


def read(folder: str | Path, main: str, shape: Shape = dict, *, files: bool = True) -> Content:
    """Read a record as it is at one moment; nothing is written, and no lock is waited for.

    Parameters
    ----------
    folder : str or Path
    main : str
        Name of its main file.
    shape : Shape
        What the main file must have.
    files : bool
        Whether the other files are read, and thereby checked.

    Raises
    ------
    FileNotFoundError
        If there is no record.
    DamagedRecord
        If it is cut short, changed, or lacks what it must have.
    ValueError
        If a newer fedlab wrote it.
    """
    where = _found(resolved(folder))
    before = b""
    for look in range(LOOKS):
        raw = _main_bytes(where, main)
        body = _checked_main(where / main, raw, shape)
        try:
            return Content(where, body, _read_files(where, body) if files else {})
        except DamagedRecord:
            if raw == before:  # and no save has come between since the last look
                raise
        before = raw
        time.sleep(PAUSE if look else 0)
    raise OSError(f"{where} is written faster than it can be read: try again")


def _found(folder: Path) -> Path:
    """Return the folder, or where an older fedlab left it if it was killed between two renamings."""
    left = folder.with_name(f".{folder.name}.old")
    return left if not folder.exists() and left.is_dir() else folder


def _main_bytes(folder: Path, main: str) -> bytes:
    try:
        return (folder / main).read_bytes()
    except FileNotFoundError:
        pass
    except (NotADirectoryError, IsADirectoryError) as error:
        raise DamagedRecord(f"{folder} is no record: {error.strerror}") from error
    unborn = not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir())
    if unborn or (folder / LOCK).exists():  # its first save has not ended, or never did
        raise FileNotFoundError(f"there is no record {folder}: `fedlab runs` lists those of a folder")
    others = [name for name in MAINS if (folder / name).is_file()]
    kind = f"; it has a {others[0]}, another kind of record" if others else ""
    raise DamagedRecord(f"{folder} is no whole record: {main} is missing{kind}. {_remedy()}")


def _checked_main(path: Path, raw: bytes, shape: Shape) -> dict[str, Any]:
    """Return what a main file says, once it is known to be what was written."""
    body = parsed(path, raw)
    if not isinstance(body, dict) or type(body.get("format")) is not int or body["format"] < 1:
        raise _damaged(path, "it does not say its format")
    if body["format"] > FORMAT:
        versions = body.get("versions")
        version = versions.get("fedlab", "version unknown") if isinstance(versions, dict) else "version unknown"
        raise ValueError(
            f"{path} has format {body['format']}, and this fedlab reads up to {FORMAT}: it comes from a newer fedlab "
            f"({version}), install that"
        )
    seal = body.pop("sha256", None)
    try:
        same = seal == _own_sum(body)
    except (ValueError, RecursionError):  # numbers beyond all bounds, nests without an end
        same = False
    if not same:
        raise _damaged(path, "its sum differs, so it was changed after it was written")
    if why := fault(body, {"files": dict}) or fault(body, shape):
        raise _odd(path, why)
    return body


def _read_files(folder: Path, body: Mapping[str, Any]) -> dict[str, bytes]:
    every = {name: _read_file(folder, name, said) for name, said in body["files"].items()}
    if body["format"] > 1:
        return every
    for name in [name for name in every if name.endswith("/arm.json")]:  # format 1 had sums inside of files with sums
        inside = parsed(folder / name, every[name])
        if why := fault(inside, {"files": dict}):
            raise _odd(folder / name, why)
        start = name.removesuffix("arm.json")
        every |= {start + other: _read_file(folder, start + other, said) for other, said in inside["files"].items()}
    return every


def _read_file(folder: Path, name: str, said: Any) -> bytes:
    """Return a file, checked against its sum."""
    entry: Any = {"at": name, "bytes": -1, "sha256": said} if isinstance(said, str) else said
    if why := fault(entry, ENTRY) or _outside(entry["at"]):
        raise _odd(folder / name, why)
    path = folder / entry["at"]
    try:
        raw: bytes = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _damaged(path, "it is missing") from error
    if entry["bytes"] >= 0:
        raw = raw[: entry["bytes"]]  # a save that has not ended may have added to it
    if sha256(raw).hexdigest() != entry["sha256"]:
        raise _damaged(path, "its sum differs, so it was cut short or changed after it was written")
    return raw


def _entries(folder: Path, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return where each file is, its length and its sum; of format 1, which had the sums alone, by reading them."""
    if body["format"] > 1:
        for name, entry in body["files"].items():
            if why := fault(entry, ENTRY) or _outside(entry["at"]):
                raise _odd(folder / name, why)
        return dict(body["files"])
    every = _read_files(folder, body)
    return {name: {"at": name, "bytes": len(raw), "sha256": sha256(raw).hexdigest()} for name, raw in every.items()}


def _outside(name: str) -> str:
    path = PurePosixPath(name)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts and "\\" not in name
    return "" if inside else f"{name!r} is no file of the folder"


def parsed(path: Path, raw: bytes) -> Any:
    """Return the JSON of a file of a record."""
    try:
        return from_json(raw)
    except ValueError as error:
        raise _damaged(path, f"it is no JSON ({error})") from error


@contextmanager
def odd(path: Path) -> Iterator[None]:
    """Say of which file it is that something inside cannot be made of what it says."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, Undecodable) as error:
        raise _odd(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, why: str) -> DamagedRecord:
    return DamagedRecord(f"the record {path.parent} is damaged: {path.name}: {why}. {_remedy()}")


def _odd(path: Path, why: str) -> DamagedRecord:
    return DamagedRecord(
        f"the record {path.parent} is none that this fedlab can read: {path.name}: {why}. Read it with the fedlab that "
        f"wrote it, or {REMEDY}."
    )


def _remedy() -> str:
    return f"{REMEDY.capitalize()}."


def _own_sum(whole: Mapping[str, Any]) -> str:
    return sha256(json.dumps(whole, sort_keys=True, allow_nan=False).encode()).hexdigest()


# --------------------------------------------------------------------------- writing


@contextmanager
def hold(folder: str | Path, main: str, doing: str, *, brief: bool = False) -> Iterator[Writer]:
    """Hold a folder to write a record in it; one that is not there is made.

    Parameters
    ----------
    folder : str or Path
    main : str
        Name of the main file.
    doing : str
        What for, for others who want it meanwhile: ``"trains a run"``.
    brief : bool
        Whether it takes moments only, so that others wait for it.

    Raises
    ------
    FolderInUse
        If another process holds it; the message says which and what to do.
    ValueError
        If it holds something else, which stays as it is.
    DamagedRecord
        If the record in it cannot be read: nothing is written over it.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     with hold(f"{root}/notes", "notes.json", "writes notes") as writer:
    ...         _ = writer.commit({"title": "first"}, {"text.txt": b"so far"})
    ...         _ = writer.commit({"title": "second"}, grown={"text.txt": b", so good"})
    ...     found = read(f"{root}/notes", "notes.json")
    >>> found.body["title"], found.files["text.txt"]
    ('second', b'so far, so good')
    """
    where = resolved(folder)
    if where.exists() and not where.is_dir():
        raise ValueError(f"{where} is a file: a record is a folder, choose another name")
    try:
        left = _found(where)
        if left != where:
            with suppress(FileNotFoundError):  # another process has just done it
                os.rename(left, where)
        lock = take(where, doing, brief=brief)
    except FolderInUse:
        raise
    except OSError as error:
        raise _not_written(where, error) from error
    try:
        writer = Writer(where, main, lock)
        try:
            yield writer
        finally:
            writer.tidy()
    finally:
        lock.release()


@dataclass
class Writer:
    """A record's folder in the hands of this process; made by :func:`hold`.

    Attributes
    ----------
    body : dict or None
        What the main file says now, without its seal; ``None`` as long as there is none.
    entries : dict of str to dict
        Each other file: where it is, its length and its sum.
    """

    folder: Path
    main: str
    lock: Lock
    body: dict[str, Any] | None = None
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    """Files that this process, or a holder that died, or the record there has made."""
    so_far: dict[str, Any] = field(default_factory=dict)
    """The sum of a file up to its end: of one that grows it goes on from there."""

    def __post_init__(self) -> None:
        path = self.folder / self.main
        if path.exists():
            self.body = _checked_main(path, path.read_bytes(), dict)
            self.entries = _entries(self.folder, self.body)
        self.ours = {entry["at"] for entry in self.entries.values()}
        self.ours |= {name for name in self.lock.left if not _outside(name)}
        self._check_ours()
        self.tidy()

    def _check_ours(self) -> None:
        """Refuse a folder of something else: a record would be lost among it."""
        known = {PurePosixPath(name).parts[0] for name in self.ours} | {self.main}
        others = sorted(
            path.name for path in self.folder.iterdir() if path.name not in known and not path.name.startswith(".")
        )
        if not others:
            return
        kind = self.body is None and any(name in MAINS for name in others)
        what = f"something else than a {self.main}" if kind else f"files that are no record's ({', '.join(others[:3])})"
        raise ValueError(f"{self.folder} holds {what}: choose another folder, or move them")

    def commit(
        self,
        body: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
        *,
        grown: Mapping[str, bytes] | None = None,
        kept: Iterable[str] = (),
    ) -> dict[str, str]:
        """Replace the record, all at once.

        Parameters
        ----------
        body : dict
            What the main file is to say.
        files : dict of str to bytes
            Files, by their path, that are written.
        grown : dict of str to bytes
            What is added to the end of files; one that is not there yet is made.
        kept : iterable of str
            Files that stay as they are. All others go.

        Returns
        -------
        dict of str to str
            The sum of each file.

        Raises
        ------
        OSError
            If it cannot be written; what was there before stands.
        """
        grown = grown or {}
        longer = {name: raw for name, raw in grown.items() if name in self.entries}
        new = {**(files or {}), **{name: raw for name, raw in grown.items() if name not in longer}}
        before, sealed = self.entries, b""
        try:
            self.lock.check()
            entries = {name: before[name] for name in kept} | self._write_files(new)
            entries |= {name: self._grow(name, before[name], raw) for name, raw in longer.items()}
            whole = {"format": FORMAT} | dict(body) | {"format": FORMAT, "files": dict(sorted(entries.items()))}
            sealed = as_json({**whole, "sha256": _own_sum(whole)}, indent=1)
            self._replace_main(sealed)
        except BaseException as error:
            if self._is_main(sealed):  # the interrupt came when it was in place
                self.body, self.entries = whole, entries
            else:
                self._shrink(before)
            self.tidy()
            if isinstance(error, OSError):
                raise _not_written(self.folder, error) from error
            raise
        self.body, self.entries = whole, entries
        self.tidy()
        return sums(whole)

    def tidy(self) -> None:
        """Remove the files that this record had, and has no more."""
        if not self.lock.holds():  # another record may be there by now
            return
        named = {entry["at"] for entry in self.entries.values()}
        for place in sorted(self.ours - named):
            with suppress(OSError):
                (self.folder / place).unlink(missing_ok=True)
                self.ours.discard(place)
            for parent in PurePosixPath(place).parents[:-1]:
                with suppress(OSError):  # it has files still
                    (self.folder / parent).rmdir()

    # ------------------------------------------------------------------ files

    def _free(self, name: str) -> str:
        """Return a path that nobody uses: the name itself, or with a letter."""
        path = PurePosixPath(name)
        for letter in ("", *"bcdefghijklmnopqrstuvwxyz"):
            place = str(path.with_suffix(f".{letter}{path.suffix}" if letter else path.suffix))
            if not os.path.lexists(self.folder / place):
                return place
        raise OSError(f"every name for {name} is taken in {self.folder}: remove files of others")

    def _write_files(self, files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
        """Write files beside those that are there, and wait until they are on the disk."""
        places = {name: self._free(name) for name in files}
        self.ours |= set(places.values())
        self.lock.note(sorted(self.ours))  # before the first of them is there
        out = {}
        for name, raw in files.items():
            self._make_parents(places[name])
            _write_new(self.folder / places[name], raw, self._mode(self.entries.get(name)))
            self.so_far[name] = sha256(raw)
            out[name] = {"at": places[name], "bytes": len(raw), "sha256": self.so_far[name].hexdigest()}
        for inside in {self.folder / parent for place in places.values() for parent in PurePosixPath(place).parents}:
            _flush(inside)
        return out

    def _grow(self, name: str, entry: Mapping[str, Any], raw: bytes) -> dict[str, Any]:
        """Add to a file, from where the main file says that it ends."""
        if name not in self.so_far:
            self.so_far[name] = sha256(_read_file(self.folder, name, entry))
        so_far = self.so_far[name].copy()
        so_far.update(raw)
        handle = os.open(self.folder / entry["at"], os.O_WRONLY)
        try:
            if os.fstat(handle).st_size < entry["bytes"]:
                raise _damaged(self.folder / entry["at"], "it was cut short")
            os.ftruncate(handle, entry["bytes"])  # what a save that was killed had added
            os.lseek(handle, entry["bytes"], os.SEEK_SET)
            _write_all(handle, raw)
            os.fsync(handle)
        finally:
            os.close(handle)
        self.so_far[name] = so_far
        return {**entry, "bytes": entry["bytes"] + len(raw), "sha256": so_far.hexdigest()}

    def _shrink(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Take back what was added to files, as the main file does not name it."""
        if not self.lock.holds():
            return
        for name in [name for name in self.so_far if name in before]:
            del self.so_far[name]
            path = self.folder / before[name]["at"]
            with suppress(OSError):
                if path.stat().st_size > before[name]["bytes"]:
                    os.truncate(path, before[name]["bytes"])

    def _replace_main(self, raw: bytes) -> None:
        replace_file(self.folder / self.main, raw)
        if self.body is None and self.lock.made:
            with suppress(OSError):
                _flush(self.folder.parent)

    def _is_main(self, raw: bytes) -> bool:
        with suppress(OSError):
            return bool(raw) and (self.folder / self.main).read_bytes() == raw
        return False

    def _mode(self, like: Mapping[str, Any] | None) -> int | None:
        """Return the permissions of the file in whose place one comes, else of the main file; ``None``: as usual."""
        for place in filter(None, (like and like["at"], self.main)):
            with suppress(OSError):
                return stat.S_IMODE(os.stat(self.folder / place).st_mode)
        return None

    def _make_parents(self, place: str) -> None:
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        for parent in reversed(PurePosixPath(place).parents[:-1]):
            with suppress(FileExistsError):
                os.mkdir(self.folder / parent)
                with suppress(OSError):
                    os.chmod(self.folder / parent, mode)


def replace_file(path: Path, raw: bytes) -> None:
    """Put one file in the place of what is there, whole or not at all, with the permissions of what was there."""
    new, mode = path.with_name(f".{path.name}.new"), None
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
    try:
        new.unlink(missing_ok=True)
        _write_new(new, raw, mode)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    with suppress(OSError):  # it is in place; a disk that will not flush now does not undo it
        _flush(path.parent)


def _write_new(path: Path, raw: bytes, mode: int | None) -> None:
    """Write a file that is not there, and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    try:
        if mode is not None:
            with suppress(OSError):  # a disk without permissions
                os.chmod(path, mode)
        _write_all(handle, raw)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, raw: bytes) -> None:
    rest = memoryview(raw)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _flush(folder: Path) -> None:
    if os.name == "nt":  # no handle on a folder there; replacing is enough
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_written(folder: Path, error: OSError) -> OSError:
    why = error.strerror or str(error)
    return OSError(
        f"the record could not be written to {folder} ({why}): what was there before stands. Make room or choose "
        "another folder, and save again"
    )
