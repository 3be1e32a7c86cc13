"""Reliability: whether 70 % of those who are told a risk of 70 % are ill."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.federation import Federation
from fedlab.figures.drawable import check_table
from fedlab.figures.home import ONE_RUN, called, home, looks_of
from fedlab.figures.theme import GREY, GRID, NAME, Style, foot, head, label
from fedlab.metrics.cells import FEW
from fedlab.metrics.reliability import wilson
from fedlab.study.words import listed, number

ACROSS = 2
BLOCK = 400  # pixels of a hospital's two panels


def reliability_curves(
    calibration: pd.DataFrame, *, arms: Sequence[str] | None = None, federation: Federation | None = None
) -> go.Figure:
    """Draw for each hospital the observed share over the predicted probability, and how many patients each bin has.

    Every hospital's own test patients, scored by the model it would use: its own, or that of all. A bin of fewer than
    ten patients is drawn open: its share could be almost anything, which its interval shows.

    Parameters
    ----------
    calibration : DataFrame
        Made by ``Run.calibration()`` or ``Study.calibration()``; the bins of several seeds are put together.
    arms : sequence of str, optional
        Which of a study, at most three; default: its first three.
    federation : Federation, optional
        To name the class that is predicted.

    Raises
    ------
    ValueError
        For an arm that is not there, or more than three.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
    >>> reliability_curves(run.calibration()).layout.title.text.split(":")[0]
    'Does the predicted risk come true? Calibration error'
    """
    check_table(calibration, ["train", "test", "predicted"], "run.calibration() or study.calibration()")
    table, drawn = home(calibration, arms)
    sites = list(table["test"].unique())
    looks = looks_of(drawn)
    figure = _panels(table, sites, looks)
    for k, site in enumerate(sites):
        row, column = _place(k)
        _add_diagonal(figure, row, column)
        for arm in drawn:
            bins = _over_seeds(table[(table["arm"] == arm) & (table["test"] == site)])
            _add_bins(figure, bins, label(called(arm)), looks[arm], row, column, first=k == 0, alone=len(drawn) == 1)
    _axes(figure, sites, federation)
    head(figure, _finding(table, drawn), "On the line it does. Below it the risk is overstated, above it understated.",
         above_plot=24 if ONE_RUN in looks else 52)  # fmt: skip
    return foot(figure, _notes(table, drawn, calibration), below=0)


def _over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Put the bins of all seeds together; ``patients`` and the interval are those of one split, on average.

    A bin with less than one patient a split is left out.
    """
    seeds = max(rows["seed"].nunique(), 1)
    weighted = rows.assign(predicted=rows["predicted"] * rows["patients"], observed=rows["observed"] * rows["patients"])
    sums = weighted.groupby("bin")[["predicted", "observed", "patients"]].sum().query("patients > 0")
    sums["predicted"] /= sums["patients"]
    sums["observed"] /= sums["patients"]
    sums["patients"] /= seeds
    low, high = wilson(sums["observed"].to_numpy(), sums["patients"].to_numpy())
    edges = rows.groupby("bin")[["low", "high"]].first()
    return sums.assign(observed_low=low, observed_high=high).join(edges).query("patients >= 1")


def _panels(table: pd.DataFrame, sites: list[str], looks: dict[str, Style]) -> go.Figure:
    """Two panels a hospital, close together: shares above, counts of patients below."""
    blocks, across = math.ceil(len(sites) / ACROSS), min(ACROSS, len(sites))
    figure = make_subplots(rows=2 * blocks, cols=across, horizontal_spacing=0.12)
    n = table.groupby("test")["patients"].sum() / (table["seed"].nunique() * len(looks))
    for k, site in enumerate(sites):
        row, column = _place(k)
        top = 1 - (k // ACROSS) / blocks
        low, high = top - 0.67 / blocks, top - 0.7 / blocks
        figure.update_yaxes(domain=[low, top], row=row, col=column)
        figure.update_yaxes(domain=[top - 0.84 / blocks, high], row=row + 1, col=column)
        left = figure.get_subplot(row, column).xaxis.domain[0]
        figure.add_annotation(text=f"<b>{label(site)}</b>, n = {n[site]:.0f}", x=left, y=top, xref="paper",
                              yref="paper", xanchor="left", yanchor="bottom", showarrow=False, yshift=2)  # fmt: skip
    return figure.update_layout(
        template=NAME, height=150 + BLOCK * blocks, barmode="group", bargap=0.15, showlegend=ONE_RUN not in looks,
        legend=dict(orientation="h", x=0, y=1 + 24 / (BLOCK * blocks), yanchor="bottom"),
    )  # fmt: skip


def _place(k: int) -> tuple[int, int]:
    """Row and column of the upper panel of the ``k``-th hospital."""
    return 2 * (k // ACROSS) + 1, k % ACROSS + 1


def _add_diagonal(figure: go.Figure, row: int, column: int) -> None:
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", showlegend=False, hoverinfo="skip",
                       line=dict(color=GREY, dash="dot", width=1.5), row=row, col=column)  # fmt: skip


def _add_bins(
    figure: go.Figure, bins: pd.DataFrame, name: str, look: Style, row: int, column: int, *, first: bool, alone: bool
) -> None:
    sure = (bins["patients"] >= FEW).tolist()
    said = [f"{n:.0f}" for n in bins["patients"]]
    ends = list(zip(bins["observed_low"], bins["observed_high"], said, strict=True))
    figure.add_scatter(
        x=bins["predicted"].tolist(), y=bins["observed"].tolist(), mode="lines+markers", name=name, legendgroup=name,
        showlegend=first, line=dict(color=look.colour, dash=look.dash, width=1.5),
        marker=dict(symbol=[look.symbol if s else f"{look.symbol}-open" for s in sure], size=9, color=look.colour,
                    line=dict(width=1.5, color=look.colour)),
        error_y=dict(type="data", symmetric=False, thickness=1, width=3, color=_pale(look.colour),
                     array=(bins["observed_high"] - bins["observed"]).tolist(),
                     arrayminus=(bins["observed"] - bins["observed_low"]).tolist()),
        customdata=ends, row=row, col=column,
        hovertemplate="predicted %{x:.2f}: %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}], n = %{customdata[2]}",
    )  # fmt: skip
    figure.add_bar(
        x=((bins["low"] + bins["high"]) / 2).tolist(), y=bins["patients"].tolist(), name=name, legendgroup=name,
        showlegend=False, row=row + 1, col=column, text=said if alone else None, textposition="outside",
        textfont=dict(size=10), cliponaxis=False, hovertemplate="%{y:.0f} patients",
        marker=dict(color=look.colour, opacity=0.75),
    )  # fmt: skip


def _pale(colour: str) -> str:
    """Whiskers of several arms lie on each other: they step back behind the marks."""
    return f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, 0.5)"


def _axes(figure: go.Figure, sites: list[str], federation: Federation | None) -> None:
    told, true = "predicted probability", "observed share"
    if federation is not None and federation.task.kind == "binary":
        positive = label(federation.task.classes[1])
        told, true = f"predicted probability of {positive}", f"share {positive}"
    for k in range(len(sites)):
        row, column = _place(k)
        last = k + ACROSS >= len(sites)
        left = column == 1
        figure.update_xaxes(range=[-0.03, 1.03], dtick=0.2, showticklabels=False, row=row, col=column)
        figure.update_yaxes(range=[-0.03, 1.03], dtick=0.2, title_text=true if left else None, row=row, col=column)
        figure.update_xaxes(range=[-0.03, 1.03], dtick=0.2, title_text=told if last else None, row=row + 1, col=column)
        figure.update_yaxes(title_text="patients" if left else None, rangemode="tozero", nticks=3, gridcolor=GRID,
                            row=row + 1, col=column)  # fmt: skip


def _finding(table: pd.DataFrame, arms: list[str]) -> str:
    """Calibration error of each arm, beside what it would be by chance: mean over hospitals and seeds."""
    told = []
    for arm in arms:
        error, chance = (_mean(table[table["arm"] == arm], column) for column in ("error", "error_by_chance"))
        said = number(error) if math.isnan(chance) else f"{number(error)} ({number(chance)} by chance)"
        told.append(f"{called(arm)} {said}" if arm else said)
    return f"Does the predicted risk come true? Calibration error: {', '.join(told)}"


def _mean(rows: pd.DataFrame, column: str) -> float:
    each = rows.groupby(["seed", "test"])[column].first().to_numpy()
    known = each[np.isfinite(each)]
    return float(known.mean()) if len(known) else math.nan


def _notes(table: pd.DataFrame, arms: list[str], calibration: pd.DataFrame) -> list[str]:
    seeds, bins = table["seed"].nunique(), table["bin"].nunique()
    notes = [
        f"Test patients of each hospital, scored by the model it would use, in {bins} bins of predicted probability. "
        "Whiskers: 95 % Wilson interval of the share. Open marks: fewer than ten patients, so the share could be "
        "almost anything."
    ]
    if seeds > 1:
        notes.append(
            f"{seeds} seeds (splits) put together; counts and intervals are those of one split, on average; a bin of "
            "less than one patient a split is left out."
        )
    notes.append("Calibration error: mean distance from the line over patients, then over hospitals, each bin of each "
                 "split on its own. By chance: what it is on average for so many patients where every risk is true; "
                 "of errors near that none is better than another.")  # fmt: skip
    left_out = [arm for arm in calibration.get("arm", pd.Series(dtype=str)).unique() if arm not in arms]
    if left_out:
        notes.append(f"Not drawn: {listed([called(arm) for arm in left_out])}.")
    silent = sorted({row["test"] for row in table.to_dict("records") if "NaN" in str(row["reason"])})
    if silent:
        notes.append(f"No value at {listed(silent)}: the model predicts NaN.")
    return notes
