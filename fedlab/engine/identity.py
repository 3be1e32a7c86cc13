"""What makes two things the same: their content, never their name.

A record answers only for what it was made with. An algorithm, a model or a schedule is therefore described down to its
values, to those of what it wraps, and to the code of every class and function that is not a library's, with all that
this code reads: an edited ``objective`` is another algorithm, under the same name. A comment or a line break changes
nothing. What cannot be read (an open file, a running generator) is said to be opaque, and is never taken as equal.
"""

from __future__ import annotations

import ast
import copyreg
import dataclasses
import dis
import functools
import importlib
import importlib.util
import inspect
import json
import re
import sys
import sysconfig
import textwrap
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

LIBRARIES = frozenset({"fedlab", "data_recipes", "torch", "numpy", "flwr", "builtins"})
"""Packages whose code is told by their version, as are the standard library's modules."""
DESCRIBED = 2
"""The way of describing that a record was written in; of an older one, what both ways have in common is compared."""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STEPS, CODE = f"code of Python {PYTHON} by step", f"code of Python {PYTHON}"
MADE = ("__init__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__replace__")
"""What a dataclass writes for itself: it follows from the fields."""
UNSAID = frozenset(
    "__repr__ __dict__ __weakref__ __doc__ __module__ __qualname__ __annotations__ __annotate__ __annotate_func__ "
    "__annotations_cache__ __dataclass_fields__ __dataclass_params__ __match_args__ __abstractmethods__ _abc_impl "
    "__firstlineno__ __static_attributes__ __parameters__ __orig_bases__ __slots__ __type_params__".split()
)
"""Entries of a class that change nothing in what it does, or that follow from the others."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
WORD = re.compile(r"an? \w+")
NO_VALUE = (type(threading.Lock()), type(threading.RLock()), RemovableHandle)
"""What holds no value: one is like another."""
PLAIN: tuple[Any, ...] = (int, str, float, bytes, complex)
PLAIN_DICTS = (dict, OrderedDict, types.MappingProxyType)
PLACES = {"__doc__", "__module__", "__name__", "__qualname__", "__annotations__"}
TORCHS_OWN = frozenset({*vars(nn.Module()), "_flat_weights", "_flat_weight_refs", "_version"})
HOOKS = tuple(k for k in vars(nn.Module()) if k.endswith("_hooks"))


def content(value: Any) -> Any:
    """Describe a value as JSON: equal for what does the same, different where anything differs.

    What cannot be described is an ``{"opaque": …}`` in it, which :func:`differences` never takes as equal.

    Examples
    --------
    >>> content({"rate": 0.1, "steps": (1, 2)})
    {'rate': 0.1, 'steps': [1, 2]}
    >>> content(functools.partial(pow, exp=2)) == content(functools.partial(pow, exp=3))
    False
    """
    return _Description().of(value)


def differences(then: Any, now: Any, described: int = DESCRIBED) -> Iterator[str]:
    """Say in what two descriptions differ, with both values; ``described`` is the way in which the first was written.

    Examples
    --------
    >>> list(differences({"strategy": {"eta": 0.001}}, {"strategy": {"eta": 1.0}}))
    ['strategy.eta (0.001 there, 1.0 here)']
    """
    referred: list[str] = []
    found = list(_differences(then, now, "", described < DESCRIBED, referred))
    yield from found or referred[:1]  # what is said above was compared there


def _differences(then: Any, now: Any, where: str, older: bool, referred: list[str]) -> Iterator[str]:
    if older and isinstance(then, str) and WORD.fullmatch(then) and (not isinstance(now, str) or now.startswith(then)):
        return  # an older record has no more than this of what lay deep
    if older and not isinstance(then, dict) and isinstance(now, dict):  # which said no class of what is in the house
        now = now.get("items", now.get("value", now))
    opaque = next((d["opaque"] for d in (now, then) if isinstance(d, dict) and "opaque" in d), None)
    if opaque is not None and not older:
        yield f"{where or 'it'}, which cannot be compared: {opaque} has nothing that can be read"
    elif isinstance(then, dict) and isinstance(now, dict):
        if "as above" in then or "as above" in now:
            if then != now and not older:
                referred.append(f"{where or 'it'}, which is another")
            return
        if "source" in then and "source" in now:
            code = next((key for key in now if key.startswith("code of ") and key in then), "source")
            if then[code] != now[code]:
                told = f"{_brief(then[code])} there, {_brief(now[code])} here"
                yield f"the source of {where or then.get('name', 'it')} ({told})"
            then, now = ({k: v for k, v in d.items() if k != "source" and "code of " not in k} for d in (then, now))
        for key in dict.fromkeys([*then, *now]):
            if not older or (key in then and key in now):
                inner = f"{where}.{key}".removeprefix(".")
                yield from _differences(then.get(key), now.get(key), inner, older, referred)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(one, other, f"{where}[{number}]", older, referred)
    elif then != now:
        yield f"{where or 'it'} ({_short(then)} there, {_short(now)} here)"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _brief(total: str) -> str:
    """Return the begin of a sum: enough to tell two apart, and to look for in a file."""
    kind, _, digits = total.rpartition(":")
    return f"{kind}:{digits[:12]}"


def _sum(raw: bytes) -> str:
    return f"sha256:{sha256(raw).hexdigest()}"


class _Description:
    """One description under way: what is above, and what has been described already."""

    def __init__(self) -> None:
        self.above: list[int] = []
        self.known: dict[tuple[int, bool], Any] = {}
        self.alive: list[Any] = []  # an address is a name only as long as its thing lives
        self.sums: dict[int, str] = {}
        self.told: set[str] = set()
        self.in_module = 0

    def of(self, value: Any) -> Any:
        """Describe a value; what has been told already by its sum, so that what is shared is told once."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if np.isfinite(value) else repr(value)
        if id(value) in self.above:
            up = len(self.above) - self.above.index(id(value))
            return f"a {type(value).__name__}, {up} above"
        key = (id(value), self.in_module > 0)
        if key in self.known:
            return self.known[key]
        self.above.append(id(value))
        self.alive.append(value)
        try:
            found = self._described(value)
        except RecursionError:
            found = {"opaque": f"a {type(value).__qualname__} (nested too deep)"}
        finally:
            self.above.pop()
        if not isinstance(found, dict) or not found.keys() & {"bases", "source", "class", "module"}:
            self.known[key] = found
            return found
        told = _sum(json.dumps(self._short(found, top=True), sort_keys=True).encode())
        self.known[key] = {"as above": told}
        if told in self.told:
            return {"as above": told}
        self.told.add(told)
        self.sums[id(found)] = told
        self.alive.append(found)
        return found

    def _short(self, said: Any, *, top: bool = False) -> Any:
        """Return a description with its parts' sums in their places: the same whether told there or above."""
        if isinstance(said, dict):
            told = said.get("as above", self.sums.get(id(said)))
            return told if told and not top else {k: self._short(v) for k, v in said.items()}
        return [self._short(v) for v in said] if isinstance(said, list) else said

    def _described(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._module(value)
        if type(value) in PLAIN_DICTS:
            return self._items(value)
        if type(value) in (list, tuple, torch.Size):
            return [self.of(v) for v in value]
        if type(value) in (set, frozenset):
            return self._set(value)
        if isinstance(value, (complex, bytes, bytearray)) and type(value).__module__ == "builtins":
            return {"is": type(value).__name__, "values": _sum(repr(value).encode())}
        if isinstance(value, (Tensor, np.ndarray)):
            return self._numbers(value)
        if isinstance(value, ModuleType):
            return self._space(value, None)
        if isinstance(value, (FunctionType, MethodType, functools.partial, type)):
            return self._code(value)
        return self._object(value)

    def _items(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        keyed = {k if isinstance(k, str) else f"{type(k).__name__} {json.dumps(content(k))}": k for k in value}
        return {name: self.of(value[k]) for name, k in sorted(keyed.items())}

    def _set(self, value: Any) -> list[Any]:
        """Describe each by itself: in the order of a set, another in every process, none may hang on another."""
        return sorted((content(v) for v in value), key=lambda each: json.dumps(each, sort_keys=True))

    def _numbers(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return {"shape": list(value.shape), "dtype": str(value.dtype), "values": self.of(value.tolist())}
            raw, dtype = np.ascontiguousarray(value).tobytes(), str(value.dtype)
        elif self.in_module and isinstance(value, nn.Parameter):  # it is trained: its start is told elsewhere
            return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        else:
            dtype = str(value.dtype).removeprefix("torch.")
            try:
                plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
                raw = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
            except (RuntimeError, NotImplementedError, TypeError):
                return {"opaque": f"a tensor on {value.device} of layout {value.layout}"}
        return {"shape": list(value.shape), "dtype": dtype, "values": _sum(raw)}

    # ----------------------------------------------------------------------- objects

    def _module(self, value: nn.Module) -> dict[str, Any]:
        """Describe a model by its layers and by what each holds besides tensors and layers, with its hooks."""
        out: dict[str, Any] = {"class": self.of(type(value)), "layers": " ".join(ADDRESS.sub("", repr(value)).split())}
        out["own"] = {}
        self.in_module += 1
        try:
            for name, layer in value.named_modules():
                own = not _is_library(type(layer))
                said = {"class": self.of(type(layer))} if name and own else {}
                if isinstance(layer, torch.jit.ScriptModule):  # a compiled one says what it does, and hides the rest
                    code, trained = str(getattr(layer, "code", "")), {k for k, _ in _registered(layer)}
                    said |= {"compiled": _sum(code.encode())}
                    read = sorted({*re.findall(r"self\.(\w+)", code)} - trained)
                    said |= {k: self.of(v) for k in read if not callable(v := getattr(layer, k, None))}
                else:
                    said |= {k: self.of(v) for k, v in vars(layer).items() if k not in TORCHS_OWN}
                hooks = {k: list(getattr(layer, k, {}).values()) for k in HOOKS}
                said |= {k: self.of(v) for k, v in hooks.items() if v}
                out["own"] |= {name: said} if said or own else {}
        finally:
            self.in_module -= 1
        return out

    def _object(self, value: Any) -> dict[str, Any]:
        """Describe an object by its class and what it holds."""
        cls = type(value)
        out: dict[str, Any] = {"class": self.of(cls)}
        library = _is_library(cls)
        if isinstance(value, NO_VALUE):
            return out
        if isinstance(value, weakref.ref):
            return out | {"of": self.of(value())}
        if isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
            own = value.__self__
            bound = {} if own is None or isinstance(own, (ModuleType, type)) else {"of": self.of(own)}
            said = ADDRESS.sub("", repr(value)) if not bound else value.__qualname__
            return out | {"said": said} | bound
        if isinstance(value, property):
            return out | {k: self.of(getattr(value, k)) for k in ("fget", "fset", "fdel") if getattr(value, k)}
        if isinstance(value, (classmethod, staticmethod)):
            return out | {"of": self.of(value.__func__)}
        if library and cls.__module__.startswith("fedlab.") and isinstance(getattr(value, "fingerprint", None), str):
            return out | {"fingerprint": value.fingerprint}
        held = _held(value)
        if isinstance(value, Mapping):
            held |= {"items": dict(value)}
            held |= {"default": value.default_factory} if hasattr(value, "default_factory") else {}
        elif plain := [base for base in PLAIN if isinstance(value, base)]:
            held |= {"value": plain[0].__new__(plain[0], value)}
        elif isinstance(value, (list, tuple, set, frozenset)):
            held |= {"items": set(value) if isinstance(value, (set, frozenset)) else list(value)}
        elif library and not (held and _keeps(cls)) or not (held or hasattr(value, "__dict__") or _slots(cls)):
            return out | self._reduced(value, library)
        return out | {k: self.of(v) for k, v in held.items()}

    def _reduced(self, value: Any, library: bool) -> dict[str, Any]:
        """Describe what pickle would write of an object that keeps its values to itself."""
        try:
            known = copyreg.dispatch_table.get(type(value))
            made: Any = known(value) if known is not None else value.__reduce_ex__(4)
        except Exception:  # an object may answer with whatever its author chose
            return {"opaque": f"a {type(value).__module__}.{type(value).__qualname__}"}
        said: dict[str, Any] = {}
        if library and not _reduces(type(value)):
            said["said"] = ADDRESS.sub("", repr(value))
        if isinstance(made, str):  # a name; what it wraps is its content
            return said | {"is": made} | {k: self.of(v) for k, v in _held(value).items()}
        call, args, state, *more = (*made, None, None, None)[:5]
        parts = [call, *(a for a in args if a is not type(value)), state]
        return said | {"made of": [self.of(part) for part in (*parts, *(m and list(m) for m in more))]}

    # ----------------------------------------------------------------------- code

    def _code(self, value: Any) -> Any:
        """Describe a class or a function: by its name if it is a library's, else by its code and what it refers to."""
        if isinstance(value, functools.partial):
            more = {"attributes": self.of(vars(value))} if vars(value) else {}
            parts = {"args": self.of(value.args), "keywords": self.of(value.keywords)}
            return {"partial": self.of(value.func)} | parts | more
        if isinstance(value, MethodType):
            return {"method": self.of(value.__func__), "of": self.of(value.__self__)}
        if _is_library(value):
            return f"{value.__module__}:{value.__qualname__}{_version(value.__module__)}"
        return self._class(value) if isinstance(value, type) else self._function(value)

    def _class(self, value: type) -> dict[str, Any]:
        parts: dict[str, Any] = {"name": value.__qualname__}
        parts["bases"] = [base.__qualname__ for base in value.__bases__]
        if not _is_library(type(value)):
            parts["made by"] = self.of(type(value))
        for base in value.__bases__:
            if not _is_library(base) or _version(base.__module__):
                parts[f"base {base.__qualname__}"] = self.of(base)
        for key, held in sorted(vars(value).items()):
            if key not in UNSAID and not isinstance(held, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                parts |= self._member(key, held, value)
        return parts

    def _member(self, key: str, held: Any, owner: type) -> dict[str, Any]:
        """Describe one entry of a class's body; what a dataclass makes of itself is not one."""
        function = held.__func__ if isinstance(held, (classmethod, staticmethod)) else held
        if isinstance(function, FunctionType):
            made = dataclasses.is_dataclass(owner) and key in MADE and "<string>" in function.__code__.co_filename
            kind = {f"{key} is": type(held).__name__} if function is not held else {}
            return {} if made else {key: self.of(function)} | kind
        if isinstance(held, property) and not _is_library(owner):
            others = {"set": held.fset, "delete": held.fdel}
            said = {f"{key} {name}": self.of(f) for name, f in others.items() if f is not None}
            return {key: self.of(held.fget), f"{key} is": "property"} | said
        return {} if held is None and key == "__hash__" else {key: self.of(held)}

    def _function(self, value: FunctionType) -> dict[str, Any]:
        parts: dict[str, Any] = {"name": value.__qualname__, **_sums(value)}
        parts |= {"defaults": self.of(value.__defaults__)} if value.__defaults__ else {}
        parts |= {"keywords": self.of(value.__kwdefaults__)} if value.__kwdefaults__ else {}
        parts |= {"attributes": self.of(vars(value))} if vars(value) else {}
        cells = [held for cell in value.__closure__ or () if (held := _inside(cell)) is not value]
        parts |= {"closure": self.of(cells)} if cells else {}
        names = frozenset(name for code in _codes(value.__code__) for name in code.co_names)
        said: dict[str, Any] = {}
        for name, (found, whole) in sorted(_referred(value).items()):
            if isinstance(found, ModuleType):
                space = self._space(found, None if whole else names)
                said |= {} if isinstance(space, str) and not _version(found.__name__) else {name: space}
            elif not isinstance(found, (FunctionType, type)) or not _is_library(found) or _version(found.__module__):
                said[name] = self.of(found)
        return parts | ({"refers to": said} if said else {})

    def _space(self, module: ModuleType, names: frozenset[str] | None) -> Any:
        """Describe a module by the attributes that code names, or by all; a library's by its name."""
        if _from_library(module.__name__):
            return f"{module.__name__}{_version(module.__name__)}"
        out: dict[str, Any] = {}
        for name, held in sorted(vars(module).items()):
            if name.startswith("__") if names is None else name not in names:
                continue
            if not isinstance(held, ModuleType):
                out[name] = self.of(held)
            elif id(held) not in self.above:
                self.above.append(id(held))
                out[name] = self._space(held, names)
                self.above.pop()
        return {"module": out}


# --------------------------------------------------------------------------- what an object holds


def _held(value: Any) -> dict[str, Any]:
    """Return an object's fields, slots and attributes, without what is computed from them or kept for a run."""
    cls = type(value)
    held: dict[str, Any] = {}
    skip = {k for c in cls.__mro__ for k, v in vars(c).items() if isinstance(v, functools.cached_property)} | {
        "__doc__"
    }
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(value)
        held = {f.name: getattr(value, f.name) for f in fields if f.init and hasattr(value, f.name)}
        if _is_library(cls):
            return held
        library = [c for c in cls.__mro__ if _is_library(c)]
        skip |= {f.name for f in fields if not f.init and any(f.name in _annotated(c) for c in library)}
        skip |= {k for c in library for k in _annotated(c) if k.startswith("_")}
    for name in _slots(cls):
        if name not in held and name not in skip and hasattr(value, name):
            held[name] = getattr(value, name)
    return held | {k: v for k, v in getattr(value, "__dict__", {}).items() if k not in held and k not in skip}


def _keeps(cls: type) -> bool:
    """Return whether what an object has is all in its attributes."""
    state = getattr(cls, "__getstate__", None) is getattr(object, "__getstate__", None)
    return dataclasses.is_dataclass(cls) or (state and not _reduces(cls))


def _reduces(cls: Any) -> bool:
    """Return whether a class says by itself what it is made of."""
    plain: Any = object
    return cls.__reduce__ is not plain.__reduce__ or cls.__reduce_ex__ is not plain.__reduce_ex__


def _annotated(cls: type) -> Mapping[str, Any]:
    return inspect.get_annotations(cls)


def _slots(cls: type) -> list[str]:
    return [k for c in cls.__mro__ for k, v in vars(c).items() if isinstance(v, types.MemberDescriptorType)
            and not (_is_library(c) or k.startswith("__"))]  # fmt: skip


def _registered(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from layer.named_parameters(recurse=False)
    yield from layer.named_buffers(recurse=False)


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


# --------------------------------------------------------------------------- libraries


def _is_library(thing: Any) -> bool:
    return _from_library(str(getattr(thing, "__module__", "") or ""))


@functools.lru_cache(maxsize=4096)
def _from_library(module: str) -> bool:
    """Return whether a module is fedlab's, the standard library's or an installed package's; a script is none."""
    top = module.split(".")[0]
    if top in LIBRARIES or top in sys.builtin_module_names:
        return True
    if top in ("", "__main__"):
        return False
    place = _place(module)
    if place is None:
        return top in sys.stdlib_module_names
    return _installed(place) or any(place.is_relative_to(sysconfig.get_path(k)) for k in ("stdlib", "platstdlib"))


def _place(module: str) -> Path | None:
    """Return the file of a module, or of the package that it lies in."""
    for name in (module, module.split(".")[0]):
        found = getattr(sys.modules.get(name), "__file__", None)
        if found is None and name not in sys.modules:
            try:
                spec = importlib.util.find_spec(name)
            except (ImportError, ValueError, AttributeError):
                spec = None
            found = spec.origin if spec is not None and spec.has_location else None
        if found:
            return Path(found).absolute()
    return None


def _installed(place: Path) -> bool:
    return any(part in ("site-packages", "dist-packages") for part in place.parts)


@functools.lru_cache(maxsize=4096)
def _version(module: str) -> str:
    """Return what tells the code of an installed package that no record has the version of: version and file."""
    top = module.split(".")[0]
    place = None if top in LIBRARIES or top in sys.builtin_module_names else _place(module)
    if place is None or not _installed(place):
        return ""
    version = getattr(sys.modules.get(top), "__version__", "")
    return f" of {top} {version} ({_sum(place.read_bytes())[:19]})" if place.is_file() else f" of {top} {version}"


# --------------------------------------------------------------------------- code


def _sums(function: FunctionType) -> dict[str, str]:
    """Return the sums of a function's code as it runs, under this Python's name, and of its source.

    The code is what ran, also where the file was edited since; another Python compiles to another, and then the source
    decides. The code is told by its steps, which do not hang on a docstring; the other sum is that of older records.
    """
    code = function.__code__
    steps, compiled = (_sum(repr(each).encode()) for each in (_steps(code), _compiled(code, function.__doc__)))
    return {STEPS: steps, CODE: compiled, "source": _source(code)}


@functools.lru_cache(maxsize=4096)
def _source(code: CodeType) -> str:
    """Return the sum of a source as Python reads it; of a lambda inspect gives the whole line: then it has none."""
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(code))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return ""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    for each in ast.walk(node):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            each.body = each.body[1:] if ast.get_docstring(each, clean=False) is not None else each.body
    return _sum(ast.dump(node).encode())


def _steps(code: CodeType) -> Any:
    """Return what a code does, step by step, without the places of its constants: a docstring is one of them."""
    steps = list(dis.get_instructions(code))
    out = []
    for number, step in enumerate(steps):
        names = [each.argval for each in steps[number : number + 2] if each.opname == "STORE_NAME"]
        if "__doc__" in names:  # of a class in a function
            continue
        said: Any = step.argval
        if step.opname in ("LOAD_CONST", "KW_NAMES", "RETURN_CONST"):
            said = _steps(said) if isinstance(said, CodeType) else _constant(said)
        elif step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            said = said - step.offset
        elif isinstance(said, CodeType):
            said = _steps(said)
        out.append((step.opname, repr(said) if not isinstance(said, (str, list, tuple)) else said))
    return [code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags & 0xFF, out]


def _compiled(code: CodeType, doc: str | None = None) -> Any:
    constants = [_constant(None if doc and c == doc else c) for c in code.co_consts]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _compiled(value)
    if isinstance(value, frozenset):  # whose order is another in every process
        return sorted(map(repr, value))
    return repr(value)


def _referred(function: FunctionType) -> dict[str, tuple[Any, bool]]:
    """Return the globals that a function reads, the modules that it imports, and whether one is used as a whole."""
    found: dict[str, tuple[Any, bool]] = {}
    for code in _codes(function.__code__):
        steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "PRECALL", "CACHE")]
        for number, step in enumerate(steps):
            name = step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in function.__globals__:
                after = steps[number + 1].opname if number + 1 < len(steps) else ""
                whole = after not in ("LOAD_ATTR", "LOAD_METHOD") or found.get(name, (None, False))[1]
                found[name] = (function.__globals__[name], whole)
            elif step.opname == "IMPORT_NAME" and not _from_library(_absolute(name, steps[number - 2], function)):
                found[f"import {name}"] = (_imported(_absolute(name, steps[number - 2], function)), False)
    return found


def _absolute(name: str, level: dis.Instruction, function: FunctionType) -> str:
    if not isinstance(level.argval, int) or not level.argval:
        return name
    package = str(function.__globals__.get("__package__") or "")
    return ".".join([*package.split(".")[: len(package.split(".")) - level.argval + 1], *([name] if name else [])])


def _imported(name: str) -> Any:
    """Return a module that code imports when it runs, so that it is described alike before and after."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return f"no module {name}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
