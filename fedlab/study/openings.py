"""Openings are entered in the file of all studies, and in the folder that keeps one, as long as it still is its."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedlab.engine import openings
from fedlab.engine.record import differences
from fedlab.storage import Writer, codec, hold
from fedlab.storage.folder import sums

if TYPE_CHECKING:
    from fedlab.study.study import Study


class Place(NamedTuple):
    """Where a study is kept, and the sums of its arms, by which the folder is known again."""

    folder: Path
    arms: dict[str, str]


class NotEntered(UserWarning):
    """An opening of ``test`` is counted by the study, but not in the folder that keeps it."""


def place_in(writer: Writer) -> Place:
    """Return the place of the study that has just been written."""
    return Place(writer.folder, arms_of(writer.body or {"files": {}}))


def arms_of(main: Mapping[str, Any]) -> dict[str, str]:
    """Return the sums of the arms that a study's main file names."""
    return {name: of for name, of in sums(main).items() if name.endswith("/arm.json")}


def enter(study: Study, what: str) -> None:
    """Count an opening of ``test``: in the study, in the file of all, and in the study's folder with its table.

    Another copy of the study may have opened ``test`` meanwhile: the folder counts those of all. A table that was
    computed with other versions or data than the record was made with is not put there.

    Warns
    -----
    NotEntered
        If the folder is gone, keeps something else by now, or cannot be written.
    """
    study.test_openings += 1
    openings.enter(study.federation, what, **asked(study))
    in_folder(study)


def asked(study: Study) -> dict[str, Any]:
    """Return what a study is known by in the file of all openings: what it was asked, and that in words."""
    plan = {name: said for name, said in study.asked.items() if name != "data"} or [study.arms, study.seeds]
    seeds = f"{len(study.seeds)} seed{'s' * (len(study.seeds) != 1)}"
    return {"by": plan, "words": f"a study of {', '.join(study.arms)} ({study.model_name}), {seeds}"}


def said(study: Study) -> str:
    """Say how often ``test`` was opened, and whether the locked patients were, if there are any.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease").lock()
    >>> said(fedlab.compare(hospitals, algorithms=["fedavg"], seeds=2, rounds=1, progress=False))
    'test opened 0 times in this study, ... on these patients, the locked patients not opened'
    """
    words = f"test opened {times(study.test_openings)} in this study, {over_all(study)}"
    if all(site.locked is None for site in study.federation.sites):
        return words
    opened = f"opened {times(study.opened['openings'])}" if study.opened else "not opened"
    return f"{words}, the locked patients {opened}"


def over_all(study: Study) -> str:
    """Say how often ``test`` of these patients was opened by all runs and studies."""
    every = openings.of_test(study.federation)
    number = max(every.openings, study.test_openings)  # a study that comes from elsewhere brings its own
    by = f"{every.studies} runs and studies" if every.studies != 1 else "1 run or study"
    more = f" (and {times(every.unsure)} on patients with equal rows, who may be others)" if every.unsure else ""
    return f"{times(number)} over {by} on these patients{more}"


def before(seen: openings.Seen | None) -> str:
    """Say in a sentence whether test patients had been seen before; empty where nobody looked in time.

    Examples
    --------
    >>> before(openings.Seen(2, 1, [], 0))
    'The test patients had been opened 2 times before this study, as far as this machine’s file of openings knows.'
    """
    if seen is None:
        return ""
    known = "as far as this machine’s file of openings knows"
    if seen.openings:
        return f"The test patients had been opened {times(seen.openings)} before this study, {known}."
    if seen.unsure:
        return "Whether the test patients had been opened before is not known: patients with equal rows had been."
    return f"The test patients had not been opened before this study, {known}."


def locked(study: Study) -> str:
    """Say which patients are locked, and whether they were opened; empty if none are.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease").lock(share=0.2, seed=3)
    >>> locked(fedlab.compare(hospitals, algorithms=["fedavg"], seeds=2, rounds=1, progress=False))
    '20 % of the patients of each hospital (seed 3) are locked, in no split, and not opened (study.final() opens them)'
    """
    federation = study.federation
    if federation.locking is None or all(site.locked is None for site in federation.sites):
        return ""
    share, seed = federation.locking
    opened = "not opened (study.final() opens them)"
    if study.opened:
        opened = f"opened {times(study.opened['openings'])}, last on {study.opened['at']}"
    return f"{100 * share:.3g} % of the patients of each hospital (seed {seed}) are locked, in no split, and {opened}"


def times(number: int) -> str:
    """Write how often.

    Examples
    --------
    >>> times(1), times(2)
    ('1 time', '2 times')
    """
    return f"{number} time{'s' * (number != 1)}"


def in_folder(study: Study, *, test: bool = True) -> None:
    """Enter in the study's folder what it has just opened: ``test``, or else the locked patients."""
    if study.kept_in is None:
        return
    from fedlab.study.record import STUDY

    folder, arms = study.kept_in
    try:
        if not folder.is_dir():
            raise ValueError(f"there is no record {folder} any more")
        with hold(folder, STUDY, "counts an opening of test", brief=True) as writer:
            main = writer.body
            if main is None or arms_of(main) != arms:
                raise ValueError("it keeps another study by now")
            told = codec.decode(main["study"], {})
            told["test_openings"] += test
            told["opened"] = study.opened or told.get("opened", {})
            if not differences(main, study.federation):
                told["_reports"] |= study._reports
            writer.commit({**main, "study": codec.encode(told, {})}, kept=writer.entries)
        study.test_openings = max(study.test_openings, told["test_openings"])
    except (OSError, ValueError) as why:
        what = "test was" if test else "the locked patients were"
        text = f"{what} opened, which the folder {folder} does not know: {why}. Save the study anew to keep the count"
        warnings.warn(text, NotEntered, stacklevel=4)
