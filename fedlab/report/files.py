"""Files on a disk that may be full: whole or not at all, and one that fails does not keep the others."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def writable(file: Path) -> str:
    """Say why a file could not be written at the end, before the work; empty if it could."""
    if file.is_dir():
        return f"{file} is a folder: name a file."
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}: make it first, or choose another place."
    probe = _beside(file)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"{file} cannot be written ({error.strerror}): choose another place."
    return ""


def write_all(files: Mapping[Path, str]) -> None:
    """Write all that can be written.

    Raises
    ------
    OSError
        Naming each file that could not be written and why, what was written all the same, and what to do.
    """
    failed: dict[Path, OSError] = {}
    for file, text in files.items():
        try:
            write(file, text)
        except OSError as error:
            failed[file] = error
    if failed:
        told = "; ".join(f"{file} could not be written ({error.strerror or error})" for file, error in failed.items())
        kept = ", ".join(str(file) for file in files if file not in failed)
        raise OSError(
            f"{told}. A file of that name from before is as it was. "
            f"{f'Written: {kept}. ' if kept else ''}Free some space, or name another place, and run it again."
        )


def write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = _beside(file)
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
