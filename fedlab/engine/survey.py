"""A survey: one question to sites that are not training, through the same gate and onto the same ledger.

Harmonisation asks about tables as the hospitals wrote them, the measures of heterogeneity about rows. What a site holds
is read at its door alone, by the code of the purpose.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from fedlab.engine.client import Door
from fedlab.engine.exchange import LATE, Exchange, Reply
from fedlab.engine.ledger import Ledger
from fedlab.privacy import SIMULATED, Policy

T = TypeVar("T")


@dataclass
class Surveyed(Generic[T]):
    """A transport to sites in this process that hold anything."""

    held: Mapping[str, T]
    policy: Policy = SIMULATED
    sites: tuple[str, ...] = field(init=False)
    places: tuple[str, ...] = field(init=False)
    doors: dict[str, Door[T]] = field(init=False)

    def __post_init__(self) -> None:
        self.sites = self.places = tuple(sorted(self.held))
        self.doors = {site: Door(site, partial(self.held.__getitem__, site), policy=self.policy) for site in self.sites}

    def ask(
        self,
        purpose: str,
        who: Sequence[str],
        payload: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        deadline: float | None = None,
    ) -> list[Reply]:
        """Put one question to these sites; what goes wrong at one is its class alone, and what takes too long late."""
        replies = []
        for site in who:
            began = time.monotonic()
            reply = self.doors[site].answer(purpose, {**payload, **(each or {}).get(site, {})})
            late = deadline is not None and time.monotonic() - began > deadline
            replies.append(Reply(site, error=LATE) if late else reply)
        return replies

    def close(self) -> None:
        """Nothing is held open."""


def survey(held: Mapping[str, T], *, min_sites: int = 1, policy: Policy = SIMULATED) -> Exchange:
    """Open the gate to sites that hold ``held[name]``; its ledger keeps every message, to be read.

    Parameters
    ----------
    held : mapping
        Site name to what lies there: a table, a :class:`~fedlab.federation.Site`. What it answers is in
        :data:`~fedlab.engine.purposes.PURPOSES`.
    min_sites : int
        So many must answer.
    policy : Policy
        What may be asked of the sites, and what may leave them.

    Examples
    --------
    >>> from fedlab.engine.exchange import Ask
    >>> from fedlab.engine.purposes import PURPOSES, Purpose, register
    >>> _ = register(Purpose("rows (example)", lambda rows, asked: {"rows": len(rows)}, sends=("rows",)))
    >>> gate = survey({"A": [1, 2], "B": [3]})
    >>> answers = gate.ask(Ask("rows (example)", {}))
    >>> answers.sites, answers.contents
    (['A', 'B'], [{'rows': 2}, {'rows': 1}])
    >>> gate.ledger.frame()["content"].tolist()
    ['', '', 'rows', 'rows']
    >>> _ = PURPOSES.pop("rows (example)")
    """
    return Exchange(Surveyed(held, policy), min_sites=min_sites, ledger=Ledger(keep=True), policy=policy)
