"""Who has opened ``test``, or the locked patients, of which rows: kept in a file over studies and sessions.

``FEDLAB_STATE``
    The folder of the file; default: the user's state folder of this system.

The file, ``openings.jsonl``, has a line for each opening: when, what, by which run or study (a hash, and in words), and
hashes of the hospitals' rows. They are keyed with a random number that stands beside it and never leaves the machine:
so nobody who gets the file alone can try out whose rows it is about. Where the folder cannot be written the openings
are counted as long as this process lives, and a warning says so.

Rows are known again whatever the split, the order of the rows or of the hospitals, and however many of them are locked
or left out of training; rows that were changed or dealt to other hospitals are others.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fedlab.federation import Federation, Site

FILE, KEY = "openings.jsonl", "openings.key"
TEST, LOCKED = "test", "locked"
HOLDS = 2**128

_inside: ContextVar[list[str] | None] = ContextVar("inside", default=None)
_here: list[Opening] = []
"""Those that no file has."""


class NotKept(UserWarning):
    """An opening is counted by this process alone, as the file cannot be written."""


class Opening(NamedTuple):
    """A line of the file.

    ``part`` is ``test`` or ``locked``; ``by`` a hash of what a run or study was asked, and ``words`` that in words;
    ``rows`` and ``locked`` are hashes of all rows of each hospital, and of those that are locked.
    """

    at: str
    part: str
    what: str
    by: str
    words: str
    rows: tuple[str, ...]
    locked: tuple[str, ...]


class Count(NamedTuple):
    """How often ``test`` of some hospitals was opened, and by how many runs and studies."""

    openings: int
    studies: int


def folder() -> Path:
    """Return the folder of the file (``FEDLAB_STATE``); it need not exist yet."""
    import platformdirs

    return Path(os.environ.get("FEDLAB_STATE") or platformdirs.user_state_dir("fedlab")).expanduser()


# --------------------------------------------------------------------------- entering


def enter(
    federation: Federation, what: str, *, by: Any, words: str, sites: Sequence[Site] | None = None, part: str = TEST
) -> Opening | None:
    """Enter an opening; nothing inside of :func:`one`, which enters a whole.

    Parameters
    ----------
    federation : Federation
    what : str
        Which table was made.
    by : JSON value
        What the run or study was asked: two of the same are one.
    words : str
    sites : sequence of Site, optional
        Whose rows; default: all of the federation's.
    part : {"test", "locked"}

    Warns
    -----
    NotKept
        If it cannot be written; once for a folder.
    """
    whose = federation.sites if sites is None else sites
    return _enter(_terms(federation), whose, what, by=by, words=words, part=part)


def enter_site(site: Site, terms: tuple[Any, ...], what: str, *, by: Any, words: str) -> Opening | None:
    """Enter an opening of ``test`` where the rows are: by a site that is asked for it, whoever the server is.

    ``terms`` is what :attr:`fedlab.engine.site.SiteWork.terms` says of the rows; the rest as for :func:`enter`.
    """
    return _enter(terms, [site], what, by=by, words=words, part=TEST)


def _enter(
    terms: tuple[Any, ...], whose: Sequence[Site], what: str, *, by: Any, words: str, part: str
) -> Opening | None:
    outer = _inside.get()
    if outer is not None:
        outer.append(what)
        return None
    asked = json.dumps(by, sort_keys=True, default=str)
    made = Opening(now(), part, what, _hashed(asked), words, *_hashes(terms, whose))
    try:
        _append(json.dumps(made._asdict()))
    except OSError as why:
        _here.append(made)
        _warn_once(folder(), why.strerror or str(why))
    return made


@contextmanager
def one(federation: Federation, what: str, *, by: Any, words: str) -> Iterator[None]:
    """Enter what is opened inside as one opening, when it has ended or failed; nothing if nothing is."""
    opened: list[str] = []
    try:
        with quiet() as opened:
            yield
    finally:
        if opened:
            enter(federation, what, by=by, words=words)


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Enter nothing that is opened inside, and list it: whoever looks at many runs enters the whole by itself."""
    opened: list[str] = []
    token = _inside.set(opened)
    try:
        yield opened
    finally:
        _inside.reset(token)


def _append(line: str) -> None:
    """Add a line in one write, which another process cannot come between; half a line before it does not take it."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    handle = os.open(place / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        raw = f"\n{line}\n".encode()
        if os.write(handle, raw) < len(raw):
            raise OSError("the disk is full")
    finally:
        os.close(handle)


@cache
def _warn_once(place: Path, why: str) -> None:
    warnings.warn(
        f"openings of test cannot be kept in {place} ({why}): they are counted in this process alone. Set FEDLAB_STATE "
        "to a folder that can be written",
        NotKept,
        stacklevel=4,
    )


def now() -> str:
    """Return the time, to the second and with its zone."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


# --------------------------------------------------------------------------- counting


def count(federation: Federation) -> Count:
    """Count the openings of ``test`` of any of these hospitals, by whatever run or study."""
    mine, _ = _hashes(_terms(federation), federation.sites)
    found = [opening for opening in _openings() if opening.part == TEST and not {*mine}.isdisjoint(opening.rows)]
    return Count(len(found), len({opening.by for opening in found}))


def of_locked(federation: Federation) -> list[Opening]:
    """Return the openings of any of these locked patients."""
    _, locked = _hashes(_terms(federation), federation.sites)
    return [opening for opening in _openings() if opening.part == LOCKED and not {*locked}.isdisjoint(opening.locked)]


def before_lock(federation: Federation) -> list[Opening]:
    """Return the openings in which patients who are locked now may have been seen: with no lock, or with another."""
    rows, locked = _hashes(_terms(federation), federation.sites)
    return [
        opening
        for opening in _openings()
        if not {*rows}.isdisjoint(opening.rows) and {*locked}.isdisjoint(opening.locked)
    ]


def _openings() -> list[Opening]:
    path = folder() / FILE
    try:
        about = path.stat()
    except OSError:
        return list(_here)
    return [*_read(path, about.st_size, about.st_mtime_ns), *_here]


@cache
def _last() -> dict[Path, tuple[int, int, list[Opening]]]:
    return {}


def _read(path: Path, size: int, changed: int) -> list[Opening]:
    """Return the lines of the file; one that another process is just writing, or that is damaged, is left out."""
    known = _last().get(path)
    if known is None or known[:2] != (size, changed):
        found = []
        with suppress(OSError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):
                    said: Mapping[str, Any] = json.loads(line)
                    found.append(Opening(**{**said, "rows": tuple(said["rows"]), "locked": tuple(said["locked"])}))
        known = _last()[path] = (size, changed, found)
    return known[2]


# --------------------------------------------------------------------------- which rows


def _terms(federation: Federation) -> tuple[Any, ...]:
    return (federation.task.classes or federation.task, federation.columns, federation.prepared)


def _hashes(about: tuple[Any, ...], sites: Sequence[Site]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hash each hospital's rows, all of them and those that are locked, without the split."""
    rows, locked = [], []
    for site in sites:
        away = 0 if site.locked is None else site.locked.sum_of_hashes
        number = len(site) + (0 if site.locked is None else len(site.locked))
        rows.append(_hashed(repr((site.name, about, number, (site.rows.sum_of_hashes + away) % HOLDS))))
        if site.locked is not None:
            locked.append(_hashed(repr(("locked", site.name, about, len(site.locked), away))))
    return tuple(rows), tuple(locked)


def _hashed(text: str) -> str:
    return hmac.new(_key(folder()), text.encode(), hashlib.sha256).hexdigest()[:24]


@cache
def _key(place: Path) -> bytes:
    """Return the random number of a folder; one of this process, where none can be kept."""
    path = place / KEY
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, os.urandom(32).hex().encode())
        finally:
            os.close(handle)
    for _ in range(20):  # another process may be about to write it
        with suppress(OSError, ValueError):
            key = bytes.fromhex(path.read_text())
            if len(key) == 32:
                return key
        if not path.exists():
            break
        time.sleep(0.01)
    return os.urandom(32)
