"""A run as a folder, without its patients: of their records it has the fingerprint alone.

``run.json`` says what was asked, of which data, with which versions; ``history.jsonl`` what happened, a line for each
time that it was saved; ``weights.safetensors`` has the model, the sites' own, and what the server and the sites hold.
"""

from __future__ import annotations

import dataclasses
import platform
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedlab.algorithms.base import Algorithm, whole
from fedlab.algorithms.tensors import Tensors
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
from fedlab.engine.plan import Plan, planned
from fedlab.engine.rounds import Loop
from fedlab.engine.run import Record, Run
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.models import ModelLike
from fedlab.storage import Writer, codec, hold, odd
from fedlab.storage import read as read_folder

RUN, HISTORY, WEIGHTS = "run.json", "history.jsonl", "weights.safetensors"
OLD_HISTORY = "history.json"  # format 1: all that is no tensor
APART = ("federation", "model_name", "algorithm", "settings", "net", "ledger_book", "records", "doing", "asked_for")

DATA = {"name": str, "sites": dict, "fingerprint": str}
ABOUT = {
    "algorithm": {"said": str, "class": str, "name": (str, type(None)), "fields": (dict, type(None))},
    "model": {"name": str, "tensors": dict, "layers": str},
    "settings": {"unsaid": dict, "seed": int, "rounds": int},
    "data": DATA,
    "rounds": int,
    "chosen": dict,
    "test_openings": int,
}
MAIN = {**ABOUT, "saved": str, "versions": dict}


class RecordDiffers(UserWarning):
    """A record is read beside other data, versions or a model of another start than it was written with."""


class Packed(NamedTuple):
    """A run in plain values: its file, what it is, what happened round by round, and all else that it has."""

    where: Path
    about: dict[str, Any]
    past: dict[str, list[Any]]
    state: dict[str, Any]


# --------------------------------------------------------------------------- to the disk


@dataclass
class Growing:
    """A run's record that is held, and how much of the history it has."""

    writer: Writer
    records: int = 0
    entries: int = 0


def save(run: Run, folder: str | Path, *, loop: Loop | None = None, into: Growing | None = None) -> Path:
    """Write a run's folder; :meth:`fedlab.Run.save`. With its ``loop`` it can go on from there.

    ``into`` is the record of this run that is held already: only what is new of its history is written.
    """
    if not run.records:
        raise ValueError("no round has finished yet: there is nothing to save")
    if into is None:
        with hold(folder, RUN, "saves a run", brief=True) as writer:
            return save(run, folder, loop=loop, into=Growing(writer))
    entries = run.ledger_book.rows
    line = {HISTORY: past_line(run.records[into.records :], entries[into.entries :])}
    state = {WEIGHTS: dumped(state_of(run), loop)}
    body = {"kind": "run", "saved": now(), "versions": versions(), **say_run(run)}
    if into.records:
        into.writer.commit(body, state, grown=line)
    else:  # what is there, if anything, is another run's
        into.writer.commit(body, state | line)
    into.records, into.entries = len(run.records), len(entries)
    return into.writer.folder


def say_run(run: Run) -> dict[str, Any]:
    """Say what a run was asked, and how far it is."""
    return {
        "algorithm": run.asked_for["algorithm"],
        "model": say_model(run.model_name, run.net),
        "settings": run.asked_for["settings"],
        "plan": run.plan.model_dump(mode="json", by_alias=True),
        "data": say_data(run.federation) if run.has_rows else say_no_data(run.plan),
        "rounds": len(run.records),
        "chosen": dict(run.chosen),
        "test_openings": run.test_openings,
    }


def past_line(records: Sequence[Record], entries: Sequence[Entry]) -> bytes:
    """Return a line of the history: rounds, and entries of the ledger."""
    tensors: Tensors = {}
    line = {"records": codec.encode(list(map(vars, records)), tensors), "ledger": list(map(list, entries))}
    if tensors:
        raise TypeError(f"the history has a tensor ({next(iter(tensors))}), where numbers belong")
    return codec.as_json(line) + b"\n"


def state_of(run: Run) -> dict[str, Any]:
    """Return what a run has besides its history; it does not grow with the rounds."""
    kept = {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.init and f.name not in APART}
    return {"bytes": run.ledger_book.total, "run": kept, "constants": run.net.constants}


def dumped(state: Mapping[str, Any], loop: Loop | None) -> bytes:
    """Put a state into a file; with it what the server and the sites hold, or why that has no words."""
    if loop is None:
        return codec.dump(state)
    try:
        return codec.dump({**state, "loop": loop.snapshot(loop.exchange.transport)})
    except TypeError as error:
        return codec.dump({**state, "stuck": str(error)})


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
    """Versions that the numbers of a run may depend on."""
    here = {
        name: _version(of) for name, of in {"fedlab": "fedlab-workbench", "torch": "torch", "numpy": "numpy"}.items()
    }
    return {"python": platform.python_version(), **here}


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


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
    packed = read(folder)
    about = packed.about
    if federation is None and is_servers(about):
        run, apart = unpack_servers(packed, model=model, algorithm=algorithm, settings=settings)
        tell(Path(folder), differences(about) + apart)
        return run
    found = federation or find_data(about["data"], about["settings"]["seed"])
    run, apart = unpack(packed, found, model=model, algorithm=algorithm, settings=settings)
    tell(Path(folder), differences(about, found) + apart)
    return run


def read(folder: str | Path) -> Packed:
    """Return what a run's folder holds, checked."""
    found = read_folder(folder, RUN, MAIN)
    files, where = found.files, found.folder / RUN
    with odd(where):
        if OLD_HISTORY in files:
            return Packed(where, found.body, *read_old(codec.from_json(files[OLD_HISTORY]), files[WEIGHTS]))
        return Packed(where, found.body, joined(read_past(files[HISTORY])), codec.load(files[WEIGHTS]))


def read_past(raw: bytes) -> list[dict[str, list[Any]]]:
    """Return the lines of a history."""
    lines = map(codec.from_json, raw.splitlines())
    return [{"records": codec.decode(line["records"], {}), "ledger": line["ledger"]} for line in lines]


def joined(lines: Iterable[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Put the lines of one run's history together."""
    every = list(lines)
    return {what: [each for line in every for each in line[what]] for what in ("records", "ledger")}


def read_old(history: Mapping[str, Any], weights: bytes | Tensors) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return past and state of a run of format 1, which had all that is no tensor in one file."""
    tensors = codec.from_bytes(weights) if isinstance(weights, bytes) else weights
    found = {name: codec.decode(value, tensors) for name, value in history.items()}
    return {what: found.pop(what) for what in ("records", "ledger")}, found


def unpack(
    packed: Packed,
    federation: Federation,
    *,
    model: ModelLike | None = None,
    algorithm: str | Algorithm | None = None,
    settings: Mapping[str, Any] | None = None,
    arm: str | None = None,
) -> tuple[Run, list[str]]:
    """Return the run, and in what its model differs from the one that was saved; ``arm`` is its name in a study."""
    about = packed.about
    with odd(packed.where):
        alg = find_algorithm(about["algorithm"], algorithm, arm=arm)
        chosen = find_settings(about["settings"], settings or {})
    said = about.get("plan", {})
    kept = {name: said.get(name) for name in ("primary", "policy")}
    plan = planned(federation, find_model(about["model"], model), alg, chosen, **kept)
    run = begin(plan.reporting(said.get("report", {}), export=said.get("export", False)))
    with odd(packed.where):
        apart = check_model(about["model"], run.net)
        apart += [f"the algorithm's {what}" for what in differs(about["algorithm"], content(run.algorithm))]
        for name, said in about["settings"].get("content", {}).items():
            then = {"content": said, "described": about["settings"].get("described", 1)}
            apart += [f"{name}: {what}" for what in differs(then, content(getattr(run.settings, name)))]
        _fill(run, packed)
    return run, apart


def is_servers(about: Mapping[str, Any]) -> bool:
    """Return whether a record is that of a server, which held no row."""
    return "plan" in about and not about["data"]["fingerprint"] and not any(about["data"]["sites"].values())


def unpack_servers(
    packed: Packed,
    *,
    model: ModelLike | None,
    algorithm: str | Algorithm | None,
    settings: Mapping[str, Any],
) -> tuple[Run, list[str]]:
    """Return the run of a server, made of the plan in its record, and in what its model differs."""
    if model is not None or algorithm is not None:
        raise ValueError(
            f"{packed.where} is the record of a server, made of its plan: leave out model= and algorithm=, or give the "
            "federation"
        )
    with odd(packed.where):
        plan = Plan.model_validate(packed.about["plan"])
    run = begin(plan.changed(**settings) if settings else plan)
    with odd(packed.where):
        apart = check_model(packed.about["model"], run.net)
        _fill(run, packed)
    return run, apart


def _fill(run: Run, packed: Packed) -> None:
    """Give a begun run what its record has."""
    _, about, past, state = packed
    run.model_name = about["model"]["name"]
    with torch.no_grad():
        for name, value in state["constants"].items():
            run.net.constants[name].copy_(value)  # the module's own: frozen layers are as they were
    known = {f.name for f in dataclasses.fields(run)}
    for name, value in state["run"].items():
        if name in known:
            setattr(run, name, value)
    run.records = [Record(**record) for record in past["records"]]
    run.ledger_book.rows = [Entry(r, p, tuple(sites), *rest) for r, p, sites, *rest in past["ledger"]]
    run.ledger_book.total = state["bytes"]
    if "loop" in state and not run.models and not whole(run.algorithm):
        run.models = _held(state["loop"]["sites"], sorted(run.names))


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
