"""Subgroups: for whom the models are good, and which groups are too small to say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.figures.drawable import check_table
from fedlab.figures.home import ONE_RUN, called, home, looks_of
from fedlab.figures.theme import GREY, NAME, Style, foot, head, label
from fedlab.metrics.thresholds import PREDICTS_NAN
from fedlab.study.words import listed, number, words

ROW, BETWEEN = 44, 46  # pixels of a group, and between two hospitals
APART = 0.24  # between the arms of a group
TEST = "Each interval is of one group by itself: whether two of them overlap is no test of a difference between groups."


def subgroup_scores(table: pd.DataFrame, metric: str | None = None, *, arms: Sequence[str] | None = None) -> go.Figure:
    """Draw for each hospital and group of its test patients a dot and an interval for each arm.

    Every hospital's patients are scored by the model it would use: its own, or that of all. A group that is too small
    for a score stays in its place and says so; why is in its hover.

    Parameters
    ----------
    table : DataFrame
        Made by ``Study.subgroups(by=…)`` (intervals over seeds) or ``Run.subgroups(by=…, resamples=…)`` (over
        patients).
    metric : str, optional
        Default: the table's first, the task's headline.
    arms : sequence of str, optional
        Which of a study, at most three; default: its first three.

    Raises
    ------
    ValueError
        For a metric or arm that is not there, or more than three arms.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> subgroup_scores(run.subgroups(by="sex")).layout.title.text
    'For whom is the model good? AUC by group; 5 of 8 have none'
    """
    check_table(table, ["train", "test", "group", "metric"], "run.subgroups(by=…) or study.subgroups(by=…)")
    metric = metric or str(table["metric"].iloc[0])
    what = words(metric)
    rows, drawn = home(table[table["metric"] == metric], arms)
    rows = rows.rename(columns={"value": "mean"})
    sites = {str(site): list(part["group"].unique()) for site, part in rows.groupby("test", sort=False)}
    looks = looks_of(drawn)
    figure = _panels(rows, sites, alone=ONE_RUN in looks)
    start = _start(rows)
    for number_, (site, groups) in enumerate(sites.items(), start=1):
        here = rows[rows["test"] == site]
        for arm, look in looks.items():
            offset = APART * (drawn.index(arm) - (len(drawn) - 1) / 2)
            mine = here[here["arm"] == arm].set_index("group").reindex(groups)
            _add_arm(figure, number_, mine, label(called(arm)), look, offset)
        _add_unknown(figure, number_, here, groups, start)
    figure.update_xaxes(title_text=what.axis + ", test patients", row=len(sites), col=1)
    head(figure, _finding(rows, what.name), TEST, above_plot=24 if ONE_RUN in looks else 56)
    return foot(figure, _notes(rows, drawn, table), below=62)


def _panels(rows: pd.DataFrame, sites: dict[str, list[str]], *, alone: bool) -> go.Figure:
    """A panel a hospital, as high as it has groups; the groups' names have their counts."""
    lines = [len(groups) for groups in sites.values()]
    plot = ROW * sum(lines) + BETWEEN * (len(lines) - 1)
    figure = make_subplots(rows=len(sites), cols=1, shared_xaxes=True, row_heights=lines,
                           vertical_spacing=BETWEEN / plot if len(lines) > 1 else 0)  # fmt: skip
    for at, (site, groups) in enumerate(sites.items(), start=1):
        counts = rows[rows["test"] == site].groupby("group")["patients"].mean()
        labels = [f"{label(group)}, n = {counts[group]:.0f}" for group in groups]
        figure.update_yaxes(tickvals=list(range(len(groups))), ticktext=labels, range=[len(groups) - 0.5, -0.5],
                            ticks="", gridcolor="rgba(0,0,0,0)", row=at, col=1)  # fmt: skip
        top = figure.get_subplot(at, 1).yaxis.domain[1]
        figure.add_annotation(text=f"<b>{label(site)}</b>", x=0, y=top, xref="paper", yref="paper", xanchor="left",
                              yanchor="bottom", showarrow=False, yshift=2)  # fmt: skip
    return figure.update_layout(
        template=NAME, height=plot + 160, showlegend=not alone,
        legend=dict(orientation="h", x=0, y=1 + 24 / plot, yanchor="bottom"),
    )  # fmt: skip


def _add_arm(figure: go.Figure, row: int, groups: pd.DataFrame, name: str, look: Style, offset: float) -> None:
    known = [(at, each) for at, each in enumerate(groups.to_dict("records")) if not math.isnan(each["mean"])]
    figure.add_scatter(
        x=[each["mean"] for _, each in known], y=[at + offset for at, _ in known], mode="markers", name=name,
        legendgroup=name, showlegend=row == 1, row=row, col=1,
        marker=dict(color=look.colour, symbol=look.symbol, size=10, line=dict(color="#ffffff", width=1)),
        error_x=dict(type="data", symmetric=False, thickness=1.5, width=4, color=look.colour,
                     array=[_length(each["high"] - each["mean"]) for _, each in known],
                     arrayminus=[_length(each["mean"] - each["low"]) for _, each in known]),
        customdata=[_hover(str(groups.index[at]), each) for at, each in known],
        hovertemplate="%{customdata}<extra>" + name + "</extra>",
    )  # fmt: skip


def _length(apart: float) -> float:
    return 0.0 if math.isnan(apart) else apart


def _hover(group: str, row: dict[str, float]) -> str:
    text = f"<b>{label(group)}</b><br>{number(row['mean'], 3)}"
    if not math.isnan(row["low"]):
        text += f" [{number(row['low'], 3)}, {number(row['high'], 3)}]"
    text += f"<br>{row['patients']:.0f} patients, {row['fewest']:.0f} of the rarest class"
    return text + (f"<br>{label(row['reason'], 200)}" if row["reason"] else "")


def _add_unknown(figure: go.Figure, row: int, here: pd.DataFrame, groups: list[str], start: float) -> None:
    """Name the groups that no arm has a score of, at the left."""
    told = here.groupby("group", sort=False)[["mean", "reason"]].agg({"mean": "count", "reason": "first"})
    silent = [(at, told.loc[group, "reason"]) for at, group in enumerate(groups) if told.loc[group, "mean"] == 0]
    figure.add_scatter(
        x=[start] * len(silent), y=[at for at, _ in silent], mode="text", showlegend=False, row=row, col=1,
        text=["no score" if PREDICTS_NAN in why else "too few to say" for _, why in silent],
        textposition="middle right", textfont=dict(color=GREY, size=11),
        customdata=[f"<b>{label(groups[at])}</b><br>{label(why, 200)}" for at, why in silent],
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _start(rows: pd.DataFrame) -> float:
    """Return the least value that is drawn."""
    least = rows[["mean", "low"]].min().min()
    return 0.0 if math.isnan(least) else float(least)


def _finding(rows: pd.DataFrame, name: str) -> str:
    known = rows.groupby(["test", "group"])["mean"].count() > 0
    few = int((~known).sum())
    lacking = f"; {few} of {len(known)} {'has' if few == 1 else 'have'} none" if few else ""
    return f"For whom is the model good? {name} by group{lacking}"


def _notes(rows: pd.DataFrame, drawn: list[str], table: pd.DataFrame) -> list[str]:
    notes = ["Test patients of each hospital, scored by the model it would use."]
    if "seeds" in rows and rows["seeds"].max() > 1:
        notes.append("Dot and line: mean over seeds and its 95 % interval (corrected resampled t: other splits "
                     "and training of these patients, not other patients); n: patients of one "
                     "split, on average. Some groups are large enough on some seeds only: see the hover.")  # fmt: skip
    elif rows["low"].notna().any():
        notes.append("Line: 95 % interval over patients.")
    else:
        notes.append("One split: no interval, so that nothing here is clear.")
    left_out = [arm for arm in table.get("arm", pd.Series(dtype=str)).unique() if arm not in drawn]
    return [*notes, f"Not drawn: {listed([called(arm) for arm in left_out])}."] if left_out else notes
