"""A record's folder: written whole or not at all, read only if every byte is what was written.

A new folder is written beside the old one, flushed to the disk, and takes its place by renaming. A full disk or a kill
leaves the old record or none. The main file seals itself and has the SHA-256 of every other.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

FORMAT = 1
OURS = ("run.json", "study.json", "arm.json", "history.json", "weights.safetensors", "arms")
REMEDY = "take a copy that is whole, or make it again and save it anew"


class DamagedRecord(ValueError):
    """A record that is not what was written: half of it, or changed since."""


# --------------------------------------------------------------------------- writing


def seal(body: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return a main file: ``body``, the sums of the files beside it, and its own."""
    sums = {name: sha256(raw).hexdigest() for name, raw in files.items()}
    return resealed({"format": FORMAT, **body, "files": sums})


def resealed(body: Mapping[str, Any]) -> bytes:
    """Return a main file whose content, as :func:`read_main` gives it, was changed; the files beside it were not."""
    return json.dumps({**body, "sha256": _own_sum(body)}, indent=1, ensure_ascii=False).encode()


def as_json(value: Any) -> bytes:
    """Return a file of JSON beside the main one."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _own_sum(whole: Mapping[str, Any]) -> str:
    return sha256(json.dumps(whole, sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_folder(folder: Path, files: Mapping[str, bytes], *, main: str) -> None:
    """Put a folder of these files (paths below it) in the place of what is there.

    Raises
    ------
    ValueError
        If what is there is no such record, or holds files of somebody else.
    OSError
        If it cannot be written; what was there stands.
    """
    folder = folder.absolute()
    new, old = _beside(folder, "new"), _beside(folder, "old")
    try:
        recover(folder)
        check_ours(folder, main)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name, raw in files.items():
            write_file(new / name, raw)
        for inside in {(new / name).parent for name in files}:
            _flush(inside)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        with suppress(OSError):  # it is in place; a disk that will not flush now does not undo it
            _flush(folder.parent)
    except OSError as error:
        recover(folder)
        raise _not_written(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def replace_file(path: Path, raw: bytes) -> None:
    """Put one file in the place of what is there, whole or not at all."""
    new = _beside(path, "new")
    try:
        write_file(new, raw)
        os.replace(new, path)
        with suppress(OSError):
            _flush(path.parent)
    except OSError as error:
        raise _not_written(path.parent, error) from error
    finally:
        new.unlink(missing_ok=True)


def write_file(path: Path, raw: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def recover(folder: Path) -> None:
    """Bring back the old record, where a kill struck between the two renamings."""
    old = _beside(folder.absolute(), "old")
    if old.exists() and not folder.exists():
        os.rename(old, folder)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _flush(folder: Path) -> None:
    if os.name == "nt":  # no handle on a folder there; renaming is enough
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_ours(folder: Path, main: str) -> None:
    """Refuse to replace what is not a record of this kind: it would be lost."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: a record is a folder, choose another name")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    others = [name for name in there if name not in OURS and not (name[0] == "." and name.endswith(".new"))]
    if others or (there and main not in there):
        what = f"files that are no record's ({', '.join(others[:3])})" if others else f"something else than a {main}"
        raise ValueError(f"{folder} holds {what}, which saving would replace: choose another folder, or move them")


def _not_written(folder: Path, error: OSError) -> OSError:
    why = error.strerror or str(error)
    return OSError(
        f"the record could not be written to {folder} ({why}): what was there before stands. Make room or choose "
        "another folder, and save again"
    )


# --------------------------------------------------------------------------- reading


def read_main(folder: Path, main: str) -> dict[str, Any]:
    """Return the checked content of a main file.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    DamagedRecord
        If it is half-written or changed, or of another kind.
    ValueError
        If a newer fedlab wrote it.
    """
    recover(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no record {folder}: `fedlab runs` lists those of a folder")
    path = folder / main
    if not path.is_file():
        others = [name for name in ("run.json", "study.json") if (folder / name).is_file()]
        kind = f"; it has a {others[0]}, another kind of record" if others else ""
        raise DamagedRecord(f"{folder} is no whole record: {main} is missing{kind}. {REMEDY.capitalize()}.")
    body = parsed(path, path.read_bytes())
    if not isinstance(body, dict) or not isinstance(body.get("format"), int):
        raise _damaged(path, "it does not say its format")
    if body["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {body['format']}, and this fedlab reads up to {FORMAT}: it comes from a newer fedlab "
            f"({body.get('versions', {}).get('fedlab', 'version unknown')}), install that"
        )
    own = body.pop("sha256", None)
    if own != _own_sum(body):
        raise _damaged(path, "its sum differs, so it was changed after it was written")
    return body


def read_file(folder: Path, name: str, body: Mapping[str, Any]) -> bytes:
    """Return a file of the record, checked against the sum in its main file."""
    path = folder / name
    if not path.is_file():
        raise _damaged(path, "it is missing")
    raw = path.read_bytes()
    if sha256(raw).hexdigest() != body["files"].get(name):
        raise _damaged(path, "its sum differs, so it was cut short or changed after it was written")
    return raw


def check_files(folder: Path, body: Mapping[str, Any]) -> None:
    """Check every file of a record, and those of the records inside it (a study's arms)."""
    for name in body["files"]:
        raw = read_file(folder, name, body)
        if name.endswith(".json"):
            inside = parsed(folder / name, raw)
            if isinstance(inside, dict) and isinstance(inside.get("files"), dict):
                check_files((folder / name).parent, inside)


def parsed(path: Path, raw: bytes) -> Any:
    """Return the JSON of a file."""
    try:
        return json.loads(raw)
    except ValueError as error:
        raise _damaged(path, f"it is no JSON ({error})") from error


def _damaged(path: Path, why: str) -> DamagedRecord:
    return DamagedRecord(f"the record {path.parent} is damaged: {path.name}: {why}. {REMEDY.capitalize()}.")
