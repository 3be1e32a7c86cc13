r"""What the splits of a study do not show: that there might have been more or fewer patients of a class.

Splits are stratified. Every test part of a hospital has the same share of each class, so that a mean over patients
(accuracy, log loss, Brier score) varies between seeds as if that share were known, and Nadeau & Bengio's factor, which
takes splits for drawn at random, has nothing to widen. Of a mean :math:`M = \sum_k \pi_k m_k` over classes of share
:math:`\pi_k` and mean :math:`m_k`, the variance between classes is missing (that of a stratified sample is what is left
within them; Cochran, *Sampling Techniques*, 1977, chapter 5):

.. math:: v = \sum_s \Big(\sum_k \pi_{sk} d_{sk}^2 - \big(\sum_k \pi_{sk} d_{sk}\big)^2\Big) / N_s,

over the hospitals s of a mean over hospitals, with :math:`d_{sk}` what class k at s adds to it (:math:`m_k` of all
models that are read there, by what the hospital counts in the mean; of two arms the difference), and :math:`N_s`
patients who were in ``test`` of any seed. AUC and all that averages classes alike do not depend on the share, and
have none.

Of a quantity the parts of a split have the same share of each fifth of it; what that hides is not added.

On a published split the seeds show starts and batch orders alone: there ``v`` is added too, and which patients of a
class were drawn stays unseen.

At a hospital where fewer than five patients of a class are tested, the mean of the class is that of the hospitals
where more are (of none, the class is left out), and a class of fewer than five counts as two and a half: so no interval
tells of these few, and none is narrow because there happen to be none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.engine.reported import told
from fedlab.federation.reserved import ELSEWHERE, EVERYWHERE, HOME_LARGE, LARGE_SITES
from fedlab.metrics.cells import LEAST, patients_by_class
from fedlab.metrics.clusters import worth
from fedlab.metrics.scores import OVER_PATIENTS
from fedlab.study.places import of_means, own

if TYPE_CHECKING:
    from fedlab.study.study import Study

Floats = NDArray[np.float64]
KEYS = ["arm", "seed", "train", "test", "metric"]
FEW = LEAST / 2
BEYOND = "for chance in the share of each class, which every split holds fixed"


def wider(metric: str) -> str:
    """Say in a note on intervals that those of a mean over patients have this in them; nothing of other metrics.

    Examples
    --------
    >>> wider("log_loss"), wider("auc")
    (', wider for chance in the share of each class, which every split holds fixed', '')
    """
    return f", wider {BEYOND}" if metric in OVER_PATIENTS else ""


class Counts(NamedTuple):
    """The patients of hospitals [sites, classes] whom the seeds have tested: the ``shares`` of the classes at each.

    ``many`` are the patients of each class who were in ``test`` of any seed, ``patients`` all of them [sites], and
    ``worth`` how many they are worth to a mean over their rows (:func:`fedlab.metrics.clusters.worth`).
    """

    sites: list[str]
    shares: Floats
    many: NDArray[np.int64]
    patients: list[int]
    worth: Floats


class Prevalence(NamedTuple):
    """What each class at each hospital adds to a mean over patients: [sites, classes] by arm, place and metric."""

    counts: Counts
    parts: dict[tuple[str, str, str], Floats]

    def of(self, metric: str, where: str, arm: str, *, less: str = "", at: str = "") -> float:
        """Return the variance that a mean over seeds has besides, or its difference to another; 0 of no such mean.

        ``less`` is the other arm, and ``at`` its place, by default the same.
        """
        one, other = self.parts.get((arm, where, metric)), self.parts.get((less, at or where, metric))
        if one is None or (less and other is None):
            return 0.0
        return between(one if other is None else one - other, self.counts)


def between(parts: Floats, counts: Counts) -> float:
    """Return the variance of a mean over patients between classes, of what each adds [sites, classes]; ``nan`` of none.

    Examples
    --------
    >>> counts = Counts(["A"], np.array([[0.7, 0.3]]), np.array([[70, 30]]), [100], np.array([100.0]))
    >>> round(between(np.array([[0.0, 1.0]]), counts), 5)
    0.0021
    """
    shares = np.where(np.isfinite(parts), counts.shares, 0.0)
    shares = shares / np.maximum(shares.sum(1, keepdims=True), np.finfo(float).tiny)
    apart = np.nan_to_num(parts)
    apart = apart - (shares * apart).sum(1, keepdims=True)
    return float(((shares * apart**2).sum(1) / counts.worth).sum())


def prevalence(study: Study) -> Prevalence:
    """Return what a study's splits do not show; worked out once, and nothing where the models are not there."""
    if study._prevalence is None:
        study._prevalence = _found(study)
    return study._prevalence


def counted(study: Study) -> Counts:
    """Count the patients whom a study's seeds have tested, those of several seeds once."""
    classes, runs = len(study.federation.task.classes), [run for each in study.runs.values() for run in each]
    splits = {run.settings.seed: run.federation for run in runs}
    shares, many, patients, worths = [], [], [], []
    for site in study.federation.sites:
        y, who = site.rows.y.numpy(), site.rows.patients.of
        rows = np.unique(np.concatenate([site.split.test, *(each[site.name].split.test for each in splits.values())]))
        shares.append(_shares(patients_by_class(who, y, classes)))
        many.append(patients_by_class(who[rows], y[rows], classes))
        patients.append(len(np.unique(who[rows])))
        worths.append(worth(who[rows]))
    return Counts(list(study.federation.names), np.array(shares), np.array(many), patients, np.array(worths))


def _shares(counts: NDArray[np.int64]) -> Floats:
    """Return the classes' shares; those of few patients do not say how few, and the others' do not either."""
    few = counts < LEAST
    if few.all():
        return np.full(len(counts), 1 / max(len(counts), 1))
    rest = max(counts.sum() - FEW * few.sum(), 0.0) * counts / counts[~few].sum()
    told = np.where(few, FEW, rest)
    out: Floats = told / told.sum()
    return out


def patients_tested(study: Study) -> dict[str, float]:
    """Return how many patients of each site the seeds have tested, those of several seeds once."""
    counts = counted(study)
    return dict(zip(counts.sites, counts.patients, strict=True))


# --------------------------------------------------------------------------- the means of classes


def by_class(study: Study) -> pd.DataFrame:
    """Return the mean of each class in a column, for the rows of a report that are means over patients.

    It is part of the report, and what of it is not to be sent on stays here: only :class:`Prevalence` reads it.
    """
    asked = ("by class",)
    if asked not in study._reports:
        rows = []
        for arm, run in ((arm, run) for arm, runs in study.runs.items() for run in runs):
            sources, models = run._sources()
            rows += [
                (arm, run.settings.seed, each.source, each.site, metric, *means.values())
                for each in told(run, "class_means", {}, what="report", sources=sources, models=models)
                for metric, means in each.found.items()
            ]
        study._reports[asked] = pd.DataFrame(rows, columns=[*KEYS, *_columns(study)])
    return study._reports[asked]


def _columns(study: Study) -> list[str]:
    return [f"class {k}" for k in range(len(study.federation.task.classes))]


def _found(study: Study) -> Prevalence:
    counts = counted(study)
    scores = study.report()
    scores = scores[scores["metric"].isin(OVER_PATIENTS)]
    if scores.empty or not study.federation.task.classes:
        return Prevalence(counts, {})
    table = scores.merge(by_class(study), on=KEYS, how="left")
    parts = {}
    means = of_means(table)
    means[ELSEWHERE] = means[EVERYWHERE] & ~own(table)
    large = table["test"].isin(table.loc[means[HOME_LARGE], "test"].unique())
    means |= {f"{where}, {LARGE_SITES}": means[where] & large for where in (EVERYWHERE, ELSEWHERE)}
    for where, rows in means.items():
        for (arm, metric), mine in table[rows].groupby(["arm", "metric"], sort=False):
            parts[str(arm), where, str(metric)] = _parts(mine, counts, _columns(study))
    for (arm, metric), mine in table[own(table)].groupby(["arm", "metric"], sort=False):
        alone = _means(mine, counts, _columns(study))
        for k, site in enumerate(counts.sites):
            parts[str(arm), site, str(metric)] = np.where(np.arange(len(alone))[:, None] == k, alone, 0.0)
    return Prevalence(counts, parts)


def _parts(rows: pd.DataFrame, counts: Counts, columns: list[str]) -> Floats:
    weight = rows["test"].value_counts(normalize=True).reindex(counts.sites).fillna(0.0).to_numpy(dtype=float)
    return np.where(weight[:, None] > 0, weight[:, None] * _means(rows, counts, columns), 0.0)


def _means(rows: pd.DataFrame, counts: Counts, columns: list[str]) -> Floats:
    """Average each class over models and seeds at each site [sites, classes], of few patients over the other sites."""
    means: Floats = rows.groupby("test")[columns].mean().reindex(counts.sites).to_numpy(dtype=float)
    fit = np.isfinite(means) & (counts.many >= LEAST)
    many = (fit * counts.many).sum(0)
    every = np.where(many > 0, (np.where(fit, means, 0) * counts.many).sum(0) / np.maximum(many, 1), np.nan)
    return np.where(fit, means, every)
