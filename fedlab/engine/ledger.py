"""The ledger: every message that passed the exchange, in which direction, and how many bytes it held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from fedlab.algorithms.payload import declared
from fedlab.engine.trees import tree_cut, tree_map

COLUMNS = ("round", "purpose", "site", "direction", "bytes", "content", "status")


class Entry(NamedTuple):
    """Messages of one kind: each of these sites got, or sent, so many bytes."""

    round: int
    purpose: str
    sites: tuple[str, ...]
    direction: str
    bytes: int
    content: str
    status: str

    @property
    def failed(self) -> bool:
        """Whether the sites could not answer."""
        return self.status != "ok"


class Message(NamedTuple):
    """One message, with all that it held."""

    round: int
    purpose: str
    site: str
    direction: str
    content: Any


@dataclass
class Ledger:
    """What passed between the server and the sites.

    With ``keep`` also the messages themselves, for a person to read (and only where they are small).
    """

    keep: bool = False
    messages: list[Message] = field(default_factory=list)
    rows: list[Entry] = field(default_factory=list)
    total: int = 0

    def add(self, round: int, purpose: str, sites: Sequence[str], direction: str, payload: Any, *, status: str = "ok",
            stacked: bool = False) -> None:  # fmt: skip
        """Enter one message to (``"down"``) or from (``"up"``) each of these sites.

        ``payload`` is what each is told or tells, or ``stacked``, tensors [sites, ...] of what all do.
        """
        if not sites:
            return
        each, content = declared(payload, stacked=stacked)
        self.rows.append(Entry(round, purpose, tuple(sites), direction, each, content, status))
        self.total += each * len(sites)
        if self.keep:
            told = tree_cut(payload, len(sites), list) if stacked else repeat(payload, len(sites))
            self.messages += [
                Message(round, purpose, site, direction, _copied(one)) for site, one in zip(sites, told, strict=True)
            ]

    @property
    def of_training(self) -> int:
        """Bytes of the run itself, without those of the reports on it."""
        return self.total - sum(each.bytes * len(each.sites) for each in self.rows if each.purpose == "report")

    def frame(self) -> pd.DataFrame:
        """Return one row a message."""
        rows = [
            (round, purpose, site, direction, each, what, status)
            for round, purpose, sites, direction, each, what, status in self.rows
            for site in sites
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def _copied(held: Any) -> Any:
    """Return what a message held, on its own: what becomes of the tensors later is not what was sent."""
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, held)
