"""Harmonise tables before anyone trains: sites summarise, the server proposes, a person accepts, sites apply.

All of it is pure; :func:`fedlab.harmonise` sends it through the gate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fedlab.federation.harmonise.changes import apply, contradictory
from fedlab.federation.harmonise.proposals import (
    Column,
    Found,
    Proposal,
    Question,
    Undecided,
    codes,
    sentinel,
    unit,
    within,
    writing,
)
from fedlab.federation.harmonise.summaries import Summary, summarise
from fedlab.metrics.cells import LEAST

if TYPE_CHECKING:
    from fedlab.federation.dictionary import DataDictionary

BAG = ("mg|amount|drug_?amount", "ml|volume|volume_?of_?fluid")  # what a rate in ml/h is a dose by
Finder = Callable[[Column], Found]
FINDERS: tuple[Finder, ...] = (writing.decimal, sentinel.find, writing.percent, within.find, codes.find, writing.date)


class Findings(NamedTuple):
    """What is proposed, what is asked because several readings fit, and what cannot be told."""

    proposals: list[Proposal]
    questions: list[Question]
    undecided: list[Undecided]


def propose(
    summaries: Mapping[str, Summary], dictionary: DataDictionary | None = None, *, least: int = LEAST
) -> Findings:
    """Compare each site's columns with the others' and with the agreement.

    Parameters
    ----------
    summaries : mapping
        Site to what :func:`summarise` says of its table.
    dictionary : DataDictionary, optional
        The agreement; without it, what most sites do is taken for agreed.
    least : int
        Patients in the smallest cell, as the sites were asked.

    Returns
    -------
    Findings
        Proposals, questions and what is undecided. Numbers that only lie elsewhere are a question: so do other
        patients'.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> height = np.arange(150.0, 190.0, 0.5)
    >>> cm = pd.DataFrame({"height": height, "weight": 25 * (height / 100) ** 2})
    >>> tables = {"A": cm, "B": cm + 1, "C": cm.assign(height=cm["height"] / 2.54)}
    >>> told = propose({site: summarise(table) for site, table in tables.items()})
    >>> [(p.change.site, p.change.words) for p in told.proposals]
    [('C', 'from in to cm: × 2.54')]
    >>> alone = {site: summarise(table[["height"]].round(1)) for site, table in tables.items()}
    >>> [q.words for q in propose(alone).questions]
    [('from in to cm: × 2.54', 'nothing is changed')]
    """
    names = list(dict.fromkeys(name for told in summaries.values() for name in told))
    if dictionary is not None:
        names += [entry.name for entry in dictionary.entries if entry.name not in names]
    weight = next(
        (name for name in names if re.fullmatch(r"(?i)(body_?|admission_?|patient_?)?weight(_?kg)?", name)), None
    )
    found: Found = []
    columns = {}
    for name in names:
        told = {site: summary[name] for site, summary in summaries.items() if name in summary}
        found += [Undecided(s, name, "the column is missing here") for s in summaries if s not in told]
        columns[name] = Column(name, told, dictionary.get(name) if dictionary is not None else None, weight, least)
    naming = {other.name: one for one in columns.values() if (other := _numbers_of(one, columns)) is not None}
    units = unit.find({n: column for n, column in columns.items() if column.kind == "number" and n not in naming})
    for name, column in columns.items():
        if column.kind == "text":
            found += [Undecided(s, name, "text of many different values: withheld, nothing is compared")
                      for s, one in column.told.items() if "free" in one]  # fmt: skip
        found += units.get(name, [])
        for find in _finders(column, naming, columns, units.get(name, [])):
            found += find(column)
    proposals = [one for one in found if isinstance(one, Proposal)]
    return Findings(
        sorted(proposals, key=lambda p: -p.confidence),
        [one for one in found if isinstance(one, Question)],
        [one for one in found if isinstance(one, Undecided)],
    )


def _beside(name: str, ending: str, columns: Mapping[str, Column]) -> str | None:
    """The column that is called like this one, with such an ending."""
    return next(
        (other for other in columns if re.fullmatch(f"({re.escape(name.lower())})?_?({ending})", other.lower())), None
    )


def _finders(column: Column, naming: Mapping[str, Column], columns: Mapping[str, Column], units: Found) -> list[Finder]:
    """What to look for in a column: units row by row where another column names them."""
    if column.name in naming:
        amount, volume = (_beside(column.name, ending, columns) for ending in BAG)
        rows: Finder = partial(within.named_units, naming[column.name], amount=amount, volume=volume)
        return [rows if find is within.find else find for find in FINDERS]
    whole = [one.change.site if isinstance(one, Proposal) else one.site for one in units
             if not isinstance(one, Undecided)]  # fmt: skip
    names_units = any(other.name == column.name for other in naming.values())
    finders = [find for find in FINDERS if not (names_units and find is codes.find)]
    return [partial(find, whole=whole) if find is within.find else find for find in finders]


def _numbers_of(one: Column, columns: Mapping[str, Column]) -> Column | None:
    """The column of numbers whose units this one names: whose name it begins with, else the only one so named."""
    if not any(told.get("parts") for told in one.told.values()):
        return None
    others = [c for c in columns.values() if c is not one and c.kind == "number"]
    same = [c for c in others if one.name.lower().startswith(c.name.lower())]
    rates = [c for c in others if re.search(r"rate|dose|value|result", c.name.lower())]
    near = [c for c in rates if len(rates) == 1 or c.name.lower()[:4] == one.name.lower()[:4]]
    return same[0] if same else near[0] if len(near) == 1 else None


__all__ = ["Findings", "Proposal", "Question", "Undecided", "apply", "contradictory", "propose", "summarise"]
