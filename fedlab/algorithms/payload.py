"""What a message holds: its arrays, their names and shapes, and their bytes."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def leaves(payload: Any) -> list[Any]:
    """List what a nest of dicts holds, depth first."""
    if isinstance(payload, dict):
        return [leaf for part in payload.values() for leaf in leaves(part)]
    return [payload]


def declared(payload: dict[str, Any], prefix: str = "") -> tuple[int, str]:
    """Return a message's bytes, and what it holds: names and shapes.

    Bytes of arrays and texts, and 8 for each plain number; a network's envelope comes on top.

    Examples
    --------
    >>> import torch
    >>> declared({"model": {"weight": torch.zeros(1, 26)}, "rows": 120})
    (112, 'model.weight [1, 26], rows')
    """
    total, words = 0, []
    for name, value in payload.items():  # in one pass: a run of thirty seeds declares four thousand messages
        if isinstance(value, dict):
            inner, held = declared(value, f"{prefix}{name}.")
            total += inner
            if held:
                words.append(held)
        elif isinstance(value, Tensor):
            total += value.nbytes
            words.append(f"{prefix}{name} {list(value.shape)}" if value.ndim else f"{prefix}{name}")
        else:
            total += _bytes(value)
            words.append(f"{prefix}{name}")
    return total, ", ".join(words)


def _bytes(leaf: Any) -> int:
    if isinstance(leaf, str):
        return len(leaf.encode())
    if isinstance(leaf, (list, tuple)):
        return sum(map(_bytes, leaf))
    return 8 if isinstance(leaf, (int, float)) and not isinstance(leaf, bool) else 0
