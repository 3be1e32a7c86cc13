"""Two arms of a study: on the same patients of one seed, and over many hospitals.

These are methods of :class:`fedlab.Study`. Both open ``test``, which is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.engine import Run, opened
from fedlab.engine.reported import told
from fedlab.federation import Site
from fedlab.metrics.cells import FEW
from fedlab.metrics.delong import unknown
from fedlab.study.hospitals import OverSites, enough
from fedlab.study.hospitals import over_sites as wilcoxon
from fedlab.study.openings import enter
from fedlab.study.pairs import judged, series
from fedlab.study.places import per_seed
from fedlab.study.words import words

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ["where", "one", "other", "auc_one", "auc_other", "difference", "low", "high", "p", "p_holm", "patients",
           "winner", "reason"]  # fmt: skip


def delong(self: Study, one: str, other: str, *, seed: int | None = None) -> pd.DataFrame:
    """Compare two arms' AUCs at each hospital on the same ``test`` patients of one split; this is counted.

    Every hospital reads its patients with the model that it would use: the arm's one model, or its own. It computes the
    test (:func:`fedlab.study.delong`) from its predictions, which do not leave it. The interval covers other patients
    of the hospital, with both models as they are; :meth:`pairs` covers new splits and training. On a published split
    only this one says anything of other patients. Its hospitals are a family of their own, beside that of
    :meth:`verdict`, which has none of it: state beforehand which of the two is to decide.

    Parameters
    ----------
    one, other : str
        Two arms.
    seed : int, optional
        Which of the study's; default: the first that both arms have a run of. Choose it before you look.

    Returns
    -------
    DataFrame
        One row per site ``where``: ``auc_one``, ``auc_other``, their ``difference`` (one minus other) with its 95 %
        interval ``low, high`` and two-sided ``p``; ``p_holm``, adjusted for all sites in the table; test ``patients``;
        the ``winner`` if ``p_holm`` is below .05; and the ``reason`` of a ``nan``: a class without patients, or fewer
        than ten.

    Raises
    ------
    ValueError
        An arm or seed that the study does not have, the same arm twice, or a task of more than two classes.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> table = study.delong("fedavg", "isolated").set_index("where")
    >>> table.loc["Switzerland", "reason"]
    '2 of 31 patients healthy: at least 10 of each class needed'
    """
    task = self.federation.task
    task.needs_classes("DeLong's test compares AUCs of two classes", "study.pairs() compares arms")
    if (n := len(task.classes)) != 2:
        raise ValueError(f"DeLong's test compares AUCs of two classes, and this task has {n}: study.pairs()")
    runs = _runs(self, one, other, seed)
    asked = ("delong", one, other, runs[0].settings.seed)
    if asked not in self._reports:
        rows = [{"where": site.name, "one": one, "other": other} | _at(site, runs) for site in runs[0].federation.sites]
        for run in runs:
            run.test_openings += 1
        self._reports[asked] = judged(rows, "auc")[COLUMNS]
        enter(self, "delong")
    return self._reports[asked].copy()


def over_sites(self: Study, one: str, other: str, *, metric: str | None = None) -> OverSites:
    """Compare two arms over hospitals, each on its own ``test`` patients: Wilcoxon's test and Cliff's delta.

    A hospital's score is its mean over the seeds that both arms have one of. It opens ``test`` as :meth:`report` does.
    Its p is a test by itself, beside the family that :meth:`verdict` judges.

    Parameters
    ----------
    one, other : str
        Two arms.
    metric : str, optional
        Default: the study's primary metric.

    Returns
    -------
    OverSites
        ``difference`` is the median over hospitals of one minus other; hospitals without a score are left out.

    Raises
    ------
    ValueError
        Fewer than six hospitals: no p could then be below .05. Or an arm or metric that the study does not have.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=1, rounds=1, progress=False)
    >>> study.over_sites("fedavg", "isolated")
    Traceback (most recent call last):
    ...
    ValueError: 4 sites have a score of both arms, and Wilcoxon's test needs 6: with 4 the smallest p is 0.125, ...
    """
    _check(self, one, other)
    metric = self.primary if metric is None else metric
    words(metric, self.federation.task)  # before anything is opened, as is the number of sites
    enough(len(self.federation.sites))
    means: tuple[list[float], list[float]] = ([], [])
    values = per_seed(self.report())
    for site in self.federation.names:
        each = series(self, metric, site, each=values)
        both = pd.concat([each[one], each[other]], axis=1, keys=[one, other]).dropna()
        for mine, arm in zip(means, (one, other), strict=True):
            mine.append(float(both[arm].mean()))
    return wilcoxon(*means)


def _check(study: Study, one: str, other: str) -> None:
    for arm in (one, other):
        if arm not in study.arms:
            raise ValueError(f"there is no arm {arm!r}; the arms are {', '.join(study.arms)}")
    if one == other:
        raise ValueError(f"{one} is named twice: a comparison with itself says nothing")


def _runs(study: Study, one: str, other: str, seed: int | None) -> tuple[Run, Run]:
    """Return both arms' runs of a seed, by default the first that both have."""
    _check(study, one, other)
    mine, theirs = ({run.settings.seed: run for run in study.runs[arm]} for arm in (one, other))
    both = [number for number in mine if number in theirs]
    if not both:
        raise ValueError(f"{one} and {other} have no seed in common: there is nothing to compare")
    if seed is not None and seed not in both:
        there = ", ".join(map(str, both))
        raise ValueError(f"{one} and {other} do not both have a run of seed {seed}; they do of {there}")
    chosen = both[0] if seed is None else seed
    return mine[chosen], theirs[chosen]


def _at(site: Site, runs: tuple[Run, Run]) -> dict[str, Any]:
    """Let a site compare the models that it would read its patients with."""
    try:
        models = [run._models(None if run.algorithm.one_model else site.name) for run in runs]
    except ValueError as missing:  # a site that never answered has no model of its own
        patients = opened.counted(site, runs[0].task).patients
        return {"patients": patients} | unknown(str(missing))._asdict()
    (found,) = told(
        runs[0], "delong", {"pairs": [(0, 1)], "fewest": FEW}, what="delong", sources=[""], models=models, sites=[site]
    )
    return {"patients": found.about.patients, **found.found}
