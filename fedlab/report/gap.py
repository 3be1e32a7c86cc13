"""The gap in numbers: what a model is worth at home, elsewhere, everywhere and where it has never been.

Everything is a series over seeds first, so that every difference is paired and has an interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.openings import Seen
from fedlab.federation import Task
from fedlab.federation.reserved import ALL_BUT, EVERY_SITE
from fedlab.metrics.cells import is_few
from fedlab.metrics.scores import bounds
from fedlab.report.judged import Difference, judge
from fedlab.study import Interval, LearningCurve, Study, over_seeds
from fedlab.study.pairs import gains, paired, pairs, rows_of, unjudged
from fedlab.study.places import left_out
from fedlab.study.prevalence import patients_tested, prevalence
from fedlab.study.study import REFERENCE, average

LARGE = ", large sites"
Place = str | tuple[str, str]


@dataclass
class Gap:
    """A study read as the gap.

    Parameters
    ----------
    study : Study
    unseen : DataFrame, optional
        Of ``unseen_sites``: one arm trained without each hospital in turn.
    held : DataFrame, optional
        Of ``at_holdout``: all arms at a hospital that took no part in the study.
    curve : LearningCurve, optional
        What more data are worth.
    resamples : int
        For the intervals over patients in :attr:`opened`.
    threshold : float, optional
        The prespecified risk from which one would act; without it no decision is looked at.
    earlier : Seen, optional
        In which openings the test patients were before the study.
    """

    study: Study
    unseen: pd.DataFrame = field(default_factory=pd.DataFrame)
    held: pd.DataFrame = field(default_factory=pd.DataFrame)
    curve: LearningCurve | None = None
    resamples: int = 0
    threshold: float | None = None
    earlier: Seen | None = None
    _families: dict[Any, dict[Any, dict[str, Any]]] = field(default_factory=dict)

    # ------------------------------------------------------------------ who is who

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.study.federation.task

    @property
    def headline(self) -> str:
        """The metric of the drawings and of what is said in one number."""
        return self.task.headline

    @property
    def main(self) -> tuple[str, ...]:
        """The metrics of tables with few columns."""
        return self.task.main

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

    @property
    def held_out(self) -> str:
        """The hospital that took no part; empty where there is none."""
        return "" if self.held.empty else str(self.held["test"].iloc[0])

    @property
    def large(self) -> str:
        """What to put behind a place so that sites with few patients are left out; nothing where none or all are."""
        return LARGE if 0 < len(self.few) < len(self.study.federation.sites) else ""

    @cached_property
    def few(self) -> dict[str, float]:
        """Sites with fewer than ten test patients in a class, and how many those are at least (``nan``: withheld)."""
        fewest = self.study.report().groupby("test")["fewest"].min()
        return {str(site): float(count) for site, count in fewest.items() if is_few(count)}

    @cached_property
    def lucky(self) -> list[str]:
        """Those of them that count in the means of the headline all the same."""
        gone = left_out(self.study.report(), self.headline)
        return [site for site in self.few if site not in gone]

    # ------------------------------------------------------------------ the opened test

    @cached_property
    def opened(self) -> pd.DataFrame:
        """Every score: one row per arm, seed, ``train``, ``test``, metric; other hospitals included."""
        parts = [self.study.report(resamples=self.resamples), self.unseen, self.held]
        return pd.concat([part for part in parts if not part.empty], ignore_index=True)

    @cached_property
    def atlas(self) -> pd.DataFrame:
        """Train here, test there: mean over seeds, with intervals."""
        table = average(self.opened, overlap=self.study.overlap, tested=patients_tested(self.study))
        return table.assign(holdout=table["test"] == self.held_out)

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """Bins of predicted probability; opens ``test`` once more. Empty where there are no classes."""
        return self.study.calibration() if self.task.classes else pd.DataFrame()

    @cached_property
    def calibration_summary(self) -> pd.DataFrame:
        """Measures of calibration with intervals; opens ``test`` once more. Empty where there are no classes."""
        return self.study.calibration_summary() if self.task.classes else pd.DataFrame()

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """What acting on the risks is worth; opens ``test`` once more. Empty where no threshold was named."""
        return pd.DataFrame() if self.threshold is None else self.study.decisions(threshold=self.threshold)

    @cached_property
    def drawn(self) -> list[str]:
        """At most three arms of which a figure can have all: own, pooled and federated models."""
        arms = [arm for arm in (REFERENCE, "centralized", self.federated) if arm is not None and arm in self.study.arms]
        return arms or [self.study.arms[0]]

    # ------------------------------------------------------------------ one number a seed

    def series(self, arm: str, metric: str, where: Place) -> pd.Series[float]:
        """Return one number a seed, sites counting alike: those at which every seed's patients allow for the metric.

        Parameters
        ----------
        arm, metric : str
        where : str or (str, str)
            ``everywhere``, ``home``, ``elsewhere`` (isolated: other hospitals' models), ``unseen`` or ``held out``,
            each also with ``", large sites"`` behind it (tested at these alone); or ``(train, test)``, where ``train``
            may be ``all sites`` or ``all but SITE``.
        """
        place = where if isinstance(where, tuple) else where.removesuffix(LARGE)
        never = place == "unseen" or isinstance(place, tuple) and place[0].startswith(ALL_BUT)
        scores = self.unseen if never else self.held if place == "held out" else self.study.report()
        if scores.empty:
            return pd.Series(dtype=float)
        rows = scores[(scores["arm"] == arm) & (scores["metric"] == metric)]
        if isinstance(where, tuple):
            rows = rows[(rows["train"] == where[0]) & (rows["test"] == where[1])]
        else:
            own = (rows["train"] == rows["test"]) | (rows["train"] == EVERY_SITE)
            rows = rows[own] if place == "home" else rows[~own] if place == "elsewhere" else rows
            rows = rows[~rows["test"].isin(left_out(scores, metric))]
            rows = rows[~rows["test"].isin(self.few)] if where.endswith(LARGE) else rows
        return rows.groupby("seed")["value"].mean(skipna=False)

    def interval(self, arm: str, metric: str, where: Place) -> Interval:
        """Mean, sd and interval over seeds."""
        values, spare = self.series(arm, metric, where).tolist(), self._spare(metric, (arm, where))
        return over_seeds(values, overlap=self.study.overlap, within=bounds(metric), prevalence=spare)

    def _spare(self, metric: str, one: tuple[str, Place], other: tuple[str, Place] = ("", "")) -> float:
        """Return the variance that the splits do not show; 0 of what is at none of the study's places."""
        (arm, where), (less, at) = ((who, _placed(place)) for who, place in (one, other))
        return prevalence(self.study).of(metric, where, arm, less=less, at=at or "nowhere")

    def own(self, arm: str, site: str) -> tuple[str, tuple[str, str]]:
        """Return the place where ``site`` is scored by its own arm's model."""
        return arm, (EVERY_SITE if arm in self.shared else site, site)

    # ------------------------------------------------------------------ differences

    def shown(self, metric: str, one: tuple[str, Place], other: tuple[str, Place]) -> Difference:
        """``one`` minus ``other``, each ``(arm, where)``, on the same seeds: shown with its interval, not judged."""
        apart = self.series(one[0], metric, one[1]) - self.series(other[0], metric, other[1])
        spare = self._spare(metric, one, other)
        mean, _, low, high = over_seeds(apart.tolist(), overlap=self.study.overlap, prevalence=spare)
        return Difference(metric, mean, low, high)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose differences are told, the judged one first."""
        return tuple(dict.fromkeys([self.study.primary, *self.main]))

    def between(self, metric: str, one: str, other: str, where: str) -> Difference:
        """Two arms ``everywhere`` or at ``home``: judged if by the primary metric, else shown."""
        rows = self.family(where, metric)
        return judge(rows[one, other] if (one, other) in rows else rows[other, one], metric, one)

    def at_home(self, arm: str, site: str, metric: str) -> Difference:
        """Take an arm less the own model on a hospital's patients: shown, not judged."""
        return judge(self.family("sites", metric)[arm, site], metric, arm)

    def away(self, metric: str, where: str) -> Difference:
        """What is lost away from home: shown, not judged.

        ``where`` is ``elsewhere`` (own models, at the other hospitals), ``unseen`` (the federated model, at hospitals
        that it has not learnt from) or one such hospital.
        """
        return judge(self.family("away", metric)[where], metric, "away")

    def family(self, name: str, metric: str) -> dict[Any, dict[str, Any]]:
        """Rows of differences: of all pairs ``everywhere`` or at ``home``, at single ``sites``, or ``away``."""
        if (name, metric) not in self._families:
            makes = {"sites": self._sites, "away": self._away}
            self._families[name, metric] = makes[name](metric) if name in makes else self._pairs(metric, name)
        return self._families[name, metric]

    def _pairs(self, metric: str, where: str) -> dict[Any, dict[str, Any]]:
        if len(self.study.arms) < 2:
            return {}
        return {(row["one"], row["other"]): row for row in rows_of(pairs(self.study, metric=metric, where=where))}

    def _sites(self, metric: str) -> dict[Any, dict[str, Any]]:
        if not self.isolated or len(self.study.arms) < 2:
            return {}
        rows = rows_of(gains(self.study, metric=metric, against=REFERENCE))
        return {(row["one"], row["where"]): row for row in rows}

    def _away(self, metric: str) -> dict[Any, dict[str, Any]]:
        asked: dict[str, tuple[tuple[str, Place], tuple[str, Place]]] = {}
        names = self.study.federation.names
        if self.isolated and len(names) > 1:
            asked["elsewhere"] = (REFERENCE, "elsewhere"), (REFERENCE, "home")
        if not self.unseen.empty:
            arm = str(self.federated)
            asked["unseen"] = (arm, "unseen"), (arm, "home")
            asked |= {site: ((arm, (f"{ALL_BUT}{site}", site)), self.own(arm, site)) for site in names}
        rows = []
        for where, ((one, there), (other, here)) in asked.items():
            values = {"away": self.series(one, metric, there), "home": self.series(other, metric, here)}
            spare = self._spare(metric, (one, there), (other, here))
            found = paired(self.study, values, "away", "home", metric, where, unseen=spare)
            rows.append({"where": where, "one": "away", "other": "home"} | found)
        if not rows:
            return {}
        return {row["where"]: row for row in rows_of(unjudged(rows, "what is lost away from home is in no family"))}


def _placed(where: Place) -> str:
    """Return what a study calls a place; nothing where it has no such one."""
    if isinstance(where, tuple):
        return where[1] if where[0] in (EVERY_SITE, where[1]) else ""
    return where


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
