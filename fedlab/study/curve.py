"""What a learning curve over data found: scores of every point, and their means with intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from fedlab.federation import Federation
from fedlab.federation.reserved import EVERYWHERE, LARGE_SITES, TOOK_NO_PART, TOOK_PART
from fedlab.metrics.cells import FEW
from fedlab.metrics.scores import bounds
from fedlab.study.places import shared
from fedlab.study.statistics import over_seeds, overlap


def point(by: str, x: int) -> str:
    """Say how much data a point of a curve has.

    Examples
    --------
    >>> point("rows", 16), point("sites", 1), point("sites", 4)
    ('16 rows a hospital', '1 hospital', '4 hospitals')
    """
    return f"{x} {'row' if by == 'rows' else 'hospital'}{'s' * (x > 1)}{' a hospital' * (by == 'rows')}"


@dataclass
class LearningCurve:
    """Made by ``fedlab.learning_curve``.

    Attributes
    ----------
    arms : tuple of str
    seeds : list of int
    points : list of (str, int)
        The finished ones: ``("rows", 16)``, ``("sites", 2)``, …
    scores : DataFrame
        One row per ``by`` (``rows`` or ``sites``), ``x``, ``arm``, ``seed``, ``train``, ``test`` and ``metric``:
        ``value``, ``patients`` (test), ``fewest`` and ``reason`` as in ``Run.report``; whether the tested hospital
        ``took_part``; and what was learnt from: training ``rows`` in all ``hospitals`` that took part, how many of
        those were ``lacking`` a class, ``rounds`` and gradient ``steps``.
    failures : DataFrame
        ``by, x, arm, reason`` of what could not be computed.
    notes : list of str
    """

    federation: Federation
    model_name: str
    arms: tuple[str, ...]
    seeds: list[int]
    points: list[tuple[str, int]] = field(default_factory=list)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    failures: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["by", "x", "arm", "reason"]))
    notes: list[str] = field(default_factory=list)

    def add(self, by: str, x: int, found: Mapping[str, pd.DataFrame | Exception]) -> None:
        """Take in a finished point: the scores of each arm, or why there are none."""
        good = [f.assign(by=by, x=x, arm=arm) for arm, f in found.items() if isinstance(f, pd.DataFrame)]
        bad = [
            {"by": by, "x": x, "arm": arm, "reason": str(e) or type(e).__name__}
            for arm, e in found.items()
            if isinstance(e, Exception)
        ]
        self.points.append((by, x))
        if good:
            self.scores = pd.concat([*([self.scores] if len(self.scores) else []), *good], ignore_index=True)
        self.failures = pd.DataFrame([*self.failures.to_dict("records"), *bad], columns=self.failures.columns)

    @property
    def overlap(self) -> float:
        """Test rows over training rows of the whole split, at every point: the patients are drawn from the same ones.

        The fewer rows of a point make two seeds less alike, not more, so its own (larger) ratio would be too wide.
        """
        return overlap(self.federation)

    def table(self, metric: str | None = None) -> pd.DataFrame:
        """Means over seeds and their 95 % intervals.

        Those are of the corrected resampled t with :attr:`overlap`; of the means, cut at the metric's ends. They cover
        other splits and training of these patients, not other patients: of accuracy, log loss and Brier score they miss
        that more or fewer might have been ill (:mod:`fedlab.study.prevalence`).

        Parameters
        ----------
        metric : str, optional
            Only this one; default: all.

        Returns
        -------
        DataFrame
            One row per ``by``, ``arm``, ``where``, ``metric`` and ``x``: ``mean, sd, low, high``; the difference to
            the curve's first point on the same seeds, ``difference, difference_low, difference_high``; and means over
            seeds of ``rows`` (in all hospitals that took part), ``lacking``, ``rounds``, ``steps``. One seed has no
            interval (``nan``). A site whose patients do not allow for a metric is in no mean of it. ``where`` is
            ``everywhere`` (the mean over hospitals, of every model there is), ``large sites`` (the same without sites
            of fewer than ten test patients in a class), a site, or along ``sites`` ``took part`` and ``took no part``.
        """
        told = ["rows", "lacking", "rounds", "steps"]
        keys = ["by", "arm", "where", "metric"]
        scores = self.scores if metric is None else self.scores[self.scores["metric"] == metric]
        if scores.empty:
            raise ValueError(f"there is no metric {metric!r}; known are {', '.join(self.scores['metric'].unique())}")
        points = _places(scores).groupby([*keys, "x", "seed"], sort=False)
        each = points[told].mean().assign(value=points["value"].mean(skipna=False)).reset_index()
        rows = []
        for key, curve in each.groupby(keys, sort=False):
            wide = curve.pivot(index="seed", columns="x", values="value")
            means = curve.groupby("x")[told].mean()
            for x in wide:
                mean, sd, low, high = over_seeds(wide[x].tolist(), overlap=self.overlap, within=bounds(str(key[-1])))
                apart, _, least, most = over_seeds((wide[x] - wide[wide.columns[0]]).tolist(), overlap=self.overlap)
                row = {**dict(zip(keys, key, strict=True)), "x": x, "mean": mean, "sd": sd, "low": low, "high": high}
                row |= {"difference": apart, "difference_low": least, "difference_high": most}
                rows.append(row | {"seeds": int(wide[x].notna().sum())} | means.loc[x].to_dict())
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        told = f"; {len(self.failures)} could not be computed" if len(self.failures) else ""
        return (
            f"<LearningCurve of {', '.join(self.arms)} ({self.model_name}) on {self.federation.name}: "
            f"{len(self.points)} points, {len(self.seeds)} seeds, test opened at each{told}>"
        )

    def _repr_html_(self) -> str:
        table = pd.concat([self.table(metric) for metric in self.federation.task.main]).query("where == 'everywhere'")
        cells = table["mean"].map("{:.3f}".format)
        bounds = zip(table["low"], table["high"], strict=True)
        cells += ["" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]" for low, high in bounds]
        wide = table.assign(cell=cells).pivot_table(
            index=["by", "x", "arm"], columns="metric", values="cell", aggfunc="first", sort=False
        )
        notes = [f"mean over hospitals and {len(self.seeds)} seeds on test", *self.notes]
        return f"<div>{wide[[*self.federation.task.main]].to_html(border=0)}<small>{'. '.join(notes)}</small></div>"


def _places(scores: pd.DataFrame) -> pd.DataFrame:
    among = scores[shared(scores)]
    large = among["test"].map(among.groupby("test")["fewest"].min()) >= FEW
    along = among[among["by"] == "sites"]
    parts = [
        among.assign(where=EVERYWHERE),
        among[large].assign(where=LARGE_SITES),
        along.assign(where=np.where(along["took_part"], TOOK_PART, TOOK_NO_PART)),
        scores.assign(where=scores["test"]),
    ]
    return pd.concat(parts, ignore_index=True)
