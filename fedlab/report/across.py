"""Hospitals as draws from all that there could be: the mean over them, and one that is not yet seen."""

from __future__ import annotations

import math
from typing import Any

from fedlab.report.gap import Gap
from fedlab.report.table import table
from fedlab.study.pairs import rows_of
from fedlab.study.words import arm_name, words

METRIC = "auc"  # the mean of other tasks has no logit
METHOD = (
    "random effects on the logit scale: REML, Hartung and Knapp’s 95 % interval of the mean, Nagashima, Noma and "
    "Furukawa’s 95 % prediction interval"
)


def pooled(gap: Gap) -> tuple[list[dict[str, Any]], str]:
    """Return :meth:`fedlab.Study.random_effects` as rows, or why there is none."""
    try:
        return rows_of(gap.study.random_effects(metric=METRIC)), ""
    except ValueError as why:
        return [], str(why)


def at_the_next(gap: Gap) -> list[str]:
    """Say what the federated model is to be expected at a hospital that is not yet seen; nothing where it cannot be."""
    return [
        f"A hospital not yet seen, like these: {words(METRIC).name} of {arm_name(row['arm'])} {row['mean']:.2f}, 95 % "
        f"prediction interval {row['next_low']:.2f}–{row['next_high']:.2f} (random effects over {row['hospitals']} "
        f"hospitals{', ' * bool(row['reason'])}{row['reason']})."
        for row in pooled(gap)[0]
        if row["arm"] == gap.federated and math.isfinite(row["mean"])
    ]


def over_hospitals(gap: Gap) -> str:
    """The mean over hospitals and the prediction interval of each arm, as a table."""
    rows, why = pooled(gap)
    if not rows:
        return ""
    name = words(METRIC).name
    gone = "; ".join(dict.fromkeys(row["reason"] for row in rows if row["reason"]))
    caption = (
        f"{name} over hospitals and at one not yet seen, each scored by the model it would use: {METHOD}. Within a "
        "hospital the sampling is of patients, with the models held fixed. Sd: between hospitals, of the "
        f"logit.{' ' * bool(gone)}{gone[:1].upper()}{gone[1:]}"
    )
    head = ["model", "hospitals", f"mean {name},\n95 % interval", "a hospital not yet seen,\n95 % prediction interval",
            "sd"]  # fmt: skip
    cells = [
        [
            arm_name(row["arm"]),
            f"{row['hospitals']}",
            _interval(row, "low", "high", f"{row['mean']:.3f}\n"),
            _interval(row, "next_low", "next_high"),
            "–" if math.isnan(row["tau"]) else f"{row['tau']:.2f}",
        ]
        for row in rows
    ]
    return table(caption, head, cells)


def _interval(row: dict[str, Any], low: str, high: str, mean: str = "") -> str:
    return "–" if math.isnan(row["mean"]) else f"{mean}[{row[low]:.2f}, {row[high]:.2f}]"
