"""What a plan says of algorithm, model and settings, and the same again from what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from fedlab.algorithms import Algorithm, algorithm
from fedlab.algorithms.registry import ALGORITHMS, brought
from fedlab.engine.identity import content
from fedlab.engine.parts import (
    Unsayable,
    differs,
    find,
    find_code,
    find_settings,
    made_of,
    place_of,
    say,
    say_algorithm,
    say_settings,
)
from fedlab.engine.settings import Settings
from fedlab.models import ModelLike, model_name, named_model
from fedlab.storage.codec import Undecodable, decode


class Strict(BaseModel):
    """A part of a plan: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


class Column(Strict):
    """A feature; its codes as :func:`~fedlab.engine.parts.say` says them, in order."""

    name: str
    kind: str = "number"
    unit: str = ""
    range: tuple[float, float] | None = None
    codes: Any = None
    missing: tuple[str, ...] = ()


class AlgorithmSpec(Strict):
    """Which algorithm, as :func:`~fedlab.engine.parts.say_algorithm` has it."""

    name: str | None
    class_: str = Field(alias="class")
    said: str
    fields: dict[str, Any] | None
    content: Any
    described: int


class ModelSpec(Strict):
    """Which model: a registered name, or a factory of somebody's own by its place; ``lacks`` says why it has none."""

    name: str
    code: dict[str, Any] | None = None
    lacks: str = ""


def sum_of(body: Any) -> str:
    """Return the SHA-256 of what JSON can hold."""
    return "sha256:" + sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()


@cache
def version() -> str:
    """Return the version of the fedlab that is here."""
    try:
        return metadata.version("fedlab-workbench")
    except metadata.PackageNotFoundError:
        return "unknown"


def model_spec(model: ModelLike) -> ModelSpec:
    """Say which model."""
    if isinstance(model, str):
        named_model(model)
        return ModelSpec(name=model)
    if isinstance(model, nn.Module):
        why = f"a ready {type(model).__name__} has weights that no words hold: give its class, or what makes it"
        return ModelSpec(name=model_name(model), lacks=why)
    try:
        return ModelSpec(name=model_name(model), code=say(model))
    except Unsayable as why:
        return ModelSpec(name=model_name(model), lacks=str(why))


def settings_spec(settings: Settings) -> dict[str, Any]:
    """Say the settings, and where the code lies of what has no words."""
    said = say_settings(settings)
    code = {}
    for name in said["unsaid"]:
        try:
            code[name] = say(getattr(settings, name))
        except Unsayable as why:
            code[name] = {"lacks": str(why)}
    return {**said, "code": code} if code else said


def codes_spec(codes: Mapping[Any, str] | None) -> Any:
    """Say a feature's codes."""
    try:
        return None if codes is None else say(codes)
    except Unsayable as why:
        return {"lacks": str(why)}


def is_lacking(said: Any) -> bool:
    """Return whether this stands for what has no words."""
    return isinstance(said, dict) and said.keys() == {"lacks"}


def lacks_algorithm(said: AlgorithmSpec) -> str:
    """Say what no file can hold of an algorithm; empty if nothing."""
    if said.fields is None:
        return "it holds what has no words: give one whose fields are numbers and texts"
    if said.name is not None:
        return ""
    module, _, name = said.class_.partition(":")
    try:
        place_of(_Place(module, name))
    except Unsayable as why:
        return str(why)
    return ""


class _Place:
    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__ = module, name


# --------------------------------------------------------------------------- from the words


@contextmanager
def as_said(what: str) -> Iterator[None]:
    """Say of which part of a plan it is that it cannot be made of what the plan says."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, Undecodable) as error:
        raise ValueError(
            f"the plan's {what} cannot be made of what it says ({type(error).__name__}: {error}): take the file as it "
            "was agreed, or make the plan again"
        ) from error


def found_settings(said: Mapping[str, Any]) -> Settings:
    """Make the settings of their words."""
    unsaid, code = said.get("unsaid", {}), said.get("code", {})
    with as_said("settings"):
        words = {name: value for name, value in said.items() if name != "code"}
        return Settings(**find_settings(words, {name: find(code[name]) for name in unsaid}))


def found_model(said: ModelSpec) -> ModelLike:
    """Find the model that is said."""
    if said.lacks:
        raise ValueError(f"this plan cannot be carried out: the model {said.name}: {said.lacks}")
    if said.code is None:
        named_model(said.name)
        return said.name
    with as_said("model"):
        found: ModelLike = find(said.code)
    return found


def found_algorithm(said: AlgorithmSpec) -> Algorithm:
    """Make the algorithm that is said, and refuse one of another source."""
    if said.fields is None:
        raise ValueError(f"this plan cannot be carried out: the algorithm {said.said}: {lacks_algorithm(said)}")
    known = said.name in (*ALGORITHMS, *brought())
    cls = type(algorithm(str(said.name))) if known else find_code({"at": said.class_})
    if known and cls.__qualname__ != said.class_.rpartition(":")[2]:
        raise ValueError(
            f"the plan's algorithm {said.name!r} is of {said.class_}, and here of {cls.__module__}:"
            f"{cls.__qualname__}: take the file as it was agreed, or make the plan again"
        )
    if not (isinstance(cls, type) and issubclass(cls, Algorithm)):
        raise ValueError(f"the plan's algorithm {said.class_} is no fedlab.algorithms.Algorithm here")
    with as_said("algorithm"):
        made: Algorithm = made_of(cls, decode(said.fields, {}), said.class_)
    here = say_algorithm(made)["name"]
    if said.name and here and here != said.name:
        raise ValueError(
            f"the plan's algorithm is {said.name!r}, and its class {said.class_} is {here!r} here: take the file "
            "as it was agreed, or make the plan again"
        )
    if other := differs(said.model_dump(by_alias=True), content(made)):
        raise ValueError(
            f"{said.class_} is another here than in the plan: {'; '.join(other[:3])}. Take the file that the plan "
            "was made with, or make the plan again"
        )
    return made
