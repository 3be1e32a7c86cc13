"""Who has opened ``test``, or the locked patients, of which patients: kept in a file over studies and sessions.

``FEDLAB_STATE``
    The folder of the file; default: the user's state folder of this system.

The file, ``openings.jsonl``, has a line for each opening: when, what, by which run or study (a hash, and in words), and
a hash of each patient of the hospitals. They are keyed with a random number that stands beside it and never leaves the
machine: so nobody who gets the file alone can try out whose rows it is about. A line is written under the folder's
lock, and what came before it is counted under the same lock: of two that open at once one is the second. Where the
folder cannot be written the openings are counted as long as this process lives, and a warning says so.

A patient is known again by what stands in the patient's rows, label included: whatever the split, the order of the rows
or of the hospitals, a hospital's name, how patients are dealt to hospitals (``partition``), which are locked, left out
or selected, and through planted shifts, which change the values and not the patients. What this cannot know:

- the same patients with other values: another unit, another set or order of columns, rounding, a type of fewer digits,
  a correction. They are others.
- two patients whose rows are equal. Where so many are equal that a match may be chance, an opening of other tables is
  *unsure*: it is not counted, and :attr:`Seen.unsure` says how many there are.
- what other machines, other users or other states of ``FEDLAB_STATE`` have opened.
"""

from __future__ import annotations

import base64
import hmac
import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fedlab.federation import Examples, Federation, Site
from fedlab.storage.lock import take

FILE, KEY = "openings.jsonl", "openings.key"
TEST, LOCKED = "test", "locked"
DIGITS, LENGTH = 24, 32  # of a name in the file, in hexadecimal; of the key, in bytes

Hashes = NDArray[np.uint64]

_inside: ContextVar[list[str] | None] = ContextVar("inside", default=None)


class NotKept(UserWarning):
    """An opening is counted by this process alone, as the file cannot be written."""


class KeyLost(UserWarning):
    """The file of openings is there, and its key is not: it cannot be read any more."""


class OlderOpenings(UserWarning):
    """The file has openings that are not counted, as an older fedlab wrote them."""


class Opening(NamedTuple):
    """A line of the file.

    ``part`` is ``test`` or ``locked``; ``by`` a hash of what a run or study was asked, and ``words`` that in words;
    ``of`` names the patients of each hospital: the hash of all of theirs, which the first line that has it spells out.
    """

    at: str
    part: str
    what: str
    by: str
    words: str
    of: tuple[str, ...]


class Count(NamedTuple):
    """How often ``test`` of some patients was opened, and by how many runs and studies: the most of any patient."""

    openings: int
    studies: int


class Seen(NamedTuple):
    """Which openings some patients were in.

    Attributes
    ----------
    openings : int
        The most of any patient,
    studies : int
        and by how many runs and studies.
    which : list of Opening
        All that any of them was in.
    unsure : int
        Openings of patients whose rows are equal to some of theirs, as they might be by chance.
    """

    openings: int
    studies: int
    which: list[Opening]
    unsure: int


class Book(NamedTuple):
    """Openings, and the patients that they name."""

    openings: list[Opening]
    patients: dict[str, Hashes]


_here = Book([], {})
"""Those that no file has."""


def folder() -> Path:
    """Return the folder of the file (``FEDLAB_STATE``); it need not exist yet."""
    import platformdirs

    return Path(os.environ.get("FEDLAB_STATE") or platformdirs.user_state_dir("fedlab")).expanduser()


# --------------------------------------------------------------------------- entering


def enter(
    federation: Federation, what: str, *, by: Any, words: str, sites: Sequence[Site] | None = None, part: str = TEST
) -> tuple[Opening, Seen] | None:
    """Enter an opening, and return it and those before it; nothing inside of :func:`one`, which enters a whole.

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

    Returns
    -------
    (Opening, Seen) or None
        What is entered, and in which openings of the same part these patients were before: read and written under one
        lock, so that of two who open at once one comes first.

    Warns
    -----
    NotKept
        If it cannot be written; once for a folder.
    """
    whose = federation.sites if sites is None else sites
    return _enter(whose, what, by=by, words=words, part=part)


def enter_site(site: Site, what: str, *, by: Any, words: str) -> None:
    """Enter an opening of ``test`` where the rows are: by a site that is asked for it, whoever the server is."""
    _enter([site], what, by=by, words=words, part=TEST)


def _enter(whose: Sequence[Site], what: str, *, by: Any, words: str, part: str) -> tuple[Opening, Seen] | None:
    outer = _inside.get()
    if outer is not None:
        outer.append(what)
        return None
    asked = json.dumps(by, sort_keys=True, default=str).encode()
    patients = _patients(whose, part)

    def line(key: bytes) -> tuple[Opening, dict[str, Hashes]]:
        named = {_name(key, each.tobytes()): each for each in (np.sort(_hashes(key, rows)) for rows in patients)}
        return Opening(now(), part, what, _name(key, asked), words, tuple(named)), named

    place = folder()
    try:
        with _lock(place):
            made, named = line(_key(place, make=True))
            before, known = _seen(patients, part), _book().patients
            spelt = {name: _written(each) for name, each in named.items() if name not in known}
            _append(json.dumps({**made._asdict(), "patients": spelt}))
    except OSError as why:
        made, named = line(_own_key())
        before = _seen(patients, part)
        _here.openings.append(made)
        _here.patients.update(named)
        _warn_once(place, why.strerror or str(why))
    return made, before


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    lock = take(place, "counts an opening", brief=True)
    try:
        yield
    finally:
        lock.release()


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
    """Add a line; half a line before it, of a process that was killed, does not take it."""
    handle = os.open(folder() / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
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
    """Count the openings of ``test`` of these hospitals, by whatever run or study: the most of any patient.

    Examples
    --------
    >>> import fedlab
    >>> count(fedlab.load("heart_disease").select("Cleveland")).openings >= 0
    True
    """
    return Count(*of_test(federation)[:2])


def of_test(federation: Federation) -> Seen:
    """Return the openings of ``test`` of any of these hospitals' patients who are not locked."""
    return _seen(_patients(federation.sites, TEST), TEST)


def of_locked(federation: Federation) -> Seen:
    """Return the openings of any of these locked patients, as locked ones."""
    return _seen(_patients(federation.sites, LOCKED), LOCKED)


def before_lock(federation: Federation) -> Seen:
    """Return the openings of ``test`` in which patients who are locked now may have been seen: they were not then."""
    return _seen(_patients(federation.sites, LOCKED), TEST)


def _seen(patients: Sequence[Examples], part: str) -> Seen:
    """Find patients in the openings of a part.

    An opening of a table in which patients have equals may hold equals of these by chance. The share expected in it is
    then that of its own patients who have an equal in it; three standard deviations more are no chance.
    """
    number = sum(len(rows.patients.first) for rows in patients)
    times, by, which, unsure = np.zeros(number, dtype=np.int64), dict[str, NDArray[np.bool_]](), [], 0
    for book in (_book(), _here):
        said = [opening for opening in book.openings if opening.part == part]
        if not said or not number:
            continue
        key = _own_key() if book is _here else _key(folder())
        each = [_hashes(key, rows) for rows in patients]
        names = [_name(key, np.sort(one).tobytes()) for one in each]
        found: dict[tuple[str, ...], tuple[NDArray[np.bool_], bool]] = {}
        for opening in said:
            if opening.of not in found:
                found[opening.of] = _match(each, names, {name: book.patients[name] for name in opening.of})
            there, sure = found[opening.of]
            if sure:
                times += there
                by[opening.by] = by.get(opening.by, False) | there
                which.append(opening)
            unsure += not sure and bool(there.any())
    studies = np.sum([*by.values()], axis=0, dtype=np.int64) if by else np.zeros(0, dtype=np.int64)
    return Seen(int(times.max(initial=0)), int(studies.max(initial=0)), which, unsure)


def _match(mine: Sequence[Hashes], names: Sequence[str], theirs: dict[str, Hashes]) -> tuple[NDArray[np.bool_], bool]:
    """Mark the patients whom an opening holds, and tell whether it holds patients of theirs, or equals by chance."""
    every = np.concatenate([np.zeros(0, dtype=np.uint64), *theirs.values()])
    there = np.isin(np.concatenate(mine), every)
    _, copies = np.unique(every, return_counts=True)
    chance = len(there) * float(copies[copies > 1].sum()) / max(len(every), 1)
    if there.sum() > chance + 3 * math.sqrt(chance):
        return there, True
    same = np.repeat([name in theirs for name in names], [len(each) for each in mine])  # the hospital, to its last one
    return (same, True) if same.any() else (there, False)


def _book() -> Book:
    """Return the file's openings."""
    path = folder() / FILE
    try:
        about = path.stat()
    except OSError:
        return Book([], {})
    return _read(path, about.st_size, about.st_mtime_ns)


@cache
def _last() -> dict[Path, tuple[int, int, Book]]:
    return {}


def _read(path: Path, size: int, changed: int) -> Book:
    """Return the lines of the file; one that another process is just writing, or that is damaged, is left out."""
    known = _last().get(path)
    if known is None or known[:2] != (size, changed):
        book, older = Book([], {}), 0
        with suppress(OSError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError, AttributeError):
                    said: dict[str, Any] = json.loads(line)
                    older += "rows" in said and "patients" not in said
                    spelt = {name: _unwritten(text) for name, text in said.pop("patients").items()}
                    opening = Opening(**{**said, "of": tuple(said["of"])})
                    if all(name in book.patients or name in spelt for name in opening.of):
                        book.patients.update(spelt)
                        book.openings.append(opening)
        if older:
            _warn_of_older(path, older)
        known = _last()[path] = (size, changed, book)
    return known[2]


def _written(hashes: Hashes) -> str:
    return base64.b64encode(hashes.astype("<u8").tobytes()).decode()


def _unwritten(text: str) -> Hashes:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8").astype(np.uint64)


# --------------------------------------------------------------------------- which patients

_keyed: WeakKeyDictionary[Examples, dict[bytes, Hashes]] = WeakKeyDictionary()


def _patients(sites: Sequence[Site], part: str) -> list[Examples]:
    rows = [site.locked if part == LOCKED else site.rows for site in sites]
    return [each for each in rows if each is not None]


def _hashes(key: bytes, rows: Examples) -> Hashes:
    """Return the keyed hash of each patient: of what stands in the rows, and of how many there are."""
    known = _keyed.setdefault(rows, {})
    if key not in known:
        raw = np.column_stack([rows.patient_hashes, rows.patients.rows.astype(np.uint64)]).tobytes()
        each = (hmac.digest(key, raw[at : at + 24], "sha256")[:8] for at in range(0, len(raw), 24))
        known[key] = np.frombuffer(b"".join(each), dtype="<u8").astype(np.uint64)
    return known[key]


def _name(key: bytes, what: bytes) -> str:
    return hmac.digest(key, what, "sha256").hex()[:DIGITS]


def _key(place: Path, *, make: bool = False) -> bytes:
    """Return the random number of a folder, which is made under its lock; one of this process, where there is none."""
    with suppress(OSError, ValueError):
        key = bytes.fromhex((place / KEY).read_text())
        if len(key) == LENGTH:
            return key
    if (place / FILE).exists():
        _warn_of_key(place)
    if not make:
        return _own_key()
    new = place / f"{KEY}.new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, os.urandom(LENGTH).hex().encode())
    finally:
        os.close(handle)
    os.replace(new, place / KEY)
    return bytes.fromhex((place / KEY).read_text())


@cache
def _own_key() -> bytes:
    return os.urandom(LENGTH)


@cache
def _warn_of_older(path: Path, lines: int) -> None:
    warnings.warn(
        f"{path} has {lines} opening{'s' * (lines != 1)} of an older fedlab, which knew hospitals and not patients: "
        "they are not counted. Read them there, and count them by hand",
        OlderOpenings,
        stacklevel=5,
    )


@cache
def _warn_of_key(place: Path) -> None:
    warnings.warn(
        f"{place / FILE} cannot be read without {KEY}, which is gone or damaged: the openings in it count no more. Put "
        "the key back from a copy of the folder",
        KeyLost,
        stacklevel=5,
    )
