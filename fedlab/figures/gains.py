"""Who gains what: own model, federated, pooled, hospital by hospital."""

from __future__ import annotations

import math
from typing import TypeAlias

import pandas as pd
import plotly.graph_objects as go

from fedlab.federation.reserved import HOME
from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import GREY, NAME, Style, foot, head, label, style
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study import Study
from fedlab.study.pairs import rows_of
from fedlab.study.prevalence import wider
from fedlab.study.words import arm_name, few, number, signed, words

OWN, POOLED = "isolated", "centralized"
ANYWHERE = "everywhere"
APART = 0.21  # between the three marks of a hospital
Arms: TypeAlias = dict[str, tuple[str, float, Style]]  # name, offset and look of each arm, as in the legend


def who_gains(
    study: Study, metric: str | None = None, *, federated: str | None = None, everywhere: bool = True
) -> go.Figure:
    """Draw a dumbbell for each hospital: its own model, the federated one and the pooled one on its test patients.

    Opens ``test`` through ``study.table()``, which is counted.

    Parameters
    ----------
    study : Study
        With the arm ``isolated``, a federated one and, if it may be, ``centralized``.
    metric : str, optional
        Default: the study's primary metric; of another the title names nobody.
    federated : str, optional
        Which arm; default: the first that is neither isolated, centralized nor an ensemble.
    everywhere : bool
        Also draw what a model is worth at any hospital, its own or not.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> [trace.name for trace in who_gains(study).data if trace.showlegend]
    ['own model', 'federated (FedAvg)', 'pooled (may not happen)']
    """
    check_kind(study, Study, "a study, fedlab.compare(…)")
    metric = study.primary if metric is None else metric
    what = words(metric, study.federation.task)
    arms = _arms(study, federated)
    table = study.table()
    table = table[table["metric"] == metric].set_index(["arm", "where"])
    places = [*study.federation.names, *([ANYWHERE] if everywhere else [])]
    small = few(study.federation, told=study.told)
    figure = go.Figure(layout=_layout(study, places, small, what.axis))
    for at, place in enumerate(places):
        _bar(figure, [(table.loc[(arm, place), "mean"], at + d) for arm, (_, d, _) in arms.items()])
    for arm, (name, offset, look) in arms.items():
        _add_arm(figure, table.loc[arm].loc[places], name, offset, look)
    if everywhere:
        figure.add_hline(y=len(places) - 1.5, line=dict(color=GREY, dash="dot", width=1))
    ends = table.loc[list(arms), ["mean", "low", "high"]].stack().dropna()
    room = 0.02 * (ends.max() - ends.min() or 1)  # else the widest line ends at the frame, as if cut
    figure.update_xaxes(range=[ends.min() - room, ends.max() + room])
    head(figure, *_title(study, table, arms, metric), above_plot=36)
    return foot(figure, _notes(study, small, everywhere, metric), below=62)


def _arms(study: Study, federated: str | None) -> Arms:
    if OWN not in study.arms:
        raise ValueError("who_gains needs each hospital's own model: run compare with 'isolated' among the arms")
    others = [arm for arm in study.arms if arm not in (OWN, POOLED, "ensemble")]
    chosen = federated or (others[0] if others else None)
    if chosen is None or chosen not in study.arms:
        missing = f"arm {chosen!r}" if chosen else "federated arm"
        raise ValueError(f"there is no {missing} in this study; its arms are {', '.join(study.arms)}")
    arms = {OWN: ("own model", -APART, style(1)), chosen: (f"federated ({label(arm_name(chosen))})", 0.0, style(0))}
    if POOLED in study.arms:
        arms[POOLED] = ("pooled (may not happen)", APART, style(2))
    return arms


def _bar(figure: go.Figure, ends: list[tuple[float, float]]) -> None:
    figure.add_scatter(
        x=[x for x, _ in ends], y=[y for _, y in ends], mode="lines", showlegend=False, hoverinfo="skip",
        line=dict(color="rgba(128, 128, 128, 0.45)", width=7),
    )  # fmt: skip


def _add_arm(figure: go.Figure, rows: pd.DataFrame, name: str, offset: float, look: Style) -> None:
    heights = [at + offset for at in range(len(rows))]
    x: list[float | None] = []
    y: list[float | None] = []
    for height, low, high in zip(heights, rows["low"], rows["high"], strict=True):
        if not math.isnan(low):
            x, y = [*x, low, high, None], [*y, height, height, None]
    figure.add_scatter(x=x, y=y, mode="lines", showlegend=False, legendgroup=name, hoverinfo="skip",
                       line=dict(color=look.colour, dash=look.dash, width=2))  # fmt: skip
    figure.add_scatter(
        x=rows["mean"].tolist(), y=heights, mode="markers", name=name, legendgroup=name, showlegend=True,
        marker=dict(color=look.colour, symbol=look.symbol, size=12, line=dict(color="#ffffff", width=1)),
        customdata=[_hover(row, place) for place, row in zip(rows.index, rows.to_dict("records"), strict=True)],
        hovertemplate="%{customdata}<extra>" + name + "</extra>",
    )  # fmt: skip


def _hover(row: dict[str, float], place: str) -> str:
    text = f"<b>{label(place)}</b><br>{number(row['mean'], 3)}"
    if not math.isnan(row["low"]):
        text += f" [{number(row['low'], 3)}, {number(row['high'], 3)}]"
    if not math.isnan(row["difference"]) and row["difference"] != 0:
        text += f"<br>against its own model {signed(row['difference'])}"
    return text


def _layout(study: Study, places: list[str], small: dict[str, str], axis: str) -> go.Layout:
    labels = []
    for place in places:
        if place == ANYWHERE:
            labels.append("<b>any hospital</b><br>its own or not")
        else:
            n = study.told(len(study.federation[place].test.patients.first))
            labels.append(f"{label(place)}{' †' if place in small else ''}<br>n = {n}")
    return go.Layout(
        template=NAME,
        xaxis=dict(title_text=axis + ", test patients"),
        yaxis=dict(tickvals=list(range(len(places))), ticktext=labels, range=[len(places) - 0.5, -0.5], ticks="",
                   gridcolor="rgba(0,0,0,0)"),
        legend=dict(orientation="h", x=0, y=1.0, yanchor="bottom"),
        height=200 + 66 * len(places),
    )  # fmt: skip


def _title(study: Study, table: pd.DataFrame, arms: Arms, metric: str) -> tuple[str, str]:
    """Say who gains, and what every arm is worth at any hospital."""
    what = words(metric)
    federated = next(arm for arm in arms if arm not in (OWN, POOLED))
    means = ", ".join(
        f"{name.split(' (')[0]} {number(table.loc[(arm, ANYWHERE), 'mean'])}" for arm, (name, _, _) in arms.items()
    )
    found = _verdict(study, federated, metric)
    return f"Who gains at home by federating? {what.name}: {found}", f"At any hospital, mean {what.name}: {means}."


def _verdict(study: Study, federated: str, metric: str) -> str:
    """Say of the mean over hospitals at home what ``study.verdict()`` says; of each by itself nobody says anything."""
    if metric != study.primary:
        return f"shown, not judged (judged is {words(study.primary).name})"
    table = study.pairs(where=HOME)
    row = rows_of(table[table["one"].isin([federated, OWN]) & table["other"].isin([federated, OWN])])[0]
    if math.isnan(row["p"]):
        return "not judged"
    if not row["winner"]:
        return "no clear gain or loss on the mean over hospitals"
    return f"on the mean over hospitals a clear {'gain' if row['winner'] == federated else 'loss'}"


def _notes(study: Study, small: dict[str, str], everywhere: bool, metric: str) -> list[str]:
    seeds, hospitals = len(study.seeds), len(study.federation.sites)
    if seeds == 1:
        notes = ["One seed: no interval, so nothing here is clear."]
    else:
        notes = [
            f"{seeds} seeds, each a split, a start and a batch order. Lines: 95 % interval of each mean (corrected "
            f"resampled t{wider(metric)}). Clear: the paired difference to the own model, mean over hospitals, stays "
            "so after Holm’s correction for all pairs of arms. "
            f"The {hospitals} hospitals one by one are shown, not judged."
        ]
    if everywhere:
        notes.append("Any hospital: own models over all pairs of hospitals, shared ones over all.")
    if small:
        luck = ": mostly luck" if metric in NEEDS_EVERY_CLASS else ""
        notes.append("† " + "; ".join(f"{site}: {what}" for site, what in small.items()) + f"{luck}.")
    return [*notes, f"Test was opened {study.test_openings} time{'s' * (study.test_openings != 1)}."]
