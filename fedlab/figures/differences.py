"""Every arm less one of them: over all hospitals, or at each hospital's own patients."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import GREY, NAME, foot, head, label, style
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study import Study
from fedlab.study.pairs import gains, rows_of
from fedlab.study.prevalence import wider
from fedlab.study.words import arm_name, few, listed, number, signed, words

EVERYWHERE = "all hospitals"
MOST_NAMED = 4  # winners in a title


def differences(
    study: Study, metric: str | None = None, *, against: str = "isolated", at_home: bool = False
) -> go.Figure:
    """Draw how far each arm is from one of them on the same seeds, with the interval of that difference.

    A filled mark has a winner, as in :meth:`Study.verdict`: by the primary metric the corrected interval leaves zero
    out, and Holm's adjusted p is below .05 as well. An open one has none, whatever its interval; of other metrics, and
    of hospitals one by one, all are open: these are shown, not judged. Opens ``test``, which is counted.

    Parameters
    ----------
    study : Study
        Of two arms or more.
    metric : str, optional
        Default: the study's primary metric.
    against : str
        The arm that is taken from the others.
    at_home : bool
        A panel for each hospital, its own patients scored by the model it would use; default: one, over all hospitals.

    Raises
    ------
    ValueError
        If the study has no such arm or metric, or no second arm.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> len(differences(study, "log_loss", against="fedavg", at_home=True).data)
    4
    """
    check_kind(study, Study, "a study, fedlab.compare(…)")
    metric = study.primary if metric is None else metric
    what = words(metric, study.federation.task)
    if against not in study.arms:
        raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(study.arms)}")
    paired = study.pairs(metric=metric)  # refuses a study of one arm
    table = gains(study, metric=metric, against=against) if at_home else _from_pairs(paired, against)
    arms, places = [arm for arm in study.arms if arm != against], list(table["where"].unique())
    small = few(study.federation, told=study.told) if at_home else {}
    names = [f"{label(place)}{' †' * (place in small)}" for place in places]
    figure = make_subplots(1, len(places), shared_yaxes=True, shared_xaxes="all", horizontal_spacing=0.02,
                           subplot_titles=names if at_home else None)  # fmt: skip
    for column, place in enumerate(places, 1):
        _add_place(figure, table[table["where"] == place], column)
    ticks = dict(tickvals=list(range(len(arms))), ticktext=[label(arm_name(arm)) for arm in arms], ticks="")
    figure.update_annotations(font_size=13)
    figure.update_yaxes(range=[len(arms) - 0.5, -0.5], **ticks)
    figure.update_xaxes(nticks=5)
    figure.add_vline(0, line=dict(dash="dot", color=GREY, width=1.5))
    figure.update_layout(template=NAME, height=150 + 30 * len(arms), showlegend=False)
    side = "right" if what.higher else "left"
    below = f"{what.name} less that of {arm_name(against)}: {side} of the dotted line is better."
    judged = metric == study.primary and not at_home
    head(figure, _finding(table, what.name, against, judged=judged), below, above_plot=34 if at_home else 16)
    return foot(figure, _notes(study, judged, small, metric), below=34)


def _from_pairs(paired: pd.DataFrame, against: str) -> pd.DataFrame:
    """The pairs with one arm, each as the other arm less this one; ``p_holm`` stays that of all pairs."""
    rows = []
    for row in rows_of(paired):
        if row["other"] == against:
            rows.append(row)
        elif row["one"] == against:
            turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
            rows.append(row | turned | {"one": row["other"], "other": against})
    return pd.DataFrame(rows).assign(where=EVERYWHERE)


def _add_place(figure: go.Figure, rows: pd.DataFrame, column: int) -> None:
    look, each = style(0), rows_of(rows)
    reach = (rows["high"] - rows["difference"]).tolist()
    figure.add_scatter(
        x=[None if math.isnan(row["difference"]) else row["difference"] for row in each], y=list(range(len(each))),
        mode="markers", error_x=dict(type="data", array=reach, thickness=1.5, width=4, color=look.colour),
        marker=dict(color=look.colour, size=10, line=dict(width=2, color=look.colour),
                    symbol=[look.symbol + ("" if row["winner"] else "-open") for row in each]),
        customdata=[_hover(row) for row in each], hovertemplate="%{customdata}<extra></extra>", row=1, col=column,
    )  # fmt: skip


def _hover(row: dict[str, Any]) -> str:
    one, other, where = label(arm_name(row["one"])), label(arm_name(row["other"])), label(row["where"])
    text = f"<b>{one}</b> less {other}, {where}<br>{signed(row['difference'])}"
    if math.isnan(row["p"]):
        return f"{text}<br>not judged: {label(row['reason'], 200)}"
    if math.isnan(row["p_holm"]):
        return f"{text} [{signed(row['low'])}, {signed(row['high'])}]<br>shown, not judged"
    won = f"{label(arm_name(row['winner']))} wins" if row["winner"] else "no clear winner"
    return f"{text} [{signed(row['low'])}, {signed(row['high'])}]<br>Holm's p {number(row['p_holm'], 3)}: {won}"


def _finding(table: pd.DataFrame, name: str, against: str, *, judged: bool) -> str:
    """Name the winners; of many, how many there are."""
    asked = f"Who differs from {arm_name(against)}? {name}"
    if not judged:
        return f"{asked}: shown, not judged"
    won, lost = ([row for row in rows_of(table) if row["winner"] == row[side]] for side in ("one", "other"))
    if not won and not lost:
        return f"{asked}: no clear winner"
    if len(won) + len(lost) > MOST_NAMED:
        return f"{asked}: {len(won)} clearly better, {len(lost)} clearly worse, of {len(table)} differences"
    told = [
        f"{listed([arm_name(row['one']) for row in rows])} clearly {word}"
        for rows, word in ((won, "better"), (lost, "worse"))
        if rows
    ]
    return f"{asked}: {', '.join(told)}"


def _notes(study: Study, judged: bool, small: dict[str, str], metric: str) -> list[str]:
    how = "Shown, not judged: an open mark has no winner, whatever its interval."
    if judged:
        how = (
            "Filled: a winner after Holm's correction for all pairs of arms, everywhere and at home. Open: no clear "
            "winner, which does not mean equal."
        )
    notes = [
        f"Mean of the paired differences over {len(study.seeds)} seeds, each with its own 95 % interval (corrected "
        f"resampled t{wider(metric)}). {how}"
    ]
    if small:
        luck = ": mostly luck" if metric in NEEDS_EVERY_CLASS else ""
        notes.append("† " + "; ".join(f"{site}: {what}" for site, what in small.items()) + f"{luck}.")
    return notes
