"""The decision curve: what acting on a model's risks is worth, by the risk from which on one acts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.figures.drawable import check_table
from fedlab.figures.home import ONE_RUN, called, home, looks_of
from fedlab.figures.theme import GREY, NAME, Style, foot, head, label
from fedlab.metrics.benefit import NET_BENEFIT, TREAT_ALL
from fedlab.study.words import listed, signed

ACROSS = 2
BLOCK = 260  # pixels of a hospital's panel
FLOOR = 0.05  # treating all falls without end: it is drawn so far below nothing


def decision_curve(decisions: pd.DataFrame, *, arms: Sequence[str] | None = None) -> go.Figure:
    """Draw for each hospital net benefit over threshold, beside treating everybody and treating nobody.

    Every hospital's own test patients, scored by the model it would use: its own, or that of all. A hospital with
    fewer than twenty test patients of a class has no curve, and is named. The interval stands at the prespecified
    threshold alone: to choose a threshold on the curve is to choose on the test patients.

    Parameters
    ----------
    decisions : DataFrame
        Made by ``Run.decisions(threshold=…)`` or ``Study.decisions(threshold=…)``.
    arms : sequence of str, optional
        Which of a study, at most three; default: its first three.

    Raises
    ------
    ValueError
        For an arm that is not there, or more than three.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> decision_curve(run.decisions(threshold=0.2)).layout.title.text.split(":")[0]
    'Is acting on the risks worth it? Net benefit at a risk of 20 %'
    """
    check_table(decisions, ["train", "test", "measure", "threshold"], "run.decisions(threshold=…) or the study's")
    table, drawn = home(decisions, arms)
    known = table[table["value"].notna()]
    sites = list(known["test"].unique())
    silent = [site for site in table["test"].unique() if site not in sites]
    looks = looks_of(drawn)
    figure = _panels(sites, alone=ONE_RUN in looks)
    for k, site in enumerate(sites):
        here, at = known[known["test"] == site], (k // ACROSS + 1, k % ACROSS + 1)
        _add_defaults(figure, here, at, first=k == 0)
        for arm in drawn:
            mine = here[(here["arm"] == arm) & (here["measure"] == NET_BENEFIT)]
            _add_curve(figure, mine, label(called(arm)), looks[arm], at, first=k == 0)
    named = float(table.loc[table["named"], "threshold"].iloc[0])
    head(figure, _finding(known, drawn, named), "Net benefit: patients found for each patient seen, less those treated "
         "for nothing at what the threshold says they cost.", above_plot=56)  # fmt: skip
    return foot(figure, _notes(table, drawn, decisions, silent), below=50)


def _panels(sites: list[str], *, alone: bool) -> go.Figure:
    blocks, across = max(math.ceil(len(sites) / ACROSS), 1), min(ACROSS, max(len(sites), 1))
    height = BLOCK * blocks
    figure = make_subplots(rows=blocks, cols=across, subplot_titles=[f"<b>{label(site)}</b>" for site in sites],
                           vertical_spacing=80 / height, horizontal_spacing=0.12)  # fmt: skip
    figure.update_xaxes(tickformat=".0%", title_text="threshold: act from this risk on")
    for row in range(1, blocks + 1):
        figure.update_yaxes(title_text="net benefit", row=row, col=1)
    return figure.update_layout(
        template=NAME, height=150 + height, showlegend=True,
        legend=dict(orientation="h", x=0, y=1 + 28 / height, yanchor="bottom"),
    )  # fmt: skip


def _add_defaults(figure: go.Figure, here: pd.DataFrame, at: tuple[int, int], *, first: bool) -> None:
    """Treating everybody, which needs no model, and treating nobody, which is 0."""
    every = here[here["measure"] == TREAT_ALL].groupby("threshold")["value"].mean()
    every = every.where(every >= -FLOOR)
    options = dict(mode="lines", showlegend=first, row=at[0], col=at[1])
    figure.add_scatter(x=every.index.tolist(), y=_gaps(every), name="treat all", legendgroup="all",
                       line=dict(color=GREY, dash="dash", width=1.5), **options)  # fmt: skip
    figure.add_scatter(x=every.index.tolist(), y=[0.0] * len(every), name="treat nobody", legendgroup="nobody",
                       line=dict(color=GREY, dash="dot", width=1.5), **options)  # fmt: skip


def _add_curve(
    figure: go.Figure, rows: pd.DataFrame, name: str, look: Style, at: tuple[int, int], *, first: bool
) -> None:
    rows = rows.sort_values("threshold")
    ends = rows[["low", "high"]].where(rows["named"])
    figure.add_scatter(
        x=rows["threshold"].tolist(), y=rows["value"].tolist(), mode="lines+markers", name=name, legendgroup=name,
        showlegend=first, line=dict(color=look.colour, dash=look.dash, width=1.5),
        marker=dict(symbol=look.symbol, size=[9 if named else 4 for named in rows["named"]], color=look.colour),
        error_y=dict(type="data", symmetric=False, thickness=1.5, width=4, array=_gaps(ends["high"] - rows["value"]),
                     arrayminus=_gaps(rows["value"] - ends["low"])),
        row=at[0], col=at[1], hovertemplate="from %{x:.0%} on: %{y:.3f}",
    )  # fmt: skip


def _gaps(values: pd.Series[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _finding(known: pd.DataFrame, arms: list[str], named: float) -> str:
    """Net benefit of each arm at the named threshold, and of treating all: mean over the hospitals that have one."""
    at = known[known["named"]]

    def mean(measure: str, arm: str) -> float:
        return float(at.loc[(at["measure"] == measure) & (at["arm"] == arm), "value"].mean())

    told = [
        f"{called(arm)} {signed(mean(NET_BENEFIT, arm), 3)}" for arm in arms if not math.isnan(mean(NET_BENEFIT, arm))
    ]
    start = f"Is acting on the risks worth it? Net benefit at a risk of {100 * named:.3g} %: "
    if not told:
        return f"{start}no hospital has twenty test patients of each class"
    every = at.loc[at["measure"] == TREAT_ALL].groupby("test")["value"].mean().mean()
    return f"{start}{', '.join(told)}; treating all {signed(float(every), 3)}"


def _notes(table: pd.DataFrame, arms: list[str], decisions: pd.DataFrame, silent: list[str]) -> list[str]:
    seeds = int(decisions["seeds"].max()) if "seeds" in decisions else 1
    over = f"over {seeds} seeds" if seeds > 1 else "over the test patients"
    notes = [
        "Test patients of each hospital, scored by the model it would use. Large mark: the prespecified threshold, "
        f"with its 95 % interval {over}. No other threshold is to be chosen from the curve."
    ]
    if silent:
        reason = table.loc[table["test"].isin(silent), "reason"].iloc[0]
        notes.append(f"No curve at {listed(silent)}: {reason}.")
    left_out = [arm for arm in decisions.get("arm", pd.Series(dtype=str)).unique() if arm not in arms]
    return [*notes, f"Not drawn: {listed([called(arm) for arm in left_out])}." if left_out else ""]
