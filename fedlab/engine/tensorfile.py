"""Named tensors as the bytes of a ``.safetensors`` file, and back: data alone, nothing in it is ever run.

The format is public and small: the length of a header (8 bytes, little endian), the header (JSON: each name's dtype,
shape and place), and the numbers. Files written here open in the ``safetensors`` library, and the other way round.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "I64": torch.int64, "F32": torch.float32, "I32": torch.int32, "F16": torch.float16,
    "BF16": torch.bfloat16, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGN = 8


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the content of a ``.safetensors`` file.

    Examples
    --------
    >>> from_bytes(to_bytes({"w": torch.tensor([1.5, 2.0])}))["w"].tolist()
    [1.5, 2.0]
    """
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # aligned without gaps
        tensor = tensors[name].detach().cpu()
        if tensor.dtype not in NAMES:
            raise TypeError(f"the tensor {name!r} is {tensor.dtype}, which a record cannot hold")
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(raw)],
        }
        parts.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGN)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def from_bytes(raw: bytes) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, in the order of their names.

    Raises
    ------
    ValueError
        If that is not what it is: cut short, places that overlap or leave gaps, an unknown dtype.
    """
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > len(raw) - 8:
        raise ValueError("the file is cut short")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(bytearray(raw[8 + length :]))
    out: dict[str, Tensor] = {}
    at = 0
    for name, what in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        begin, end = what["data_offsets"]
        dtype, shape = DTYPES.get(what["dtype"]), what["shape"]
        if dtype is None:
            raise ValueError(f"the tensor {name!r} has the unknown dtype {what['dtype']!r}")
        count = math.prod(shape)
        if begin != at or end - begin != count * dtype.itemsize or end > len(body):
            raise ValueError(f"the tensor {name!r} is not where the header says")
        at = end
        flat = torch.frombuffer(body, dtype=dtype, count=count, offset=begin) if count else torch.empty(0, dtype=dtype)
        out[name] = flat.reshape(shape).clone()
    if at != len(body):
        raise ValueError("the file holds more than its header says")
    return dict(sorted(out.items()))
