"""What a message holds: its arrays, their names and shapes, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def leaves(payload: Any) -> Iterator[Any]:
    """Go through a nest of dicts, depth first."""
    if isinstance(payload, Mapping):
        for part in payload.values():
            yield from leaves(part)
    else:
        yield payload


def size(payload: Any) -> int:
    """Bytes of the arrays (and 8 for each plain number) in a payload; the envelope of a network comes on top."""
    total = 0
    for leaf in leaves(payload):
        if isinstance(leaf, Tensor):
            total += leaf.numel() * leaf.element_size()
        elif isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
            total += 8
    return total


def content(payload: Any, prefix: str = "") -> str:
    """Describe a payload: names and shapes.

    Examples
    --------
    >>> import torch
    >>> content({"model": {"weight": torch.zeros(1, 26)}, "rows": 120})
    'model.weight [1, 26], rows'
    """
    words = []
    for name, value in payload.items():
        if isinstance(value, Mapping):
            words.append(content(value, f"{prefix}{name}."))
        elif isinstance(value, Tensor) and value.ndim:
            words.append(f"{prefix}{name} {list(value.shape)}")
        else:
            words.append(f"{prefix}{name}")
    return ", ".join(word for word in words if word)
