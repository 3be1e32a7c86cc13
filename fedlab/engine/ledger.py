"""The ledger: every message that passed the exchange, in which direction, and how many bytes it held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fedlab.algorithms.payload import declared

COLUMNS = ("round", "purpose", "site", "direction", "bytes", "content", "status")


@dataclass
class Ledger:
    """What passed between the server and the sites.

    With ``keep`` also the messages themselves, for a person to read (and only where they are small).
    """

    keep: bool = False
    messages: list[tuple[str, str, str, Any]] = field(default_factory=list)
    _rows: list[tuple[int, str, tuple[str, ...], str, int, str, str]] = field(default_factory=list)
    total: int = 0

    def add(self, round: int, purpose: str, sites: Sequence[str], direction: str, payload: Any, *, status: str = "ok",
            bytes: int | None = None) -> None:  # fmt: skip
        """Enter one message to (``"down"``) or from (``"up"``) each of these sites."""
        if not sites:
            return
        size, content = declared(payload)
        each = size if bytes is None else bytes
        self._rows.append((round, purpose, tuple(sites), direction, each, content, status))
        self.total += each * len(sites)
        if self.keep:
            self.messages += [(purpose, site, direction, payload) for site in sites]

    def frame(self) -> pd.DataFrame:
        """Return one row a message."""
        rows = [
            (round, purpose, site, direction, each, what, status)
            for round, purpose, sites, direction, each, what, status in self._rows
            for site in sites
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))
