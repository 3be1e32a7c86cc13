"""Where a recipe's files are: the cache, else the mirror, else the official address. A wrong sum is never used.

``FEDLAB_DATA``
    The cache folder, ``<recipe>/<file>`` inside; by default the user's cache folder ``fedlab``.
``FEDLAB_MIRROR``
    A folder of the same layout that is only read, in place: a teacher's disk, a hospital's share.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TIMEOUT = 20  # seconds without an answer


@dataclass(frozen=True)
class DataFile:
    """One file of a recipe.

    Parameters
    ----------
    name : str
        Its name, or its path with ``/``, below ``<recipe>/`` in the cache and in the mirror.
    url : str
        The official address.
    sums : mapping of str to str, optional
        Every accepted sum, ``"sha256:<hex>"`` or ``"md5:<hex>"``, with a word: ``"official"`` or
        ``"mirror re-export"``. ``None``: no sum is known; the file counts as *unverified*, and the sum of the first
        download is recorded and expected from then on.
    size : int
        Bytes, for display.
    instead : str
        What else a user can do who cannot get the file, as the end of a sentence.
    copy : DataFile, optional
        The same table in another file, such as a mirror's re-export: its own name and its own sums, taken where the
        official file is neither cached nor mirrored, and never downloaded.
    """

    name: str
    url: str
    sums: Mapping[str, str] | None
    size: int
    instead: str = ""
    copy: DataFile | None = None

    def forms(self) -> tuple[DataFile, ...]:
        """The official file and its copy, in the order in which they are looked for."""
        return (self,) if self.copy is None else (self, self.copy)


class Fetched(NamedTuple):
    """One step of :func:`fetch`; ``str()`` is a line to print."""

    recipe: str
    file: str
    done: str
    path: Path | None

    def __str__(self) -> str:
        if self.path is None:
            return f"{self.recipe}: {self.done}"
        return f"{self.recipe}: {self.file} {self.done}: {self.path}"


def cache_folder() -> Path:
    """Return the folder of downloaded files (``FEDLAB_DATA``); it need not exist yet."""
    import platformdirs

    return Path(os.environ.get("FEDLAB_DATA") or platformdirs.user_cache_dir("fedlab")).expanduser()


def mirror_folder() -> Path | None:
    """Return the folder that ``FEDLAB_MIRROR`` names, if it is set."""
    named = os.environ.get("FEDLAB_MIRROR")
    return Path(named).expanduser() if named else None


def look(recipe: str, file: DataFile) -> tuple[str, Path | None]:
    """Say where a file is, without a check and without a download.

    Returns
    -------
    where : {"cached", "mirror", "to download"}
    path : Path, or None if it must be downloaded
    """
    place, path, _ = _look(recipe, file)
    return place, path


def _look(recipe: str, file: DataFile) -> tuple[str, Path | None, DataFile]:
    for form in file.forms():
        for place, folder in (("cached", cache_folder()), ("mirror", mirror_folder())):
            if folder is not None and os.path.isfile(folder / recipe / form.name):
                return place, folder / recipe / form.name, form
    return "to download", None, file


def find(recipe: str, file: DataFile) -> Path:
    """Return the path of a checked file: from the cache, else the mirror (in place), else the official address.

    Raises
    ------
    ValueError
        If the file found or downloaded is not the expected one. Both sums are named; a download is thrown away.
    OSError
        If there is no way to get it: no network, or a cache folder that cannot be written.
    """
    place, path, form = _look(recipe, file)
    if path is None:
        return _obtain(recipe, file)[0]
    if place == "cached":
        remedy = f"run `fedlab fetch {recipe}` to replace it, or delete it"
    else:
        remedy = "put the official file into the mirror, or unset FEDLAB_MIRROR"
    check(path, _accepted(recipe, form), remedy=remedy)
    return path


def fetch(recipe: str, files: Sequence[DataFile]) -> Iterator[Fetched]:
    """Bring a recipe's files into the cache, from the mirror or the official address; replace damaged ones."""
    if not files:
        yield Fetched(recipe, "", "nothing to fetch, its data are installed", None)
    for file in files:
        form = _look(recipe, file)[2]
        cached = cache_folder() / recipe / form.name
        before = ""
        if os.path.isfile(cached):
            try:
                word = check(cached, _accepted(recipe, form), remedy="")
            except ValueError:
                before = "was damaged, replaced "
            else:
                yield Fetched(recipe, form.name, f"is in the cache ({word})", cached)
                continue
        path, source = _obtain(recipe, file)
        if before and path != cached:
            cached.unlink()  # the other form has replaced it
        yield Fetched(recipe, path.relative_to(cache_folder() / recipe).as_posix(), f"{before}from {source}", path)


def check(path: Path, accepted: Mapping[str, str], *, remedy: str, name: str = "") -> str:
    """Compare a file's sum with the accepted ones.

    Parameters
    ----------
    path : Path
    accepted : mapping of str to str
        ``"sha256:<hex>"`` or ``"md5:<hex>"`` to a word; empty: any file will do.
    remedy : str
        What to do about a wrong one, as the end of a sentence.
    name : str
        What to call the file in the error; default: its path.

    Returns
    -------
    str
        The accepted sum's word, or ``"unverified"``.

    Raises
    ------
    ValueError
        If no sum fits; the expected and the found one are named.
    """
    if not accepted:
        return "unverified"
    found = {algorithm: _sum(path, algorithm) for algorithm in dict.fromkeys(s.split(":")[0] for s in accepted)}
    for algorithm, digest in found.items():
        if f"{algorithm}:{digest}" in accepted:
            return accepted[f"{algorithm}:{digest}"]
    algorithm, digest = next(iter(found.items()))
    expected = " or ".join(f"{s.split(':')[1]} ({w})" for s, w in accepted.items() if s.startswith(algorithm))
    raise ValueError(
        f"{name or path} is truncated or altered and is not used: expected {algorithm} {expected}, found {digest} "
        f"({path.stat().st_size} bytes): {remedy}"
    )


def _sum(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _record(recipe: str, file: DataFile) -> Path:
    return cache_folder() / recipe / f"{file.name}.sha256"


def _accepted(recipe: str, file: DataFile) -> Mapping[str, str]:
    if file.sums is not None:
        return file.sums
    record = _record(recipe, file)
    return {f"sha256:{record.read_text().strip()}": "recorded at the first download"} if os.path.isfile(record) else {}


def _obtain(recipe: str, file: DataFile) -> tuple[Path, str]:
    """Bring a file into the cache: written beside its place, checked there, then moved in one step.

    Returns its path and whence it came.
    """
    file = next((form for form in file.forms() if _mirrored(recipe, form)), file)
    target = cache_folder() / recipe / file.name
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")  # two processes may fetch at once
    try:
        _writable(target, file)
        source = _bring(recipe, file, part)
        accepted = _accepted(recipe, file)
        remedy = f"nothing was kept; try again{_else(file)}"
        if file.sums is None:
            remedy += f" (if the publisher has changed the file, delete {_record(recipe, file)})"
        check(part, accepted, remedy=remedy, name=f"{file.name} from {source}")
        digest = _sum(part, "sha256")
        os.replace(part, target)
        if not accepted:
            _record(recipe, file).write_text(digest + "\n")
            print(f"{recipe}: {file.name} is unverified (no official sum is known); recorded sha256 {digest}")
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return target, source


def _writable(target: Path, file: DataFile) -> None:
    probe = target.with_name(f".{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"the cache folder {cache_folder()} cannot be written ({error.strerror}), so {file.name} cannot be kept: "
            f"set FEDLAB_DATA to a writable folder, or FEDLAB_MIRROR to one that has the file{_else(file)}"
        ) from None


def _bring(recipe: str, file: DataFile, part: Path) -> str:
    if mirrored := _mirrored(recipe, file):
        shutil.copyfile(mirrored, part)
        return str(mirrored)
    mirror = mirror_folder()
    try:
        _downloader()(file.url, str(part), None)
    except OSError as error:
        reason = _reason(error)
        missed = f"nor in the mirror {mirror}" if mirror else "there is no mirror (FEDLAB_MIRROR is not set)"
        raise OSError(
            f"{file.name} is not in the cache {cache_folder()}, {missed}, and {file.url} could not be fetched "
            f"({reason}): run `fedlab fetch {recipe}` with a network, or set FEDLAB_MIRROR to a folder that holds "
            f"{recipe}/{file.name}{_else(file)}"
        ) from None
    return file.url


def _mirrored(recipe: str, file: DataFile) -> Path | None:
    mirror = mirror_folder()
    path = mirror / recipe / file.name if mirror else None
    return path if path is not None and os.path.isfile(path) else None


def _downloader() -> Callable[[str, str, None], None]:
    import pooch  # half a second: only where something is downloaded

    download: Callable[[str, str, None], None] = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    return download


def _reason(error: OSError) -> str:
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    silent = bool(error.args) and type(error.args[0]).__name__ == "ReadTimeoutError"  # in the middle of a file
    if silent or isinstance(error, requests.Timeout):
        return f"no answer in {TIMEOUT} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, requests.ConnectionError):
        return "no network, or the server cannot be reached"
    return error.strerror or str(error)


def _else(file: DataFile) -> str:
    return f", or {file.instead}" if file.instead else ""
