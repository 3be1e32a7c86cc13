"""The ledger: every message that passed the exchange, in which direction, and how many bytes it held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor

from fedlab.engine.trees import tree_leaves

COLUMNS = ("round", "purpose", "site", "direction", "bytes", "content", "status")


def size(payload: Any) -> int:
    """Bytes of the arrays (and 8 for each plain number) in a payload; the envelope of a network comes on top."""
    total = 0
    for leaf in tree_leaves(payload):
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


@dataclass
class Ledger:
    """What passed between the server and the sites."""

    _rows: list[tuple[int, str, tuple[str, ...], str, int, str, str]] = field(default_factory=list)
    total: int = 0

    def add(self, round: int, purpose: str, sites: Sequence[str], direction: str, payload: Any, *, status: str = "ok",
            bytes: int | None = None) -> None:  # fmt: skip
        """Enter one message to (``"down"``) or from (``"up"``) each of these sites."""
        if not sites:
            return
        each = size(payload) if bytes is None else bytes
        self._rows.append((round, purpose, tuple(sites), direction, each, content(payload), status))
        self.total += each * len(sites)

    def frame(self) -> pd.DataFrame:
        """Return one row a message."""
        rows = [
            (round, purpose, site, direction, each, what, status)
            for round, purpose, sites, direction, each, what, status in self._rows
            for site in sites
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))
