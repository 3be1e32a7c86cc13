"""What a message holds: its arrays, their names and shapes, and their bytes."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def leaves(payload: Any) -> list[Any]:
    """List what a nest of dicts holds, depth first."""
    if isinstance(payload, dict):
        return [leaf for part in payload.values() for leaf in leaves(part)]
    return [payload]


def size(payload: Any) -> int:
    """Bytes of arrays and texts (and 8 for each plain number) in a payload; a network's envelope comes on top."""
    return sum(_bytes(leaf) for leaf in leaves(payload))


def _bytes(leaf: Any) -> int:
    if isinstance(leaf, Tensor):
        return leaf.nbytes
    if isinstance(leaf, str):
        return len(leaf.encode())
    return 8 if isinstance(leaf, (int, float)) and not isinstance(leaf, bool) else 0


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
        if isinstance(value, dict):
            words.append(content(value, f"{prefix}{name}."))
        elif isinstance(value, Tensor) and value.ndim:
            words.append(f"{prefix}{name} {list(value.shape)}")
        else:
            words.append(f"{prefix}{name}")
    return ", ".join(word for word in words if word)
