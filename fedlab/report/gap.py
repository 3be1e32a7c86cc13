"""The gap in numbers: what a model is worth at home, elsewhere, everywhere and where it has never been.

Everything is a series over seeds first, so that every difference is paired and has an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.run import EVERY_SITE
from fedlab.figures.words import words
from fedlab.study import Interval, Study, over_seeds
from fedlab.study.paired import ahead
from fedlab.study.study import FEW, REFERENCE, average

LARGE = ", large sites"


class Difference(NamedTuple):
    """A paired difference over seeds with its 95 % interval."""

    metric: str
    mean: float
    low: float
    high: float

    @property
    def said(self) -> str:
        """``better``, ``worse`` or ``no clear difference``; ``not known`` without an interval (one seed).

        Examples
        --------
        >>> Difference("auc", 0.1, -0.1, 0.3).said, Difference("log_loss", 0.2, 0.1, 0.3).said
        ('no clear difference', 'worse')
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "not known"
        lead = ahead(self.low, self.high)
        if not lead:
            return "no clear difference"
        return "better" if (lead > 0) == words(self.metric).higher else "worse"

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return "–"
        if not math.isfinite(self.low):
            return signed(self.mean)
        return f"{signed(self.mean)} [{signed(self.low)}, {signed(self.high)}]"


def signed(value: float) -> str:
    """Three digits with a sign, a real minus.

    Examples
    --------
    >>> signed(-0.0123)
    '−0.012'
    """
    text = f"{value:+.3f}"
    return "0.000" if text in ("-0.000", "+0.000") else text.replace("-", "−")


@dataclass
class Gap:
    """A study read as the gap; ``unseen`` has the rows of ``unseen_sites`` with a column ``seed``.

    Parameters
    ----------
    study : Study
    unseen : DataFrame, optional
    resamples : int
        Of the patient-level bootstrap in :attr:`atlas`.
    """

    study: Study
    unseen: pd.DataFrame = field(default_factory=pd.DataFrame)
    resamples: int = 0

    # ------------------------------------------------------------------ who is who

    @property
    def isolated(self) -> bool:
        """Whether the reference, the hospitals' own models, took part."""
        return REFERENCE in self.study.arms

    @cached_property
    def shared(self) -> list[str]:
        """Arms with one model for all."""
        return [arm for arm, runs in self.study.runs.items() if runs[0].algorithm.one_model]

    @cached_property
    def federated(self) -> str | None:
        """The arm that sentences call federated."""
        return lead({arm: runs[0].algorithm for arm, runs in self.study.runs.items()})

    # ------------------------------------------------------------------ one number a seed

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The opened test: one row per arm, seed, ``train``, ``test``, metric."""
        return self.study.report()

    def series(self, arm: str, metric: str, where: str | tuple[str, str]) -> pd.Series[float]:
        """Return one number a seed, sites counting alike.

        Parameters
        ----------
        arm, metric : str
        where : str or (str, str)
            ``everywhere``, ``home``, ``elsewhere`` (isolated: other hospitals' models) or ``unseen``, each also with
            ``", large sites"`` behind it (tested at these alone); or ``(train, test)``, where ``train`` may be
            ``all sites`` or ``all but SITE``.
        """
        left_out = where[0].startswith("all but ") if isinstance(where, tuple) else where.startswith("unseen")
        scores = self.unseen if left_out else self.scores
        if scores.empty:
            return pd.Series(dtype=float)
        rows = scores[(scores["arm"] == arm) & (scores["metric"] == metric)]
        if isinstance(where, tuple):
            rows = rows[(rows["train"] == where[0]) & (rows["test"] == where[1])]
        else:
            own = (rows["train"] == rows["test"]) | (rows["train"] == EVERY_SITE)
            place = where.removesuffix(LARGE)
            rows = rows[own] if place == "home" else rows[~own] if place == "elsewhere" else rows
            rows = rows[~rows["test"].isin(self.few)] if where.endswith(LARGE) else rows
        return rows.groupby("seed")["value"].mean()

    def interval(self, arm: str, metric: str, where: str | tuple[str, str]) -> Interval:
        """Mean, sd and interval over seeds."""
        return over_seeds(self.series(arm, metric, where).tolist(), overlap=self.study.overlap)

    def difference(
        self,
        metric: str,
        one: tuple[str, str | tuple[str, str]],
        other: tuple[str, str | tuple[str, str]],
    ) -> Difference:
        """``one`` minus ``other``, each ``(arm, where)``, on the same seeds."""
        apart = self.series(one[0], metric, one[1]) - self.series(other[0], metric, other[1])
        mean, _, low, high = over_seeds(apart.tolist(), overlap=self.study.overlap)
        return Difference(metric, mean, low, high)

    # ------------------------------------------------------------------ what is often asked

    def own(self, arm: str, site: str) -> tuple[str, tuple[str, str]]:
        """Return the place where ``site`` is read by its own arm's model."""
        return arm, (EVERY_SITE if arm in self.shared else site, site)

    def at_home(self, arm: str, site: str, metric: str) -> Difference:
        """Difference of this arm's model to the hospital's own one, on that hospital's patients."""
        return self.difference(metric, self.own(arm, site), self.own(REFERENCE, site))

    def not_seen(self, site: str, metric: str) -> Difference:
        """Difference, at ``site``, of the model that has not seen it to the one that has."""
        arm = str(self.federated)
        return self.difference(metric, (arm, (f"all but {site}", site)), self.own(arm, site))

    @property
    def large(self) -> str:
        """What to put behind a place so that sites with few patients are left out; nothing where none or all are."""
        return LARGE if 0 < len(self.few) < len(self.study.federation.sites) else ""

    @cached_property
    def few(self) -> dict[str, int]:
        """Sites with fewer than ten test patients in a class, and how many those are at least."""
        fewest = self.scores.groupby("test")["fewest"].min()
        return {str(site): int(count) for site, count in fewest.items() if count < FEW}

    @cached_property
    def atlas(self) -> pd.DataFrame:
        """Train here, test there, unseen hospitals included: mean over seeds with bootstrap intervals."""
        parts = [self.study.atlas(resamples=self.resamples)]
        if not self.unseen.empty:
            parts.append(average(self.unseen))
        return pd.concat(parts, ignore_index=True)


def lead(arms: dict[str, Algorithm]) -> str | None:
    """Return which arm stands for federated learning: FedAvg if it is there, else the first that exchanges models.

    Examples
    --------
    >>> from fedlab.algorithms import algorithm
    >>> lead({name: algorithm(name) for name in ("isolated", "scaffold", "fedprox")})
    'scaffold'
    """
    federated = [name for name, alg in arms.items() if not alg.alone and alg.name != "centralized"]
    federated.sort(key=lambda name: not arms[name].one_model)  # one that can read a hospital it has not seen, if any
    return "fedavg" if "fedavg" in federated else next(iter(federated), None)
