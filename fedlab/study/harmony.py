"""Harmonise before anyone trains: what the sites tell, what is proposed, what a person accepts, what is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from fedlab.engine.exchange import Ask, Exchange
from fedlab.engine.ledger import Message
from fedlab.engine.progress import progress_line
from fedlab.engine.purposes import Purpose, register
from fedlab.engine.survey import survey
from fedlab.federation.harmonise import Findings, apply, contradictory, propose, summarise
from fedlab.federation.harmonise.changes import Change
from fedlab.metrics.cells import LEAST, screened

if TYPE_CHECKING:
    from fedlab.federation.dictionary import DataDictionary

PROPOSED = ("site", "column", "kind", "change", "evidence", "confidence")
ASKED = ("site", "column", "kind", "change", "ask", "evidence", "answered")


@dataclass
class Desk:
    """What lies at a site: the table as it is now and as the hospital wrote it, and which column names the patient.

    ``keep`` is given the table whenever it was changed: a hospital's node ends after every answer, and what is to last
    has to be on its own disk.
    """

    table: pd.DataFrame
    written: pd.DataFrame
    patient: str | None = None
    keep: Callable[[pd.DataFrame], object] = lambda table: None

    def changed(self, column: str, *, least: int) -> int:
        """Count the patients whose cells of a column have changed; 0 where so many, or so many others, are too few."""
        apart = (self.table[column].astype(str) != self.written[column].astype(str)).to_numpy()
        who = np.arange(len(apart)) if self.patient is None else self.written[self.patient].astype(str).to_numpy()
        those = len(np.unique(who[apart]))
        kept = screened(np.array([those, len(np.unique(who)) - those]), least=least)
        return int(kept[0])


def _summarise(desk: Desk, asked: dict[str, Any]) -> dict[str, Any]:
    """Summarise the table of a site."""
    if asked.get("patient") != desk.patient:
        raise ValueError(
            f"the server tells patients by {asked.get('patient')!r}, and this site by {desk.patient!r}: agree on the "
            "column (None: a row is a patient)"
        )
    told = summarise(desk.table, least=asked["least"], patient=desk.patient)
    return {"columns": _packed(told)}


def _apply(desk: Desk, asked: dict[str, Any]) -> dict[str, Any]:
    """Change the table of a site; tell how many patients' cells changed."""
    changes = [Change(**change) for change in asked["changes"].values()]
    desk.table = apply(desk.written, changes)
    desk.keep(desk.table)
    changed = {str(c): desk.changed(c, least=asked["least"]) for c in desk.written}
    return {"changed": {c: n for c, n in changed.items() if n}}


register(Purpose("summarise", _summarise, sends=("columns",)))
register(Purpose("apply", _apply, sends=("changed",), numbers=True))


@dataclass
class Harmony:
    """Proposals about how sites write their tables, and what became of them; made by :func:`harmonise`.

    Attributes
    ----------
    desks : mapping of str to Desk
        What lies at the sites of this process; empty where the sites are hospitals.
    sites : tuple of tuple of str
        The sites, in the order in which they are asked; those of an inner tuple at once.
    found : Findings
        Proposals, questions and what is undecided.
    changed : dict of str to dict of str to int
        By site and column, how many patients' cells :meth:`apply` changed, as the site tells it.
    accepted : list of int
        Numbers of the proposals that :meth:`apply` makes.
    answers : dict of int to int
        Of questions, by number: the reading that holds.
    """

    gate: Exchange
    desks: Mapping[str, Desk]
    sites: tuple[tuple[str, ...], ...]
    found: Findings
    least: int = LEAST
    accepted: list[int] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)
    changed: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def ledger(self) -> pd.DataFrame:
        """Every message that passed between the server and the sites, and its bytes."""
        return self.gate.ledger.frame()

    @property
    def messages(self) -> list[Message]:
        """What they held: ``(round, purpose, site, direction, content)`` each; all of round 0, before any training."""
        return self.gate.ledger.messages

    @property
    def proposals(self) -> pd.DataFrame:
        """One row a proposal: ``site, column, kind, change, evidence, confidence`` and whether it is ``accepted``."""
        rows = [(p.change.site, p.change.column, p.change.kind, p.change.words, p.evidence, p.confidence)
                for p in self.found.proposals]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(PROPOSED)).rename_axis("number")
        return frame.assign(accepted=[number in self.accepted for number in frame.index])

    @property
    def questions(self) -> pd.DataFrame:
        """One row a reading, the likeliest of each question first: what it would change, and what to ask the site.

        Several readings fit, and no summary tells which holds: nothing is changed before :meth:`answer`. Columns are
        ``site, column, kind, change, ask, evidence`` and whether the question was ``answered`` so.
        """
        rows = [(q.site, q.column, q.kind, words, q.ask, q.evidence, self.answers.get(number) == reading)
                for number, q in enumerate(self.found.questions) for reading, words in enumerate(q.words)]  # fmt: skip
        numbers = [(n, r) for n, q in enumerate(self.found.questions) for r in range(len(q.readings))]
        index = pd.MultiIndex.from_tuples(numbers, names=["number", "reading"]) if numbers else None
        return pd.DataFrame(rows, columns=list(ASKED), index=index)

    @property
    def undecided(self) -> pd.DataFrame:
        """What was seen, or could not be, and why nothing is proposed: ``site, column, reason``."""
        return pd.DataFrame(
            [(u.site, u.column, u.reason) for u in self.found.undecided], columns=["site", "column", "reason"]
        )

    @property
    def changes(self) -> list[Change]:
        """The accepted changes, and those that answers ask for."""
        return self._changes(self.accepted, self.answers)

    def _changes(self, accepted: Sequence[int], answers: Mapping[int, int]) -> list[Change]:
        told = [self.found.questions[number].readings[reading] for number, reading in answers.items()]
        return [*(self.found.proposals[n].change for n in accepted), *(change for change in told if change is not None)]

    def accept(
        self, *numbers: int, site: str | None = None, column: str | None = None, kind: str | None = None
    ) -> Harmony:
        """Accept proposals: those of these numbers, else all that fit every condition. Questions are never accepted.

        There is no threshold of confidence: how sure a proposal is does not say that somebody has read it.

        Parameters
        ----------
        *numbers : int
            As :attr:`proposals` numbers them.
        site, column, kind : str, optional

        Returns
        -------
        Harmony
            Itself.

        Raises
        ------
        ValueError
            For a number that no proposal has, or if two accepted changes contradict each other; none is then accepted.
        """
        wanted = {"site": site, "column": column, "kind": kind}
        for number in numbers:
            _known(number, len(self.found.proposals), "proposal")
        chosen = [
            number
            for number, p in enumerate(self.found.proposals)
            if (not numbers or number in numbers)
            and all(value is None or getattr(p.change, what) == value for what, value in wanted.items())
        ]
        together = [*self.accepted, *(n for n in chosen if n not in self.accepted)]
        if fault := contradictory(self._changes(together, self.answers)):
            raise ValueError(f"{fault}. Accept one of the two, and refuse() what was accepted before")
        self.accepted = together
        return self

    def refuse(self, *numbers: int) -> Harmony:
        """Take acceptances back: those of these numbers, else all. An answer is taken back by ``answer(number, None)``.

        Raises
        ------
        ValueError
            For a number that no proposal has.
        """
        for number in numbers:
            _known(number, len(self.found.proposals), "proposal")
        self.accepted = [number for number in self.accepted if numbers and number not in numbers]
        return self

    def answer(self, number: int, reading: int | None) -> Harmony:
        """Answer a question as the hospital did; :meth:`apply` then makes what that reading changes.

        Parameters
        ----------
        number : int
            Of the question, as :attr:`questions` numbers them.
        reading : int or None
            Which reading holds, as numbered there; None takes the answer back.

        Returns
        -------
        Harmony
            Itself.

        Raises
        ------
        ValueError
            For a question or a reading that is not there, or if the change contradicts another; nothing is then
            answered.
        """
        _known(number, len(self.found.questions), "question")
        others = {n: r for n, r in self.answers.items() if n != number}
        if reading is not None:
            _known(reading, len(self.found.questions[number].readings), f"reading of question {number}")
            others[number] = reading
        if fault := contradictory(self._changes(self.accepted, others)):
            raise ValueError(f"{fault}. Refuse the other one, or take its answer back with answer(number, None)")
        self.answers = others
        return self

    def apply(self) -> dict[str, pd.DataFrame]:
        """Have every site make its accepted and answered changes, on the table as written; return the tables.

        Called again after :meth:`refuse` it makes what is accepted then: what is no longer accepted is undone. Of
        hospitals no table comes back: each keeps its own, and :attr:`changed` says how much of it has changed.
        """
        for who in self.sites:
            each = {site: {"changes": self._said(site)} for site in who}
            told = self.gate.ask(Ask("apply", {"changes": {}, "least": self.least}, who=who, least=len(who), each=each))
            self.changed |= {site: what["changed"] for site, what in zip(told.sites, told.contents, strict=True)}
        return {site: desk.table for site, desk in self.desks.items()}

    def _said(self, site: str) -> dict[str, dict[str, Any]]:
        """Say a site's changes as they travel."""
        mine = [change for change in self.changes if change.site == site]
        return {str(k): {"site": c.site, "column": c.column, "kind": c.kind, "details": dict(c.details)}
                for k, c in enumerate(mine)}  # fmt: skip

    def __repr__(self) -> str:
        proposed, asked = len(self.found.proposals), len(self.found.questions)
        return (f"<Harmony of {sum(map(len, self.sites))} sites: {proposed} proposals, {len(self.accepted)} accepted; "
                f"{asked} questions, {len(self.answers)} answered>")  # fmt: skip


def _known(number: int, count: int, what: str) -> None:
    if isinstance(number, bool) or number not in range(count):
        raise ValueError(f"there is no {what} {number!r}: they are numbered 0 to {count - 1}" if count else
                         f"there is no {what} {number!r}, and no other")  # fmt: skip


def harmonise(
    tables: Mapping[str, pd.DataFrame] | Exchange,
    dictionary: DataDictionary | None = None,
    *,
    least: int = LEAST,
    patient: str | None = None,
    progress: bool = True,
) -> Harmony:
    """Ask every site for a summary of its table, and propose what would make them write alike.

    No row leaves a site and no cell of fewer than ``least`` patients: counts, means of at least ``least`` patients,
    mean ranks, and units in which numbers are round, all of it on the ledger. A proposal says more than that a site's
    numbers lie elsewhere: those of other patients do too, and become a question with every reading that fits.

    Parameters
    ----------
    tables : mapping of str to DataFrame, or Exchange
        By site, as the hospital wrote it: text or numbers. Or the gate to hospitals whose nodes hold a :class:`Desk`
        each, ``Exchange(FlowerTransport(grid, sites), ledger=Ledger(keep=True))``: all of them are asked at once, and
        the same is proposed as of the same tables here, in the order of their names.
    dictionary : DataDictionary, optional
        The agreement. Without it, what most sites do counts as agreed; of two sites nobody can say who is wrong.
    least : int
        Patients in the smallest cell that may leave a site.
    patient : str, optional
        Column that tells whose row it is, where patients have several; else a row is a patient. Hospitals say the same
        at their own desk, or the answer is an error.
    progress : bool
        Show a line if it takes longer than two seconds.

    Returns
    -------
    Harmony

    Raises
    ------
    ValueError
        If there is no table, one is empty, is no DataFrame or has a column twice.
    TypeError
        If ``tables`` is no mapping: a federation has numbers in place of what the hospitals wrote.
    Refused, TooFewSites
        If the gate, or a hospital, does not allow it, or one of the hospitals does not answer.

    Examples
    --------
    >>> import data_recipes.heart_disease
    >>> harmony = harmonise(data_recipes.heart_disease.raw(), progress=False)
    >>> harmony.proposals[["site", "column", "change"]].values.tolist()
    [['Switzerland', 'chol', '0 becomes empty'], ['Long Beach', 'chol', '0 becomes empty']]
    >>> tables = harmony.accept(kind="sentinel").apply()
    >>> int((tables["Switzerland"]["chol"] == "?").sum())
    123
    """
    if least < 1:
        raise ValueError(f"least is {least}: the smallest cell that may leave a site holds at least 1 patient")
    if isinstance(tables, Exchange):
        gate, desks = tables, dict[str, Desk]()
        sites: tuple[tuple[str, ...], ...] = (tuple(gate.transport.sites),)
    else:
        _check(tables)
        desks = {site: Desk(table, table, patient) for site, table in tables.items()}
        gate, sites = survey(desks), tuple((site,) for site in desks)
    gate.require(("summarise", "apply"))
    payload = {"least": least} | ({"patient": patient} if patient is not None else {})
    summaries: dict[str, Any] = {}
    with progress_line(sum(map(len, sites)), "summaries", "site", show=progress) as line:
        for who in sites:
            told = gate.ask(Ask("summarise", payload, who=who, least=len(who)))
            summaries |= {
                site: _unpacked(what["columns"]) for site, what in zip(told.sites, told.contents, strict=True)
            }
            line.update(len(who))
    return Harmony(gate, desks, sites, propose(summaries, dictionary, least=least), least)


def _check(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse what is no table of a site."""
    if not isinstance(tables, Mapping):
        raise TypeError(
            f"tables is a {type(tables).__name__}: give the tables as the hospitals wrote them, by site, "
            '{"Hungary": DataFrame}'
        )
    if not tables:
        raise ValueError("there is no table: give one DataFrame a site")
    for site, table in tables.items():
        if not isinstance(table, pd.DataFrame):
            raise ValueError(f"site {site!r} has a {type(table).__name__}, not a DataFrame")
        if table.empty:
            raise ValueError(f"the table of site {site!r} is empty: leave the site out, or read its file again")


def _packed(told: Any) -> Any:
    """Lists of numbers as tensors, whose bytes the ledger counts."""
    if isinstance(told, dict):
        return {name: _packed(value) for name, value in told.items()}
    return torch.tensor(told, dtype=torch.float64) if isinstance(told, list) else told


def _unpacked(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _unpacked(value) for name, value in told.items()}
    return told.tolist() if isinstance(told, torch.Tensor) else told
