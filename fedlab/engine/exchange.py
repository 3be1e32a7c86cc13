"""The gate: everything between the server and the sites passes here.

It is the only place that orders sites by name, screens their replies, insists on enough of them, and keeps the ledger
and the policy of what may leave them.
What is true of a run in a notebook is therefore true of it on Flower's simulation and between hospitals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.ledger import Ledger
from fedlab.engine.purposes import PURPOSES, Purpose, Refused, accept, withheld
from fedlab.engine.trees import tree_map
from fedlab.privacy import SIMULATED, Policy

FATAL = "RowsChanged"
"""The class of an error at a site that ends the run: its rows are no longer those of its patients."""
LOST = "StateLost"
"""The class of an error of a site that no longer holds what it held."""
LATE = "late"
"""The status of an answer that came after the deadline, or did not come until then."""
REFUSED = "the site could not answer; its own log says why"
SHOWN = 4  # so many of what a policy holds back stand in a message


@dataclass
class Reply:
    """What one site answered, or the class of what went wrong there; the text of an exception stays at the site.

    ``hash`` stamps what the site holds now, where that could get lost: at a node. ``before`` is the answer to the
    question that travelled with this one, and was answered first.
    """

    site: str
    content: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    cause: BaseException | None = None
    hash: str = ""
    before: Reply | None = None


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

    def ask(
        self,
        purpose: str,
        who: Sequence[str],
        payload: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        deadline: float | None = None,
    ) -> Sequence[Reply] | Stacked:
        """Put one question to these sites (or places); answer for each, in any order.

        ``each`` is what goes to one site alone, ``deadline`` the seconds in which it must answer.
        """

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

    ``who`` are names (default: all), ``each`` what goes to one of them alone, beside the payload; ``like`` is what an
    uploaded model must look like: names, shapes and dtypes. At least ``least`` must answer; of a question that can be
    spared, fewer count as nobody. ``following`` is the next question, to the same sites, where it travels in the same
    message: its answers are there when it is asked.
    """

    purpose: str
    payload: dict[str, Any]
    round: int = 0
    who: Sequence[str] | None = None
    like: Tensors | None = None
    least: int = 1
    spare: bool = False
    each: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    following: Ask | None = None


@dataclass
class Exchange:
    """The gate in front of a transport.

    Parameters
    ----------
    transport : Transport
    min_sites : int
        So many must answer a question.
    ledger : Ledger
        Each question is entered with all that it holds, also where two travel in one message and share a model.
    tell : callable
        Told what is asked.
    policy : Policy
        What may be asked, and what may come back: that of the sites, looked at once more.
    deadline : float, optional
        Seconds in which a question must be answered. What comes later is entered in the ledger as *late*, and dropped;
        the site is asked again in the next round.
    """

    transport: Transport
    min_sites: int = 1
    ledger: Ledger = field(default_factory=Ledger)
    tell: Callable[[str], None] = lambda doing: None
    errors: list[tuple[int, str, str, str]] = field(default_factory=list)
    policy: Policy = SIMULATED
    deadline: float | None = None
    _asked: list[tuple[int, str]] = field(default_factory=list, repr=False)
    _prepared: dict[str, Any] | None = field(default=None, repr=False)
    _travelled: tuple[Ask, list[Reply]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.deadline is not None:
            in_range("deadline", self.deadline, 0, open_low=True)
        for reply in sorted(getattr(self.transport, "greetings", ()), key=lambda reply: reply.site):
            self._enter(0, "greet", *_greeting(reply))

    def forbidden(self, purposes: Sequence[str]) -> list[str]:
        """Say of these purposes which are not allowed, and where: by the policy of this gate, or of a site."""
        here = [(purpose, PURPOSES[purpose].reserved) for purpose in purposes]
        found = [f"{name!r} here" for name, reserved in here if not self.policy.allows(name, reserved=reserved)]
        theirs: dict[str, list[str]] = getattr(self.transport, "allowed", {})
        return found + [
            f"{name!r} at {site}" for site, told in sorted(theirs.items()) for name in purposes if name not in told
        ]

    def require(self, purposes: Sequence[str]) -> None:
        """Refuse, before anything is asked, a run whose questions are not allowed.

        Raises
        ------
        Refused
            With each such purpose, and where.
        """
        if why := self.forbidden(purposes):
            raise Refused(
                f"this run asks what the policy does not allow: {', '.join(why)}. Allow it in Policy(purposes=…), or "
                "choose an algorithm and settings that do without"
            )

    def require_out(self, sent: Mapping[str, Mapping[str, str | None]]) -> None:
        """Refuse, before anything is asked, a run whose answers the policy of this gate would not let out.

        Parameters
        ----------
        sent : mapping of str to mapping of str to str
            By purpose, what its answers hold by path, with its dtype; ``None`` of a number.

        Raises
        ------
        Refused
            With each such path.
        """
        kept = [
            f"{path!r} of {purpose!r}" + (f" as {dtype}" if dtype else "")
            for purpose, leaves in sent.items()
            for path, dtype in leaves.items()
            if not self.policy.lets_out(path, dtype)
        ]
        if kept:
            more = f" and {len(kept) - SHOWN} more" if len(kept) > SHOWN else ""
            raise Refused(
                f"this run needs of its sites what the policy does not let out: {', '.join(kept[:SHOWN])}{more}. Allow "
                "it in Policy(names=…, dtypes=…), or choose an algorithm and settings that do without"
            )

    def ask(self, question: Ask) -> Answers:
        """Ask and return the answers that pass the screen.

        Raises
        ------
        ValueError, Refused
            If no site answers such a question, or the policy does not allow it.
        TooFewSites
            If fewer than ``min_sites`` are left (or none, or a pooled place fails).
        """
        if self._travelled is not None and self._travelled[0] is question:
            (_, got), self._travelled = self._travelled, None
            return self.receive(question, self.send(question), got)
        asked = self.send(question)
        return self.receive(question, asked, self._put(question, asked))

    def end(self) -> None:
        """Enter into the ledger what was answered and is not asked for any more: the run ends before."""
        if self._travelled is None:
            return
        (question, got), self._travelled = self._travelled, None
        asked = self.send(question)
        self._enter(question.round, question.purpose, *self._screened(question, asked, got))

    def _put(self, question: Ask, who: Sequence[str]) -> Sequence[Reply] | Stacked:
        """Put a question to these sites; whoever has lost what it held is asked to restore it, and once more."""
        got = self._carried(question, who)
        lost = [] if isinstance(got, Stacked) else [reply.site for reply in got if reply.error == LOST]
        if not lost or self._prepared is None:
            return got
        restore = Ask("restore", self._prepared, question.round, lost)
        replies = self._carried(restore, self.send(restore))
        assert not isinstance(got, Stacked) and not isinstance(replies, Stacked)
        answers, errors = self._screened(restore, lost, replies)
        self._enter(question.round, "restore", answers, errors)
        if not answers.sites:
            return got
        again = replace(question, who=answers.sites)
        more = self._carried(again, self.send(again))
        assert not isinstance(more, Stacked)
        return [*(reply for reply in got if reply.site not in answers.sites), *more]

    def _carried(self, question: Ask, who: Sequence[str]) -> Sequence[Reply] | Stacked:
        """Let the transport carry a question, and enter what has come late of those before."""
        last = question.following or question  # the message is named after the last question in it
        self._asked.append((last.round, last.purpose))
        options: dict[str, Any] = {"each": last.each} if last.each else {}
        if self.deadline is not None:
            options["deadline"] = self.deadline
        if question.following is not None:
            accept(self.policy, last.purpose)
            options["before"] = (question.purpose, question.payload)
        got = self.transport.ask(last.purpose, who, last.payload, **options)
        if question.following is not None:
            assert not isinstance(got, Stacked)
            kept = [] if self._travelled is None else [r for r in self._travelled[1] if r.site not in who]
            self._travelled = last, [*kept, *got]
            got = [reply.before or Reply(reply.site, error=reply.error or "no answer") for reply in got]
        late: list[tuple[int, Reply]] = getattr(self.transport, "late", [])
        while late:
            number, reply = late.pop(0)
            self.ledger.add(*self._asked[number], [reply.site], "up", reply.content, status=reply.error)
        return got

    def send(self, question: Ask) -> list[str]:
        """Enter a question into the ledger; return whom it goes to."""
        accept(self.policy, question.purpose)
        asked = list(self.transport.sites if question.who is None else question.who)
        if question.purpose == "prepare":
            self._prepared = question.payload
        own = [site for site in asked if site in question.each]
        rest = [site for site in asked if site not in question.each] if own else asked
        self.ledger.add(question.round, question.purpose, rest, "down", question.payload)
        for site in own:
            payload = {**question.payload, **question.each[site]}
            self.ledger.add(question.round, question.purpose, [site], "down", payload)
        self.tell(f"{question.purpose}, {len(asked)} sites")
        return asked

    def receive(self, question: Ask, asked: list[str], got: Sequence[Reply] | Stacked) -> Answers:
        """Screen what came back, enter it into the ledger, and insist on enough of it."""
        answers, errors = self._screened(question, asked, got)
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
            raise self._too_few(question, asked, errors, needed, causes) from (causes[0] if causes else None)
        return answers

    def _screened(
        self, question: Ask, asked: list[str], got: Sequence[Reply] | Stacked
    ) -> tuple[Answers, dict[str, str]]:
        """Return what passes, and what is wrong with the rest."""
        entry = PURPOSES[question.purpose]
        if not isinstance(got, Stacked):
            return _one_by_one(got, asked, entry, self.policy, question.like)
        why = withheld(self.policy, entry, got.content, stacked=True)
        if not why:
            return Answers(got.sites, [], got.content), got.errors
        return Answers([], []), {**got.errors, **dict.fromkeys(got.sites, why)}

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

    def _too_few(
        self, question: Ask, asked: list[str], errors: dict[str, str], needed: int, causes: list[BaseException]
    ) -> TooFewSites:
        left = ", ".join(f"{site} ({errors[site]})" for site in asked if site in errors)
        remedy = "Lower min_sites, or look into the log of those sites."
        if set(errors.values()) == {Refused.__name__}:  # fewer sites would not help: the policy holds for each
            why = f" ({causes[0]})" if causes else ""
            remedy = f"The policy of those sites forbids it{why}: allow it there, or ask for less."
        return TooFewSites(
            f"{len(asked) - len(errors)} of {len(asked)} sites answered '{question.purpose}' in round {question.round},"
            f" but at least {needed} must; missing: {left}. The rounds before are kept (the error's .run). {remedy}"
        )


def _greeting(reply: Reply) -> tuple[Answers, dict[str, str]]:
    """Return what a site said of itself as an answer, or what was wrong."""
    return (Answers([], []), {reply.site: reply.error}) if reply.error else (Answers([reply.site], [reply.content]), {})


def _plain(contents: list[dict[str, Any]]) -> bool:
    """Tell whether all sites sent the same few plain numbers: then one entry does for all."""
    return bool(contents) and all(
        what.keys() == contents[0].keys() and all(type(value) is float for value in what.values()) for what in contents
    )


def _one_by_one(
    got: Sequence[Reply], asked: list[str], entry: Purpose, policy: Policy, like: Tensors | None
) -> tuple[Answers, dict[str, str]]:
    by_name = {reply.site: reply for reply in got}
    faults = {reply.site: reply.error or _fault(reply.content, entry, policy, like) for reply in got}
    looks = {site: _looks(by_name[site].content, entry.alike) for site, fault in faults.items() if not fault}
    usual = Counter(looks.values()).most_common(1)[0][0] if any(looks.values()) else ""  # ties to the first
    good: list[Reply] = []
    errors: dict[str, str] = {}
    for site in asked:
        fault = faults.get(site, "no answer")
        if not fault and looks[site] != usual:
            fault = "sent other tensors than most sites"
        if fault:
            errors[site] = fault
        else:
            good.append(by_name[site])
    return Answers([r.site for r in good], [r.content for r in good]), errors


def _fault(content: dict[str, Any], entry: Purpose, policy: Policy, like: Tensors | None) -> str:
    """Say what is wrong with an answer; empty if nothing."""
    return withheld(policy, entry, content) or (entry.screen(content, like) if entry.screen is not None else "")


def _looks(content: dict[str, Any], names: tuple[str, ...]) -> str:
    """Say what tensors an answer holds under these names: their own names, shapes, dtypes; ``""`` without any."""

    def look(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: look(v) for k, v in sorted(value.items())}
        return (tuple(value.shape), str(value.dtype)) if isinstance(value, Tensor) else ""

    held = {name: look(content[name]) for name in names if name in content}
    return repr(held) if held else ""
