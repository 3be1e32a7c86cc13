"""What explains a fall: the part of each kind of difference, with intervals, and what stays unexplained."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fedlab.study.explain.gaps import GAPS, Floats
from fedlab.study.paired import ahead
from fedlab.study.statistics import Interval, over_seeds
from fedlab.study.words import listed, number, signed, words

RESIDUAL = "residual"
RESAMPLES = 2000
NEARLY_ALL = 0.95  # of the resamples, in which a kind must be first to be named alone


@dataclass(frozen=True)
class Explanation:
    """Made by ``fedlab.explain``.

    Attributes
    ----------
    gap_name, metric : str
        Which fall, in what.
    seeds : list of int
    parts : dict of str to float array, shape [seeds]
        Of each kind that changes something.
    values : dict of frozenset to float array, shape [seeds]
        The fall with these kinds alone; with none it is the residual, with all the whole fall.
    overlap : float
        Test rows over training rows, for the intervals (:func:`fedlab.study.over_seeds`): they cover other splits and
        training of these patients, not other patients.
    looked_for : tuple of str
        All kinds that were looked for; those that are not in ``parts`` change nothing.
    known : bool
        Whether the differences were planted, or estimated.
    left_out : dict of str to str
        Hospitals that are in no mean, and why.
    notes : list of str
    instead : dict of str to frozenset
        Of a kind what its part may be due to instead: other kinds, or causes that are none of them, where the rows fit
        both.
    """

    name: str
    model_name: str
    gap_name: str
    metric: str
    seeds: list[int]
    parts: Mapping[str, Floats]
    values: Mapping[frozenset[str], Floats]
    overlap: float
    looked_for: tuple[str, ...]
    known: bool
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    instead: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def gap(self) -> Interval:
        """The whole fall; positive is a loss."""
        return over_seeds(self._whole.tolist(), overlap=self.overlap)

    @property
    def residual(self) -> Interval:
        """The fall that stays without any of these kinds: unexplained."""
        return over_seeds(self.values[frozenset()].tolist(), overlap=self.overlap)

    @property
    def first(self) -> str:
        """The kind that costs most, clearly; empty where none does.

        There is a clear fall; the kind's part is the largest in the table, and its interval above zero; it is the
        largest in 95 % of 2,000 resamples of the seeds (Efron 1979, their spread widened as in
        :func:`fedlab.study.over_seeds`); its interval against every other kind, clear or not, leaves zero out, all of
        them together with 95 %; the rows fit nothing else as well (``instead``); and no other kind has a clear part
        that may be this one's: seeds do not show how the two would share it.
        """
        named = self._named()
        return named[0] if len(named) == 1 else ""

    @property
    def together(self) -> tuple[str, ...]:
        """Causes of which one or more cost most, clearly, and which cannot be told apart; empty where one can."""
        named = self._named()
        return named if len(named) > 1 else ()

    def cost(self, kinds: Collection[str]) -> Interval:
        """What these kinds cost together, with an interval of the same width as in the table."""
        each = np.sum([self.parts[kind] for kind in kinds if kind in self.parts], axis=0) + np.zeros(len(self.seeds))
        return over_seeds(each.tolist(), overlap=self.overlap, together=len(self.parts) + 1)

    def _named(self) -> tuple[str, ...]:
        """What is named: the kind with the largest part and all that it cannot be told from, if they clearly cost."""
        whole, order = self.gap, self._order()
        if not order or not ahead(whole.low, whole.high) > 0 or not np.mean(self.parts[order[0]]) > 0:
            return ()
        top, others = order[0], order[1:]
        rivals = [kind for kind in others if self._as_large(top, kind, len(others)) or self._shared(top, kind)]
        if self._often_first(top) < NEARLY_ALL:
            rivals = [kind for kind in others if kind in rivals or self._often_first(kind) > (1 - NEARLY_ALL) / 2]
        doubts = frozenset[str]().union(*(self.instead.get(kind, frozenset()) for kind in (top, *rivals)))
        known = [kind for kind in self.looked_for if kind in {top, *rivals, *doubts}]
        known.sort(key=lambda kind: order.index(kind) if kind in order else len(order))
        found = self.cost(known)
        return (*known, *sorted(doubts - set(self.looked_for))) if ahead(found.low, found.high) > 0 else ()

    def _shared(self, one: str, other: str) -> bool:
        """Whether the second's clear part may be the first's: how much of both is whose is then not known."""
        found = self.cost([other])
        return one in self.instead.get(other, frozenset()) and ahead(found.low, found.high) > 0

    def _order(self) -> list[str]:
        """The kinds that change something, largest part first."""
        return sorted(self.parts, key=lambda kind: -float(np.mean(self.parts[kind])))

    def _often_first(self, kind: str) -> float:
        """In which share of the resamples of the seeds this kind's part is the largest."""
        order, many = list(self.parts), len(self.seeds)
        each = np.array([self.parts[other] for other in order])
        drawn = np.random.default_rng(0).integers(many, size=(RESAMPLES, many))
        wider = math.sqrt((1 + many * self.overlap) * many / (many - 1))
        mean = each.mean(1, keepdims=True)
        again = mean + wider * (each[:, drawn].mean(2) - mean)
        return float((again.argmax(0) == order.index(kind)).mean())

    @property
    def _whole(self) -> Floats:
        return self.values[max(self.values, key=len)]

    def table(self) -> pd.DataFrame:
        """One row a kind, largest part first, and the residual last: together they are the fall.

        Returns
        -------
        DataFrame
            ``kind``; its ``part`` of the fall, mean over seeds, with ``low`` and ``high``: intervals of the corrected
            resampled t that hold together for all rows with 95 % (Bonferroni), so that with no difference none leaves
            zero out; ``clear``, whether this one does, and the rows fit nothing else as well. A kind that changes
            nothing is 0, exactly.
        """
        rows = []
        order = sorted(self.looked_for, key=lambda kind: -float(np.mean(self.parts.get(kind, 0.0))))
        for kind in (*order, RESIDUAL):
            each = self.values[frozenset()] if kind == RESIDUAL else self.parts.get(kind, np.zeros(len(self.seeds)))
            found = over_seeds(each.tolist(), overlap=self.overlap, together=len(self.parts) + 1)
            rows.append(
                {"kind": kind, "part": float(each.mean()), "low": found.low, "high": found.high,
                 "clear": ahead(found.low, found.high) != 0 and not self.instead.get(kind)}
            )  # fmt: skip
        return pd.DataFrame(rows)

    def verdict(self) -> str:
        """Say in a sentence or two what costs most, and what is not explained."""
        what, whole = words(self.metric), self.gap
        fall = f"The fall {GAPS[self.gap_name]} is {_with_interval(whole)} in {what.name}"
        if not ahead(whole.low, whole.high) > 0:
            return f"{fall}: no clear fall, so there is nothing to explain."
        named, left = self._named(), self.residual.mean
        rest = f"{signed(left)} is not explained by any of these kinds"
        if not named:
            return f"{fall}. No kind of difference has a clear part of it; {rest}."
        found = self.cost(named)
        rest = f"more than that, {rest}" if left > found.mean else rest
        if len(named) == 1:
            most = "Of these kinds, " + named[0] if left > found.mean else named[0].capitalize()
            return f"{fall}. {most} costs most: {_with_interval(found)} of it; {rest}."
        names = listed(list(named))
        return (
            f"{fall}. {names[0].upper()}{names[1:]} cannot be told apart: together they cost "
            f"{_with_interval(found)} of it; {rest}."
        )

    def _as_large(self, one: str, other: str, rivals: int) -> bool:
        """Whether the first is not clearly the larger part, seed by seed."""
        each = (self.parts[one] - self.parts[other]).tolist()
        apart = over_seeds(each, overlap=self.overlap, together=max(rivals, 1))
        return not ahead(apart.low, apart.high) > 0

    def __repr__(self) -> str:
        how = "known" if self.known else "estimated"
        return (
            f"<Explanation of {self.name} ({self.model_name}): the fall {GAPS[self.gap_name]}, {self.metric}, "
            f"{len(self.seeds)} seeds, {how} differences>"
        )

    def _repr_html_(self) -> str:
        left = [f"without {site}: {why}" for site, why in self.left_out.items()]
        notes = ". ".join([self.verdict().rstrip("."), *left, *self.notes])
        table = self.table().to_html(index=False, border=0, float_format="{:.3f}".format)
        return f"<div>{table}<small>{html.escape(notes)}.</small></div>"


def _with_interval(found: Interval) -> str:
    if math.isnan(found.low):
        return number(found.mean)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"
