"""What a message holds: its arrays, their names and shapes, and their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def leaves(payload: Any) -> list[Any]:
    """List what a nest of dicts holds, depth first."""
    if isinstance(payload, dict):
        return [leaf for part in payload.values() for leaf in leaves(part)]
    return [payload]


def declared(payload: dict[str, Any], prefix: str = "", *, stacked: bool = False) -> tuple[int, str]:
    """Return a message's bytes, and what it holds: names and shapes.

    Bytes of arrays and texts, and 8 for each plain number; a network's envelope comes on top. A list is counted, and
    told by its own name alone. ``stacked``: the arrays
    [sites, ...] hold the messages of several sites, and one is asked for.

    Examples
    --------
    >>> import torch
    >>> declared({"model": {"weight": torch.zeros(1, 26)}, "rows": 120})
    (112, 'model.weight [1, 26], rows')
    >>> declared({"weight": torch.zeros(4, 1, 26)}, stacked=True)
    (104, 'weight [1, 26]')
    """
    total, words = 0, []
    for name, value in payload.items():  # in one pass: a run of thirty seeds declares four thousand messages
        if isinstance(value, dict):
            inner, held = declared(value, f"{prefix}{name}.", stacked=stacked)
            total += inner
            if held:
                words.append(held)
        elif isinstance(value, (Tensor, np.ndarray)) or hasattr(value, "nbytes"):  # rows that are bags
            shape = list(value.shape)[1:] if stacked else list(value.shape)
            total += value.nbytes // value.shape[0] if stacked else value.nbytes
            words.append(f"{prefix}{name} {shape}" if shape else f"{prefix}{name}")
        else:
            total += _bytes(value)
            words.append(f"{prefix}{name}")
    return total, ", ".join(words)


def _bytes(leaf: Any) -> int:
    if isinstance(leaf, str):
        return len(leaf.encode())
    if isinstance(leaf, dict):
        leaf = list(leaf.values())
    if isinstance(leaf, (list, tuple)):
        return sum(map(_bytes, leaf))
    if isinstance(leaf, (Tensor, np.ndarray)):
        return leaf.nbytes
    return 8 if isinstance(leaf, (int, float)) and not isinstance(leaf, bool) else 0
