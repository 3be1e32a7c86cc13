"""Harmonise tables before anyone trains: sites summarise, the server proposes, a person accepts, sites apply.

All of it is pure; :func:`fedlab.harmonise` sends it through the gate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fedlab.federation.cells import LEAST
from fedlab.federation.changes import apply, contradictory
from fedlab.federation.proposals import Column, Proposal, Undecided, codes, sentinel, unit, within, writing
from fedlab.federation.summaries import Summary, summarise

if TYPE_CHECKING:
    from fedlab.federation.dictionary import DataDictionary

FINDERS: tuple[Callable[[Column], tuple[list[Proposal], list[Undecided]]], ...] = (
    writing.decimal,
    sentinel.find,
    writing.percent,
    unit.find,
    within.find,
    codes.find,
    writing.date,
)


def propose(
    summaries: Mapping[str, Summary], dictionary: DataDictionary | None = None, *, least: int = LEAST
) -> tuple[list[Proposal], list[Undecided]]:
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
    list of Proposal, list of Undecided

    Examples
    --------
    >>> import pandas as pd
    >>> cm = pd.DataFrame({"height": [150 + k / 2 for k in range(80)]})
    >>> tables = {"A": cm, "B": cm + 1, "C": (cm / 2.54).round(1)}
    >>> found, unsure = propose({site: summarise(table) for site, table in tables.items()})
    >>> [(p.change.site, p.change.words) for p in found]
    [('C', 'from in to cm: × 2.54')]
    """
    names = list(dict.fromkeys(name for told in summaries.values() for name in told))
    if dictionary is not None:
        names += [entry.name for entry in dictionary.entries if entry.name not in names]
    weight = next((name for name in names if re.fullmatch(r"(?i)(body_?|admission_?|patient_?)?weight(_?kg)?", name)), None)
    proposals: list[Proposal] = []
    undecided: list[Undecided] = []
    for name in names:
        told = {site: summary[name] for site, summary in summaries.items() if name in summary}
        undecided += [Undecided(s, name, "the column is missing here") for s in summaries if s not in told]
        column = Column(name, told, dictionary.get(name) if dictionary is not None else None, weight, least)
        if column.kind == "text":
            undecided += [Undecided(s, name, "text of many different values: withheld, nothing is compared")
                          for s, one in told.items() if "free" in one]  # fmt: skip
        for find in FINDERS:
            found, unsure = find(column)
            proposals += found
            undecided += unsure
    return sorted(proposals, key=lambda p: -p.confidence), undecided


__all__ = ["Proposal", "Undecided", "apply", "contradictory", "propose", "summarise"]
