"""The site's door: every question takes one way, in this process, on Flower's simulation and at a hospital.

*accept* (does the policy allow this purpose?) → *load* (once, guarded) → *work* → *leave* (may this go out?) → *site
log* → reply. What goes wrong at any step, loading most of all, leaves as the class of the error: its text may hold a
patient's cell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fedlab.algorithms.payload import declared
from fedlab.engine.exchange import Reply
from fedlab.engine.purposes import Purpose, Refused, accept, withheld
from fedlab.engine.work import Stopped
from fedlab.metrics.cells import LEAST
from fedlab.privacy import SIMULATED, Policy

T = TypeVar("T")


class Door(Generic[T]):
    """The door of one site.

    Parameters
    ----------
    site : str
        Its name, which is known before anything is loaded.
    load : callable
        Returns what lies there: a :class:`~fedlab.engine.site.SiteWork`, a table. Called when the first question that
        is allowed comes, and again if it fails.
    policy : Policy
    log : logging.Logger, optional
        The site's own: what was asked, how many bytes left, and what went wrong, with all its text. In a simulation
        there is none, and the error comes with the reply.

    Examples
    --------
    >>> from fedlab.engine.purposes import PURPOSES, Purpose, register
    >>> _ = register(Purpose("mean (example)", lambda rows, asked: {"mean": sum(rows) / len(rows)}, sends=("mean",)))
    >>> Door("A", lambda: [1, 2]).answer("mean (example)", {}).content
    {'mean': 1.5}
    >>> def broken():
    ...     raise ValueError("row 3, patient 4711: 'abc' is no number")
    >>> Door("B", broken).answer("mean (example)", {}).error
    'ValueError'
    >>> _ = PURPOSES.pop("mean (example)")
    """

    def __init__(
        self,
        site: str,
        load: Callable[[], T],
        *,
        policy: Policy = SIMULATED,
        log: logging.Logger | None = None,
    ) -> None:
        self.site, self.policy, self.log = site, policy, log
        self._load = load
        self._held: list[T] = []

    def held(self) -> T:
        """Return what lies at the site, loaded once."""
        if not self._held:
            self._held.append(self._load())
        return self._held[0]

    def answer(self, purpose: str, payload: dict[str, Any]) -> Reply:
        """Answer one question; an error leaves as its class."""
        try:
            entry = self.accept(purpose, payload)
            content = entry.work(self.held(), payload)
            if entry.small is not None and self.policy.least:
                content = entry.small(content, self.policy.least)
            self.leave(entry, content)
        except Stopped:
            raise
        except (Exception, SystemExit) as error:
            return self.fault(purpose, error)
        if self.log is not None:
            size, words = declared(content)
            self.log.info("%s: answered %r with %d bytes: %s", self.site, purpose, size, words or "nothing")
        return Reply(self.site, content)

    def accept(self, purpose: str, payload: dict[str, Any]) -> Purpose:
        """Return the entry of a purpose that may be asked here.

        Raises
        ------
        Refused
            If the policy does not allow it, the question is too large or too few patients would be told of.
        """
        policy = self.policy
        entry = accept(policy, purpose)
        if policy.largest is not None and (size := declared(payload)[0]) > policy.largest:
            raise Refused(f"a question of {size} bytes: the policy reads at most {policy.largest}")
        if entry.tells_of and policy.least > (LEAST if entry.screened else 0):
            there = patients(self.held(), entry.tells_of)
            if there is not None and there < policy.least:
                raise Refused(f"{there} patients in {entry.tells_of}: the policy tells of at least {policy.least}")
        return entry

    def leave(self, entry: Purpose, content: dict[str, Any]) -> None:
        """Refuse to let out what must not leave."""
        if why := withheld(self.policy, entry, content):
            raise Refused(why)

    def fault(self, purpose: str, error: BaseException) -> Reply:
        """Return the reply that stands for an error."""
        if self.log is not None:
            self.log.error("%s: could not answer %r", self.site, purpose, exc_info=error)
            return Reply(self.site, error=type(error).__name__)
        return Reply(self.site, error=type(error).__name__, cause=error)


def patients(held: Any, part: str) -> int | None:
    """Count the patients of a part of a site's rows; ``None`` where what is held has no such part."""
    count = getattr(held, "patients", None)
    return count(part) if callable(count) else None
