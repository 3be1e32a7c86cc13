"""One number per arm, seed and place: a hospital, or the mean over the same hospitals for every arm and seed.

A hospital whose patients do not allow for a metric in the split of any seed (none of a class among them) is left out of
that metric's means, in all arms and seeds; where that would leave no hospital, all stay. Then an arm without a score at
any of them (its model predicts NaN, a site never answered) has no mean for that seed. So no arm is averaged over easier
hospitals than another.
"""

from __future__ import annotations

import pandas as pd

from fedlab.federation.reserved import EVERY_SITE, MEANS
from fedlab.federation.threshold import PREDICTS_NAN

FEW = 10  # with fewer test patients in a class a site's AUC is mostly luck


def per_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """Average a report: one ``value`` per ``arm, where, metric, seed``, sites alike; places as in ``Study.table``."""
    own = scores[(scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE)]
    large = own["test"].map(own.groupby("test")["fewest"].min() >= FEW)
    among = shared(scores)
    at_home = own[among[own.index]]
    places = (scores[among], at_home, at_home[large[at_home.index]])
    rows = [part.assign(where=where) for where, part in zip(MEANS, places, strict=True)]
    grouped = pd.concat([*rows, own.assign(where=own["test"])]).groupby(["arm", "where", "metric", "seed"], sort=False)
    value, sites = grouped["value"].mean(skipna=False), grouped["test"].nunique()
    whole = sites == sites.groupby(["where", "metric"]).transform("max")
    return value.where(whole).reset_index()


def shared(scores: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows of a report a mean over hospitals is of."""
    out = pd.Series(False, index=scores.index)
    for metric in scores["metric"].unique():
        out |= (scores["metric"] == metric) & scores["test"].isin(left_out(scores, metric))
    return ~out


def left_out(scores: pd.DataFrame, metric: str) -> dict[str, str]:
    """Return the sites that no mean of a metric includes, and why."""
    rows = scores[scores["metric"] == metric]
    of_patients = rows["value"].isna() & ~rows["reason"].str.startswith(PREDICTS_NAN)
    told = rows[of_patients].groupby("test", sort=False)["reason"].first()
    return {} if len(told) == rows["test"].nunique() else {str(site): str(why) for site, why in told.items()}


def without(scores: pd.DataFrame, metric: str, where: str) -> str:
    """Say which sites a mean leaves out; nothing where it leaves none out, or is of one site."""
    told = left_out(scores, metric) if where in MEANS else {}
    return "without " + ", ".join(f"{site} ({why})" for site, why in told.items()) if told else ""
