"""A run as a folder, without its patients: of their records it has the fingerprint alone.

``run.json`` says what was asked, of which data, with which versions; ``history.json`` what happened;
``weights.safetensors`` has the model, and the sites' own.
"""

from __future__ import annotations

import dataclasses
import platform
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, whole
from fedlab.algorithms.tensors import Tensors
from fedlab.engine import folder as files
from fedlab.engine.identity import content
from fedlab.engine.ledger import Entry
from fedlab.engine.openings import now
from fedlab.engine.parts import (
    check_model,
    differs,
    find_algorithm,
    find_model,
    find_settings,
    say_model,
)
from fedlab.engine.plain import decode, encode
from fedlab.engine.plan import Plan, planned
from fedlab.engine.rounds import Loop
from fedlab.engine.run import Record, Run
from fedlab.engine.tensorfile import from_bytes, to_bytes
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.models import ModelLike

RUN, HISTORY, WEIGHTS = "run.json", "history.json", "weights.safetensors"
APART = ("federation", "model_name", "algorithm", "settings", "net", "ledger_book", "records", "doing", "asked_for")


class RecordDiffers(UserWarning):
    """A record is read beside other data, versions or a model of another start than it was written with."""


class Packed(NamedTuple):
    """A run in plain values: what it is, what happened, and its tensors."""

    about: dict[str, Any]
    history: dict[str, Any]
    tensors: dict[str, Tensor]


# --------------------------------------------------------------------------- to the disk


def save(run: Run, folder: str | Path, *, loop: Loop | None = None) -> Path:
    """Write a run's folder; :meth:`fedlab.Run.save`. With its ``loop`` it can go on from there."""
    if not run.records:
        raise ValueError("no round has finished yet: there is nothing to save")
    packed = pack(run)
    if loop is not None:
        try:
            held: dict[str, Tensor] = {}
            packed.history["loop"] = encode(loop.snapshot(loop.exchange.transport), held, "loop")
            packed.tensors.update(held)
        except TypeError as error:
            packed.history["stuck"] = str(error)
    beside = {HISTORY: files.as_json(packed.history), WEIGHTS: to_bytes(packed.tensors)}
    body = {"kind": "run", "saved": now(), "versions": versions(), **packed.about}
    files.write_folder(Path(folder), {**beside, RUN: files.seal(body, beside)}, main=RUN)
    return Path(folder)


def pack(run: Run) -> Packed:
    """Put a run into plain values."""
    tensors: dict[str, Tensor] = {}
    kept = {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.init and f.name not in APART}
    history = {
        "records": [encode(vars(record), tensors) for record in run.records],
        "ledger": [list(row) for row in run.ledger_book.rows],
        "bytes": run.ledger_book.total,
        "run": encode(kept, tensors),
        "constants": encode(run.net.constants, tensors, "constants"),
    }
    about = {
        "algorithm": run.asked_for["algorithm"],
        "model": say_model(run.model_name, run.net),
        "settings": run.asked_for["settings"],
        "plan": run.plan.model_dump(mode="json", by_alias=True),
        "data": say_data(run.federation) if run.has_rows else say_no_data(run.plan),
        "rounds": len(run.records),
        "chosen": dict(run.chosen),
        "test_openings": run.test_openings,
    }
    return Packed(about, history, tensors)


def say_data(federation: Federation) -> dict[str, Any]:
    """Say which data it was, without any of them."""
    locked = {"lock": list(federation.locking)} if federation.locking else {}
    return {
        "name": federation.name,
        "sites": {site.name: len(site) for site in federation.sites},
        "fingerprint": federation.fingerprint,
        **locked,
    }


def say_no_data(plan: Plan) -> dict[str, Any]:
    """Say which data a server asked for, which has none of them."""
    return {"name": plan.about, "sites": dict.fromkeys(plan.sites, 0), "fingerprint": ""}


def versions() -> dict[str, str]:
    """Versions that the numbers of a run may hang on."""
    own = {"python": platform.python_version()}
    for name, distribution in {"fedlab": "fedlab-workbench", "torch": "torch", "numpy": "numpy"}.items():
        try:
            own[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            own[name] = "unknown"
    return own


# --------------------------------------------------------------------------- from the disk


def load(
    folder: str | Path,
    federation: Federation | None = None,
    *,
    model: ModelLike | None = None,
    algorithm: str | Algorithm | None = None,
    **settings: Any,
) -> Run:
    """Read a run's folder; :meth:`fedlab.Run.load`."""
    about, history, tensors = read(Path(folder))
    found = federation or find_data(about["data"], about["settings"]["seed"])
    run, apart = unpack(Packed(about, history, tensors), found, model=model, algorithm=algorithm, settings=settings)
    tell(Path(folder), differences(about, found) + apart)
    return run


def read(folder: Path) -> Packed:
    """Return what a run's folder holds, checked."""
    about = files.read_main(folder, RUN)
    raw = {name: files.read_file(folder, name, about) for name in (HISTORY, WEIGHTS)}
    return Packed(about, files.parsed(folder / HISTORY, raw[HISTORY]), from_bytes(raw[WEIGHTS]))


def unpack(
    packed: Packed,
    federation: Federation,
    *,
    model: ModelLike | None = None,
    algorithm: str | Algorithm | None = None,
    settings: Mapping[str, Any] | None = None,
    arm: str | None = None,
) -> tuple[Run, list[str]]:
    """Return the run, and in what its model differs from then; ``arm`` is its name in a study."""
    about, history, tensors = packed
    alg = find_algorithm(about["algorithm"], algorithm, arm=arm)
    chosen = find_settings(about["settings"], settings or {})
    run = begin(planned(federation, find_model(about["model"], model), alg, chosen))
    apart = check_model(about["model"], run.net)
    apart += [f"the algorithm's {what}" for what in differs(about["algorithm"], content(run.algorithm))]
    for name, said in about["settings"].get("content", {}).items():
        then = {"content": said, "described": about["settings"].get("described", 1)}
        apart += [f"{name}: {what}" for what in differs(then, content(getattr(run.settings, name)))]
    run.model_name = about["model"]["name"]
    with torch.no_grad():
        for name, value in decode(history["constants"], tensors).items():
            run.net.constants[name].copy_(value)  # the module's own: frozen layers are as they were
    known = {f.name for f in dataclasses.fields(run)}
    for name, value in decode(history["run"], tensors).items():
        if name in known:
            setattr(run, name, value)
    run.records = [Record(**decode(record, tensors)) for record in history["records"]]
    run.ledger_book.rows = [Entry(r, p, tuple(sites), *rest) for r, p, sites, *rest in history["ledger"]]
    run.ledger_book.total = history["bytes"]
    if "loop" in history and not run.models and not whole(alg):
        run.models = _held(decode(history["loop"], tensors)["sites"], sorted(federation.names))
    return run, apart


def _held(sites: Mapping[str, Any], names: list[str]) -> dict[str, list[Tensors]]:
    """Return the sites' own models of a run that was stopped: they are handed out at its end, which it has not seen."""
    models: dict[str, list[Tensors]] = {}
    for number, name in enumerate(names):
        state = sites["each"][name]
        held = state.get("kept") or state.get("latest") or {}
        if held:
            models[name] = [held[key] for key in sorted(held, key=int)]
        elif sites["stack"] is not None and number in sites["stack"][1][1]:
            latest, rows = sites["stack"][1]
            models[name] = [{k: v[rows[number]] for k, v in model.items()} for model in latest]
    return models


def find_data(said: Mapping[str, Any], seed: int) -> Federation:
    """Load the recipe of that name again, with the sites, the lock and, where it can be found, the split of then."""
    import data_recipes

    if said["name"] not in data_recipes.recipes():
        raise ValueError(
            f"the record is of {said['name']!r}, which is no recipe here, and a record holds no patients: give the "
            "federation"
        )
    whole = data_recipes.load(said["name"])
    part = whole.select(*said["sites"])
    if "lock" in said:
        share, draw = said["lock"]
        part = part.lock(share, seed=draw)
    tried = (part, part.resplit(seed))
    return next((each for each in tried if same_data(each, said)), part)


def same_data(federation: Federation, said: Mapping[str, Any]) -> bool:
    """Compare by fingerprint; that of an older record has the order of the sites of then in it."""
    if federation.fingerprint == said["fingerprint"]:
        return True
    return set(said["sites"]) == set(federation.names) and (
        federation.fingerprint_of(list(said["sites"])) == said["fingerprint"]
    )


def differences(about: Mapping[str, Any], federation: Federation | None = None) -> list[str]:
    """Say in what data and versions differ from then, with both values."""
    here = versions()
    apart = [
        f"{name} (then {then}, here {here.get(name, 'none')})"
        for name, then in about["versions"].items()
        if then != here.get(name)
    ]
    if federation is not None and not same_data(federation, about["data"]):
        then, now_ = about["data"], say_data(federation)
        which = [
            f"{d['name']}, {sum(d['sites'].values())} rows, fingerprint {d['fingerprint'][:12]}" for d in (then, now_)
        ]
        apart.insert(0, f"the data or their split (then {which[0]}; here {which[1]})")
    return apart


def tell(folder: Path, apart: list[str]) -> None:
    """Warn of what differs."""
    if apart:
        warnings.warn(
            f"the record {folder} was made with other: {'; '.join(apart)}. Its stored numbers stand; what is computed "
            "now may differ from then.",
            RecordDiffers,
            stacklevel=4,
        )
