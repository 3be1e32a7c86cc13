"""Every pair of a study's arms, and every hospital's gain: paired over seeds, and honest about how many are asked.

One family is judged: every pair of arms, everywhere and at home, by the metric that was named beforehand. Whatever else
is asked is shown with its interval, and names no winner.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.reserved import EVERY_SITE, EVERYWHERE, HOME, HOME_LARGE, MEANS
from fedlab.metrics.cells import is_few
from fedlab.metrics.scores import LOWER_IS_BETTER
from fedlab.study.paired import Paired, ahead, corrected_t, holm
from fedlab.study.places import left_out, per_seed, without
from fedlab.study.prevalence import prevalence
from fedlab.study.words import words

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ["where", "one", "other", "difference", "low", "high", "p", "p_holm", "detectable", "same", "seeds",
           "winner", "reason"]  # fmt: skip
SHOWN = "shown, not judged"
FAMILY = (EVERYWHERE, HOME)
"""Where arms are judged; at single hospitals, or without the small ones, their differences are shown."""


def pairs(study: Study, *, metric: str | None = None, where: str = EVERYWHERE) -> pd.DataFrame:
    """Every pair of arms on the same seeds, and whether one of the two has won.

    Winners are judged by the study's primary metric alone, ``everywhere`` and at ``home``, adjusted for all of these
    together by Holm's rule; another metric or place is shown with its interval and judged by nobody: whoever may pick
    what to look at afterwards finds a winner where there is none.

    Parameters
    ----------
    metric : str, optional
        Default: the study's primary metric.
    where : str
        A place of :meth:`Study.table`: ``everywhere``, ``home``, ``home, large sites`` or a site.

    Returns
    -------
    DataFrame
        One row per pair: ``one``, ``other``; ``difference`` (one minus other, mean over seeds), ``low`` and ``high``
        (its corrected 95 % interval, of this pair by itself) and ``p`` of the same test (:func:`corrected_t`, with what
        stratified splits do not show of a mean over patients: :mod:`fedlab.study.prevalence`);
        ``p_holm``, adjusted for every pair of arms everywhere and at home (where both arms have one model for all
        hospitals the two are one question, and count once), ``nan`` where nothing is judged; ``detectable``, the
        smallest difference that these seeds could have seen (:func:`fedlab.study.paired.detectable`); ``same``, whether
        the whole interval lies within the study's ``smallest`` difference that matters; ``seeds`` that both have a
        score of; ``winner``, the better of the two or nothing; ``reason`` of a ``nan``, e.g. one seed, or that the row
        is shown and not judged, or which hospitals are not in a mean (:meth:`Study.table`).

        Holm decides: a winner has ``p_holm`` below .05, and its interval then leaves zero out too. An interval may
        leave zero out without a winner: with many pairs, some do by luck. A row may have a winner and be ``same``: the
        difference is there, and smaller than what matters.

        On a published split the seeds redraw starts and batch orders only: nothing is corrected (``Study.overlap`` is
        0), and the interval says nothing of other patients. :meth:`delong` does, for two models of one seed.

    Raises
    ------
    ValueError
        One arm, or a metric or place that the study does not have.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), algorithms=["fedavg", "fedprox"], seeds=3, rounds=2)
    >>> study.pairs()[["one", "other", "seeds"]].values.tolist()
    [['fedavg', 'fedprox', 3]]
    >>> study.pairs(metric="auc")["reason"].tolist()
    ['shown, not judged: the primary metric is log_loss']
    """
    two(study)
    metric = study.primary if metric is None else metric
    words(metric, study.federation.task)  # refused before anything is opened
    if where not in (places := (*MEANS, *study.federation.names)):
        raise ValueError(f"the study has no where {where!r}; there are {', '.join(map(repr, places))}")
    if metric == study.primary and where in FAMILY:
        table = family(study)
        table = table[table["where"] == where]
    else:
        table = shown(study, metric, where)
    return table.drop(columns="where").reset_index(drop=True)


def two(study: Study) -> None:
    """Refuse a study that has nothing to pair."""
    if len(study.arms) < 2:
        raise ValueError(f"the study has one arm, {study.arms[0]}: a pair takes two")


def family(study: Study, *, each: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return all that is judged: :func:`pairs` by the primary metric, ``where`` everywhere and at home.

    ``each`` is what :func:`~fedlab.study.places.per_seed` makes of the report, for who asks for more than this.
    """
    each = per_seed(study.report()) if each is None else each
    rows = [row for where in FAMILY for row in _rows(study, study.primary, where, each)]
    apart = away(study)
    asked = [row["where"] == EVERYWHERE or bool(apart & {row["one"], row["other"]}) for row in rows]
    table = judged([row for row, counts in zip(rows, asked, strict=True) if counts], study.primary, study.smallest)
    done = {(row["where"], row["one"], row["other"]): row for row in rows_of(table)}
    told = [done.get((r["where"], r["one"], r["other"]), done[EVERYWHERE, r["one"], r["other"]]) for r in rows]
    return pd.DataFrame(row | {"where": asked["where"]} for row, asked in zip(told, rows, strict=True))[COLUMNS]


def away(study: Study) -> set[str]:
    """Return the arms whose models are read at other hospitals too: they are not worth the same there as at home."""
    scores = study.report()
    rows = scores[(scores["train"] != scores["test"]) & (scores["train"] != EVERY_SITE)]
    return set(map(str, rows["arm"].unique()))


def shown(study: Study, metric: str, where: str, *, each: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the rows of a metric or place that is not judged; columns as those of :func:`family`."""
    why = f"the primary metric is {study.primary}" if metric != study.primary else f"judged are {' and '.join(FAMILY)}"
    return unjudged(_rows(study, metric, where, per_seed(study.report()) if each is None else each), why)


def beside(study: Study, metric: str, *, each: pd.DataFrame) -> pd.DataFrame:
    """Return every pair by one metric everywhere and at home, and at home without the small sites if there are any."""
    parts = [family(study, each=each)] if metric == study.primary else [
        shown(study, metric, where, each=each) for where in FAMILY
    ]  # fmt: skip
    if small(study, metric, each=each):
        parts.append(shown(study, metric, HOME_LARGE, each=each))
    return pd.concat(parts, ignore_index=True)


def small(study: Study, metric: str, *, each: pd.DataFrame) -> list[str]:
    """Return the sites that the mean at home has, and the one over sites with enough patients has not."""
    if not ((each["where"] == HOME_LARGE) & (each["metric"] == metric)).any():
        return []
    scores = study.report()
    own = scores[(scores["metric"] == metric) & ((scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE))]
    fewest = own.groupby("test", sort=False)["fewest"].min()
    gone = left_out(scores, metric)
    return [str(site) for site, count in fewest.items() if is_few(count) and site not in gone]


def _rows(study: Study, metric: str, where: str, each: pd.DataFrame) -> list[dict[str, Any]]:
    values = series(study, metric, where, each=each)
    return [
        {"where": where, "one": one, "other": other} | paired(study, values, one, other, metric, where)
        for k, one in enumerate(study.arms)
        for other in study.arms[k + 1 :]
    ]


def gains(study: Study, *, metric: str, against: str) -> pd.DataFrame:
    """Each other arm less ``against`` at each hospital's own patients: shown, not judged; columns as :func:`family`."""
    rows: list[dict[str, Any]] = []
    each = per_seed(study.report())
    told = _silent(study, metric)
    for where in study.federation.names:
        values = series(study, metric, where, each=each)
        for arm in study.arms:
            if arm != against:
                found = paired(study, values, arm, against, metric, where, told=told)
                rows.append({"where": where, "one": arm, "other": against} | found)
    return unjudged(rows, "single hospitals are in no family of tests")


def series(study: Study, metric: str, where: str, *, each: pd.DataFrame | None = None) -> dict[str, pd.Series[float]]:
    """One number a seed for each arm at one place; refuses a metric or place that is not there.

    ``each`` is what :func:`~fedlab.study.places.per_seed` makes of the report, for who asks for many places.
    """
    values = per_seed(study.report()) if each is None else each
    for name, asked in (("metric", metric), ("where", where)):
        known = list(dict.fromkeys(values[name]))
        if asked not in known:
            raise ValueError(f"the study has no {name} {asked!r}; there are {', '.join(known)}")
    rows = values[(values["metric"] == metric) & (values["where"] == where)]
    empty = pd.Series(dtype=float)
    found = {str(arm): group.set_index("seed")["value"] for arm, group in rows.groupby("arm", sort=False)}
    return {arm: found.get(arm, empty) for arm in study.arms}


def paired(
    study: Study,
    values: dict[str, pd.Series[float]],
    one: str,
    other: str,
    metric: str,
    where: str,
    *,
    told: pd.DataFrame | None = None,
    unseen: float | None = None,
) -> dict[str, Any]:
    """``one`` minus ``other`` on the seeds that both have; a test that cannot be made says why.

    ``told`` are the report's reasons of a metric, for who asks for many places; ``unseen`` is the variance that the
    splits do not show, where the two are no arms at a place of the study.
    """
    apart = (values[one] - values[other]).reindex(study.seeds).tolist()
    kept = [d for d in apart if math.isfinite(d)]
    try:
        unseen = prevalence(study).of(metric, where, one, less=other) if unseen is None else unseen
        found = corrected_t(apart, overlap=study.overlap, prevalence=unseen)
    except ValueError as problem:
        why = str(problem) if kept else _absent(study, metric, where, (one, other), told)
        mean = sum(kept) / len(kept) if kept else math.nan
        found = Paired(mean, math.nan, math.nan, math.nan, math.nan, len(kept), why)
    row = found._asdict()
    gone = without(study.report(), metric, where) if where in MEANS else ""
    row["reason"] = "; ".join(filter(None, [found.reason, gone]))
    del row["sd"]
    return row


def _silent(study: Study, metric: str) -> pd.DataFrame:
    """Rows of the report that have a reason in place of a metric."""
    scores = study.report()
    rows = scores[scores["metric"] == metric]
    return rows[rows["reason"] != ""]


def _absent(study: Study, metric: str, where: str, arms: tuple[str, str], told: pd.DataFrame | None) -> str:
    """Say why there is no score of both arms at a place."""
    rows = _silent(study, metric) if told is None else told
    rows = rows[rows["test"] == where] if where in study.federation.names else rows
    why = list(dict.fromkeys(rows[rows["arm"].isin(arms)]["reason"]))
    return f"{metric} cannot be computed at {where}" + (f": {'; '.join(why)}" if why else "")


def judged(rows: list[dict[str, Any]], metric: str, smallest: float | None = None) -> pd.DataFrame:
    """Adjust for all rows, and name the winners and those that are the same for all that matters."""
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    better = -1 if metric in LOWER_IS_BETTER else 1
    table["winner"] = [
        {better: row["one"], -better: row["other"]}.get(ahead(row["low"], row["high"], row["p_holm"]), "")
        for row in rows_of(table)
    ]
    return table.assign(same=False if smallest is None else (table["low"] > -smallest) & (table["high"] < smallest))


def unjudged(rows: list[dict[str, Any]], why: str) -> pd.DataFrame:
    """Return rows that nobody judges, and say so."""
    table = pd.DataFrame(rows)
    reason = [f"{told}; {SHOWN}: {why}" if told else f"{SHOWN}: {why}" for told in table["reason"]]
    return table.assign(p_holm=math.nan, same=False, winner="", reason=reason)[COLUMNS]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
