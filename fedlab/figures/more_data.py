"""What more data are worth: a score against rows per hospital, and against the number of hospitals."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.figures.curves import plain
from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import NAME, foot, head, label, style
from fedlab.metrics.cells import is_few, written
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study import LearningCurve
from fedlab.study.curve import point
from fedlab.study.words import arm_name, digits_of, number, signed, words

AXES = {"rows": "training rows per hospital, at most", "sites": "hospitals that take part"}
LARGE = "large sites"
PLACES = {
    "everywhere": "Every point is tested on the same patients: the test patients of all hospitals.",
    LARGE: "Every point is tested on the same patients: the test patients of all hospitals with ten in each class.",
    "took part": "Tested on test of the hospitals that took part.",
    "took no part": "Tested on test of the hospitals that took no part: others with each seed, fewer at each point.",
}


def more_data(curve: LearningCurve, metric: str | None = None, *, where: str | None = None) -> go.Figure:
    """Draw a score on the same test patients against the amount of data that was learnt from, one panel a curve.

    Lines are means over seeds, bands their 95 % intervals; a filled mark differs clearly from the first point.

    Parameters
    ----------
    curve : LearningCurve
        Made by ``fedlab.learning_curve``.
    metric : str, optional
        Default: the task's headline, AUC of classes.
    where : str, optional
        Whose test patients: ``everywhere``, ``large sites``, ``took no part``, a hospital, … as in
        :meth:`LearningCurve.table`. Default: ``everywhere``, and ``large sites`` for a metric that needs every class.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> curve = fedlab.learning_curve(hospitals, rows=[16, 64], sites=[], seeds=2, rounds=2, progress=False)
    >>> [trace.name for trace in more_data(curve).data if trace.showlegend]
    ['pooled', 'FedAvg']
    """
    check_kind(curve, LearningCurve, "a learning curve, fedlab.learning_curve(…)")
    metric = metric or curve.federation.task.headline
    what = words(metric)
    table = curve.table(metric)
    places = list(table["where"].unique())
    if where is None:
        where = LARGE if metric in NEEDS_EVERY_CLASS and LARGE in places else "everywhere"
    here = table[table["where"] == where]
    if here.empty:
        raise ValueError(f"this curve has no place {where!r}; it has {', '.join(places)}")
    panels = list(here["by"].unique())
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.05)
    figure.update_layout(template=NAME, height=500, legend=dict(orientation="h", x=0, y=1, yanchor="bottom"))
    for number_, by in enumerate(panels, start=1):
        along = here[here["by"] == by]
        for i, arm in enumerate(curve.arms):
            shown = by == panels[0] or arm not in set(here.loc[here["by"] == panels[0], "arm"])
            _add_arm(figure, number_, i, along[along["arm"] == arm], arm, shown)
        _axis(figure, number_, by, sorted(along["x"].unique()), curve)
    figure.update_yaxes(title_text=what.axis, col=1)
    setting = f"{curve.model_name}, {curve.federation.name}. {PLACES.get(where, f'Tested on test of {where}.')}"
    head(figure, _finding(here, curve, what.name), setting, above_plot=36)
    return foot(figure, _notes(curve, metric, where), below=78)


def _add_arm(figure: go.Figure, column: int, number_: int, rows: pd.DataFrame, arm: str, shown: bool) -> None:
    if rows.empty:
        return
    look, name, x = style(number_), label(arm_name(arm)), rows["x"].tolist()
    band = rows[rows["low"].notna()]
    if len(band):
        figure.add_scatter(
            x=[*band["x"], *band["x"][::-1]], y=[*band["high"], *band["low"][::-1]], fill="toself",
            fillcolor=look.colour, opacity=0.18, mode="lines", line=dict(width=0),
            hoverinfo="skip", showlegend=False, legendgroup=name, name=f"{name}, band", row=1, col=column,
        )  # fmt: skip
    figure.add_scatter(
        x=x, y=plain(rows["mean"]), name=name, mode="lines+markers", legendgroup=name, showlegend=shown,
        line=dict(color=look.colour, dash=look.dash, width=2),
        marker=dict(symbol=[look.symbol + ("" if _clear(row) else "-open") for row in rows.to_dict("records")], size=10,
                    color=look.colour, line=dict(width=2, color=look.colour)),
        customdata=[_hover(row) for row in rows.to_dict("records")],
        hovertemplate="%{customdata}<extra>" + name + "</extra>", row=1, col=column,
    )  # fmt: skip


def _clear(row: dict[str, float]) -> bool:
    return row["difference_low"] > 0 or row["difference_high"] < 0


def _hover(row: dict[str, float]) -> str:
    text = f"<b>{number(row['mean'], 3)}</b>"
    if not math.isnan(row["low"]):
        text += f" [{number(row['low'], 3)}, {number(row['high'], 3)}]"
    text += f"<br>learnt from {row['rows']:.0f} rows in all"
    if row["difference"] != 0 and not math.isnan(row["difference"]):
        text += f"<br>{_apart(row)} against the first point"
    return text


def _axis(figure: go.Figure, column: int, by: str, at: list[int], curve: LearningCurve) -> None:
    labels = [str(x) for x in at]
    if by == "rows" and at[-1] >= max(len(site.split.train) for site in curve.federation.sites):
        labels[-1] += "<br>(all)"
    ends = dict(type="log", range=[math.log10(at[0]) - 0.08, math.log10(at[-1]) + 0.08]) if by == "rows" else {}
    figure.update_xaxes(title_text=AXES[by], tickvals=at, ticktext=labels, tickangle=0, **ends, row=1, col=column)


def _apart(row: dict[str, float]) -> str:
    """Write the difference to the first point, its interval, and whether it is clear."""
    if math.isnan(row["difference_low"]):
        return f"{signed(row['difference'])}, {'one seed' if row['seeds'] < 2 else 'not clear'}"
    low, high, clear = row["difference_low"], row["difference_high"], _clear(row)
    digits = digits_of(low, high) if clear else 2
    said, *ends = (signed(value, digits) for value in (row["difference"], low, high))
    return f"{said} [{', '.join(ends)}], {'clear' if clear else 'not clear'}"


def _finding(here: pd.DataFrame, curve: LearningCurve, name: str) -> str:
    """Say where the federated arm (or else the first) begins and ends along each curve."""
    arm = next((a for a in curve.arms if a != "centralized"), curve.arms[0])
    told = []
    for by, rows in here[here["arm"] == arm].groupby("by", sort=False):
        each = rows.to_dict("records")
        first, last = each[0], each[-1]
        if first["x"] < last["x"]:
            told.append(f"{number(first['mean'])} with {point(str(by), first['x'])}, {number(last['mean'])} with "
                        f"{last['x']} ({_apart(last)})")  # fmt: skip
    return f"What are more data worth? {name} of {arm_name(arm)}: {'; '.join(told) or 'one point'}"


def _notes(curve: LearningCurve, metric: str, where: str) -> list[str]:
    seeds = len(curve.seeds)
    if seeds == 1:
        notes = ["One seed: no interval, so nothing here is clear."]
    else:
        notes = [
            f"Line: mean over {seeds} seeds (split, start, batch order, rows drawn, order of hospitals). Band: 95 % "
            "interval (corrected resampled t: other splits and training of these patients, not other patients). Filled "
            "mark, clear: the interval of the difference to the first point, "
            "on the same seeds, leaves zero out; not corrected for looking at every point."
        ]
    notes.append("All points have as many gradient steps, to within a round. The round is chosen on all valid patients "
                 "of the hospitals that take part.")  # fmt: skip
    fewest = curve.scores.groupby("test", sort=False)["fewest"].min()
    small = [site for site in fewest.index if is_few(fewest[site]) and where in (*PLACES, site)]
    if small and metric in NEEDS_EVERY_CLASS:
        counts = "; ".join(f"{site}: {written(fewest[site])} test patients in its rarest class" for site in small)
        notes.append(f"{counts}: mostly luck, and {'not ' * (where == LARGE)}in these means.")
    if len(curve.failures):
        notes.append("Not computed: " + "; ".join(
            f"{arm_name(f['arm'])} at {point(f['by'], f['x'])} ({f['reason']})"
            for f in curve.failures.to_dict("records")) + ".")  # fmt: skip
    return [*notes, *curve.notes]
