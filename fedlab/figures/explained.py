"""What explains a fall: a waterfall from its kinds of difference to the whole."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import GREY, NAME, foot, head, label, style
from fedlab.study.explain.explanation import RESIDUAL, Explanation
from fedlab.study.explain.gaps import GAPS
from fedlab.study.paired import ahead
from fedlab.study.pairs import rows_of
from fedlab.study.words import listed, number, signed, words

BAR = 0.6


def explained(explanation: Explanation) -> go.Figure:
    """Draw the parts of a fall one below the other, each from where the last ended, down to the whole.

    A filled bar has an interval that leaves zero out, and cannot be due to another kind instead. What no kind explains
    is hatched, and called so. Kinds that change nothing are named below and not drawn.

    Parameters
    ----------
    explanation : Explanation
        Of ``fedlab.explain``.

    Examples
    --------
    >>> import fedlab
    >>> from fedlab.federation import IID, LabelShift, Shifts
    >>> alike = fedlab.load("heart_disease").partition(IID(), sites=4)
    >>> shifts = Shifts({"site 1": [LabelShift(0.8)]})
    >>> figure = explained(fedlab.explain(alike, shifts=shifts, seeds=2, rounds=3, progress=False))
    >>> list(figure.layout.yaxis.ticktext)
    ['label', 'not explained', 'the whole fall']
    """
    check_kind(explanation, Explanation, "an explanation, fedlab.explain(…)")
    rows = [row for row in rows_of(explanation.table()) if row["kind"] in (*explanation.parts, RESIDUAL)]
    figure = go.Figure(layout=go.Layout(template=NAME, height=210 + 40 * len(rows), showlegend=False))
    begin = 0.0
    for at, row in enumerate(rows):
        _bar(figure, row, begin, at)
        begin += row["part"]
        figure.add_scatter(x=[begin, begin], y=[at + BAR / 2, at + 1 - BAR / 2], mode="lines", hoverinfo="skip",
                           line=dict(color=GREY, width=1))  # fmt: skip
    whole = explanation.gap
    look = {
        "kind": "the whole fall",
        "part": whole.mean,
        "low": whole.low,
        "high": whole.high,
        "clear": ahead(whole.low, whole.high) != 0,
    }
    _bar(figure, look, 0.0, len(rows), colour=GREY)
    names = ["not explained" if row["kind"] == RESIDUAL else label(row["kind"]) for row in rows] + ["the whole fall"]
    figure.update_yaxes(
        range=[len(rows) + 0.5, -0.5], tickvals=list(range(len(names))), ticktext=names, ticks="", showgrid=False
    )
    figure.update_xaxes(title_text=f"fall in {words(explanation.metric).name}, test patients (right is worse)")
    figure.add_vline(0, line=dict(dash="dot", color=GREY, width=1.5))
    head(figure, _finding(explanation), f"The fall {GAPS[explanation.gap_name]}: {number(whole.mean)} in all.")
    return foot(figure, _notes(explanation), below=56)


def _bar(figure: go.Figure, row: dict[str, Any], begin: float, at: int, *, colour: str = "") -> None:
    """Draw one part from where the last ended, and its interval around its own end."""
    loss = row["part"] >= 0
    colour = colour or (GREY if row["kind"] == RESIDUAL else style(1 if loss else 2).colour)
    known = not math.isnan(row["low"])
    end = begin + row["part"]
    error = dict(type="data", symmetric=False, array=[row["high"] - row["part"]], arrayminus=[row["part"] - row["low"]],
                 thickness=1.5, width=5, color=GREY)  # fmt: skip
    hatched = dict(shape="/", fgcolor=colour, bgcolor="rgba(0,0,0,0)", size=6) if row["kind"] == RESIDUAL else None
    text = f"<b>{label(row['kind'])}</b><br>{signed(row['part'], 3)}"
    text += f" [{signed(row['low'], 3)}, {signed(row['high'], 3)}]" if known else ""
    figure.add_bar(
        x=[row["part"]], base=[begin], y=[at], orientation="h", width=BAR,
        opacity=0.7, marker=dict(color=colour if row["clear"] else "rgba(0,0,0,0)", pattern=hatched,
                    line=dict(color=colour, width=2)),
        hovertemplate=f"{text}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(x=[end], y=[at], mode="markers", marker=dict(color=GREY, size=1), hoverinfo="skip",
                       error_x=error if known else None)  # fmt: skip
    right = max(begin, end, begin + row["high"] if known else end)
    figure.add_annotation(x=right, y=at, text=signed(row["part"]), showarrow=False, xanchor="left", xshift=8)


def _finding(explanation: Explanation) -> str:
    """Name what costs most, or what cannot be told apart."""
    named = [explanation.first] if explanation.first else list(explanation.together)
    if not named:
        return "What explains the fall? No kind of difference has a clear part"
    told = f"{number(explanation.cost(named).mean)}; the whole fall is {number(explanation.gap.mean)}"
    if explanation.first:
        return f"What explains the fall? Most of all {label(named[0]).lower()}: {told}"
    return f"What explains the fall? {listed(named)}, not to be told apart: together {told}"


def _notes(explanation: Explanation) -> list[str]:
    how = "removed by not planting them" if explanation.known else "estimated from all rows, and removed"
    nothing = [kind for kind in explanation.looked_for if kind not in explanation.parts]
    return [
        f"Shapley values over the kinds of difference, {how}; {len(explanation.seeds)} seeds. Lines: where a bar may "
        "end, 95 % intervals that hold together (corrected resampled t, Bonferroni: other splits and training of these "
        "patients, not other patients); of the whole fall its own. Empty: "
        "it may be none at all, or due to another kind. Hatched: what stays with all of these kinds removed.",
        f"Not found, or without effect: {listed(nothing)}." if nothing else "",
        *(f"Without {site}: {why}." for site, why in explanation.left_out.items()),
        *(f"{note[0].upper()}{note[1:]}." for note in explanation.notes),
    ]
