"""The report's figures with their captions, as sections that stand without the figure too."""

from __future__ import annotations

import html
import math
from typing import Any

from fedlab.figures import atlas_map, learning_curves, more_data, reliability_curves, who_gains
from fedlab.report.gap import Gap
from fedlab.report.tables import ACROSS
from fedlab.study.words import arm_name, listed, words

WIDTH = 920  # of a figure; the style sheet shrinks it to the paper
INK = "#3d464e"  # darker than the theme's grey, which must do on black too
PANELS = 4  # hospitals whose reliability fits on one sheet
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "sendDataToCloud"]}


def gains(gap: Gap) -> str:
    """Who gains at home."""
    if not gap.isolated or gap.federated is None:
        return "<p>Without the arm <code>isolated</code> and a federated one there is no gain to show.</p>"
    metric = gap.study.primary
    drawn = who_gains(gap.study, metric, federated=gap.federated)
    caption = "Each hospital’s test patients, by its own, the federated and the pooled model: numbers in the table."
    return figure(drawn, f"Dumbbell chart of {words(metric).name} by hospital.", caption)


def atlas(gap: Gap) -> str:
    """Train here, test there."""
    also = listed([words(metric).name for metric in gap.main if metric != gap.headline])
    table, caption = gap.atlas, f"Darker is better; the tables below have the same numbers, and {also}."
    if table["test"].nunique() > ACROSS:  # no room in a cell for more than the value
        table = table.assign(low=math.nan, high=math.nan, sd=math.nan)
        caption = "Darker is better; below are the rows of most interest, and the files of numbers have every pair."
    drawn = atlas_map(table, gap.headline, federation=gap.study.federation)
    return figure(drawn, f"Heat map of {words(gap.headline).name} by training and test hospital.", caption)


def calibration(gap: Gap) -> str:
    """Whether the predicted risk comes true: own, pooled and federated model."""
    table, shown = gap.calibration, of_most_patients(gap)
    drawn = reliability_curves(table[table["test"].isin(shown)], arms=gap.drawn, federation=gap.study.federation)
    caption = "Observed share over predicted probability, each hospital’s test patients."
    if len(shown) < (every := table["test"].nunique()):
        caption += f" The {PANELS} hospitals with most test patients of {every}."
    return figure(drawn, "Reliability curves by hospital.", caption)


def of_most_patients(gap: Gap) -> list[str]:
    """Return the hospitals that a figure has room for."""
    patients = gap.calibration.groupby("test", sort=False)["patients"].sum()
    return [str(site) for site in patients.index if site in set(patients.nlargest(PANELS).index)]


def more(gap: Gap) -> str:
    """Whether more rows, or more hospitals, would help."""
    if gap.curve is None:
        return ""
    caption = (
        f"{arm_name(gap.curve.arms[0])} trained on fewer rows, and with fewer hospitals, than there are: where a curve "
        "still rises at its right end, more of it may help; where it is flat, there is no sign of it."
    )
    alt = f"Line charts of {words(gap.headline).name} by rows per hospital and by hospitals."
    return figure(more_data(gap.curve, gap.headline), alt, caption)


def training(gap: Gap) -> str:
    """Whether the training came to an end: one run, round by round."""
    arm = gap.federated or next((arm for arm in reversed(gap.study.arms) if arm in gap.shared), None)
    if arm is None:  # hospitals that learn alone tell nobody how they did, and some may have chosen on few patients
        return ""
    run = gap.study.runs[arm][0]
    told = f"Run of {arm_name(arm)} with seed {run.settings.seed}"
    score = words(run.scored[0]).name
    caption = f"{told}: {score} on the validation patients after each round; the reported round is marked."
    return figure(learning_curves(run, run.scored[0]), f"Line chart. {told}, {score} by round.", caption)


def figure(drawn: Any, alt: str, caption: str) -> str:
    """Embed a plotly figure, whose library the page brings once."""
    drawn.update_layout(width=WIDTH, font_color=INK)
    written = drawn.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)
    return (
        f'<figure><div class="drawing" role="img" aria-label="{html.escape(alt, quote=True)}">{written}</div>'
        f"<noscript><p>The figure needs JavaScript; the tables do not.</p></noscript>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
