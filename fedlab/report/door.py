"""What of a study may be sent on: its numbers as they pass the door (:mod:`fedlab.metrics.cells`).

The report's page, its JSON and its CSV are made from what this leaves. In a person's own process a study shows all.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedlab.federation import Federation
from fedlab.metrics.cells import (
    ENOUGH,
    FEW,
    LEAST,
    enough_for_interval,
    patients_by_class,
    screened,
    shown,
    withheld,
)
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study import Study

if TYPE_CHECKING:
    from fedlab.report.gap import Gap

FEW_PATIENTS = f"fewer than {LEAST} test patients"
FEW_BETWEEN = f"fewer than {LEAST} test patients between two thresholds"
FEW_OF_A_CLASS = f"fewer than {LEAST} test patients of a class"
BARS = (
    f"Three limits on numbers of patients. A count below {LEAST} is written <{LEAST}, and fewer test patients than "
    "that (for a measure that needs every class: of a class) have no score. With fewer than "
    f"{FEW} test patients of a class such a score is mostly luck: it is marked † and is in no mean over hospitals. "
    f"From {ENOUGH} of a class on it has an interval over patients."
)
HOME = (
    "At home: each hospital’s own test patients, scored by the model that each arm has for it; the mean gives equal "
    f"weight to the hospitals that have {FEW} test patients of each class where the measure needs every class, else to "
    f"all that have {LEAST}."
)
SMALL = re.compile(rf"\b(these|the) [1-{LEAST - 1}]\b")


class Outgoing(Study):
    """A study whose report holds what may be sent on, and with it every table and sentence that is made from it."""

    told = staticmethod(shown)

    def report(self, *, resamples: int = 0) -> pd.DataFrame:
        """Return the scores as they leave: see :func:`leaving`."""
        return leaving(super().report(resamples=resamples))

    @staticmethod
    def leaving(table: pd.DataFrame) -> pd.DataFrame:
        """Return each seed's decisions without what would tell of few patients between two thresholds."""
        words = {"value": np.nan, "low": np.nan, "high": np.nan, "reason": FEW_BETWEEN}
        return table.assign(**{name: table[name].mask(table["small"], what) for name, what in words.items()})


def outgoing(gap: Gap) -> Gap:
    """Return a gap as it may be sent on; one that is so already is returned as it is."""
    if isinstance(gap.study, Outgoing):
        return gap
    study = Outgoing(**{f.name: getattr(gap.study, f.name) for f in fields(gap.study) if f.init})
    curve = gap.curve and replace(gap.curve, scores=leaving(gap.curve.scores))
    return replace(gap, study=study, unseen=leaving(gap.unseen), held=leaving(gap.held), curve=curve, _families={})


def leaving(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a report's rows with what may not leave set to ``nan``, and why.

    ``patients`` and ``fewest`` are ``nan`` where they are small; a score is where too few patients, or too few of a
    class, stand behind it; an interval below twenty of the rarest class. ``headline`` tells what is in no mean over
    hospitals, as it is mostly luck.

    Examples
    --------
    >>> row = {"metric": "auc", "value": 0.9, "low": 0.8, "high": 1.0, "patients": 31, "fewest": 2, "reason": ""}
    >>> told = leaving(pd.DataFrame([row])).iloc[0]
    >>> float(told["value"]), float(told["fewest"]), told["reason"]
    (nan, nan, 'fewer than 5 test patients of a class')
    """
    if scores.empty:
        return scores
    patients, fewest = (scores[name].to_numpy(dtype=float) for name in ("patients", "fewest"))
    needs = scores["metric"].isin(NEEDS_EVERY_CLASS).to_numpy()
    tiny, rare = (patients < LEAST), needs & (fewest > 0) & (fewest < LEAST)
    reason = scores["reason"].str.replace(SMALL, r"\1 few", regex=True)
    reason = np.where(tiny, FEW_PATIENTS, np.where(rare, FEW_OF_A_CLASS, reason))
    silent, unsure = tiny | rare, needs & ~enough_for_interval(fewest)
    return scores.assign(
        value=np.where(silent, np.nan, scores["value"]),
        low=np.where(silent | unsure, np.nan, scores.get("low", np.nan)),
        high=np.where(silent | unsure, np.nan, scores.get("high", np.nan)),
        patients=_told(patients),
        fewest=_told(fewest),
        reason=pd.Series(reason, index=scores.index, dtype="str"),
        headline=~(needs & (fewest < FEW)),
    )


def _told(counts: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    return np.where((counts > 0) & (counts < LEAST), np.nan, counts)


def described(federation: Federation) -> pd.DataFrame:
    """Return ``federation.describe()`` as it may leave: ``nan`` where a count, or what it would follow from, is small.

    Examples
    --------
    >>> import fedlab
    >>> described(fedlab.load("heart_disease")).loc["Switzerland", ["patients", "valid"]].tolist()
    [123.0, 18.0]
    """
    table = federation.describe().astype(float)
    classes, parts = federation.task.classes, ["train", "valid", "test"]
    for site in federation.sites:
        kept = screened(table.loc[site.name, parts].to_numpy(dtype=np.int64))
        table.loc[site.name, parts] = np.where(kept > 0, kept, np.nan)
        if withheld(table.loc[site.name, "patients"]):
            table.loc[site.name, ["patients", "rows"]] = math.nan
        if withheld(table.loc[site.name, "rows"]):
            table.loc[site.name, "rows"] = math.nan
        if not classes:
            if len(site.rows.patients.first) < LEAST:
                table.loc[site.name, [*federation.task.describe(site.rows.y.numpy())]] = math.nan
            continue
        counts = patients_by_class(site.rows.patients.of, site.rows.y.numpy(), len(classes))
        told = screened(counts) == counts
        if len(classes) == 2:
            told[:] = told.all()
        for name, fine in zip(classes, told.tolist(), strict=True):
            if f"share {name}" in table and not fine:
                table.loc[site.name, f"share {name}"] = math.nan
    return table
