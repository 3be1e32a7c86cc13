"""What a mean over hospitals is a mean of, counted from the report and not typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.federation.reserved import EVERY_SITE
from fedlab.study.pairs import away
from fedlab.study.places import shared
from fedlab.study.words import OWN, called, counted, listed

if TYPE_CHECKING:
    from fedlab.study.study import Study


def estimand(study: Study, metric: str) -> str:
    """Say what ``everywhere`` and ``home`` average by a metric.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), algorithms=["isolated", "fedavg"], seeds=2, rounds=1)
    >>> print(estimand(study, "log_loss"))
    Everywhere: each hospital’s own model is tested at every hospital, 12 of 16 pairs away from home; FedAvg, ...
    """
    scores = study.report()
    scores = scores[(scores["metric"] == metric) & shared(scores)]
    count = scores["test"].nunique()
    sites = f"mean of {counted(count)} hospitals" if count > 1 else "one hospital"
    travel = [arm for arm in study.arms if arm in away(study)]
    if not travel:
        return f"Everywhere and at home are the same here: each hospital’s patients, by the arm’s model, {sites}."
    rows = scores[scores["arm"].isin(travel) & (scores["train"] != EVERY_SITE)]
    pairs = rows[["train", "test"]].drop_duplicates()
    foreign = int((pairs["train"] != pairs["test"]).sum())
    whose = "each hospital’s own model" if travel == [OWN] else f"each hospital’s model ({_named(travel)})"
    one = [arm for arm in study.arms if arm not in travel]
    also = f"; {_named(one)}, shared by all, {'is' if len(one) == 1 else 'are'} tested at each" if one else ""
    return (
        f"Everywhere: {whose} is tested at every hospital, {foreign} of {len(pairs)} pairs away from home{also}. "
        f"At home: each hospital’s own patients, scored by the model it would use, {sites}."
    )


def _named(arms: list[str]) -> str:
    return listed([called(arm) for arm in arms])
