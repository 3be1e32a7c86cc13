"""Python values as plain JSON and named tensors, and back to the same value: no pickle, nothing that could run.

Numbers keep their bits. What JSON has no word for (tuples, keys that are no text, ``nan``, tables, tensors) is an
object with the key ``"$"`` that says what it is. :func:`dump` puts a value and its tensors into one ``.safetensors``
file: the JSON is in its header.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

TAG = "$"
HEADER = "__metadata__"
"""The one name that a tensor of a ``.safetensors`` file cannot have."""


class Undecodable(ValueError):
    """Bytes that are not what this module writes."""


# --------------------------------------------------------------------------- JSON


def as_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return a file of JSON; without ``indent`` it is one line."""
    close = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=close, allow_nan=False).encode()


def from_json(raw: bytes) -> Any:
    """Return what a file of JSON holds.

    Raises
    ------
    Undecodable
        If it holds none, e.g. is cut short.

    Examples
    --------
    >>> from_json(as_json({"a": [1, 0.1]}))
    {'a': [1, 0.1]}
    """
    try:
        return json.loads(raw, parse_constant=_no_number)
    except RecursionError as error:
        raise Undecodable("it is nested too deep") from error
    except ValueError as error:
        raise Undecodable(str(error)) from error


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


# --------------------------------------------------------------------------- tensors


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a ``.safetensors`` file.

    Raises
    ------
    TypeError
        For a tensor that such a file cannot hold; the message names it.

    Examples
    --------
    >>> import torch
    >>> from_bytes(to_bytes({"w": torch.tensor([1.5, 2.0])}))["w"].tolist()
    [1.5, 2.0]
    """
    return _to_bytes(tensors, None)


def _to_bytes(tensors: dict[str, Tensor], header: dict[str, str] | None) -> bytes:
    apart = {name: _apart(name, tensor) for name, tensor in tensors.items()}
    return safetensors.torch.save(apart, metadata=header)


def _apart(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of its own on the CPU: a file has no shared memory."""
    if name == HEADER:
        raise TypeError(f"a tensor is called {HEADER!r}, which a safetensors file keeps for itself: rename it")
    try:
        return tensor.detach().to_dense().cpu().contiguous().clone()
    except (NotImplementedError, RuntimeError) as error:
        raise TypeError(f"{name} is a tensor that a record cannot hold ({str(error).splitlines()[0]})") from error


def from_bytes(raw: bytes) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, in the order of their names.

    Raises
    ------
    Undecodable
        If that is not what it is, e.g. cut short.
    """
    try:
        return dict(sorted(safetensors.torch.load(raw).items()))
    except SafetensorError as error:
        raise Undecodable(f"the weights are no safetensors file ({error})") from error


# --------------------------------------------------------------------------- both in one file


def dump(value: Any) -> bytes:
    """Return a ``.safetensors`` file of any nest of plain values, tables and tensors.

    Raises
    ------
    TypeError
        For what cannot be kept; the message says where it stands.

    Examples
    --------
    >>> import torch
    >>> load(dump({"round": 3, "model": {"w": torch.ones(2)}}))
    {'round': 3, 'model': {'w': tensor([1., 1.])}}
    """
    tensors: dict[str, Tensor] = {}
    words = as_json(encode(value, tensors)).decode()
    return _to_bytes(tensors, {"value": words})


def load(raw: bytes) -> Any:
    """Return what :func:`dump` was given.

    Raises
    ------
    Undecodable
        If it was not made by :func:`dump`, or is cut short.
    """
    tensors = from_bytes(raw)
    header = from_json(raw[8 : 8 + int.from_bytes(raw[:8], "little")])  # the library gives no way to it from bytes
    words = header.get(HEADER, {}).get("value")
    if words is None:
        raise Undecodable("the file has tensors, but does not say what they are")
    return decode(from_json(words.encode()), tensors)


# --------------------------------------------------------------------------- values


def encode(value: Any, tensors: dict[str, Tensor], at: str = "") -> Any:
    """Return ``value`` as what JSON holds; its tensors are entered into ``tensors`` under their path.

    Raises
    ------
    TypeError
        For what cannot be kept; the message says where it stands.

    Examples
    --------
    >>> import torch
    >>> tensors = {}
    >>> encode({"a": (1, float("nan")), "w": torch.zeros(2)}, tensors)
    {'a': {'$': 'tuple', 'of': [1, {'$': 'float', 'of': 'nan'}]}, 'w': {'$': 'tensor', 'of': 'w'}}
    >>> list(tensors)
    ['w']
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _whole_text(value, at)
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "of": repr(value)}
    if isinstance(value, Tensor):
        name = _free_name(at, tensors)
        tensors[name] = value
        return {TAG: "tensor", "of": name}
    if isinstance(value, (list, tuple)):
        each = [encode(v, tensors, f"{at}/{i}") for i, v in enumerate(value)]
        return each if isinstance(value, list) else {TAG: "tuple", "of": each}
    if isinstance(value, dict):
        return _encode_dict(value, tensors, at)
    if isinstance(value, pd.DataFrame):
        return _encode_table(value, tensors, at)
    raise TypeError(f"{at or 'this'} is a {type(value).__name__}, which a record cannot hold")


def _whole_text(text: str, at: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TypeError(f"{at or 'this'} is a text with half a character, which a record cannot hold") from error
    return text


def _free_name(at: str, tensors: dict[str, Tensor]) -> str:
    """Return a tensor's path; two of one path (a key may have a ``/``) are told apart by a number."""
    name, number = at, len(tensors)
    while name in tensors or name == HEADER:
        name, number = f"{at}.{number}", number + 1
    return name


def _encode_dict(value: dict[Any, Any], tensors: dict[str, Tensor], at: str) -> Any:
    if all(isinstance(k, str) for k in value) and TAG not in value:
        return {
            _whole_text(k, f"a key of {at or 'this'}"): encode(v, tensors, f"{at}/{k}" if at else k)
            for k, v in value.items()
        }
    pairs = [[encode(k, tensors, at), encode(v, tensors, f"{at}/{i}")] for i, (k, v) in enumerate(value.items())]
    return {TAG: "dict", "of": pairs}


def _encode_table(value: pd.DataFrame, tensors: dict[str, Tensor], at: str) -> Any:
    where = at or "this"
    if not value.columns.is_unique:
        raise TypeError(f"{where} is a table with two columns of one name, which a record cannot hold")
    columns = [
        {"name": encode(name, tensors, at), "dtype": str(value[name].dtype),
         "of": encode(value[name].tolist(), tensors, f"{at}/{name}")}
        for name in value.columns
    ]  # fmt: skip
    plain = isinstance(value.index, pd.RangeIndex) and value.index.equals(pd.RangeIndex(len(value)))
    index = None if plain else encode(value.index.tolist(), tensors, at)
    out = {TAG: "table", "of": columns, "rows": len(value), "index": index}
    names = [[*value.index.names], [*value.columns.names]]
    if names != [[None], [None]]:
        out["names"] = encode(names, tensors, at)
    again = _decode_table(out, tensors)
    indexes = again.index.dtype == value.index.dtype and [[*again.index.names], [*again.columns.names]] == names
    if not (indexes and again.equals(value)):
        raise TypeError(f"{where} is a table that would come back changed, e.g. with another index: reset_index() it")
    return out


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what :func:`encode` was given.

    Raises
    ------
    Undecodable
        If it is none of that.
    """
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {k: decode(v, tensors) for k, v in value.items()}
    try:
        return _decode_tagged(value, tensors)
    except Undecodable:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Undecodable(f"a record's {value[TAG]!r} is none ({type(error).__name__}: {error})") from error


def _decode_tagged(value: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    kind, of = value[TAG], value["of"]
    if kind == "float":
        return float(of)
    if kind == "tensor":
        return tensors[of]
    if kind == "tuple":
        return tuple(decode(v, tensors) for v in of)
    if kind == "dict":
        return {decode(k, tensors): decode(v, tensors) for k, v in of}
    if kind == "table":
        return _decode_table(value, tensors)
    raise Undecodable(f"a record's value is said to be a {kind!r}, which this fedlab does not know")


def _decode_table(value: dict[str, Any], tensors: dict[str, Tensor]) -> pd.DataFrame:
    index = pd.RangeIndex(value["rows"]) if value["index"] is None else pd.Index(decode(value["index"], tensors))
    columns = {
        decode(c["name"], tensors): pd.Series(decode(c["of"], tensors), index=index, dtype=c["dtype"])
        for c in value["of"]
    }
    table = pd.DataFrame(columns, index=index, columns=list(columns))
    if "names" in value:
        table.index.names, table.columns.names = decode(value["names"], tensors)
    return table
