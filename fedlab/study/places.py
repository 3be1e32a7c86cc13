"""One number per arm, seed and place: a hospital, or the mean over the same hospitals for every arm and seed.

A hospital whose patients do not allow for a metric in the split of any seed (none of a class among them) is left out of
that metric's means, in all arms and seeds; where that would leave no hospital, all stay. Then an arm without a score at
any of them (its model predicts NaN) has no mean for that seed. A hospital that should have a model of its own and has
none, as it never trained, is in no mean at all, nor are the models that other arms or seeds have of it. So no arm is
averaged over easier hospitals than another.
"""

from __future__ import annotations

import pandas as pd

from fedlab.engine.absences import NO_MODEL
from fedlab.federation.reserved import EVERY_SITE, MEANS
from fedlab.metrics.cells import FEW
from fedlab.metrics.thresholds import PREDICTS_NAN

COLUMNS = ["arm", "where", "metric", "seed", "value"]


def per_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """Average a report: one ``value`` per ``arm, where, metric, seed``, sites alike; places as in ``Study.table``."""
    scores = _coded(scores)
    means = [_averaged(scores[rows], where) for where, rows in of_means(scores).items()]
    table = pd.concat([*means, _averaged(scores[own(scores)])], ignore_index=True)
    whole = table["sites"] == table.groupby(["where", "metric"])["sites"].transform("max")
    return table.assign(value=table["value"].where(whole)).drop(columns="sites")


def of_means(scores: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Tell which rows of a report each mean over hospitals is of."""
    among, mine = shared(scores), own(scores)
    fewest = scores[mine].groupby("test", observed=True)["fewest"].min()
    large = scores["test"].isin(fewest.index[fewest >= FEW])
    return dict(zip(MEANS, (among, among & mine, among & mine & large), strict=True))


def own(scores: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows are of a hospital's own patients, read by the model that it would use."""
    return (scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE)


def _coded(scores: pd.DataFrame) -> pd.DataFrame:
    """Number the names: a report of hundreds of hospitals is compared and grouped by numbers, not by text."""
    sites = pd.CategoricalDtype(dict.fromkeys([*scores["test"].unique(), *scores["train"].unique()]))
    return scores.astype({"arm": "category", "metric": "category", "train": sites, "test": sites})


def _averaged(part: pd.DataFrame, where: str = "") -> pd.DataFrame:
    """Average over the rows of a place, or at each test site, and count the ``sites``."""
    part = part.assign(where=part["test"])
    keys = ["arm", "metric", "seed"] if where else ["arm", "where", "metric", "seed"]
    grouped = part.groupby(keys, sort=False, observed=True)
    table = grouped["value"].mean(skipna=False).to_frame().assign(sites=grouped["test"].nunique()).reset_index()
    table = table.assign(where=where) if where else table
    return table.astype({"arm": "str", "where": "str", "metric": "str"})[[*COLUMNS, "sites"]]


def shared(scores: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows of a report a mean over hospitals is of."""
    out = pd.Series(False, index=scores.index)
    for metric in scores["metric"].unique():
        out |= (scores["metric"] == metric) & scores["test"].isin([*left_out(scores, metric)])
    return ~(out | scores["train"].isin(_untrained(scores)))


def left_out(scores: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return the sites that no mean of a metric includes, and why.

    A report that is to be sent on also says of its rows what is no ``headline``: that of too few patients.
    """
    rows = scores[scores["metric"] == metric]
    gone = _silent(rows)
    luck = rows.loc[~rows["headline"], "test"].unique() if "headline" in rows else []
    every = {**dict.fromkeys(map(str, luck), f"fewer than {FEW} test patients of a class"), **gone}
    return gone if len(every) == rows["test"].nunique() else every


def _silent(rows: pd.DataFrame) -> dict[str, str]:
    """Return the sites whose patients do not allow for the metric of these rows; none if no site's do."""
    absent = rows[rows["value"].isna()]
    of_patients = ~absent["reason"].str.startswith(PREDICTS_NAN)
    elsewhere = absent["reason"].str.startswith(NO_MODEL) & (absent["train"] != absent["test"])  # of another site
    told = absent[of_patients & ~elsewhere].groupby("test", sort=False)["reason"].first()
    return {} if len(told) == rows["test"].nunique() else {str(site): str(why) for site, why in told.items()}


def _untrained(rows: pd.DataFrame) -> list[str]:
    """Return the sites that have no model of their own in some arm and seed; none if that is so of all."""
    found = rows.loc[rows["reason"].str.startswith(NO_MODEL), "train"].unique().tolist()
    return [] if len(found) == rows["test"].nunique() else found


def without(scores: pd.DataFrame, metric: str, where: str) -> str:
    """Say which sites a mean leaves out; nothing where it leaves none out, or is of one site."""
    told = left_out(scores, metric) if where in MEANS else {}
    return "without " + ", ".join(f"{site} ({why})" for site, why in told.items()) if told else ""
