"""A study as a folder: ``study.json``, and below ``arms`` one folder for each finished arm with the runs of its seeds.

A comparison that is saved while it runs enters each arm when it is finished: first the arm's folder, then its name and
sum in ``study.json``. Whatever kills it, the arms that are entered are whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.openings import now
from fedlab.engine.parts import named
from fedlab.engine.record import (
    ABOUT,
    DATA,
    HISTORY,
    OLD_HISTORY,
    WEIGHTS,
    Packed,
    differences,
    find_data,
    past_line,
    read_old,
    read_past,
    say_data,
    say_run,
    state_of,
    tell,
    unpack,
    versions,
)
from fedlab.engine.run import Run
from fedlab.federation import Federation
from fedlab.models import ModelLike
from fedlab.storage import Content, codec, hold, odd, read
from fedlab.storage.shape import fault
from fedlab.study.failed import no_failures
from fedlab.study.openings import Place, arms_of, place_in
from fedlab.study.plan import Given
from fedlab.study.study import Study

STUDY, ARM = "study.json", "arm.json"
APART = ("federation", "runs", "trials", "failed")
MAIN = {
    "saved": str,
    "versions": dict,
    "data": DATA,
    "arms": dict,
    "study": {"model_name": str, "seeds": list, "test_openings": int},
}


class Arm(NamedTuple):
    """A finished arm: its runs, one a seed that did not fail, its rows of the trials, and those of ``Study.failed``."""

    runs: list[Run]
    trials: pd.DataFrame
    failed: pd.DataFrame


# --------------------------------------------------------------------------- to the disk


def save(study: Study, folder: str | Path) -> Place:
    """Write a study's folder; :meth:`fedlab.Study.save`."""
    every: dict[str, bytes] = {}
    places: list[str] = []
    for number, name in enumerate(study.arms):
        places.append(place(number))
        every |= pack_arm(arm_of(study, name), places[-1])
    with hold(folder, STUDY, "saves a study", brief=True) as writer:
        writer.commit(pack_study(study, places), every)
        return place_in(writer)


def arm_of(study: Study, name: str) -> Arm:
    """Return one arm of a study."""
    mine = [table[table["arm"] == name] if len(table) else table for table in (study.trials, study.failed)]
    return Arm(study.runs[name], *(table.reset_index(drop=True) for table in mine))


def place(number: int) -> str:
    """Name the folder of an arm."""
    return f"arms/{number:02}"


def pack_study(study: Study, places: Iterable[str]) -> dict[str, Any]:
    """Return what a study's main file says; ``places`` are its arms' folders, in the order of ``study.runs``."""
    kept = {f.name: getattr(study, f.name) for f in dataclasses.fields(study) if f.init and f.name not in APART}
    return {
        "kind": "study",
        "saved": now(),
        "versions": versions(),
        "data": say_data(study.federation),
        "arms": {name: f"{where}/{ARM}" for name, where in zip(study.runs, places, strict=True)},
        "study": codec.encode(kept, {}),
    }


def pack_arm(arm: Arm, where: str) -> dict[str, bytes]:
    """Return the files of an arm's folder: its history has a line a run."""
    tables = {"trials": codec.encode(_in_words(arm.trials), {}), "failed": codec.encode(arm.failed, {})}
    body = {"kind": "arm", "runs": list(map(say_run, arm.runs)), **tables}
    return {
        f"{where}/{ARM}": codec.as_json(body, indent=1),
        f"{where}/{HISTORY}": b"".join(past_line(run.records, run.ledger_book.rows) for run in arm.runs),
        f"{where}/{WEIGHTS}": codec.dump(list(map(state_of, arm.runs))),
    }


def _in_words(trials: pd.DataFrame) -> pd.DataFrame:
    """Name the functions and objects among what was tried: the runs' settings have them, the table says which."""
    plain = (str, bool, int, float, type(None))
    return trials.map(lambda value: value if isinstance(value, plain) else named(value))


# --------------------------------------------------------------------------- from the disk


def load(
    folder: str | Path,
    federation: Federation | None = None,
    *,
    model: ModelLike | None = None,
    algorithms: Mapping[str, Algorithm] | None = None,
    **settings: Any,
) -> Study:
    """Read a study's folder; :meth:`fedlab.Study.load`."""
    found = read(folder, STUDY, MAIN)
    main = found.body
    federation = federation or find_data(main["data"], 0)
    study, apart = read_study(found, federation, Given(model, algorithms or {}, [settings]))
    tell(Path(folder), differences(main, federation) + apart)
    study.kept_in = Place(found.folder, arms_of(main))
    return study


def read_study(found: Content, federation: Federation, given: Given) -> tuple[Study, list[str]]:
    """Return the study of the arms that are entered, and in what their models differ from those that were saved."""
    with odd(found.folder / STUDY):
        kept = codec.decode(found.body["study"], {})
        splits = {seed: federation.resplit(seed) for seed in kept["seeds"]}
    arms: dict[str, Arm] = {}
    apart: list[str] = []
    for name, path in found.body["arms"].items():
        arms[name], other = read_arm(found, path, splits, name, given)
        apart += [what for what in other if what not in apart]
    kept["asked"] = asked_of(kept)
    known = {f.name for f in dataclasses.fields(Study)}
    return study_of(arms, federation=federation, **{k: v for k, v in kept.items() if k in known}), apart


def asked_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kept study was asked; an older fedlab called it its plan."""
    asked: dict[str, Any] = kept.get("asked", kept.get("plan", {}))
    return asked


def study_of(arms: Mapping[str, Arm], *, failed: Sequence[pd.DataFrame] = (), **kept: Any) -> Study:
    """Put a study together; ``failed`` has the rows of arms without any run."""
    runs = {name: arm.runs for name, arm in arms.items()}
    trials = [arm.trials for arm in arms.values() if len(arm.trials)]
    study = Study(runs=runs, trials=pd.concat(trials, ignore_index=True) if trials else pd.DataFrame(), **kept)
    lost = [table for table in (*(arm.failed for arm in arms.values()), *failed) if len(table)]
    if lost:
        study.failed = pd.concat(lost, ignore_index=True)
    return study


def read_arm(
    found: Content, path: str, splits: Mapping[int, Federation], name: str, given: Given
) -> tuple[Arm, list[str]]:
    """Return an arm, and in what its models differ from those that were saved."""
    where = found.folder / path
    with odd(where):
        body = codec.from_json(found.files[path])
        every = [Packed(where, *each) for each in _packed(body, found.files, path.removesuffix(ARM))]
        failed = codec.decode(body["failed"], {}) if "failed" in body else no_failures()
        trials = codec.decode(body["trials"], {})
        seeds = [splits[packed.about["settings"]["seed"]] for packed in every]
    runs, apart = [], []
    for packed, split in zip(every, seeds, strict=True):
        run, other = unpack(
            packed,
            split,
            model=given.model,
            algorithm=given.algorithms.get(name),
            settings=given.settings(packed.about["settings"]["unsaid"]),
            arm=name,
        )
        runs.append(run)
        apart += [what for what in other if what not in apart]
    return Arm(runs, trials, failed), apart


def _packed(
    body: Mapping[str, Any], files: Mapping[str, bytes], start: str
) -> list[tuple[dict[str, Any], dict[str, list[Any]], dict[str, Any]]]:
    """Return what each run of an arm was asked, its past and its state."""
    for about in body["runs"]:
        if why := fault(about, ABOUT):
            raise codec.Undecodable(f"one of its runs: {why}")
    if start + OLD_HISTORY not in files:
        past, state = read_past(files[start + HISTORY]), codec.load(files[start + WEIGHTS])
        return _side_by_side(body["runs"], past, state)
    weights = codec.from_bytes(files[start + WEIGHTS])
    old = [
        read_old(history, {k.removeprefix(f"{n}:"): w for k, w in weights.items() if k.startswith(f"{n}:")})
        for n, history in enumerate(codec.from_json(files[start + OLD_HISTORY]))
    ]
    return _side_by_side(body["runs"], [past for past, _ in old], [state for _, state in old])


def _side_by_side(about: Sequence[Any], past: Sequence[Any], state: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    if not len(about) == len(past) == len(state):
        raise codec.Undecodable(f"it has {len(about)} runs, {len(past)} histories and {len(state)} models")
    return list(zip(about, past, state, strict=True))
