"""The hospitals before and after a shift: labels, sizes, gaps, and one feature of one site."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fedlab.federation import Examples, Feature, Federation, Site
from fedlab.figures.theme import COLOURS, GREY, NAME, SYMBOLS, foot, head, label
from fedlab.metrics.cells import FEW

MOST = 12  # sites that can be read below one another
BINS = 24
GAP, LOWER = 64, 150  # pixels: between the two rows, and of the histogram
BEFORE, AFTER = "as they are", "shifted"


def before_after(
    before: Federation, after: Federation, *, site: str | None = None, feature: str | None = None
) -> go.Figure:
    """Draw what a shift does: share of a class, patients and share missing of each site, and a feature's histogram.

    Patients of ``train`` and ``valid`` only: ``test`` stays unopened.

    Parameters
    ----------
    before, after : Federation
        With the same sites.
    site : str, optional
        Whose histogram is drawn; default: the first one's.
    feature : str, optional
        Name of a feature; default: the first. A federation without named features has no histogram.

    Raises
    ------
    ValueError
        If the two do not have the same sites, or there is no such site or feature.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> [trace.name for trace in before_after(hospitals, hospitals, feature="age").data if trace.showlegend]
    ['as they are', 'shifted']
    """
    if before.names != after.names:
        raise ValueError(f"the sites before ({', '.join(before.names)}) are not those after ({', '.join(after.names)})")
    chosen = before[before.names[0] if site is None else site].name
    which = _feature(before, feature)
    names = _drawn(before, after, chosen)
    small = _small(after, names)
    figure = _frame(before, names, which)
    for at, name in enumerate(names):
        if name in small:  # beside its row, at the right
            figure.add_annotation(
                text="†", x=1, xref="paper", xanchor="left", y=at, yref="y", xshift=8, showarrow=False
            )
    for column in (1, 2, 3):
        pairs = [(_read(before, name, column), _read(after, name, column)) for name in names]
        _dumbbells(figure, column, pairs)
        if column == 2:
            _patients(figure, max(old[0] for old, _ in pairs), max(new[0] for _, new in pairs))
    if which is not None:
        _histogram(figure, _values(before, chosen, which), _values(after, chosen, which), which)
        figure.update_xaxes(
            title_text=f"{label(which.name)} at {label(chosen)}{f', {label(which.unit)}' * bool(which.unit)}",
            row=2,
            col=1,
        )
    head(figure, "What do the dials change?", "Patients of train and valid; test stays unopened.", above_plot=64)
    left_out = f"{len(names)} of {len(before.sites)} sites are drawn: the chosen one, the shifted, the first."
    whom = " in a class" if after.task.classes else ""
    told = f"† Fewer than {FEW} patients{whom}, once shifted: {'; '.join(map(': '.join, small.items()))}."
    return foot(figure, [left_out if len(names) < len(before.sites) else "", told if small else ""])


def _feature(federation: Federation, name: str | None) -> Feature | None:
    known = {feature.name: feature for feature in federation.features}
    if name is not None and name not in known:
        raise ValueError(f"there is no feature {name!r}; the features are {', '.join(known) or 'not named'}")
    return next(iter(known.values()), None) if name is None else known[name]


def _drawn(before: Federation, after: Federation, chosen: str) -> list[str]:
    """Of many sites: the chosen one, those that changed, and then the first."""
    changed = [new.name for old, new in zip(before.sites, after.sites, strict=True) if old.rows is not new.rows]
    kept = list(dict.fromkeys([chosen, *changed, *before.names]))[:MOST]
    return [name for name in before.names if name in kept]


def _small(federation: Federation, names: list[str]) -> dict[str, str]:
    """Sites with few patients of a class, and how many those are: what is drawn of them may be luck."""
    told = {}
    for name in names:
        y = _seen(federation[name]).y.tolist()
        counts = [(y.count(k), label) for k, label in enumerate(federation.task.classes)]
        count, rarest = min(counts, default=(len(y), ""))
        if count < FEW:
            told[name] = f"{count} {rarest} of n = {len(y)}" if rarest else f"n = {count}"
    return told


def _frame(federation: Federation, names: list[str], which: Feature | None) -> go.Figure:
    task = federation.task
    what = f"share {label(task.classes[1])}" if task.kind == "binary" else "share of each class"
    what = what if task.classes else f"mean {label(task.columns[0])}"
    titles = [
        what,
        "patients",
        "share missing",
    ]
    below = [] if which is None else [[{"colspan": 3}, None, None]]
    upper = 24 * len(names) + 30  # pixels
    drawn = upper + (GAP + LOWER) * len(below)
    figure = make_subplots(
        rows=1 + len(below), cols=3, shared_yaxes=True, horizontal_spacing=0.07, subplot_titles=titles,
        vertical_spacing=GAP / drawn if below else None, specs=[[{}, {}, {}], *below],
        row_heights=[upper, LOWER][: 1 + len(below)],
    )  # fmt: skip
    figure.update_annotations(font_size=12)
    figure.update_layout(
        template=NAME, height=drawn + 190, barmode="overlay", uirevision="fedlab", margin=dict(r=24),
        legend=dict(orientation="h", x=0, y=1 + 22 / drawn, yanchor="bottom"),
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=list(map(label, names)), range=[len(names) - 0.5, -0.5], row=1
    )
    figure.update_xaxes(tickangle=0, row=1)
    share = dict(range=[-0.08, 1.08], tickvals=[0, 0.5, 1], ticktext=["0", "½", "1"])
    for column in (1, 3) if task.classes else (3,):
        figure.update_xaxes(share, row=1, col=column)
    return figure


def _patients(figure: go.Figure, *counts: float) -> None:
    """Mark zero and one round number: three would touch each other where the page is narrow."""
    most = max(1.0, *counts)
    power = 10 ** math.floor(math.log10(most))
    mark = max(step * power for step in (1, 2, 5) if step * power <= most)
    figure.update_xaxes(range=[-0.08 * most, 1.08 * most], tickvals=[0, mark], row=1, col=2)


# ---------------------------------------------------------------------- what is read off a site


def _seen(site: Site) -> Examples:
    return site.rows.take(np.concatenate([site.split.train, site.split.valid]))


def _read(federation: Federation, name: str, column: int) -> list[float]:
    """Shares of the classes (of two: of the second) or the mean of a quantity, patients, or share of missing cells."""
    rows = _seen(federation[name])
    if column == 2:
        return [float(len(np.unique(rows.group)))]
    if column == 3:
        return [float(rows.x.isnan().double().mean())]
    if not federation.task.classes:
        return [float(rows.y.mean())]
    shares = [float((rows.y == k).double().mean()) for k in range(len(federation.task.classes))]
    return shares[1:] if len(shares) == 2 else shares


def _values(federation: Federation, name: str, feature: Feature) -> pd.Series[float]:
    """What was measured of a feature: its numbers, or the number of each code."""
    own = [k for k, column in enumerate(federation.columns) if column.split("=")[0] == feature.name]
    x = _seen(federation[name]).x[:, own].double().numpy()
    x = x[~np.isnan(x).any(axis=1)]
    if feature.kind == "number":
        return pd.Series(x[:, 0])
    codes = [str(meaning) for meaning in (feature.codes or {}).values()]
    counts = x.sum(axis=0).tolist()
    return pd.Series(counts if len(counts) == len(codes) else [len(x) - sum(counts), *counts], index=codes)


# ---------------------------------------------------------------------- how it is drawn


def _dumbbells(figure: go.Figure, column: int, pairs: list[tuple[list[float], list[float]]]) -> None:
    classes = len(pairs[0][0])
    for k in range(classes):
        ends = [(old[k], new[k], at) for at, (old, new) in enumerate(pairs)]
        figure.add_scatter(
            x=[x for old, new, _ in ends for x in (old, new, None)], y=[y for *_, at in ends for y in (at, at, None)],
            mode="lines", line=dict(color="rgba(128, 128, 128, 0.45)", width=5), hoverinfo="skip", showlegend=False,
            row=1, col=column,
        )  # fmt: skip
        for name, which in ((BEFORE, 0), (AFTER, 1)):
            symbol = SYMBOLS[k % len(SYMBOLS)]
            figure.add_scatter(
                x=[end[which] for end in ends], y=[at for *_, at in ends], mode="markers", name=name, legendgroup=name,
                showlegend=column == 1 and k == 0, hovertemplate="%{y}: %{x}<extra>" + name + "</extra>",
                marker=_look(symbol, after=bool(which)), cliponaxis=False, row=1, col=column,
            )  # fmt: skip


def _look(symbol: str, *, after: bool) -> dict[str, object]:
    if after:
        return dict(symbol=symbol, size=8, color=COLOURS[0])
    return dict(symbol=f"{symbol}-open", size=13, color=GREY, line=dict(width=2))


def _histogram(figure: go.Figure, before: pd.Series[float], after: pd.Series[float], feature: Feature) -> None:
    if feature.kind == "number":
        both = pd.concat([before, after])
        edges = np.histogram_bin_edges(both, BINS) if len(both) else np.linspace(0, 1, BINS + 1)
        x, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        heights = [np.histogram(values, edges)[0] for values in (before, after)]
    else:
        x, width, heights = before.index.map(label).to_numpy(), 0.7, [before.to_numpy(), after.to_numpy()]
    looks = [dict(color="rgba(128, 128, 128, 0.25)", line=dict(color=GREY, width=1.5)),
             dict(color=COLOURS[0], opacity=0.55, line=dict(color=COLOURS[0], width=0))]  # fmt: skip
    for name, y, look in zip((BEFORE, AFTER), heights, looks, strict=True):
        figure.add_bar(
            x=x.tolist(), y=y.tolist(), width=width, marker=look, name=name, legendgroup=name, showlegend=False,
            hovertemplate="%{x}: %{y}<extra>" + name + "</extra>", row=2, col=1,
        )  # fmt: skip
    figure.update_yaxes(title_text="patients", row=2, col=1)
