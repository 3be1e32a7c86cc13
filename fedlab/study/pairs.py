"""Every pair of a study's arms, and every hospital's gain: paired over seeds, and honest about how many are asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.metrics import LOWER_IS_BETTER
from fedlab.federation.reserved import MEANS
from fedlab.study.paired import Paired, ahead, corrected_t, holm
from fedlab.study.places import per_seed, without

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ("difference", "low", "high", "p", "p_holm", "seeds", "winner", "reason")


def pairs(study: Study, *, metric: str = "auc", where: str = "everywhere") -> pd.DataFrame:
    """Every pair of arms on the same seeds, and whether one of the two has won.

    Parameters
    ----------
    metric : str
    where : str
        A place of :meth:`Study.table`: ``everywhere``, ``home``, ``home, large sites`` or a site.

    Returns
    -------
    DataFrame
        One row per pair: ``one``, ``other``; ``difference`` (one minus other, mean over seeds), ``low`` and ``high``
        (its corrected 95 % interval, of this pair by itself) and ``p`` of the same test (:func:`corrected_t`);
        ``p_holm``, adjusted for all pairs in the table; ``seeds`` that both have a score of; ``winner``, the better of
        the two or nothing; ``reason`` of a ``nan``, e.g. one seed, or which hospitals are not in a mean
        (:meth:`Study.table`).

        Holm decides: a winner has ``p_holm`` below .05, and its interval then leaves zero out too. An interval may
        leave zero out without a winner: with many pairs, some do by luck.

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
    >>> study.pairs(metric="log_loss")[["one", "other", "seeds"]].values.tolist()
    [['fedavg', 'fedprox', 3]]
    """
    if len(study.arms) < 2:
        raise ValueError(f"the study has one arm, {study.arms[0]}: a pair takes two")
    values = series(study, metric, where)
    rows = [
        {"one": one, "other": other} | paired(study, values, one, other, metric, where)
        for k, one in enumerate(study.arms)
        for other in study.arms[k + 1 :]
    ]
    return judged(rows, ["one", "other", *COLUMNS], metric)


def gains(study: Study, *, metric: str, against: str) -> pd.DataFrame:
    """Each other arm less ``against`` at each hospital's own patients; columns as :func:`pairs`, and ``where``.

    ``p_holm`` is adjusted for all of the table: every hospital with every arm.
    """
    rows: list[dict[str, Any]] = []
    each = per_seed(study.report())
    told = _silent(study, metric)
    for where in study.federation.names:
        values = series(study, metric, where, each=each)
        for arm in study.arms:
            if arm != against:
                found = paired(study, values, arm, against, metric, where, told=told)
                rows.append({"where": where, "one": arm, "other": against} | found)
    return judged(rows, ["where", "one", "other", *COLUMNS], metric)


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
) -> dict[str, Any]:
    """``one`` minus ``other`` on the seeds that both have; a test that cannot be made says why.

    ``told`` are the report's reasons of a metric, for who asks for many places.
    """
    apart = (values[one] - values[other]).reindex(study.seeds).tolist()
    kept = [d for d in apart if math.isfinite(d)]
    try:
        found = corrected_t(apart, overlap=study.overlap)
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


def judged(rows: list[dict[str, Any]], columns: list[str], metric: str) -> pd.DataFrame:
    """Adjust for all rows, and name the winners."""
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].tolist())
    better = -1 if metric in LOWER_IS_BETTER else 1
    table["winner"] = [
        {better: row["one"], -better: row["other"]}.get(ahead(row["low"], row["high"], row["p_holm"]), "")
        for row in rows_of(table)
    ]
    return table[columns]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
