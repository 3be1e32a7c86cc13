"""What explains a fall: the part of each kind of difference, with intervals, and what stays unexplained."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fedlab.study.explain.gaps import GAPS, Floats
from fedlab.study.paired import ahead
from fedlab.study.statistics import Interval, over_seeds
from fedlab.study.words import listed, number, signed, words

RESIDUAL = "residual"


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
        Test rows over training rows, for the intervals (:func:`fedlab.study.over_seeds`).
    looked_for : tuple of str
        All kinds that were looked for; those that are not in ``parts`` change nothing.
    known : bool
        Whether the differences were planted, or estimated.
    left_out : dict of str to str
        Hospitals that are in no mean, and why.
    notes : list of str
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
        """The kind with the largest part, clear or not; empty where no part is above 0."""
        means = {kind: float(np.mean(part)) for kind, part in self.parts.items()}
        best = max(means, key=lambda kind: means[kind], default="")
        return best if best and means[best] > 0 else ""

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
            zero out; ``clear``, whether this one does. A kind that changes nothing is 0, exactly.
        """
        rows = []
        order = sorted(self.looked_for, key=lambda kind: -float(np.mean(self.parts.get(kind, 0.0))))
        for kind in (*order, RESIDUAL):
            each = self.values[frozenset()] if kind == RESIDUAL else self.parts.get(kind, np.zeros(len(self.seeds)))
            found = over_seeds(each.tolist(), overlap=self.overlap, together=len(self.parts) + 1)
            rows.append(
                {"kind": kind, "part": float(each.mean()), "low": found.low, "high": found.high,
                 "clear": ahead(found.low, found.high) != 0}
            )  # fmt: skip
        return pd.DataFrame(rows)

    def verdict(self) -> str:
        """Say in a sentence or two what costs most, and what is not explained."""
        what, whole = words(self.metric), self.gap
        fall = f"The fall {GAPS[self.gap_name]} is {_with_interval(whole)} in {what.name}"
        if not ahead(whole.low, whole.high) > 0:
            return f"{fall}: no clear fall, so there is nothing to explain."
        rows = self.table().set_index("kind")
        costs = [kind for kind in rows.index if kind != RESIDUAL and rows.loc[kind, "low"] > 0]
        rest = f"{signed(self.residual.mean)} is not explained by any of these kinds"
        if not costs:
            return f"{fall}. No kind of difference has a clear part of it; {rest}."
        top = rows.loc[costs[0]]
        rivals = [kind for kind in rows.index if kind not in (costs[0], RESIDUAL) and self._as_large(costs[0], kind)]
        told = (
            f"{costs[0].capitalize()} costs most: {number(top['part'])} [{number(top['low'])}, {number(top['high'])}]"
        )
        told += f" of it, though not clearly more than {listed(rivals)}" if rivals else " of it"
        return f"{fall}. {told}; {rest}."

    def _as_large(self, one: str, other: str) -> bool:
        """Whether the first is not clearly the larger part, seed by seed."""
        if other not in self.parts:
            return False
        apart = over_seeds((self.parts[one] - self.parts[other]).tolist(), overlap=self.overlap)
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
