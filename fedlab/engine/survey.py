"""A survey: one question to sites that are not training, through the same gate and onto the same ledger.

Harmonisation asks about tables as the hospitals wrote them, the measures of heterogeneity about rows. What a site holds
is read by ``answer`` alone, at the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fedlab.engine.exchange import Exchange, Reply
from fedlab.engine.ledger import Ledger

T = TypeVar("T")


@dataclass
class Surveyed(Generic[T]):
    """A transport to sites in this process that hold anything: ``answer(held, purpose, payload)`` speaks for one."""

    held: Mapping[str, T]
    answer: Callable[[T, str, dict[str, Any]], dict[str, Any]]
    sites: tuple[str, ...] = field(init=False)
    places: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.sites = self.places = tuple(sorted(self.held))

    def ask(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> list[Reply]:
        """Put one question to these sites; what goes wrong at one is its class alone."""
        return [self._of(site, purpose, payload) for site in who]

    def _of(self, site: str, purpose: str, payload: dict[str, Any]) -> Reply:
        try:
            return Reply(site, self.answer(self.held[site], purpose, payload))
        except Exception as error:
            return Reply(site, error=type(error).__name__, cause=error)

    def close(self) -> None:
        """Nothing is held open."""


def survey(
    held: Mapping[str, T], answer: Callable[[T, str, dict[str, Any]], dict[str, Any]], *, min_sites: int = 1
) -> Exchange:
    """Open the gate to sites that hold ``held[name]``; its ledger keeps every message, to be read.

    Parameters
    ----------
    held : mapping
        Site name to what lies there: a table, a :class:`~fedlab.federation.Site`.
    answer : callable
        ``answer(held, purpose, payload)`` returns a dict of numbers, texts and tensors (which may nest).
    min_sites : int
        So many must answer.

    Examples
    --------
    >>> from fedlab.engine.exchange import Ask
    >>> gate = survey({"A": [1, 2], "B": [3]}, lambda rows, purpose, payload: {"rows": len(rows)})
    >>> answers = gate.ask(Ask("count", {}))
    >>> answers.sites, answers.contents
    (['A', 'B'], [{'rows': 2}, {'rows': 1}])
    >>> gate.ledger.frame()["content"].tolist()
    ['', '', 'rows', 'rows']
    """
    return Exchange(Surveyed(held, answer), min_sites=min_sites, ledger=Ledger(keep=True))
