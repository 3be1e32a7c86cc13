"""What makes two things the same: their content, never their name.

A record answers only for what it was made with. An algorithm, a model or a schedule is therefore described down to its
values, to those of what it wraps, and to the code of every class and function that is not a library's: an edited
``objective`` is another algorithm, under the same name. A comment or a line break changes nothing.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from hashlib import sha256
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

LIBRARIES = frozenset({"fedlab", "data_recipes", "torch", "numpy", "flwr", "builtins", *sys.stdlib_module_names})
"""Packages whose code is told by their version; a notebook's or a script's ``__main__`` is none of them."""
DEEPEST = 8
CODE = f"code of Python {sys.version_info.major}.{sys.version_info.minor}"
MADE = ("__init__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__")
"""What a dataclass writes for itself: it follows from the fields."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def content(value: Any) -> Any:
    """Describe a value as JSON: equal for what does the same, different where anything differs.

    Examples
    --------
    >>> content({"rate": 0.1, "steps": (1, 2)})
    {'rate': 0.1, 'steps': [1, 2]}
    >>> content(functools.partial(pow, exp=2)) == content(functools.partial(pow, exp=3))
    False
    """
    return _content(value, (), 0)


def differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    """Say in what two descriptions differ, with both values.

    Examples
    --------
    >>> list(differences({"strategy": {"eta": 0.001}}, {"strategy": {"eta": 1.0}}))
    ['strategy.eta (0.001 there, 1.0 here)']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        if "source" in then and "source" in now:
            code = next((key for key in then if key.startswith("code of ") and key in now), "source")
            if then[code] != now[code]:
                yield f"the source of {where or then.get('name', 'it')}"
            then, now = ({k: v for k, v in d.items() if k != "source" and "code of " not in k} for d in (then, now))
        for key in dict.fromkeys([*then, *now]):
            yield from differences(then.get(key), now.get(key), f"{where}.{key}".removeprefix("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif then != now:
        yield f"{where or 'it'} ({_short(then)} there, {_short(now)} here)"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _sum(raw: bytes) -> str:
    return f"sha256:{sha256(raw).hexdigest()}"


def _content(value: Any, above: tuple[int, ...], depth: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if id(value) in above or depth > DEEPEST:
        return f"a {type(value).__name__}"
    inside = functools.partial(_content, above=(*above, id(value)), depth=depth + 1)
    if isinstance(value, Mapping):
        return {str(k): inside(v) for k, v in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [inside(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((inside(v) for v in value), key=str)
    if isinstance(value, (Tensor, np.ndarray)):
        raw = value.detach().cpu().contiguous().numpy() if isinstance(value, Tensor) else np.ascontiguousarray(value)
        return {"shape": list(raw.shape), "dtype": str(raw.dtype), "values": _sum(raw.tobytes())}
    if isinstance(value, (FunctionType, MethodType, functools.partial, type)):
        return _code(value, inside)
    return _object(value, inside)


def _object(value: Any, inside: Any) -> dict[str, Any]:
    """Describe an object by its class and what it holds."""
    out: dict[str, Any] = {"class": inside(type(value))}
    if isinstance(value, nn.Module):
        layers = {name: layer for name, layer in value.named_modules() if not _is_library(type(layer))}
        out["layers"] = " ".join(repr(value).split())
        out["own"] = {
            name: ({"class": inside(type(layer))} if name else {})
            | {k: inside(v) for k, v in _plain_fields(layer).items()}
            for name, layer in layers.items()
        }
        return out
    if dataclasses.is_dataclass(value):
        held = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    else:
        held = dict(getattr(value, "__dict__", {}))
    if held or hasattr(value, "__dict__"):
        return out | {k: inside(v) for k, v in held.items()}
    return out | {"said": ADDRESS.sub("", repr(value))}


def _plain_fields(layer: nn.Module) -> dict[str, Any]:
    """Return what a layer of one's own holds besides tensors and layers."""
    return {k: v for k, v in vars(layer).items() if not k.startswith("_") and k != "training"}


def _is_library(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "") or "").split(".")[0] in LIBRARIES


# --------------------------------------------------------------------------- code


def _code(value: Any, inside: Any) -> Any:
    """Describe a class or a function: by its name if it is a library's, else by its source and what it refers to."""
    if isinstance(value, functools.partial):
        return {"partial": inside(value.func), "args": inside(value.args), "keywords": inside(value.keywords)}
    if isinstance(value, MethodType):
        return {"method": inside(value.__func__), "of": inside(value.__self__)}
    name = f"{value.__module__}:{value.__qualname__}"
    if _is_library(value):
        return name
    if isinstance(value, type):
        parts: dict[str, Any] = {"name": value.__qualname__}
        for base in value.__bases__:
            if not _is_library(base):
                parts[f"base {base.__qualname__}"] = inside(base)
        for key, held in sorted(vars(value).items()):
            if key != "__repr__":
                parts |= _member(key, held, inside, value)
        return parts
    parts = {"name": value.__qualname__, **_sums(value)}
    parts |= {"defaults": inside(value.__defaults__)} if value.__defaults__ else {}
    parts |= {"keywords": inside(value.__kwdefaults__)} if value.__kwdefaults__ else {}
    cells = [cell.cell_contents for cell in value.__closure__ or () if cell.cell_contents is not value]
    parts |= {"closure": inside(cells)} if cells else {}
    if globals_ := _referred(value):
        parts["refers to"] = {k: inside(v) for k, v in globals_.items()}
    return parts


def _member(key: str, held: Any, inside: Any, owner: type) -> dict[str, Any]:
    """Describe one entry of a class's body; what a dataclass makes of itself is not one."""
    function = held.__func__ if isinstance(held, (classmethod, staticmethod)) else held
    function = function.fget if isinstance(function, property) else function
    if isinstance(function, FunctionType):
        made = dataclasses.is_dataclass(owner) and key in MADE and "<string>" in function.__code__.co_filename
        return {} if made else {key: inside(function)}
    return {} if key.startswith("__") else {key: inside(held)}


def _sums(function: FunctionType) -> dict[str, str]:
    """Return the sums of a function's code as it runs, under this Python's name, and of its source.

    The code is what ran, also where the file was edited since; another Python compiles to another, and then the source
    decides.
    """
    return {CODE: _sum(repr(_compiled(function.__code__, function.__doc__)).encode()), "source": _source(function)}


def _source(function: FunctionType) -> str:
    """Return the sum of a source as Python reads it; of a lambda inspect gives the whole line: then it has none."""
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return ""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]
    return _sum(ast.dump(node).encode())


def _compiled(code: CodeType, doc: str | None = None) -> Any:
    constants = [_constant(None if doc and c == doc else c) for c in code.co_consts]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _compiled(value)
    if isinstance(value, frozenset):  # whose order is another in every process
        return sorted(map(repr, value))
    return repr(value)


def _referred(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function reads: numbers, functions and classes of one's own, not modules."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    found = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, ModuleType)
        and (isinstance(value, (bool, int, float, str, tuple, FunctionType, type, functools.partial)))
        and not (isinstance(value, (FunctionType, type)) and _is_library(value))
    }


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
