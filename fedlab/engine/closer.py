"""A closer look at the test patients: how a run's predictions are calibrated, and for whom they are good.

These are methods of :class:`fedlab.Run`. Each opens ``test``, which is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.algorithms.ranges import in_range
from fedlab.engine import opened
from fedlab.federation.groups import group_by
from fedlab.metrics.benefit import THRESHOLDS, checked
from fedlab.metrics.cells import FEW
from fedlab.metrics.reliability import BINS, Bin
from fedlab.metrics.scores import CHOSEN
from fedlab.metrics.thresholds import PREDICTS_NAN

if TYPE_CHECKING:
    from fedlab.engine.run import Run


def calibration(self: Run, *, bins: int = BINS) -> pd.DataFrame:
    """Compare predicted with observed shares on the held-out ``test`` patients; this opens ``test``, and is counted.

    Parameters
    ----------
    bins : int
        Equal bins of predicted probability, 1 to 100.

    Returns
    -------
    DataFrame
        One row per ``train`` (as in :meth:`report`), ``test`` site and ``bin`` from 1 on: its bounds ``low, high``, the
        mean ``predicted`` probability of the positive class, the ``observed`` share of it with its 95 % Wilson
        interval ``observed_low, observed_high``, ``patients``, whether it is ``uncertain`` (fewer than ten patients)
        and the ``reason`` of a ``nan``. Of more than two classes: the probability of the class that is called, and the
        share of calls that are right.

        A site computes the curve where its patients are, and tells no bin of fewer than five of them: neighbouring bins
        are put together, the first then holds all their patients and goes up to the last one's ``high``, and the others
        say so. ``error`` is the calibration error, in the bins that were asked for: a mean over all patients, never
        below 0. ``error_by_chance`` is what it is on average where every risk is true: without that beside it the error
        says nothing. :meth:`calibration_summary` has what does.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> run.calibration().groupby("test", sort=False)["patients"].sum().to_dict()
    {'Cleveland': 75, 'Hungary': 73, 'Switzerland': 31, 'Long Beach': 50}
    """
    in_range("bins", bins, 1, 100)
    self.federation.task.needs_classes("calibration is of the risks of classes")
    asked = ("calibration", bins)
    if asked not in self._reports:
        sources, models = self._sources()
        self._opens("calibration")
        rows = []
        for site in self.federation.sites:
            told = opened.reliabilities(site, self.net, models, bins=bins, seed=self.settings.seed)
            for source, (found, *errors) in zip(sources, told, strict=True):
                where = {"train": source, "test": site.name}
                error = dict(zip(("error", "error_by_chance"), errors, strict=True))
                rows += [where | row | error for row in _bins(found, bins)]
        self._reports[asked] = pd.DataFrame(rows)
    return self._reports[asked].copy()


def _bins(found: list[Bin], bins: int) -> list[dict[str, Any]]:
    nan = float("nan")
    found = found or [Bin(k / bins, (k + 1) / bins, nan, nan, nan, nan, 0, PREDICTS_NAN) for k in range(bins)]
    return [{"bin": k, **each._asdict(), "uncertain": each.patients < FEW} for k, each in enumerate(found, start=1)]


def calibration_summary(self: Run) -> pd.DataFrame:
    """Measure how true the risks are at each site, with intervals; this opens ``test``, and is counted.

    Returns
    -------
    DataFrame
        One row per ``train`` (as in :meth:`report`), ``test`` site and ``measure``, with its ``value`` and 95 %
        interval over patients ``low, high``; what it is where every risk is true (``calibrated``); test ``patients``
        and ``fewest`` of the rarer class; and the ``reason`` of a ``nan``. The measures are ``in_the_large``, ``slope``
        and ``observed_to_expected``, none of them with fewer than twenty patients of a class, and ``ece``, which has no
        interval, but ``calibrated_high``: one in twenty such hospitals would show more where every risk is true. See
        :mod:`fedlab.metrics.calibration`, which a site computes where its patients are.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> table = run.calibration_summary().set_index(["test", "measure"])
    >>> table.loc[("Switzerland", "slope"), "reason"]
    'fewer than 20 patients of a class'
    """
    self.federation.task.needs_classes("calibration is of the risks of classes")
    asked = ("calibration_summary",)
    if asked not in self._reports:
        sources, models = self._sources()
        self._opens("calibration summary")
        rows = []
        for site in self.federation.sites:
            about = opened.counted(site, self.federation.task)._asdict()
            told = opened.calibrations(site, self.net, models, seed=self.settings.seed)
            for source, found in zip(sources, told, strict=True):
                where = {"train": source, "test": site.name}
                rows += [where | {"measure": name} | each._asdict() | about for name, each in found.items()]
        self._reports[asked] = pd.DataFrame(rows)
    return self._reports[asked].copy()


def decisions(self: Run, *, threshold: float, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Measure at each site what acting on the risks is worth; this opens ``test``, and is counted.

    Parameters
    ----------
    threshold : float
        From which risk on one would act, above 0 and below 1. Name it before you look: it says how many treated for
        nothing one patient found is worth.
    thresholds : sequence of float
        The others of the decision curve, of which nothing is to be judged.

    Returns
    -------
    DataFrame
        One row per ``train`` (as in :meth:`report`), ``test`` site, ``threshold`` and ``measure``: its ``value`` with
        the 95 % interval over patients ``low, high``; whether the threshold is the ``named`` one; test ``patients`` and
        ``fewest`` of the rarer class; and the ``reason`` of a ``nan``, as fewer than twenty of a class. The measures:
        ``net_benefit``, ``treat_all`` (that of treating everybody; of nobody it is 0), ``over_treat_all`` (the first
        less the second, on the same patients), ``sensitivity`` and ``specificity``. ``small`` marks what tells of fewer
        than five patients between two thresholds, and must not be sent on. :mod:`fedlab.metrics.benefit` has the
        papers; ``fedlab.figures.decision_curve`` draws it.

    Raises
    ------
    ValueError
        For a threshold that is not above 0 and below 1, or a task of more than two classes.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> table = run.decisions(threshold=0.2).query("named and test == 'Cleveland'")
    >>> table["measure"].tolist()
    ['net_benefit', 'treat_all', 'over_treat_all', 'sensitivity', 'specificity']
    """
    self.federation.task.needs_classes("decisions are taken at a risk of a class")
    classes = len(self.federation.task.classes)
    if classes != 2:
        raise ValueError(f"decisions at a threshold need a task of two classes, and this one has {classes}")
    asked = ("decisions", checked(threshold), tuple(map(checked, thresholds)))
    if asked not in self._reports:
        sources, models = self._sources()
        self._opens("decisions")
        rows = []
        for site in self.federation.sites:
            about = opened.counted(site, self.federation.task)._asdict()
            told = opened.decisions(site, self.net, models, threshold=threshold, thresholds=thresholds)
            for source, found in zip(sources, told, strict=True):
                where = {"train": source, "test": site.name}
                rows += [where | {"named": each.threshold == asked[1]} | each._asdict() | about for each in found]
        self._reports[asked] = pd.DataFrame(rows)
    return self._reports[asked].copy()


def subgroups(
    self: Run,
    *,
    by: str,
    bands: Sequence[float] | None = None,
    smallest: int = 10,
    fewest: int = 5,
    resamples: int = 0,
) -> pd.DataFrame:
    """Score the reported round by subgroup of the held-out ``test`` patients; this opens ``test``, and is counted.

    The table is for whoever has the patients in their own process, and shows small groups with their counts: what of it
    is sent on has to be screened (:mod:`fedlab.metrics.cells`).

    Parameters
    ----------
    by : str
        A column of the federation: a category, or a number with ``bands``.
    bands : sequence of float, optional
        Rising edges: ``by="age", bands=[50, 60]`` is *under 50*, *50 to under 60*, *60 and over*.
    smallest : int
        A group of fewer patients at a site has no score; at least 1.
    fewest : int
        Nor has one of fewer patients in a class any score that needs every class (AUC and the like); at least 1.
    resamples : int
        As for :meth:`report`.

    Returns
    -------
    DataFrame
        One row per ``train``, ``test`` site, ``group`` and ``metric``: ``value, low, high, reason, patients, fewest``
        as in :meth:`report`. The group ``not known`` holds those of whom the column is empty; it
        is left out if there are none. The threshold of
        ``balanced_accuracy_chosen`` is that of the whole site: one for all groups.

    Raises
    ------
    ValueError
        For a column or bands that make no groups.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> table = run.subgroups(by="sex").query("metric == 'auc' and test == 'Switzerland'")
    >>> table[["group", "patients", "reason"]].values.tolist()[0]
    ['female', 4, '4 patients: at least 10 needed']
    """
    in_range("smallest", smallest, 1)
    in_range("fewest", fewest, 1)
    grouping = group_by(self.federation.features, by, bands)
    asked = ("subgroups", by, None if bands is None else tuple(bands), smallest, fewest, resamples)
    if asked not in self._reports:
        sources, models = self._sources()
        self._opens("subgroups")
        options = {"smallest": smallest, "fewest": fewest, "resamples": resamples, "seed": self.settings.seed}
        rows = [
            {"train": source, "test": site.name, "group": each.group, "metric": metric,
             **each.scores[metric]._asdict(), "patients": each.patients, "fewest": each.fewest}
            for site in self.federation.sites
            for source, groups in zip(
                sources, opened.by_group(site, self.net, models, grouping, **options), strict=True
            )
            for each in groups
            for metric in self.federation.task.metrics
        ]  # fmt: skip
        table = pd.DataFrame(rows)
        empty = table["group"] == grouping.names[-1]
        self._reports[asked] = table if table.loc[empty, "patients"].sum() else table[~empty].reset_index(drop=True)
    return self._reports[asked].copy()


def test_scores(self: Run, metric: str) -> NDArray[np.float64]:
    """Return one metric of every model at every site; this opens ``test``, and is counted each time.

    For many runs that are read once: :meth:`report` has all metrics, and why one is ``nan``.

    Parameters
    ----------
    metric : str
        One of :data:`fedlab.federation.METRICS` but ``balanced_accuracy_chosen``, whose threshold is each model's.

    Returns
    -------
    float array, shape [models, sites]
        One row where all sites share a model, else one a site; ``nan`` where the metric cannot be computed.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), "logistic", "isolated", rounds=2, progress=False)
    >>> run.test_scores("auc").shape, run.test_openings
    ((4, 4), 1)
    """
    known = [name for name in self.federation.task.metrics if name != CHOSEN]
    if metric not in known:
        raise ValueError(f"metric is {metric!r}: choose one of {', '.join(known)}")
    sources = [None] if self.algorithm.one_model else self.federation.names
    models = [self._models(source) for source in sources]
    self._opens("test_scores")
    return opened.one_metric(self.federation.sites, self.net, models, metric)
