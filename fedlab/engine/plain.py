"""Python values as plain JSON and named tensors, and back to the same value: no pickle, nothing that could run.

Numbers keep their bits. What JSON has no word for (tuples, keys that are no text, ``nan``, tables, tensors) is an
object with the key ``"$"`` that says what it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

TAG = "$"


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
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "of": repr(value)}
    if isinstance(value, Tensor):
        name = at
        while name in tensors:  # two nests may write one path: {"a/b": …} and {"a": {"b": …}}
            name += "'"
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


def _encode_dict(value: dict[Any, Any], tensors: dict[str, Tensor], at: str) -> Any:
    if all(isinstance(k, str) for k in value) and TAG not in value:
        return {k: encode(v, tensors, f"{at}/{k}" if at else k) for k, v in value.items()}
    pairs = [[encode(k, tensors, at), encode(v, tensors, f"{at}/{i}")] for i, (k, v) in enumerate(value.items())]
    return {TAG: "dict", "of": pairs}


def _encode_table(value: pd.DataFrame, tensors: dict[str, Tensor], at: str) -> Any:
    columns = [
        {"name": encode(name, tensors, at), "dtype": str(value[name].dtype),
         "of": encode(value[name].tolist(), tensors, f"{at}/{name}")}
        for name in value.columns
    ]  # fmt: skip
    plain = isinstance(value.index, pd.RangeIndex) and value.index.equals(pd.RangeIndex(len(value)))
    index = None if plain else encode(value.index.tolist(), tensors, at)
    return {TAG: "table", "of": columns, "rows": len(value), "index": index}


def decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what :func:`encode` was given."""
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {k: decode(v, tensors) for k, v in value.items()}
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
    raise ValueError(f"a record's value is said to be a {kind!r}, which this fedlab does not know")


def _decode_table(value: dict[str, Any], tensors: dict[str, Tensor]) -> pd.DataFrame:
    index = pd.RangeIndex(value["rows"]) if value["index"] is None else pd.Index(decode(value["index"], tensors))
    columns = {
        decode(c["name"], tensors): pd.Series(decode(c["of"], tensors), index=index, dtype=c["dtype"])
        for c in value["of"]
    }
    return pd.DataFrame(columns, index=index, columns=list(columns))
