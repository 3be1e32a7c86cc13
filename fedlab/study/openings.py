"""Openings of ``test`` reach the folder that keeps a study, as long as it still is that study's."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fedlab.engine import folder as files
from fedlab.engine.plain import decode, encode
from fedlab.engine.record import differences

if TYPE_CHECKING:
    from fedlab.study.study import Study


class Place(NamedTuple):
    """Where a study is kept, and the sums of its arms, by which the folder is known again."""

    folder: Path
    arms: dict[str, str]


class NotEntered(UserWarning):
    """An opening of ``test`` is counted by the study, but not in the folder that keeps it."""


def place_of(folder: str | Path) -> Place:
    """Return the place of the study that a folder keeps now."""
    from fedlab.study.record import STUDY  # which imports the study

    where = Path(folder).absolute()
    return Place(where, files.read_main(where, STUDY)["files"])


def enter(study: Study) -> None:
    """Count the opening that the study has just counted in its folder too, and put its table beside the others there.

    Another copy of the study may have opened ``test`` meanwhile: the folder counts those of all. A table that was
    computed with other versions or data than the record was made with is not put there.

    Warns
    -----
    NotEntered
        If the folder is gone, keeps something else by now, or cannot be written.
    """
    if study.kept_in is None:
        return
    from fedlab.study.record import STUDY

    folder, arms = study.kept_in
    try:
        main = files.read_main(folder, STUDY)
        if main["files"] != arms:
            raise ValueError("it keeps another study by now")
        told = decode(main["study"], {})
        told["test_openings"] += 1
        if not differences(main, study.federation):
            told["_reports"] |= study._reports
        files.replace_file(folder / STUDY, files.resealed({**main, "study": encode(told, {})}))
        study.test_openings = max(study.test_openings, told["test_openings"])
    except (OSError, ValueError) as why:
        text = f"test was opened, which the folder {folder} does not know: {why}. Save the study anew to keep the count"
        warnings.warn(text, NotEntered, stacklevel=3)
