"""The one theme: reads in grey, on light and on dark.

Every figure is transparent, so that it takes the colour of the page; its text and grid are a middle grey with about the
same contrast to JupyterLab's white and to its black. What is told apart by colour is told apart by dash and symbol too.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go
import plotly.io as pio

# The first four are Okabe & Ito's, safe for the colour-blind; the others read on white and on dark as well as they do.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#997700", "#8A63D2")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
GREY = "#7b7b7b"  # contrast 4.2 to white and 4.5 to JupyterLab's dark #111111
GRID = "rgba(128, 128, 128, 0.25)"
CLEAR = "rgba(0, 0, 0, 0)"
NAME = "fedlab"
NOTES, ROOM = "notes", "room"
LINE = 16  # pixels of a small line

_AXIS = dict(gridcolor=GRID, linecolor=GREY, zeroline=False, automargin=True, ticks="outside", tickcolor=GRID,
             title=dict(standoff=8, font=dict(size=13)))  # fmt: skip

TEMPLATE = go.layout.Template(
    layout=dict(
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        colorway=COLOURS,
        font=dict(color=GREY, size=13, family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"),
        title=dict(x=0, xref="container", xanchor="left", yref="container", yanchor="top", font=dict(size=16)),
        xaxis=_AXIS,
        yaxis=_AXIS,
        legend=dict(bgcolor=CLEAR, itemsizing="trace"),
        hoverlabel=dict(namelength=-1),
        margin=dict(l=60, r=20, t=80, b=60),
        modebar=dict(bgcolor=CLEAR, color=GREY, activecolor=COLOURS[0]),
    )
)
pio.templates[NAME] = TEMPLATE


@dataclass(frozen=True)
class Style:
    """How one site or one arm looks: never colour alone."""

    colour: str
    dash: str
    symbol: str


def style(number: int) -> Style:
    """Look of the ``number``-th of several things; thirty of them differ in colour or dash.

    Examples
    --------
    >>> style(0).dash, style(4).dash
    ('solid', 'longdash')
    """
    return Style(COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], SYMBOLS[number % len(SYMBOLS)])


def label(name: object, most: int = 40) -> str:
    """Write a name of the user's as a figure shows it: whatever is in it is text, and a long one is cut.

    plotly reads tags, entities and, in what is shown at the pointer, ``%{…}``.

    Examples
    --------
    >>> label("<b>Nord & Co"), label("x" * 100, 5)
    ('&lt;b&gt;Nord &amp; Co', 'xxxx…')
    """
    text = str(name)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def head(figure: go.Figure, text: str, below: str = "", *, above_plot: int = 20) -> go.Figure:
    """Write the title and a smaller line beneath it, wrapped, and make room for them; what is in them is text.

    ``above_plot`` are the pixels that tick labels or a legend take between them and the axes.
    """
    lines, small = _wrapped(text, 72, 6), _wrapped(below, 80, 4)  # fits a page of 720 pixels
    subtitle = {"text": "<br>".join(map(_text, small)), "font": {"size": 12, "color": GREY}} if small else None
    figure.update_layout(
        title={
            "text": "<br>".join(map(_text, lines)),
            "subtitle": subtitle,
            "y": 1,
            "pad": {"t": 2 + 12 * len(lines), "l": 6},
        },
        margin_t=34 + 21 * len(lines) + LINE * len(small) + above_plot,
    )
    return figure


def take_notes(figure: go.Figure) -> list[str]:
    """Take the line below the title and the notes out of a figure, and their room; return them, for a better place."""
    subtitle, layout = str(figure.layout.title.subtitle.text or ""), figure.layout
    above = LINE * (subtitle.count("<br>") + 1) if subtitle else 0
    told = layout.meta or {NOTES: [], ROOM: 0}
    figure.layout.annotations = [note for note in layout.annotations if note.name != NOTES]
    margin = dict(t=layout.margin.t - above, b=(layout.margin.b or 60) - told[ROOM])
    figure.update_layout(title_subtitle=None, margin=margin, height=layout.height - told[ROOM], meta=None)
    return [html.unescape(subtitle.replace("<br>", " ")), *told[NOTES]] if subtitle else list(told[NOTES])


def foot(figure: go.Figure, notes: Iterable[str], *, below: int = 50, width: int = 88) -> go.Figure:
    """Write small notes under the axes, ``below`` pixels down, and make room for them."""
    notes = list(notes)
    lines = [line for note in notes if note for line in _wrapped(note, width, 12)]
    if not lines:
        return figure
    figure.add_annotation(
        text="<br>".join(map(_text, lines)), name=NOTES, xref="paper", yref="paper", x=0, y=0, yshift=-below,
        xanchor="left", yanchor="top", align="left", showarrow=False, font=dict(size=11),
    )  # fmt: skip
    room = LINE * len(lines) + 12
    figure.update_layout(
        margin_b=below + room,
        height=(figure.layout.height or 420) + room,
        meta={NOTES: [note for note in notes if note], ROOM: room},
    )
    return figure


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """Break a sentence into lines; names of any length stand in them, and leave the figure its room."""
    return textwrap.wrap(text, width, max_lines=most, placeholder=" …")


def _text(line: str) -> str:
    return html.escape(line, quote=False)
