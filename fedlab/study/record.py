"""A study as a folder: ``study.json``, and below ``arms`` one folder for each finished arm with the runs of its seeds.

A comparison that is saved while it runs enters each arm when it is finished: first the arm's folder, then its name and
sum in ``study.json``. Whatever kills it, the arms that are entered are whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from fedlab.algorithms import Algorithm
from fedlab.engine import folder as files
from fedlab.engine.openings import now
from fedlab.engine.parts import named
from fedlab.engine.plain import decode, encode
from fedlab.engine.record import (
    HISTORY,
    WEIGHTS,
    Packed,
    differences,
    find_data,
    pack,
    say_data,
    tell,
    unpack,
    versions,
)
from fedlab.engine.run import Run
from fedlab.engine.tensorfile import from_bytes, to_bytes
from fedlab.federation import Federation
from fedlab.models import ModelLike
from fedlab.study.failed import no_failures
from fedlab.study.plan import Given
from fedlab.study.study import Study

STUDY, ARM = "study.json", "arm.json"
APART = ("federation", "runs", "trials", "failed")


class Arm(NamedTuple):
    """A finished arm: its runs, one a seed that did not fail, its rows of the trials, and those of ``Study.failed``."""

    runs: list[Run]
    trials: pd.DataFrame
    failed: pd.DataFrame


# --------------------------------------------------------------------------- to the disk


def save(study: Study, folder: str | Path) -> Path:
    """Write a study's folder; :meth:`fedlab.Study.save`."""
    every: dict[str, bytes] = {}
    for number, name in enumerate(study.arms):
        for file, raw in pack_arm(arm_of(study, name)).items():
            every[f"{place(number)}/{file}"] = raw
    every[STUDY] = pack_study(study, {path: raw for path, raw in every.items() if path.endswith(ARM)})
    files.write_folder(Path(folder), every, main=STUDY)
    return Path(folder)


def arm_of(study: Study, name: str) -> Arm:
    """Return one arm of a study."""
    mine = [table[table["arm"] == name] if len(table) else table for table in (study.trials, study.failed)]
    return Arm(study.runs[name], *(table.reset_index(drop=True) for table in mine))


def place(number: int) -> str:
    """Name the folder of an arm."""
    return f"arms/{number:02}"


def pack_study(study: Study, arms: Mapping[str, bytes]) -> bytes:
    """Return the main file of a study with these arms' main files, in the order of ``study.runs``."""
    kept = {f.name: getattr(study, f.name) for f in dataclasses.fields(study) if f.init and f.name not in APART}
    body = {
        "kind": "study",
        "saved": now(),
        "versions": versions(),
        "data": say_data(study.federation),
        "arms": dict(zip(study.runs, arms, strict=True)),
        "study": encode(kept, {}),
    }
    return files.seal(body, arms)


def pack_arm(arm: Arm) -> dict[str, bytes]:
    """Return the files of an arm's folder."""
    tensors: dict[str, Tensor] = {}
    about, history = [], []
    for number, run in enumerate(arm.runs):
        packed = pack(run)
        about.append(packed.about)
        history.append(packed.history)
        tensors |= {f"{number}:{name}": tensor for name, tensor in packed.tensors.items()}
    beside = {HISTORY: files.as_json(history), WEIGHTS: to_bytes(tensors)}
    tables = {"trials": encode(_in_words(arm.trials), {}), "failed": encode(arm.failed, {})}
    body = {"kind": "arm", "runs": about, **tables}
    return {**beside, ARM: files.seal(body, beside)}


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
    folder = Path(folder)
    main = files.read_main(folder, STUDY)
    found = federation or find_data(main["data"], 0)
    study, apart = read_study(folder, main, found, Given(model, algorithms or {}, [settings]))
    tell(folder, differences(main, found) + apart)
    return study


def read_study(folder: Path, main: Mapping[str, Any], federation: Federation, given: Given) -> tuple[Study, list[str]]:
    """Return the study of the arms that are entered, and in what their models differ from then."""
    kept = decode(main["study"], {})
    splits = {seed: federation.resplit(seed) for seed in kept["seeds"]}
    arms: dict[str, Arm] = {}
    apart: list[str] = []
    for name, path in main["arms"].items():
        arms[name], other = read_arm(folder, path, main, splits, name, given)
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
    folder: Path, path: str, main: Mapping[str, Any], splits: Mapping[int, Federation], name: str, given: Given
) -> tuple[Arm, list[str]]:
    """Return an arm, checked against the sums in the study's main file and its own."""
    body = files.parsed(folder / path, files.read_file(folder, path, main))
    inside = (folder / path).parent
    history = files.parsed(inside / HISTORY, files.read_file(inside, HISTORY, body))
    tensors = from_bytes(files.read_file(inside, WEIGHTS, body))
    runs, apart = [], []
    for number, (about, happened) in enumerate(zip(body["runs"], history, strict=True)):
        start = f"{number}:"
        own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        run, other = unpack(
            Packed(about, happened, own),
            splits[about["settings"]["seed"]],
            model=given.model,
            algorithm=given.algorithms.get(name),
            settings=given.settings(about["settings"]["unsaid"]),
            arm=name,
        )
        runs.append(run)
        apart += [what for what in other if what not in apart]
    failed = decode(body["failed"], {}) if "failed" in body else no_failures()
    return Arm(runs, decode(body["trials"], {}), failed), apart
