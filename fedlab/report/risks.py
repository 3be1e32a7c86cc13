"""Whether the risks come true, and whether it is worth acting on them: the report's sections on both."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fedlab.federation.reserved import EVERY_SITE
from fedlab.figures import decision_curve
from fedlab.metrics.benefit import NET_BENEFIT, OVER_TREAT_ALL, TREAT_ALL
from fedlab.metrics.calibration import CALIBRATED, ECE, IN_THE_LARGE, RATIO, SLOPE
from fedlab.metrics.cells import ENOUGH
from fedlab.report.drawings import figure, of_most_patients
from fedlab.report.gap import Gap
from fedlab.report.table import Cell, table
from fedlab.study.words import arm_name, listed

NAMED = 6  # hospitals that a sentence names
WRONG = {
    RATIO: ("more events than predicted", "fewer events than predicted"),
    SLOPE: ("risks too moderate", "risks too extreme"),
}
"""What it means that an interval lies above, or below, what the measure is where every risk is true."""
CALIBRATION_HEAD = ["model", "O:E ratio", "calibration-\nin-the-large", "slope", "ECE\n(by chance)"]
DECISION_HEAD = ["model", "net benefit", "treat all", "over treat all", "sensitivity", "specificity"]


def calibration(gap: Gap) -> list[str]:
    """Say of each arm at which hospitals its risks are not true, by intervals each by itself."""
    found = _at_home(gap, gap.calibration_summary)
    told = []
    for arm in gap.study.arms:
        rows = found[(found["arm"] == arm) & found["low"].notna()]
        sites = rows["test"].nunique()
        if not sites:
            continue
        wrong = [_wrong(rows[rows["measure"] == measure], *words) for measure, words in WRONG.items()]
        said = "; ".join(filter(None, wrong))
        shared = (
            f"at none of the {sites} hospitals with an interval" if sites > 1 else "not at the one with an interval"
        )
        told.append(f"{_called(arm)}: {said or f'{shared} do O:E or slope show miscalibration'}.")
    if not told:
        return [f"No hospital has an interval: it takes {ENOUGH} test patients of each class. What ECE shows is beside "
                "what it would be by chance."]  # fmt: skip
    return [*told, "Each interval stands by itself: of many, one in twenty is expected to miss the true value."]


def _wrong(rows: pd.DataFrame, above: str, below: str) -> str:
    parts = []
    for what, out in ((above, rows["low"] > rows["calibrated"]), (below, rows["high"] < rows["calibrated"])):
        those = rows[out]
        if those.empty:
            continue
        named = [f"{row['test']} ({_interval(row, 2)})" for row in those.head(NAMED).to_dict("records")]
        more = len(those) - len(named)
        parts.append(f"{what} at {listed([*named, *([f'{more} more'] if more else [])])}")
    return "; ".join(parts)


def calibration_table(gap: Gap) -> str:
    """Each hospital's own patients, by each arm: the measures of calibration, and ECE beside what chance makes it."""
    found = _at_home(gap, gap.calibration_summary).set_index(["test", "arm", "measure"])
    rows: list[list[Cell]] = []
    for site in gap.study.federation.names:
        rows.append([site])
        for arm in gap.study.arms:
            if (site, arm, ECE) in found.index:
                each = {measure: _row(found, (site, arm, measure)) for measure in (*CALIBRATED, ECE)}
                cells = [_interval(each[measure], 2) for measure in (RATIO, IN_THE_LARGE, SLOPE)]
                rows.append([arm_name(arm), *cells, _beside_chance(each[ECE])])
    over = f"over {len(gap.study.seeds)} seeds" if len(gap.study.seeds) > 1 else "over the test patients"
    caption = (
        "Calibration on each hospital’s own test patients, scored by the model that each arm has for it; in brackets "
        f"the 95 % interval {over}. Under perfect calibration the O:E ratio (observed over expected) is 1 (above it, "
        "more events than predicted), calibration-in-the-large 0 (the same on the logit scale), the slope 1 (below it, "
        "risks are too extreme). ECE, expected calibration error, is above 0 even then: in brackets its mean under "
        "perfect calibration. Nothing is judged by it. –: fewer than "
        f"{ENOUGH} test patients of a class."
    )
    return table(caption, CALIBRATION_HEAD, rows, kind="long")


def decisions(gap: Gap) -> str:
    """What acting from the named threshold on is worth, and the decision curve; empty if none was named."""
    if gap.decisions.empty:
        return ""
    found = _at_home(gap, gap.decisions)
    found = found[found["named"]].set_index(["test", "arm", "measure"])
    rows: list[list[Cell]] = []
    measures = (NET_BENEFIT, TREAT_ALL, OVER_TREAT_ALL, "sensitivity", "specificity")
    for site in gap.study.federation.names:
        rows.append([site])
        for arm in gap.study.arms:
            if (site, arm, NET_BENEFIT) in found.index:
                rows.append([arm_name(arm), *(_interval(_row(found, (site, arm, what)), 3) for what in measures)])
    over = f"over {len(gap.study.seeds)} seeds" if len(gap.study.seeds) > 1 else "over the test patients"
    caption = (
        f"Acting on all whose risk is {100 * float(gap.threshold or 0):.3g} % or more, the prespecified threshold, at "
        f"each hospital’s own test patients; in brackets the 95 % interval {over}, each by itself. Net benefit: "
        "true positives per patient, less false positives per patient weighted by the odds of the threshold "
        f"(Vickers & Elkin 2006); treating nobody is 0. –: fewer than {ENOUGH} test patients of a class."
    )
    table_, shown = table(caption, DECISION_HEAD, rows, kind="long"), of_most_patients(gap)
    drawn = decision_curve(gap.decisions[gap.decisions["test"].isin(shown)], arms=gap.drawn)
    return (
        figure(drawn, "Decision curves by hospital.", "Net benefit over threshold; only the named one counts.") + table_
    )


# --------------------------------------------------------------------------- pieces


def _at_home(gap: Gap, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["train"] == rows["test"]) | (rows["train"] == EVERY_SITE)]


def _row(found: pd.DataFrame, key: tuple[str, str, str]) -> dict[str, Any]:
    row: dict[str, Any] = found.loc[key].to_dict()
    return row


def _interval(row: dict[str, Any], digits: int) -> str:
    if math.isnan(row["value"]):
        return "–"
    ends = "" if math.isnan(row["low"]) else f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['value']:.{digits}f}{ends}".replace("-", "−")


def _beside_chance(row: dict[str, Any]) -> str:
    """Write a calibration error; without what it would be by chance it is not told."""
    if math.isnan(row["value"]) or math.isnan(row["calibrated"]):
        return "–"
    return f"{row['value']:.3f} ({row['calibrated']:.3f})"


def _called(arm: str) -> str:
    name = arm_name(arm)
    return name[0].upper() + name[1:]
