"""The gate: everything between the server and the sites passes here.

It is the only place that orders sites by name, screens their replies, insists on enough of them, and keeps the ledger.
What is true of a run in a notebook is therefore true of it on Flower's simulation and between hospitals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.ledger import Ledger
from fedlab.engine.trees import finite, tree_map

FATAL = "RowsChanged"
"""The class of an error at a site that ends the run: its rows are no longer those of its patients."""
REFUSED = "the site could not answer; its own log says why"


@dataclass
class Reply:
    """What one site answered, or the class of what went wrong there; the text of an exception stays at the site."""

    site: str
    content: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    cause: BaseException | None = None


@dataclass
class Stacked:
    """What all sites answered at once: tensors or arrays [sites, ...] of those without an error."""

    sites: list[str]
    content: dict[str, Any]
    errors: dict[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Carries questions to the sites and answers back.

    ``sites`` are the hospitals, ``places`` the places of training (one per site, or one for all), both ordered by name.
    """

    sites: tuple[str, ...]
    places: tuple[str, ...]

    def ask(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> Sequence[Reply] | Stacked:
        """Put one question to these sites (or places); answer for each, in any order."""

    def close(self) -> None:
        """Let go of what the transport holds."""


class TooFewSites(RuntimeError):
    """Fewer sites answered than ``min_sites``; ``run`` holds all rounds so far."""

    run: Any = None


@dataclass
class Answers:
    """The screened replies in the order of the sites' names."""

    sites: list[str]
    contents: list[dict[str, Any]]
    together: dict[str, Any] | None = None

    def each(self) -> list[dict[str, Any]]:
        """Return each site's numbers by name."""
        if self.together is None:
            return self.contents
        columns = [values.tolist() for values in self.together.values()]
        return [dict(zip(self.together, row, strict=True)) for row in zip(*columns, strict=True)]

    def stacked(self) -> dict[str, Any]:
        """Return the tensors stacked over the sites that answered."""
        if self.together is not None:
            return self.together
        return tree_map(lambda *leaves: torch.stack([torch.as_tensor(v) for v in leaves]), *self.contents)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Ask:
    """One question to the sites.

    ``who`` are names (default: all); ``like`` is what an uploaded model must look like: names, shapes and dtypes. At
    least ``least`` must answer; of a question that can be spared, fewer count as nobody.
    """

    purpose: str
    payload: dict[str, Any]
    round: int = 0
    who: Sequence[str] | None = None
    like: Tensors | None = None
    least: int = 1
    spare: bool = False


@dataclass
class Exchange:
    """The gate in front of a transport."""

    transport: Transport
    min_sites: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    tell: Callable[[str], None] = lambda doing: None
    errors: list[tuple[int, str, str, str]] = field(default_factory=list)

    def ask(self, question: Ask) -> Answers:
        """Ask and return the answers that pass the screen.

        Raises
        ------
        TooFewSites
            If fewer than ``min_sites`` are left (or none, or a pooled place fails).
        """
        asked = self.send(question)
        return self.receive(question, asked, self.transport.ask(question.purpose, asked, question.payload))

    def send(self, question: Ask) -> list[str]:
        """Enter a question into the ledger; return whom it goes to."""
        asked = list(self.transport.sites if question.who is None else question.who)
        self.ledger.add(question.round, question.purpose, asked, "down", question.payload)
        self.tell(f"{question.purpose}, {len(asked)} sites")
        return asked

    def receive(self, question: Ask, asked: list[str], got: Sequence[Reply] | Stacked) -> Answers:
        """Screen what came back, enter it into the ledger, and insist on enough of it."""
        if isinstance(got, Stacked):
            answers, errors = Answers(got.sites, [], got.content), got.errors
        else:
            answers, errors = _one_by_one(got, asked, question.like)
        self._enter(question.round, question.purpose, answers, errors)
        for site, error in errors.items():
            self.errors.append((question.round, question.purpose, site, error))
        if not isinstance(got, Stacked):
            for fatal in (reply.cause for reply in got if reply.error == FATAL):
                raise fatal or RuntimeError(f"{FATAL}: a model or an algorithm changed a site's rows in place")
        needed = max(min(self.min_sites, len(asked)), question.least)
        if len(answers.sites) < needed and question.spare:
            return Answers([], [])
        if len(answers.sites) < needed:
            causes = [r.cause for r in got if r.cause] if not isinstance(got, Stacked) else []
            raise self._too_few(question, asked, errors, needed) from (causes[0] if causes else None)
        return answers

    def _enter(self, round: int, purpose: str, answers: Answers, errors: dict[str, str]) -> None:
        if answers.together is not None and answers.sites:
            self.ledger.add(round, purpose, answers.sites, "up", answers.together, stacked=True)
        elif _plain(answers.contents):
            self.ledger.add(round, purpose, answers.sites, "up", answers.contents[0])
        else:
            for site, what in zip(answers.sites, answers.contents, strict=True):
                self.ledger.add(round, purpose, [site], "up", what)
        for site, error in errors.items():
            self.ledger.add(round, purpose, [site], "up", {}, status=error)

    def _too_few(self, question: Ask, asked: list[str], errors: dict[str, str], needed: int) -> TooFewSites:
        left = ", ".join(f"{site} ({errors[site]})" for site in asked if site in errors)
        return TooFewSites(
            f"{len(asked) - len(errors)} of {len(asked)} sites answered '{question.purpose}' in round {question.round},"
            f" but at least {needed} must; missing: {left}. The rounds before are kept (the error's .run). "
            "Lower min_sites, or look into the log of those sites."
        )


def _plain(contents: list[dict[str, Any]]) -> bool:
    """Tell whether all sites sent the same few plain numbers: then one entry does for all."""
    return bool(contents) and all(
        what.keys() == contents[0].keys() and all(type(value) is float for value in what.values()) for what in contents
    )


def _one_by_one(got: Sequence[Reply], asked: list[str], like: Tensors | None) -> tuple[Answers, dict[str, str]]:
    by_name = {reply.site: reply for reply in got}
    looks = {reply.site: _looks(reply.content) for reply in got if not reply.error}
    usual = Counter(looks.values()).most_common(1)[0][0] if any(looks.values()) else ""  # ties to the first
    good: list[Reply] = []
    errors: dict[str, str] = {}
    for site in asked:
        reply = by_name.get(site)
        fault = "no answer" if reply is None else reply.error or _fault(reply.content, like)
        if not fault and looks[site] != usual:
            fault = "sent other tensors than most sites"
        if fault or reply is None:
            errors[site] = fault
        else:
            good.append(reply)
    return Answers([r.site for r in good], [r.content for r in good]), errors


def _fault(content: dict[str, Any], like: Tensors | None) -> str:
    """Say what is wrong with an answer; empty if nothing."""
    if like is not None:
        for name, tensor in content["model"].items():
            if name not in like or tensor.shape != like[name].shape or tensor.dtype != like[name].dtype:
                return f"sent a tensor {name!r} that does not fit the model"
        if not finite(content["model"]) or not finite(content["extra"]):
            return "sent a model that is not finite"
    return ""


def _looks(content: dict[str, Any]) -> str:
    """Say what tensors an answer holds: names, shapes, dtypes; ``""`` for plain numbers."""
    if "model" not in content and "extra" not in content:
        return ""

    def look(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: look(v) for k, v in sorted(value.items())}
        return (tuple(value.shape), str(value.dtype)) if isinstance(value, Tensor) else ""

    held = {name: look(content[name]) for name in ("model", "extra") if name in content}
    return repr(held)
