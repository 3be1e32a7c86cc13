"""Learning curves: how does each hospital do, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fedlab.engine import Run
from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import GREY, NAME, foot, head, label, style
from fedlab.metrics.cells import FEW
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study.guessing import mean_guess, worse_than_guessing
from fedlab.study.words import arm_name, few, words

GUESSING = {
    "log_loss": "each hospital's own share of each class, said to all its patients",
    "auc": "one half, as by drawing lots",
    "mse": "the mean of each hospital's training patients, said to all its patients",
    "r2": "zero, as by saying to all what they are on average",
}
MOST_NAMED = 6  # hospitals in a note
MEANS = {"patients": "mean by patients", "hospitals": "mean over hospitals"}
FAINT = 0.35


def learning_curves(
    run: Run | pd.DataFrame,
    metric: str | None = None,
    *,
    rounds: int | None = None,
    points: int = 300,
    behind: Run | None = None,
) -> go.Figure:
    """Draw each hospital's score on ``valid``, round by round, and the mean that the round is chosen by.

    That is the mean weighted by patients, or over hospitals: the run's ``choose``. A hospital is drawn alike in every
    figure of a federation, whichever of its hospitals take part. Of a run the score of guessing is drawn too, and small
    hospitals are marked †.

    Parameters
    ----------
    run : Run or DataFrame
        A run, finished or not, or its ``history``.
    metric : str, optional
        One of the two that a run computes after each round, ``run.scored``: the one that chooses (log loss of classes,
        default) or the headline (AUC).
    rounds : int, optional
        How far the axis of rounds goes: a live curve grows into it. Default: as far as the run has come.
    points : int
        Of a longer run every so-manieth round is drawn, so that a figure stays small; the last and the reported one
        always are.
    behind : Run, optional
        Another run, drawn faintly behind: what it was before something was changed.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=3)
    >>> [trace.name for trace in learning_curves(run).data][:2]
    ['Cleveland', 'Hungary']
    """
    check_kind(run, (Run, pd.DataFrame), "a run, fedlab.train(…), or its history")
    history = run.history if isinstance(run, Run) else run
    metric = scored(history, metric)
    sites = list(run.federation.names) if isinstance(run, Run) else list(history["site"].unique())
    last = int(history["round"].max()) if len(history) else 0
    drawn = _thin(history, points)
    figure = go.Figure(layout=frame_of(metric, rounds or max(last, 1)))
    places = run.federation.places if isinstance(run, Run) else {site: i for i, site in enumerate(sites)}
    if behind is not None:
        _add_behind(figure, _thin(behind.history, points), places, metric)
    for site in sites:
        _add_site(figure, places[site], drawn[drawn["site"] == site], site, metric)
    _add_mean(figure, drawn, metric, run.settings.choose if isinstance(run, Run) else "patients")
    _mark_reported(figure, drawn, sites, metric)
    head(figure, "How does each hospital do, round by round?", setting_of(run))
    own = isinstance(run, Run) and not run.algorithm.one_model and run.algorithm.alone
    faint = "" if behind is None else f"Faint: the run before, {len(behind.records)} rounds."
    notes = [_small_print(history, points, own=own), faint]
    return foot(figure, [*notes, *(what_is_little(figure, [run], metric) if isinstance(run, Run) else [])])


def scored(history: pd.DataFrame, metric: str | None) -> str:
    """Return the metric that is asked for, or the one that chooses; refuse what a run does not compute each round."""
    there = list(history.columns[2:4])
    if metric is not None and metric not in there:
        raise ValueError(f"a run computes {' and '.join(there)} after each round, not {metric!r}: choose one of them")
    return metric or str(there[0])


def what_is_little(figure: go.Figure, runs: Sequence[Run], metric: str) -> list[str]:
    """Draw the line of guessing and a † at the end of each small hospital's curve; return the notes that say both."""
    if not runs[0].records:
        return []
    task = runs[0].federation.task
    guess = task.guessed if metric == task.headline else mean_guess(runs)
    if not math.isnan(guess):
        figure.add_hline(y=guess, line=dict(color=GREY, dash="dashdot", width=1), annotation_text="guessing",
                         annotation_position="top left", annotation_font_size=11)  # fmt: skip
        figure.update_yaxes(autorangeoptions_include=[guess])  # a line that is out of sight says nothing
    federation = runs[0].federation
    small = few(federation, "valid")
    marked = set(map(label, small))
    for trace in figure.data:
        if trace.name in marked and trace.mode == "lines+markers" and trace.y and trace.y[-1] is not None:
            figure.add_annotation(x=trace.x[-1], y=trace.y[-1], text="†", xshift=11, showarrow=False,
                                  font=dict(size=15, color=trace.line.color))  # fmt: skip
    n = {site.name: len(site.split.valid) for site in federation.sites}
    told = [f"{site}: {what} of {n[site]}" for site, what in small.items()][:MOST_NAMED]
    told += [f"and {len(small) - MOST_NAMED} more"] if len(small) > MOST_NAMED else []
    luck = ", so the curve is mostly luck" if metric in NEEDS_EVERY_CLASS else ""
    worse = [str(found) for found in worse_than_guessing(runs, [metric])]
    worse = [*worse[:MOST_NAMED], f"{len(worse) - MOST_NAMED} more"] if len(worse) > MOST_NAMED else worse
    return [
        f"† Fewer than {FEW}{' in a class' if task.classes else ''}{luck}: {'; '.join(told)}." if told else "",
        f"Guessing: {GUESSING[metric]}." if not math.isnan(guess) else "",
        f"Worse than guessing at the reported round: {', '.join(worse)}." if worse else "",
    ]


def setting_of(run: Run | pd.DataFrame) -> str:
    """Say which algorithm, model and data it is, and what is scored."""
    scored = "Scores on valid, on which the round is chosen; test stays unopened."
    if not isinstance(run, Run):
        return scored
    name = arm_name(run.algorithm.name)  # "own model", "pooled": here it begins a sentence
    return f"{name[:1].upper()}{name[1:]}, {run.model_name}, {run.federation.name}. {scored}"


def _thin(history: pd.DataFrame, points: int) -> pd.DataFrame:
    numbers = np.unique(history["round"].to_numpy())
    if len(numbers) <= points:
        return history
    kept = numbers[np.unique(np.linspace(0, len(numbers) - 1, points).astype(int))]
    return history[history["round"].isin(kept) | history["chosen"]]


def frame_of(metric: str, rounds: int) -> go.Layout:
    """Return the axes of a curve over rounds."""
    return go.Layout(
        template=NAME,
        xaxis=dict(title_text="round", range=[0.5, rounds + 0.5]),
        yaxis=dict(title_text=words(metric).axis),
        hovermode="x unified",
        height=420,
        uirevision="fedlab",  # a curve that was switched off stays off while it is redrawn
    )


def _add_site(figure: go.Figure, number: int, rows: pd.DataFrame, site: str, metric: str) -> None:
    look = style(number)
    figure.add_scatter(
        x=rows["round"].tolist(), y=plain(rows[metric]), name=label(site), mode="lines+markers", legendgroup=site,
        line=dict(color=look.colour, dash=look.dash, width=2),
        marker=dict(symbol=look.symbol, size=8, maxdisplayed=9),
        customdata=rows["patients"].tolist(), hovertemplate="%{y:.3f} (n = %{customdata})",
    )  # fmt: skip


def _add_behind(figure: go.Figure, rows: pd.DataFrame, places: Mapping[str, int], metric: str) -> None:
    for site, place in places.items():
        own, look = rows[rows["site"] == site], style(place)
        figure.add_scatter(
            x=own["round"].tolist(), y=plain(own[metric]), name=f"{label(site)}, the run before", mode="lines",
            legendgroup=site, showlegend=False, hoverinfo="skip", opacity=FAINT,
            line=dict(color=look.colour, dash=look.dash, width=2),
        )  # fmt: skip


def _add_mean(figure: go.Figure, drawn: pd.DataFrame, metric: str, by: str) -> None:
    if drawn["site"].nunique() < 2:
        return
    known = drawn[drawn[metric].notna()]
    weight = known["patients"] if by == "patients" else (known["patients"] > 0).astype(int)
    mean = (known[metric] * weight).groupby(known["round"]).sum() / weight.groupby(known["round"]).sum()
    patients = known["patients"].groupby(known["round"]).sum()
    figure.add_scatter(
        x=patients.index.tolist(), y=plain(mean), name=MEANS[by], mode="lines",
        line=dict(color=GREY, width=4), customdata=patients.tolist(), hovertemplate="%{y:.3f} (n = %{customdata})",
    )  # fmt: skip


def _mark_reported(figure: go.Figure, drawn: pd.DataFrame, sites: list[str], metric: str) -> None:
    chosen = drawn[drawn["chosen"]]
    if chosen.empty:
        return
    figure.add_scatter(
        x=chosen["round"].tolist(), y=plain(chosen[metric]), text=chosen["site"].map(label).tolist(), mode="markers",
        name="reported round", hoverinfo="skip",
        marker=dict(symbol="circle-open", size=15, line=dict(width=2.5), color=GREY),
    )  # fmt: skip
    if chosen["round"].nunique() == 1 and len(chosen) > 1:
        at = int(chosen["round"].iloc[0])
        figure.add_vline(x=at, line=dict(color=GREY, dash="dot", width=1.5))


def _small_print(history: pd.DataFrame, points: int, *, own: bool) -> str:
    if not len(history):
        return "No round has finished yet."
    done, chosen = int(history["round"].max()), history[history["chosen"]]
    at = sorted(set(chosen["round"].tolist()))
    what = words(str(history.columns[2])).name
    thinned = f" Of {done} rounds about {points} are drawn." if done > points else ""
    if len(at) == 1 and not own:
        n = chosen["patients"].sum()
        return f"○ Reported: round {at[0]}, the best mean {what} on valid so far (n = {n}).{thinned}"
    return f"○ Reported: for each hospital the round with its own best {what} on valid.{thinned}"


def plain(values: pd.Series[float]) -> list[float | None]:
    """Short numbers, and gaps where there is no score: this is sent to the browser twice a second."""
    return [None if np.isnan(v) else round(float(v), 5) for v in values]
