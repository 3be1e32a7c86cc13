"""The parts of a run in words: which algorithm, which settings, which model; and the same again from the words.

What has no words (a class or a function of one's own) is named, and asked for when the record is loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Mapping
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np
from torch import Tensor

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.registry import ALGORITHMS, algorithm, brought
from fedlab.engine.identity import DESCRIBED, content, differences
from fedlab.engine.net import Net
from fedlab.engine.optimisers import SGD, Adam
from fedlab.engine.settings import Settings
from fedlab.models import MODELS
from fedlab.storage.codec import TAG, Undecodable, decode, encode, to_bytes

OPTIMIZERS: dict[str, type[Any]] = {"SGD": SGD, "Adam": Adam}
STANDARD = frozenset(sys.stdlib_module_names)


def own_fields(thing: Any) -> dict[str, Any]:
    """Return a dataclass's fields, not those of what is inside them."""
    return {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.init}


# --------------------------------------------------------------------------- the algorithm


def say_algorithm(alg: Algorithm) -> dict[str, Any]:
    """Say which algorithm it is: its registered name, its class and its fields; ``null`` for what has no words.

    Examples
    --------
    >>> say_algorithm(algorithm("fedprox"))["name"], say_algorithm(algorithm("fedprox"))["fields"]["mu"]
    ('fedprox', 0.1)
    """
    cls, found = type(alg), _words(own_fields(alg))
    return {
        "name": _registered(cls),
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "said": str(alg),
        "fields": found,
        "content": content(alg),
        "described": DESCRIBED,
    }


def _words(value: Any) -> Any:
    """Return a value as JSON; nothing where it has a tensor, a function or an object in it."""
    tensors: dict[str, Tensor] = {}
    try:
        found = encode(value, tensors)
    except TypeError:
        return None
    return None if tensors else found


def _registered(cls: type[Algorithm]) -> str | None:
    own = next((name for name, known in ALGORITHMS.items() if known is cls), None)
    if own:
        return own
    alike = [found for found in brought().values() if found.attr == cls.__qualname__]
    return next((found.name for found in alike if found.load() is cls), None)


def find_algorithm(
    said: Mapping[str, Any], given: str | Algorithm | type[Algorithm] | None, *, arm: str | None = None
) -> Algorithm:
    """Return the algorithm that was said, of a class ``given`` by hand where no name leads to it.

    ``arm`` is its name in a study: who reads one gives a dict of algorithms by these names.
    """
    fields, name = said["fields"], said["class"].rpartition(":")[2]
    made = f"{name.rpartition('.')[2]}(…)"
    argument = f"algorithm={made}" if arm is None else f"algorithms={{{arm!r}: {made}}}"
    if given is None:
        if fields is None:
            raise ValueError(
                f"the algorithm was {said['said']}, with fields that a record cannot hold: give {argument}"
            )
        if said["name"] not in (*ALGORITHMS, *brought()):
            raise ValueError(
                f"the algorithm was {said['said']} ({said['class']}), which is not known here: give {argument}, enter "
                "it with fedlab.algorithms.register(…), or install the package that brings it"
            )
        given = said["name"]
    base = algorithm(given)
    if type(base).__qualname__ != name:
        raise ValueError(
            f"the algorithm was {said['said']}, and {base} was given: give one of the class {name}, {argument}"
        )
    if fields is None or _words(own_fields(base)) == fields:
        return base  # as it was given: a class with an __init__ of its own need not take the fields
    try:
        return dataclasses.replace(base, **decode(fields, {}))
    except TypeError as error:
        raise ValueError(
            f"{name} no longer takes what the record has of it ({error}): use its version of then"
        ) from error


# --------------------------------------------------------------------------- the settings


def say_settings(settings: Settings) -> dict[str, Any]:
    """Say the settings; under ``unsaid`` those that are functions or objects of one's own, and their content."""
    said: dict[str, Any] = {"unsaid": {}, "content": {}, "described": DESCRIBED}
    for name, value in own_fields(settings).items():
        kind = type(value).__name__
        if OPTIMIZERS.get(kind) is type(value):
            said[name] = {"is": kind, **own_fields(value)}
            continue
        words = _words(value)
        if words is None and value is not None:
            said["unsaid"][name] = named(value)
            said["content"][name] = content(value)
        else:
            said[name] = words
    return said


def named(value: Any) -> str:
    """Name what has no words; a function without its place in memory, so that the name holds in another process."""
    name = getattr(value, "__qualname__", "")
    return f"{value.__module__}.{name}" if name else str(value)


def find_settings(said: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were said; ``given`` are those that had no words, or where to compute."""
    known = [f.name for f in dataclasses.fields(Settings)]
    out: dict[str, Any] = {}
    for name in given:
        if name not in said["unsaid"] and name not in ("device", "engine"):
            raise ValueError(f"{name} is in the record: it cannot be given; device and engine can")
    for name, value in said["unsaid"].items():
        if name not in given:
            raise ValueError(f"the setting {name} was {value}, which a record cannot hold: give {name}=")
    for name in known:
        if name in said:
            value = said[name]
            chosen = isinstance(value, dict) and "is" in value
            out[name] = _optimizer(value) if chosen else decode(value, {})
    return out | dict(given)


def _optimizer(said: Mapping[str, Any]) -> Any:
    if said["is"] not in OPTIMIZERS:
        raise Undecodable(f"there is no optimizer {said['is']!r}; known are {', '.join(OPTIMIZERS)}")
    return made_of(OPTIMIZERS[said["is"]], {k: v for k, v in said.items() if k != "is"}, said["is"])


# --------------------------------------------------------------------------- the model


def say_model(name: str, net: Net) -> dict[str, Any]:
    """Say which model it is, and how to tell another of that name."""
    return {
        "name": name,
        "layers": _layers(net),
        "tensors": _shapes(net),
        "start": _start(net),
        "constants": _constants(net),
        "content": net.described,
        "described": DESCRIBED,
    }


def _shapes(net: Net) -> dict[str, list[int]]:
    return {key: list(tensor.shape) for key, tensor in {**net.start(), **net.constants}.items()}


def _layers(net: Net) -> str:
    return " ".join(repr(net.model).split())


def _start(net: Net) -> str:
    return sha256(to_bytes(net.start())).hexdigest()


def _constants(net: Net) -> str:
    """Return the sum of what is not learned: frozen parameters and buffers, but for torch's counters."""
    return sha256(to_bytes({k: v for k, v in net.constants.items() if k not in net.uncounted})).hexdigest()


def find_model(said: Mapping[str, Any], given: Any) -> Any:
    """Return the model to build: the one given, else fedlab's own of that name."""
    if given is None and said["name"] not in MODELS:
        raise ValueError(f"the model was {said['name']!r}, one of your own: give model=, its factory or module")
    return said["name"] if given is None else given


def check_model(said: Mapping[str, Any], net: Net) -> list[str]:
    """Refuse a model of other tensors; return what else differs.

    Raises
    ------
    ValueError
        If a name or shape differs; the message has both.
    """
    here = _shapes(net)
    apart = [
        f"{key} {said['tensors'].get(key, 'none')} in the record, {here.get(key, 'none')} here"
        for key in dict.fromkeys([*said["tensors"], *here])
        if said["tensors"].get(key) != here.get(key)
    ]
    if apart:
        raise ValueError(
            f"the record's model {said['name']!r} has other tensors: {'; '.join(apart[:3])}. Give model= as it was "
            "when the run was made, and a federation with the same columns"
        )
    if said["layers"] != _layers(net):
        return [f"the model's layers (then {said['layers']}, here {_layers(net)})"]
    other = [f"the model's {what}" for what in differs(said, net.described)]
    for what, now in (("start", _start(net)), ("constants", _constants(net))):
        if said.get(what, now) != now:
            other.append(f"the model's {what} (then {said[what][:12]}, here {now[:12]})")
    return other


def differs(said: Mapping[str, Any], here: Any) -> list[str]:
    """Say in what a content differs from the one that was said; nothing of a record that does not have it."""
    return list(differences(said["content"], here, said.get("described", 1))) if "content" in said else []


# --------------------------------------------------------------------------- values and code, in words


class Unsayable(ValueError):
    """A value that a plan cannot hold; the text says what it is and what to give in its place."""


def say(value: Any) -> Any:
    """Return a value as JSON from which :func:`find` makes it again: numbers, texts, nests, dataclasses, code by name.

    Raises
    ------
    Unsayable
        For what has no name that leads to it (a lambda, a closure, a class of a notebook), with the remedy.

    Examples
    --------
    >>> say((1, SGD(momentum=0.5)))["of"][1]["fields"]
    {'momentum': 0.5, 'weight_decay': 0.0}
    >>> find(say(SGD(momentum=0.5)))
    SGD(momentum=0.5, weight_decay=0.0)
    >>> say(lambda round, rounds: 1.0)
    Traceback (most recent call last):
    ...
    fedlab.engine.parts.Unsayable: a lambda has no name that leads to it: write it as a function in a file and import it
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str, float)):
        return encode(value, {})
    if isinstance(value, list):
        return [say(each) for each in value]
    if isinstance(value, tuple):
        return {TAG: "tuple", "of": [say(each) for each in value]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {key: say(each) for key, each in value.items()}
        return {TAG: "dict", "of": [[say(key), say(each)] for key, each in value.items()]}
    if isinstance(value, (FunctionType, type)):
        return {TAG: "code", **_code(value)}
    if dataclasses.is_dataclass(value):
        return {TAG: "object", **_code(type(value)), "fields": say(own_fields(value))}
    raise Unsayable(
        f"a {type(value).__qualname__} has no words: give a number or a text, one of fedlab's own, or a dataclass or "
        "function of your own that stands in a file"
    )


def find(said: Any) -> Any:
    """Return what :func:`say` was given.

    Raises
    ------
    ValueError
        If code is not here, or another than it was.
    """
    if isinstance(said, list):
        return [find(each) for each in said]
    if not isinstance(said, Mapping):
        return said
    kind = said.get(TAG)
    if kind == "tuple":
        return tuple(find(each) for each in said["of"])
    if kind == "dict":
        return {find(key): find(each) for key, each in said["of"]}
    if kind == "code":
        return find_code(said)
    if kind == "object":
        return made_of(find_code(said), find(said["fields"]), str(said["at"]))
    return decode(said, {}) if kind else {key: find(each) for key, each in said.items()}


def made_of(cls: Any, fields: Mapping[str, Any], at: str) -> Any:
    """Make an object of a class and its fields; a class that takes others is refused."""
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(
            f"{at} does not take what the plan has of it ({error}): use the version it was made with"
        ) from error


def place_of(thing: Any) -> str:
    """Return ``module:name`` of a class or function.

    Raises
    ------
    Unsayable
        If nothing of that name leads to it from another process.
    """
    module, name = thing.__module__, thing.__qualname__
    if "<lambda>" in name:
        raise Unsayable("a lambda has no name that leads to it: write it as a function in a file and import it")
    if "<locals>" in name:
        what = name.rpartition(".")[2]
        raise Unsayable(f"{what} stands inside of {name.partition('.')[0]}(…), where nobody else finds it: write it at "
                        "the top of a file and import it")  # fmt: skip
    if module == "__main__":
        raise Unsayable(f"{name} stands in a notebook or script, where nobody else finds it: write it into a file "
                        "(%%writefile mine.py) and import it from there")  # fmt: skip
    return f"{module}:{name}"


def _code(thing: Any) -> dict[str, Any]:
    return {"at": place_of(thing), "content": content(thing), "described": DESCRIBED}


def find_code(said: Mapping[str, Any]) -> Any:
    """Import the class or function that was said, and make sure that it is the same; what a library has is told by it.

    Raises
    ------
    ValueError
        If it is not here, or its source is another.
    """
    at = str(said["at"])
    module, _, name = at.partition(":")
    if module.partition(".")[0] in STANDARD:
        raise ValueError(f"the plan names {at}, which is Python's own: it is no model, algorithm or setting")
    try:
        found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except ImportError as error:
        raise ValueError(f"the plan names {at}, and {module} cannot be imported here ({error}): put its file on the "
                         "path (PYTHONPATH), or install the package that brings it") from error  # fmt: skip
    except AttributeError as error:
        raise ValueError(f"the plan names {at}, and {module} has no {name} here: take the file that the plan was made "
                         "with") from error  # fmt: skip
    if not isinstance(found, (FunctionType, type)):
        raise ValueError(f"the plan names {at}, which is neither a class nor a function here")
    if other := differs(said, content(found)):
        raise ValueError(
            f"{at} is another here than in the plan: {'; '.join(other[:3])}. Take the file that the plan was made "
            "with, or make the plan again"
        )
    return found
