"""What was found: sites × kinds of difference, each beside what chance alone would give."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fedlab.engine.ledger import Message
from fedlab.study.heterogeneity.by_counts import COUNTED, of_pairs
from fedlab.study.heterogeneity.by_updates import EVERY
from fedlab.study.heterogeneity.census import Census, Terms
from fedlab.study.heterogeneity.chance import DRAWS
from fedlab.study.heterogeneity.measures import KINDS, MEASURES, chosen, legend
from fedlab.study.paired import LEVEL, holm


@dataclass
class Heterogeneity:
    """The differences that were found; made by ``fedlab.heterogeneity``.

    Attributes
    ----------
    terms : Terms
        The sites, their features and the task.
    detail : DataFrame
        One row per kind, measure, site and feature: ``value``; ``expected`` and ``level``, its mean and 95 % quantile
        under no difference; ``p``; the ``reason`` of a ``nan``. Gradient diversity has one row, of ``all sites``.
    cells : DataFrame
        One row per site and kind: the first measure of the kind, averaged over the ``features`` that have a value
        (``"9 of 13"``); ``p`` is the least over the features times their number (Bonferroni: features hang together),
        ``adjusted`` is Holm's over all cells, and ``clear`` says whether that is below .05. ``needs`` is what the value
        was made of.
    ledger : DataFrame
        One row a message: of the questions for counts, and of the training run.
    messages : list
        The questions and answers themselves: ``(round, purpose, site, "down" or "up", content)``.
    notes : tuple of str
        On which rows, with which protection, and what chance means.
    """

    terms: Terms
    detail: pd.DataFrame
    cells: pd.DataFrame
    ledger: pd.DataFrame
    messages: list[Message]
    measures: tuple[str, ...]
    notes: tuple[str, ...]
    census: Census = field(repr=False)
    draws: int = DRAWS
    seed: int = 0

    def table(self) -> pd.DataFrame:
        """Return sites × kinds: the value of each kind's first measure (``legend`` says which, and in which unit)."""
        return self._pivot("value")

    def clear(self) -> pd.DataFrame:
        """Return sites × kinds: whether it is more than chance, after Holm's correction over the whole table."""
        return self._pivot("clear")

    def _pivot(self, what: str) -> pd.DataFrame:
        wide = self.cells.pivot(index="site", columns="kind", values=what)
        wide.columns.name = None
        return wide.loc[list(self.terms.names), [kind for kind in KINDS if kind in wide]]

    def legend(self) -> pd.DataFrame:
        """Return the measures that were asked for: what each sees and needs, and what crosses the exchange."""
        return legend(self.measures)

    def pairs(self, kind: str = "features", measure: str | None = None) -> pd.DataFrame:
        """Compare each site with each other one, from the counts that were sent already.

        Parameters
        ----------
        kind : {"label", "features", "missingness"}
        measure : str, optional
            By default the kind's first.

        Returns
        -------
        DataFrame
            One row a pair ``site, other``: ``value`` and ``expected`` under no difference, averaged over features.

        Examples
        --------
        >>> import fedlab
        >>> found = fedlab.heterogeneity(fedlab.load("heart_disease"), measures=["total_variation"], progress=False)
        >>> found.pairs("label").round(2).iloc[0].to_dict()
        {'site': 'Hungary', 'other': 'Cleveland', 'value': 0.1, 'expected': 0.04}
        """
        if kind not in COUNTED:
            raise ValueError(f"pairs of sites can be compared in {', '.join(COUNTED)}, which counts show; not {kind!r}")
        fit = [name for name in (self.measures if measure is None else chosen(measure)) if kind in MEASURES[name].kinds]
        if not fit or not self.census.tables:
            raise ValueError(f"{measure or ', '.join(self.measures)} says nothing of {kind}: choose another measure")
        rows = pd.DataFrame(of_pairs(self.census, kind, fit[0], draws=self.draws, seed=self.seed))
        found = rows.groupby(["site", "other"], sort=False)[["value", "expected"]].mean()
        return found.reset_index()

    def __repr__(self) -> str:
        clear = ", ".join(f"{kind} {int(n)}" for kind, n in self.clear().sum().items() if kind != "quantity")
        return f"<Heterogeneity of {self.terms.name}: clearly different sites: {clear}>"

    def _repr_html_(self) -> str:
        said = self.cells.assign(text=[_said(cell) for cell in self.cells.itertuples()])
        wide = said.pivot(index="site", columns="kind", values="text").loc[list(self.terms.names)]
        wide = wide[[kind for kind in KINDS if kind in wide]].rename_axis(columns=None)
        notes = "<br>".join(map(html.escape, self.notes))
        return f"<div>{wide.to_html(border=0)}<small>{notes}</small></div>"


def in_cells(detail: pd.DataFrame) -> pd.DataFrame:
    """One row per site and kind: its first measure, over the features, and Holm's correction over all."""
    rows = []
    for (kind, site), each in detail[detail["site"] != EVERY].groupby(["kind", "site"], sort=False):
        first = each[each["measure"] == each["measure"].iloc[0]]
        known = first.dropna(subset="value")
        tested = known["p"].dropna()
        rows.append({
            "site": site, "kind": kind, "measure": first["measure"].iloc[0],
            "value": known["value"].mean() if len(known) else math.nan,
            "features": f"{len(known)} of {len(first)}" if first["feature"].any() else "",
            "expected": known["expected"].mean() if len(known) else math.nan,
            "p": min(1.0, tested.min() * len(tested)) if len(tested) else math.nan,
            "needs": MEASURES[first["measure"].iloc[0]].needs,
            "reason": "" if len(known) else first["reason"].iloc[0],
        })  # fmt: skip
    cells = pd.DataFrame(rows)
    adjusted = holm(cells["p"].tolist())
    return cells.assign(adjusted=adjusted, clear=adjusted < LEVEL)


def _said(cell: Any) -> str:
    if math.isnan(cell.value):
        return "–"
    mark = " ●" if cell.clear else ""
    chance = "" if math.isnan(cell.expected) else f" ({cell.expected:.2f})"
    return f"{cell.value:.2f}{chance}{'ʳ' if cell.needs == 'rows' else ''}{mark}"
