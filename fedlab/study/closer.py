"""A closer look at the test patients over seeds: calibration of the arms, and what they are worth by subgroup.

These are methods of :class:`fedlab.Study`. Each opens ``test``, which is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.engine import Run
from fedlab.engine.openings import quiet
from fedlab.metrics.benefit import NET_BENEFIT, OVER_TREAT_ALL, THRESHOLDS, TREAT_ALL
from fedlab.metrics.calibration import ECE, RATIO
from fedlab.metrics.reliability import BINS
from fedlab.study.openings import enter
from fedlab.study.prevalence import patients_tested
from fedlab.study.splits import over_splits

if TYPE_CHECKING:
    from fedlab.study.study import Study

ANY = (-math.inf, math.inf)
SHARE = (0.0, 1.0)
WORTH = dict.fromkeys((NET_BENEFIT, TREAT_ALL), (-math.inf, 1.0)) | {OVER_TREAT_ALL: ANY}
RANGES = {RATIO: (0.0, math.inf), ECE: (0.0, 1.0)}


def calibration(self: Study, *, bins: int = BINS) -> pd.DataFrame:
    """Compare predicted with observed shares on the held-out ``test`` patients; this opens ``test``, and is counted.

    Parameters
    ----------
    bins : int
        Equal bins of predicted probability, 1 to 100.

    Returns
    -------
    DataFrame
        Columns as in ``Run.calibration``, and ``arm`` and ``seed``: one row per arm, seed, ``train``, ``test`` and
        bin. ``fedlab.figures.reliability_curves`` draws it.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> len(study.calibration(bins=5).query("arm == 'fedavg'"))
    40
    """
    options = self._options("calibration", bins=bins)
    return _opened(self, ("calibration", options["bins"]), lambda run: run.calibration(**options)).copy()


def calibration_summary(self: Study) -> pd.DataFrame:
    """Measure how true the arms' risks are at each site, with intervals; this opens ``test``, and is counted.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, measure`` as ``Run.calibration_summary`` has them: ``value`` (mean over seeds),
        ``low, high`` (over seeds, the wider of the corrected resampled t and of the splits' intervals over patients,
        narrowed to all whom they test, :mod:`fedlab.study.splits`; with one seed that of its split), ``sd`` and
        number of ``seeds``, what the measure is where every risk is true (``calibrated``), ``patients`` and ``fewest``
        (mean over seeds), and the ``reason`` of a ``nan`` or of seeds that have none. The calibration error has no
        interval.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> table = study.calibration_summary().query("arm == 'fedavg' and test == 'Cleveland'")
    >>> table["measure"].tolist()
    ['in_the_large', 'slope', 'observed_to_expected', 'ece']
    """
    each = _opened(self, ("calibration_summary",), lambda run: run.calibration_summary())
    keys = ["arm", "train", "test", "measure"]
    options: dict[str, Any] = {"overlap": self.overlap, "tested": patients_tested(self)}
    out = over_splits(each, keys, within=lambda measure: RANGES.get(measure, ANY), **options)
    told = each.groupby(keys, sort=False)["calibrated"].mean()
    out["calibrated"] = told.to_numpy()
    out.loc[out["measure"] == ECE, ["low", "high"]] = math.nan
    return out


def decisions(self: Study, *, threshold: float, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Measure at each site what acting on the arms' risks is worth; this opens ``test``, and is counted.

    Parameters
    ----------
    threshold, thresholds
        As for ``Run.decisions``: the risk from which on one would act, named beforehand, and the curve.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, threshold, measure`` as ``Run.decisions`` has them: ``value`` (mean over seeds),
        ``low, high`` (over seeds, the wider of the corrected resampled t and of the splits' intervals over patients,
        narrowed to all whom they test, :mod:`fedlab.study.splits`; with one seed that of its split), ``sd`` and
        number of ``seeds``, whether the threshold is the ``named`` one, ``patients`` and ``fewest`` (mean over seeds),
        and the ``reason`` of a ``nan`` or of seeds that have none.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> table = study.decisions(threshold=0.2).query("arm == 'fedavg' and named and test == 'Cleveland'")
    >>> table["measure"].tolist()
    ['net_benefit', 'treat_all', 'over_treat_all', 'sensitivity', 'specificity']
    """
    options = self._options("decisions", threshold=threshold, thresholds=thresholds)
    each = _opened(self, ("decisions", *options.values()), lambda run: run.decisions(**options))
    keys = ["arm", "train", "test", "threshold", "measure"]
    more: dict[str, Any] = {"overlap": self.overlap, "tested": patients_tested(self)}
    out = over_splits(self.leaving(each), keys, within=lambda measure: WORTH.get(measure, SHARE), **more)
    return out.assign(named=out["threshold"] == options["threshold"])


def subgroups(
    self: Study, *, by: str, bands: Sequence[float] | None = None, smallest: int = 10, fewest: int = 5
) -> pd.DataFrame:
    """Score the arms by subgroup of the held-out ``test`` patients; this opens ``test``, and is counted.

    Parameters
    ----------
    by, bands, smallest, fewest
        As for ``Run.subgroups``: a category, or a number and the edges of its bands; how few are too few.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, group, metric``: ``mean, sd, low, high`` over the seeds whose split leaves the
        group large enough (corrected resampled t, 95 %, cut at the metric's
        ends; each seed's sites are tested on their own split; it covers other splits and training of these patients,
        and not groups of which more or fewer are ill), how many ``seeds`` those are, ``patients`` and ``fewest`` (of
        the rarest class), mean over all seeds, and a ``reason`` where seeds are missing. With fewer than half of the
        seeds the mean is ``nan``: it would be that of a selection.
        ``fedlab.figures.subgroup_scores`` draws it.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> table = study.subgroups(by="age", bands=[50, 60])
    >>> table["group"].unique().tolist()
    ['under 50', '50 to under 60', '60 and over']
    """
    options = self._options("subgroups", by=by, bands=bands, smallest=smallest, fewest=fewest)
    each = _opened(self, ("subgroups", *options.values()), lambda run: run.subgroups(**options))
    keys = ["arm", "train", "test", "group", "metric"]
    return over_splits(each, keys, overlap=self.overlap).rename(columns={"value": "mean"})


def _opened(study: Study, asked: Any, look: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    """Look at every run, once."""
    if asked not in study._reports:
        runs = [(arm, run) for arm, each in study.runs.items() for run in each]
        with quiet():
            parts = [look(run).assign(arm=arm, seed=run.settings.seed) for arm, run in runs]
        study._reports[asked] = pd.concat(parts, ignore_index=True)
        enter(study, asked[0])  # only now: a question that is refused opens nothing
    return study._reports[asked]
