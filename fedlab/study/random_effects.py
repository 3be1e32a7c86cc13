"""What an arm is worth on average over hospitals, and at a hospital that has not been seen: a random-effects model.

A method of :class:`fedlab.Study`. It opens ``test``, which is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.engine.absences import NO_MODEL
from fedlab.engine.repeated import SHARES, Estimate, Look, behind, repeated, repeated_difference
from fedlab.engine.run import Run
from fedlab.metrics.benefit import checked
from fedlab.metrics.cells import ENOUGH
from fedlab.metrics.ranking import expit
from fedlab.study.meta import FEWEST, NOTHING, Pooled, pool
from fedlab.study.openings import enter

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ["arm", "hospitals", "mean", "low", "high", "tau", "next_low", "next_high", "seeds", "reason"]


def random_effects(
    self: Study, *, metric: str = "auc", against: str | None = None, threshold: float = 0.5
) -> pd.DataFrame:
    """Pool the hospitals' own scores, and say what to expect at one that is not yet seen; this opens ``test``.

    Every hospital is read with the model that it would use: the arm's one model, or its own. Its score is the mean over
    the seeds; the variance of that mean takes patients for what is drawn, and one whom several seeds test for one
    patient (with one seed it is DeLong's), with the models as they are. Scores are pooled on the logit scale,
    differences as they are, by :func:`fedlab.study.meta.pool`: REML, Hartung and Knapp's interval of the mean,
    Nagashima, Noma and Furukawa's prediction interval. Both are for hospitals like these, drawn from the same.

    Of a score of exactly 1 or 0 there is no logit: it counts as if one of all pairs of patients were a tie (of a share:
    half a patient wrong), with the variance that this has.

    Parameters
    ----------
    metric : {"auc", "accuracy", "sensitivity", "specificity"}
    against : str, optional
        An arm: then every other less this one, on the same patients and seeds.
    threshold : float
        The probability from which on a patient is called positive, between 0 and 1: for sensitivity and specificity.

    Returns
    -------
    DataFrame
        One row per ``arm``: how many ``hospitals`` it is of; the ``mean`` and its 95 % interval ``low, high``; ``tau``,
        the standard deviation between hospitals (on the logit scale; of differences: as they are); the 95 % prediction
        interval ``next_low, next_high`` for a hospital not yet seen; the ``seeds``; and in ``reason`` the hospitals
        that are left out, and why: fewer than twenty patients of a class among all that the seeds test.

    Raises
    ------
    ValueError
        A metric that is no share, a task or arm that the study does not have, or fewer than three hospitals with
        enough patients: nothing is opened.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=4, rounds=2, progress=False)
    >>> table = study.random_effects().set_index("arm")
    >>> table["hospitals"].tolist(), table.loc["fedavg", "reason"]
    ([3, 3, 3], 'without Switzerland (fewer than 20 test patients of a class)')
    """
    _check(self, metric, against, threshold)
    asked = ("random_effects", metric, against, threshold if metric in ("sensitivity", "specificity") else None)
    if asked not in self._reports:
        arms = [arm for arm in self.arms if arm != against]
        rows = [_row(self, arm, against, metric, threshold) for arm in arms]
        for run in (run for runs in self.runs.values() for run in runs):
            run.test_openings += 1
        self._reports[asked] = pd.DataFrame(rows, columns=COLUMNS)
        enter(self, "random effects")
    return self._reports[asked].copy()


def _check(study: Study, metric: str, against: str | None, threshold: float) -> None:
    """Refuse what cannot be pooled, before anything is opened."""
    study.federation.task.needs_classes(
        "pooled on the logit scale are shares of classes", "study.table() has means over hospitals"
    )
    classes = study.federation.task.classes
    if metric not in SHARES:
        raise ValueError(
            f"metric is {metric!r}: pooled on the logit scale are shares with a variance over patients, "
            f"{', '.join(SHARES)}. study.table() has the means of the others"
        )
    if metric != "accuracy" and len(classes) != 2:
        raise ValueError(f"{metric} is of two classes, and this task has {len(classes)}: metric='accuracy'")
    checked(threshold)
    if against is not None and against not in study.arms:
        raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(study.arms)}")
    if against is not None and len(study.arms) < 2:
        raise ValueError(f"the study has one arm, {against}: there is nothing to compare it with")
    runs = next(iter(study.runs.values()))
    sites = {name: [run.federation[name] for run in runs] for name in study.federation.names}
    able = [name for name, each in sites.items() if min(behind(each, metric)) >= ENOUGH]
    if len(able) < FEWEST:
        what = "patients" if metric == "accuracy" else "patients of each class that counts"
        raise ValueError(
            f"{len(able)} of {len(sites)} hospitals ({', '.join(able) or 'none'}) have {ENOUGH} test {what}, and how "
            f"hospitals differ is told from {FEWEST} on: use more seeds, which test other patients, or join small "
            "hospitals. study.report(resamples=500) has an interval for each"
        )


def _row(study: Study, arm: str, against: str | None, metric: str, threshold: float) -> dict[str, Any]:
    """Pool one arm's hospitals, or its difference to another's."""
    theirs = {run.settings.seed: run for run in study.runs[against]} if against else {}
    mine = [run for run in study.runs[arm] if not against or run.settings.seed in theirs]
    others = [theirs[run.settings.seed] for run in mine] if against else []
    options: dict[str, Any] = {"metric": metric, "threshold": threshold}
    found: dict[str, Estimate] = {}
    for name in study.federation.names if mine else ():
        if why := next(filter(None, (_no_model(run, name) for run in [*mine, *others])), ""):
            found[name] = Estimate(math.nan, math.nan, reason=why)
        elif against:
            found[name] = repeated_difference(_looks(mine, name), _looks(others, name), **options)
        else:
            found[name] = repeated(_looks(mine, name), **options)
    pooled, reason, hospitals = _pooled(found, natural=against is not None)
    if not mine:
        reason = f"no seed in common with {against}"
    return {"arm": arm, "hospitals": hospitals, **pooled._asdict(), "seeds": len(mine), "reason": reason}


def _no_model(run: Run, site: str) -> str:
    own = not run.algorithm.one_model
    return f"{NO_MODEL} on seed {run.settings.seed}" if own and site not in run.models else ""


def _looks(runs: list[Run], site: str) -> list[Look]:
    """Read a hospital's patients with the model that it would use, seed by seed."""
    return [Look(run.federation[site], run.net, run._models(None if run.algorithm.one_model else site)) for run in runs]


def _pooled(found: dict[str, Estimate], *, natural: bool) -> tuple[Pooled, str, int]:
    """Pool what can be; say what is left out."""
    gone = {name: each.reason for name, each in found.items() if each.reason}
    kept = {name: each for name, each in found.items() if not each.reason}
    if natural and kept and all(each.value == each.variance == 0 for each in kept.values()):
        return Pooled(*[0.0] * 6), _without(gone), len(kept)  # two arms that are the same everywhere
    if natural:
        gone |= {name: "the difference does not vary" for name, each in kept.items() if each.variance == 0}
        points = [(each.value, each.variance) for each in kept.values() if each.variance > 0]
    else:
        points = [on_logit(each) for each in kept.values()]
    if len(points) < FEWEST:
        few = f"{len(points)} hospital{'s' * (len(points) != 1)}, and {FEWEST} are needed"
        return NOTHING, "; ".join(filter(None, [few, _without(gone)])), len(points)
    pooled = pool(*zip(*points, strict=True))
    back: Callable[[float], float] = float if natural else lambda x: float(expit(x))
    ends = {name: back(value) for name, value in pooled._asdict().items() if name != "tau"}
    return Pooled(**ends, tau=pooled.tau), _without(gone), len(points)


def on_logit(found: Estimate) -> tuple[float, float]:
    """Return the logit of a share and its variance (delta method); of 1 and 0 that of half a pair, or patient, less.

    Examples
    --------
    >>> [round(x, 3) for x in on_logit(Estimate(0.8, 0.0016, (30, 60)))]
    [1.386, 0.063]
    >>> [round(x, 2) for x in on_logit(Estimate(1.0, 0.0, (20, 20)))]
    [6.68, 2.01]
    """
    share, variance = found.value, found.variance
    half = 1 / (2 * math.prod(found.behind))
    if variance == 0 or not half <= share <= 1 - half:
        share = min(max(share, half), 1 - half)
        variance = 2 * half**2 if len(found.behind) == 2 else share * (1 - share) / found.behind[0]
    return math.log(share / (1 - share)), variance / (share * (1 - share)) ** 2


def _without(gone: dict[str, str]) -> str:
    return "without " + ", ".join(f"{site} ({why})" for site, why in gone.items()) if gone else ""
