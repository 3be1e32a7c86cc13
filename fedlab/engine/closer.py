"""A closer look at the test patients: how a run's predictions are calibrated, and for whom they are good.

These are methods of :class:`fedlab.Run`. Each opens ``test``, which is counted, and is computed at the sites, by their
purpose ``report``: in this process or, within :meth:`fedlab.Run.through`, where the patients are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.engine.reported import NAN, Told, told
from fedlab.federation.groups import group_by
from fedlab.metrics.benefit import MEASURES as OF_DECISIONS
from fedlab.metrics.benefit import THRESHOLDS, Decision
from fedlab.metrics.calibration import MEASURES, Measure
from fedlab.metrics.cells import FEW
from fedlab.metrics.reliability import BINS, Bin
from fedlab.metrics.scores import CHOSEN, Score
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
    asked = self._options("calibration", bins=bins)
    key = ("calibration", bins)
    if key not in self._reports:
        rows = []
        for each in self._looks("reliability", asked, what="calibration"):
            where, found = (
                {"train": each.source, "test": each.site},
                each.found or {"error": NAN, "error_by_chance": NAN},
            )
            error = {name: found[name] for name in ("error", "error_by_chance")}
            rows += [where | row | error for row in _bins(each, bins)]
        self._reports[key] = pd.DataFrame(rows)
    return self._reports[key].copy()


def _bins(each: Told, bins: int) -> list[dict[str, Any]]:
    found = [Bin(**one) for one in each.found["bins"]] if each.found else []
    if not found:
        patients, why = (0, PREDICTS_NAN) if each.found else (NAN, each.reason)
        found = [Bin(k / bins, (k + 1) / bins, NAN, NAN, NAN, NAN, patients, why) for k in range(bins)]
    return [{"bin": k, **one._asdict(), "uncertain": one.patients < FEW} for k, one in enumerate(found, start=1)]


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
    asked = self._options("calibration_summary")
    key = ("calibration_summary",)
    if key not in self._reports:
        rows = []
        for each in self._looks("calibration", asked, what="calibration summary"):
            where, about = {"train": each.source, "test": each.site}, each.about._asdict()
            nothing = Measure(NAN, reason=each.reason)._asdict()
            for name, found in (each.found or dict.fromkeys(MEASURES, nothing)).items():
                rows.append(where | {"measure": name} | found | about)
        self._reports[key] = pd.DataFrame(rows)
    return self._reports[key].copy()


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
    asked = self._options("decisions", threshold=threshold, thresholds=thresholds)
    named, curve = asked["threshold"], asked["thresholds"]
    key = ("decisions", named, curve)
    if key not in self._reports:
        rows = []
        for each in self._looks("decisions", asked, what="decisions"):
            where, about = {"train": each.source, "test": each.site}, each.about._asdict()
            nothing = [
                Decision(at, measure, NAN, reason=each.reason)._asdict()
                for at in sorted({named, *curve})
                for measure in OF_DECISIONS
            ]
            rows += [where | {"named": one["threshold"] == named} | one | about for one in each.found or nothing]
        self._reports[key] = pd.DataFrame(rows)
    return self._reports[key].copy()


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
    asked = self._options("subgroups", by=by, bands=bands, smallest=smallest, fewest=fewest, resamples=resamples)
    names = group_by(self._plan.known, by, bands).names
    key = ("subgroups", *asked.values())
    if key not in self._reports:
        nothing = {"patients": NAN, "fewest": NAN}
        rows = [
            {"train": each.source, "test": each.site, "group": group, "metric": metric}
            | (found["scores"][metric] if found else Score(NAN, reason=each.reason)._asdict())
            | {name: (found or nothing)[name] for name in nothing}
            for each in self._looks("subgroups", asked, what="subgroups")
            for group, found in zip(names, each.found or [None] * len(names), strict=True)
            for metric in self.task.metrics
        ]
        table = pd.DataFrame(rows)
        empty = table["group"] == names[-1]
        nobody = (table.loc[empty, "patients"] == 0).all()
        self._reports[key] = table[~empty].reset_index(drop=True) if nobody else table
    return self._reports[key].copy()


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
    known = [name for name in self.task.metrics if name != CHOSEN]
    if metric not in known:
        raise ValueError(f"metric is {metric!r}: choose one of {', '.join(known)}")
    self._reach()
    sources = [None] if self.algorithm.one_model else self.names
    models = [self._models(source) for source in sources]
    self._opens("test_scores")
    each = told(self, "metric", {"metric": metric}, what="test_scores", sources=list(map(str, sources)), models=models)
    table = np.array([NAN if one.found is None else one.found[metric] for one in each], dtype=np.float64)
    return table.reshape(-1, len(models)).T.copy()
