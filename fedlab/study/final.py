"""The last look: every arm on the patients who were locked away before anything was trained; once, and entered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.engine import openings
from fedlab.engine.absences import NO_MODEL
from fedlab.engine.opened import locked
from fedlab.federation import Examples, Score, Site, Task
from fedlab.federation.reserved import MEANS
from fedlab.metrics.scores import bounds
from fedlab.study.failed import missed, why
from fedlab.study.openings import asked, in_folder, times
from fedlab.study.over_patients import (
    Drawn,
    Share,
    auc_difference,
    mean_auc_interval,
    no_interval,
    percentiles,
    placements,
)
from fedlab.study.places import COLUMNS, of_means, own, per_seed, without

if TYPE_CHECKING:
    from fedlab.study.study import Study

    Key = tuple[str, str, str]  # arm, where, metric

REFERENCE = "isolated"
RESAMPLES = 2000
NOBODY = "no patient of this hospital is locked"
Floats = NDArray[np.float64]


class Reopened(UserWarning):
    """Patients who were locked have been seen before."""


class Look(NamedTuple):
    """What the models of one run say of the locked patients of one hospital; row numbers of theirs in the scores."""

    arm: str
    site: Site
    p: Floats
    thresholds: Floats
    begin: int


def final(study: Study) -> pd.DataFrame:
    """Score every arm on the locked patients, once; when all else is decided.

    The models of all seeds are read by the same patients, whom none of them has met: so the interval is over patients,
    the models as they are, and says nothing of other training. State beforehand which row is to decide: nothing here is
    adjusted for how many there are.

    The opening is entered with the study, in its folder, and in the file of all openings
    (:mod:`fedlab.engine.openings`). A second call returns what was found then.

    Returns
    -------
    DataFrame
        One row per ``arm``, ``where`` and ``metric``, places and means as in :meth:`Study.table`: the ``value`` (mean
        over the ``seeds``) with its 95 % interval ``low, high`` over patients, and its ``difference`` to isolated
        learning with ``difference_low, difference_high`` (``nan`` without that arm), paired by patient. Intervals are
        of 2,000 bootstrap resamples within each hospital, of an AUC by DeLong's variance, the wider of logit and
        Newcombe's; none with fewer than twenty ``patients``, for a metric that needs every class twenty of the rarest
        (``fewest``): ``reason`` says why something is ``nan``. ``openings`` is how often these patients have been
        opened by now, the most of any: beyond one they were not locked any more. They are known again under another
        hospital's name, dealt to others, and shifted; not with other values.

    Raises
    ------
    ValueError
        If no patients are locked.

    Warns
    -----
    Reopened
        If the locked patients, or some of them, were looked at before: by this study, another one, or before the lock;
        or if that is not known, as many patients have equal rows.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease").lock(share=0.15, seed=0)
    >>> study = fedlab.compare(hospitals, seeds=2, rounds=2, progress=False)
    >>> table = study.final().set_index(["arm", "where", "metric"])
    >>> int(table.loc[("fedavg", "home", "auc"), "patients"])
    137
    """
    federation = study.federation
    if all(site.locked is None for site in federation.sites):
        raise ValueError(
            f"no patients of {federation.name!r} are locked: lock some before the comparison, "
            "compare(federation.lock(share=0.15, seed=0), …), and nobody has seen them"
        )
    if study.opened and study.opened["arms"] == list(study.arms):
        _say(f"the locked patients were opened on {study.opened['at']}: this is what was found then")
        return _table(study)
    rows = _rows(study)
    entered = openings.enter(federation, "final", part=openings.LOCKED, **asked(study))  # counted under one lock
    seen = entered[1] if entered else openings.of_locked(federation)
    others = openings.before_lock(federation)
    number = max(seen.openings, study.opened.get("openings", 0)) + 1
    study.opened = {
        "at": entered[0].at if entered else openings.now(),
        "openings": number,
        "before": [{"at": each.at, "by": each.words} for each in seen.which],
        "arms": list(study.arms),
        "table": rows.assign(openings=number)[[name for name in rows if name != "reason"] + ["openings", "reason"]],
    }
    in_folder(study, test=False)
    if number > 1:
        last = f", last on {seen.which[-1].at} by {seen.which[-1].words}" if seen.which else ""
        _say(f"these patients are not locked any more: this is opening {number} of them{last}")
    elif others.which:
        _say(
            f"some of these patients may have been seen before they were locked: rows of these hospitals were opened "
            f"{times(len(others.which))} without this lock, last on {others.which[-1].at} by {others.which[-1].words}"
        )
    elif unsure := seen.unsure + others.unsure:
        _say(
            f"whether these patients were seen before is not known: {times(unsure)} a table was opened in which rows "
            "are equal to theirs, in values that many patients share"
        )
    return _table(study)


def _say(what: str) -> None:
    warnings.warn(what, Reopened, stacklevel=3)


def _table(study: Study) -> pd.DataFrame:
    table: pd.DataFrame = study.opened["table"]
    return table.copy()


# --------------------------------------------------------------------------- the table


def _rows(study: Study) -> pd.DataFrame:
    task = study.federation.task
    scores, looks = _looked(study)
    places = {**{where: rows.to_numpy() for where, rows in of_means(scores).items()}, **_homes(scores)}
    values = per_seed(scores)
    weights = {where: _weights(scores, rows, values, where) for where, rows in places.items()}
    drawn, shares = _drawn(looks, weights, task), _shares(looks, weights, task)
    inside = {where: scores.loc[rows].groupby("metric", sort=False)["test"].unique() for where, rows in places.items()}
    lost = {arm: why(study.failed, arm, len(study.seeds)) for arm in study.arms}
    absent = {arm: missed(runs) for arm, runs in study.runs.items()}
    out = []
    gone = {metric: without(scores, metric, MEANS[0]) for metric in task.metrics}
    for (arm, where, metric), mine in values.groupby(COLUMNS[:3], sort=False)["value"]:
        key, other = (arm, where, metric), (REFERENCE, where, metric)
        sites = [study.federation[name].locked for name in inside[where].get(metric, [])]
        there = [rows for rows in sites if rows is not None]
        known = math.isfinite(mine.mean())
        none = no_interval(metric, task, there) if known else ""
        found = _interval(key, other, none, drawn, shares) if known else _NOTHING
        if known and not none and math.isnan(found["low"]):
            none = "the resamples do not differ: no interval"
        left_out = gone[metric] if where in MEANS else absent[arm].get(where, "")
        silent = "" if known else _silent(scores, arm, where, metric)
        reasons = "; ".join(filter(None, [lost[arm], left_out, silent, none]))
        out.append(
            {"arm": arm, "where": where, "metric": metric, "value": mine.mean(), **found,
             "seeds": int(np.isfinite(mine).sum()), **_counts(there, task), "reason": reasons}
        )  # fmt: skip
    table = pd.DataFrame(out)
    base = table[table["arm"] == REFERENCE].set_index(["where", "metric"])["value"]
    at = pd.MultiIndex.from_frame(table[["where", "metric"]])
    return table.assign(difference=table["value"] - base.reindex(at).to_numpy())


_NOTHING = dict.fromkeys(("low", "high", "difference", "difference_low", "difference_high"), math.nan)


def _counts(sites: list[Examples], task: Task) -> dict[str, int]:
    by_class = [task.counts(rows.group, rows.y.numpy()) for rows in sites]
    patients = sum(len(rows.patients.first) for rows in sites)
    return {"patients": patients, "fewest": int(np.sum(by_class, axis=0).min()) if by_class else 0}


def _silent(scores: pd.DataFrame, arm: str, where: str, metric: str) -> str:
    rows = scores[(scores["arm"] == arm) & (scores["metric"] == metric) & (scores["reason"] != "")]
    rows = rows[(rows["test"] == where)] if where not in MEANS else rows
    return "; ".join(rows["reason"].unique()[:2])


# --------------------------------------------------------------------------- looking


def _looked(study: Study) -> tuple[pd.DataFrame, list[Look]]:
    """Open the locked patients: a report's rows of every arm and seed, and what the models say."""
    rows: list[tuple[Any, ...]] = []
    looks, metrics = [], study.federation.task.metrics
    for arm, run in ((arm, run) for arm, runs in study.runs.items() for run in runs):
        sources, models = run._sources()
        absent = {source: f"{NO_MODEL}: it {what}" for source, what in run._without_model().items()}
        for site in run.federation.sites:
            begin = len(rows)
            if site.locked is None:
                found = [dict.fromkeys(metrics, Score(math.nan, reason=NOBODY)) for _ in sources]
                about: tuple[int, int] = (0, 0)
            else:
                p, thresholds = locked(site, run.net, models)
                found = run.net.task.many_scores(site.locked.y.numpy(), p, thresholds=thresholds)
                counts = run.net.task.counts(site.locked.group, site.locked.y.numpy())
                about = len(site.locked.patients.first), int(counts.min())
                looks.append(Look(arm, site, p, np.array([each.value for each in thresholds]), begin))
            told = [*zip(sources, found, strict=True)]
            told += [(s, dict.fromkeys(metrics, Score(math.nan, reason=what))) for s, what in absent.items()]
            rows += [
                (arm, run.settings.seed, source, site.name, metric, each[metric].value, each[metric].reason, *about)
                for source, each in told
                for metric in metrics
            ]
    names = ["arm", "seed", "train", "test", "metric", "value", "reason", "patients", "fewest"]
    return pd.DataFrame(rows, columns=names), looks


def _homes(scores: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Tell which rows are of each hospital's own patients, read by the model that it would use."""
    mine, test = own(scores).to_numpy(), scores["test"].to_numpy()
    return {str(site): mine & (test == site) for site in dict.fromkeys(test)}


def _weights(scores: pd.DataFrame, rows: NDArray[np.bool_], values: pd.DataFrame, where: str) -> Floats:
    """Return what each row counts in a place's mean: alike within a seed, and seeds that have a score alike."""
    here = values[values["where"] == where].dropna(subset="value")
    keys = ["arm", "metric", "seed"]
    seeds = here.groupby(keys[:2])["seed"].transform("size")
    share = pd.Series(1 / seeds.to_numpy(), index=pd.MultiIndex.from_frame(here[keys]), dtype=float)
    part = scores[rows]
    among = part.groupby(keys)["value"].transform("size").to_numpy()
    out: Floats = np.zeros(len(scores))
    out[rows] = share.reindex(pd.MultiIndex.from_frame(part[keys])).fillna(0.0).to_numpy() / among
    return out


def _parts(
    looks: list[Look], weights: dict[str, Floats], metric: str, task: Task
) -> Iterator[tuple[Look, NDArray[np.int64], dict[str, Floats]]]:
    """Go through what counts of a metric: the models that do, and their weights in each place."""
    step, at = len(task.metrics), list(task.metrics).index(metric)
    for look in looks:
        mine = slice(look.begin + at, look.begin + at + step * len(look.p), step)
        table = {where: w[mine] for where, w in weights.items() if w[mine].any()}
        used = (
            np.flatnonzero(np.any([w > 0 for w in table.values()], axis=0)) if table else np.array([], dtype=np.int64)
        )
        if len(used):
            yield look, used, {where: w[used] for where, w in table.items()}


def _drawn(looks: list[Look], weights: dict[str, Floats], task: Task) -> dict[Key, Floats]:
    """Return each mean on every resample of the patients, of all metrics that take a bootstrap."""
    draws: dict[str, Drawn] = {}
    out: dict[Key, Floats] = {}
    for metric in [name for name in task.metrics if name != "auc"]:
        for look, used, table in _parts(looks, weights, metric, task):
            if look.site.name not in draws and look.site.locked is not None:
                draws[look.site.name] = Drawn(look.site.locked, look.site.name, RESAMPLES)
            values = draws[look.site.name].values(metric, look.p[used], look.thresholds[used])
            for where, w in table.items():
                key = (look.arm, where, metric)
                out[key] = out.get(key, 0.0) + w @ values
    return out


def _shares(looks: list[Look], weights: dict[str, Floats], task: Task) -> dict[Key, dict[str, Share]]:
    """Return each hospital's part in every mean of AUCs of two classes."""
    out: dict[Key, dict[str, Share]] = {}
    for look, used, table in _parts(looks, weights, "auc", task) if "auc" in task.metrics else ():
        if look.p.shape[2] != 2 or look.site.locked is None:
            continue
        y, of = look.site.locked.y.numpy(), look.site.locked.patients.of
        cases, others = placements(y, look.p[used][..., 1])
        who = of[y == 1], of[y != 1]
        for where, w in table.items():
            at = out.setdefault((look.arm, where, "auc"), {})
            old = at.get(look.site.name, Share(0.0 * cases[0], 0.0 * others[0], 0.0, who))
            at[look.site.name] = Share(old.cases + w @ cases, old.others + w @ others, old.weight + w.sum(), who)
    return out


def _interval(
    key: Key, other: Key, none: str, drawn: dict[Key, Floats], shares: dict[Key, dict[str, Share]]
) -> dict[str, float]:
    """Return the bounds of a mean, and of its difference to the reference."""
    found = dict(_NOTHING)
    if none:
        return found
    if key[2] == "auc":
        found["low"], found["high"] = mean_auc_interval(list(shares[key].values()))
        if other in shares and other != key and shares[other].keys() == shares[key].keys():
            pairs = [(shares[key][name], shares[other][name]) for name in shares[key]]
            ends = auc_difference([a for a, _ in pairs], [b for _, b in pairs])
            _, found["difference_low"], found["difference_high"] = ends
    else:
        found["low"], found["high"] = np.clip(percentiles(drawn[key]), *bounds(key[2])).tolist()
        if other in drawn and other != key:
            found["difference_low"], found["difference_high"] = percentiles(drawn[key] - drawn[other])
    return found
