"""A study: runs of several algorithms over several seeds, and what they are worth on the held-out test patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from fedlab.engine.openings import quiet
from fedlab.engine.plan import Plan
from fedlab.engine.run import Run
from fedlab.engine.wanted import options_of
from fedlab.federation import Federation
from fedlab.federation.reserved import MEANS
from fedlab.metrics.cells import FEW, written
from fedlab.metrics.scores import bounds
from fedlab.study import closer, two_arms
from fedlab.study.failed import missed, no_failures, told, why
from fedlab.study.final import REFERENCE, final
from fedlab.study.halves import halves
from fedlab.study.kept import Kept
from fedlab.study.openings import enter, said
from fedlab.study.pairs import pairs
from fedlab.study.places import per_seed, without
from fedlab.study.prevalence import Prevalence, patients_tested, prevalence
from fedlab.study.random_effects import random_effects
from fedlab.study.splits import over_splits
from fedlab.study.statistics import over_seeds, overlap
from fedlab.study.verdict import verdict


@dataclass
class Study(Kept):
    """Made by ``fedlab.compare``.

    Attributes
    ----------
    runs : dict of str to list of Run
        For each arm, one run a seed; a run's own seed is ``run.settings.seed``.
    seeds : list of int
    trials : DataFrame
        What was tuned: one row per ``arm``, ``seed`` and trial, its choosing score on ``valid``, and which was chosen.
    failed : DataFrame
        Seeds on which an arm failed: ``arm``, ``seed``, the ``round`` and the ``error``. They have no run.
    test_openings : int
        How often ``test`` was looked at in this study; the same report again returns the stored one.
    opened : dict
        What :meth:`final` found, and when; empty as long as it was not called.
    plan : list of Plan
        What each run was asked, over one and the same data.
    asked : dict
        What ``compare`` was asked, in words: by it a saved study is told from another.
    primary : str
        The metric that was named beforehand: it alone is judged.
    smallest : float or None
        The difference in it that matters, if one was named.
    """

    federation: Federation
    model_name: str
    runs: dict[str, list[Run]]
    seeds: list[int]
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    failed: pd.DataFrame = field(default_factory=no_failures)
    test_openings: int = 0
    asked: dict[str, Any] = field(default_factory=dict)
    primary: str = ""
    smallest: float | None = None
    opened: dict[str, Any] = field(default_factory=dict)
    _reports: dict[Any, pd.DataFrame] = field(default_factory=dict)
    _prevalence: Prevalence | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.primary = self.primary or self.federation.task.choosing

    told = staticmethod(written)
    """How a count of patients is written in tables and figures: in a person's own process as it is."""

    @staticmethod
    def leaving(table: pd.DataFrame) -> pd.DataFrame:
        """Return what of each seed's decisions is shown: in a person's own process all."""
        return table

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the algorithms that have a result."""
        return tuple(self.runs)

    @property
    def plan(self) -> list[Plan]:
        """What was asked of every run, arm by arm and seed by seed; a seed is a split of the same data.

        Examples
        --------
        >>> import fedlab
        >>> study = fedlab.compare(fedlab.load("heart_disease"), algorithms=["fedavg"], seeds=2, rounds=1)
        >>> [(plan.algorithm.name, plan.seed, plan.data.steps[-1]["seed"]) for plan in study.plan]
        [('fedavg', 0, 0), ('fedavg', 1, 1)]
        """
        return [run.plan.judged_by(self.primary) for runs in self.runs.values() for run in runs]

    def report(self, *, resamples: int = 0) -> pd.DataFrame:
        """Open ``test`` and score every run: one row per arm, seed, ``train``, ``test`` and metric.

        ``resamples`` adds intervals over each split's patients. Columns as in ``Run.report``, and ``arm`` and ``seed``.
        """
        resamples = self._options("report", resamples=resamples)["resamples"]
        if resamples not in self._reports:
            with quiet():
                parts = [
                    run.report(resamples=resamples).assign(arm=arm, seed=run.settings.seed)
                    for arm, runs in self.runs.items()
                    for run in runs
                ]
            self._reports[resamples] = pd.concat(parts, ignore_index=True)
            enter(self, "report")
        return self._reports[resamples].copy(deep=False)  # pandas copies what is written to, and only then

    def atlas(self, *, resamples: int = 0) -> pd.DataFrame:
        """Train here, test there: mean over seeds of each arm, source and site; see :func:`fedlab.atlas`."""
        scores = self.report(resamples=resamples)
        return average(scores, overlap=self.overlap, tested=patients_tested(self))

    calibration = closer.calibration
    calibration_summary = closer.calibration_summary
    decisions = closer.decisions
    subgroups = closer.subgroups

    def _options(self, name: str, **options: Any) -> dict[str, Any]:
        """Return all options of a look at ``test``, checked before anything is opened."""
        return options_of(name, options, task=self.federation.task, features=self.federation.features)

    @property
    def overlap(self) -> float:
        """Test rows over training rows: how much the splits of two seeds have in common."""
        return overlap(self.federation)

    def table(self, *, against: str = REFERENCE) -> pd.DataFrame:
        """What each arm is worth, and how it differs from another (by default isolated learning) on the same seeds.

        Parameters
        ----------
        against : str
            The arm to take the differences to.

        Returns
        -------
        DataFrame
            One row per ``arm``, ``where`` and ``metric`` with ``mean, sd, low, high`` over the ``seeds`` that have a
            score (corrected resampled t, 95 %, cut at the metric's ends; for how many of each class there might have
            been, which the splits keep, a mean over patients is wider: :mod:`fedlab.study.prevalence`) and
            ``difference, difference_low, difference_high`` to the other arm on the seeds of both (the same t, not cut;
            ``nan`` without such an arm).
            Bounds are ``nan`` where the seeds do not differ, so that nothing is certain for lack of a spread. An arm
            that failed on all seeds has a row of ``nan``. ``where`` is

            * ``everywhere``: a model anywhere (isolated: all pairs of training and test site),
            * ``home``: each site's own patients, read by its own arm's model,
            * ``home, large sites``: the same without sites of fewer than ten test patients in a class,
            * or a site: its own patients.

            The means are over the same hospitals for all arms and seeds. One that some seed's split has no score of,
            as a class has no patient there, or in which it never trained a model of its own, is left out of that
            metric; ``reason`` names it. An arm that misses one of the others, as its model predicts NaN, has no mean
            for that seed. A site's own rows say in ``reason`` what it missed of the training.
        """
        if against != REFERENCE and against not in self.arms:
            raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(self.runs)}")
        scores = self.report()
        values = per_seed(scores)
        keys = ["arm", "where", "metric"]
        by_seed = values.set_index([*keys, "seed"])["value"].unstack("seed").reindex(columns=self.seeds)
        series = dict(zip(by_seed.index, by_seed.to_numpy(), strict=True))
        lost = {arm: why(self.failed, arm, len(self.seeds)) for arm in values["arm"].unique()}
        absent = {arm: missed(runs) for arm, runs in self.runs.items()}
        gone = {metric: without(scores, metric, MEANS[0]) for metric in values["metric"].unique()}
        overlap, unseen, rows = self.overlap, prevalence(self), []
        for arm, where, metric in values[keys].drop_duplicates().itertuples(index=False):
            mine, theirs = series[arm, where, metric], series.get((against, where, metric))
            row = {"arm": arm, "where": where, "metric": metric}
            spare = unseen.of(metric, where, arm)
            row |= over_seeds(mine.tolist(), overlap=overlap, within=bounds(metric), prevalence=spare)._asdict()
            apart = [np.nan] if theirs is None else (mine - theirs).tolist()
            spare = unseen.of(metric, where, arm, less=against)
            mean, _, low, high = over_seeds(apart, overlap=overlap, prevalence=spare)
            row |= {"difference": mean, "difference_low": low, "difference_high": high}
            reasons = lost[arm], gone[metric] if where in MEANS else absent[arm].get(where, "")
            row |= {"seeds": int(np.isfinite(mine).sum()), "reason": "; ".join(filter(None, reasons))}
            rows.append(row)
        return pd.DataFrame(rows + self._without_result(rows))

    def _without_result(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the arms that failed on all seeds."""
        nothing = dict.fromkeys(rows[0], np.nan) | {"seeds": 0}
        return [
            nothing | {"arm": arm, "where": where, "metric": metric, "reason": why(self.failed, arm, len(self.seeds))}
            for arm in dict.fromkeys(self.failed["arm"])
            if arm not in self.runs
            for where, metric in dict.fromkeys((row["where"], row["metric"]) for row in rows)
        ]

    final = final
    pairs = pairs
    verdict = verdict
    halves = halves
    delong = two_arms.delong
    over_sites = two_arms.over_sites
    random_effects = random_effects

    def cost(self) -> pd.DataFrame:
        """What each arm took, mean over seeds: rounds, gradient steps in sequence, examples, bytes, seconds."""
        rows = []
        for arm, runs in self.runs.items():
            rows.append(
                {
                    "arm": arm,
                    "rounds": np.mean([len(r.records) for r in runs]),
                    "steps": np.mean([len(r.records) * r.steps_per_round for r in runs]),
                    "examples": np.mean([r.examples_seen for r in runs]),
                    "bytes": np.mean([r.ledger_book.of_training for r in runs]),
                    "seconds": np.mean([r.records[-1].seconds for r in runs]),
                }
            )
        return pd.DataFrame(rows).set_index("arm")

    def as_dict(self) -> dict[str, Any]:
        """The table as nested dicts: ``{arm: {everywhere, home, home_large, sites: {site: …}}}`` of metrics."""
        arms: dict[str, Any] = {}
        for row in self.table().to_dict("records"):
            arm = arms.setdefault(row.pop("arm"), {"everywhere": {}, "home": {}, "home_large": {}, "sites": {}})
            where, metric = row.pop("where"), row.pop("metric")
            del row["seeds"], row["reason"]
            place = {"everywhere": "everywhere", "home": "home", "home, large sites": "home_large"}.get(where)
            target = arm[place] if place else arm["sites"].setdefault(where, {})
            target[metric] = {k: None if np.isnan(v) else v for k, v in row.items()}
        return arms

    def __repr__(self) -> str:
        absent = sum(bool(missed(runs)) for runs in self.runs.values())
        lacking = f", in {absent} of {len(self.runs)} arms not every hospital took part throughout" if absent else ""
        return (
            f"<Study of {', '.join(self.arms)} ({self.model_name}) on {self.federation.name}: {len(self.seeds)} seeds, "
            f"{said(self)}{lacking}>"
        )

    def _repr_html_(self) -> str:
        table = self.table()
        cells = table["mean"].map("{:.3f}".format) + " ± " + table["sd"].map("{:.3f}".format)
        wide = table.assign(cell=cells).pivot_table(
            index=["where", "arm"], columns="metric", values="cell", aggfunc="first", sort=False
        )
        note = f"mean ± sd over {len(self.seeds)} seeds; {said(self)}"
        note = "; ".join([note, *(escape(what) for what in told(self))])
        return f"<div>{wide[list(self.federation.task.metrics)].to_html(border=0)}<small>{note}</small></div>"


def average(scores: pd.DataFrame, *, overlap: float, tested: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Average scores over seeds, with an interval over them; of one seed the interval is that of its patients."""
    return over_splits(scores, ["arm", "train", "test", "metric"], overlap=overlap, tested=tested)


__all__ = ["FEW", "REFERENCE", "Study", "average"]
