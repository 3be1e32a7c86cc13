"""Which hospitals differ, and in what: sites × kinds of difference, each set against chance."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fedlab.figures.atlas import DARK_FROM, SCALE
from fedlab.figures.drawable import check_kind
from fedlab.figures.theme import GREY, NAME, foot, head, label
from fedlab.study.heterogeneity.found import Heterogeneity
from fedlab.study.heterogeneity.measures import KINDS, MEASURES, Measure
from fedlab.study.words import listed, number

FILL = [(0.0, "rgba(128, 128, 128, 0.12)"), (1e-6, SCALE[0][1]), *SCALE[1:]]  # not clear: no colour at all
ROOMY = 16  # rows: with more there is room for one line in a cell
AXIS = {"quantity": "quantity", "label": "label", "features": "features", "missingness": "missing values",
        "joint": "all features<br>at once ʳ", "concept": "outcome<br>at equal risk", "training": "training",
        }  # fmt: skip
SHORT = {"patients": "mean sites", "jensen_shannon": "JS distance", "hellinger": "Hellinger", "c2st": "AUC",
         "total_variation": "total variation", "psi": "PSI", "wasserstein": "Wasserstein", "kolmogorov_smirnov": "KS",
         "mmd": "MMD²", "concept": "beyond prevalence", "angle": "angle", "drift": "drift"}  # fmt: skip


def heterogeneity(found: Heterogeneity) -> go.Figure:
    """Draw the heat map of sites × kinds: a cell has colour only where a site differs by more than chance.

    In a cell stand the value of the kind's first measure and, small, its mean under no difference. The colour says how
    far the value goes from there to the largest that the measure can have (of one without an end, chance's share in it
    is taken off), so that all kinds share one scale.

    Parameters
    ----------
    found : Heterogeneity
        Made by ``fedlab.heterogeneity``.

    Examples
    --------
    >>> import fedlab
    >>> found = fedlab.heterogeneity(fedlab.load("heart_disease"), measures=["total_variation"], progress=False)
    >>> heterogeneity(found).layout.title.text.replace("<br>", " ")
    'All 4 hospitals differ from the others in label, features and missing values: more than chance'
    """
    check_kind(found, Heterogeneity, "what fedlab.heterogeneity(…) found")
    sites = list(found.terms.names)
    kinds = [kind for kind in KINDS if kind in set(found.cells["kind"])]
    grid = found.cells.set_index(["site", "kind"])
    rows = [[grid.loc[(site, kind)] for kind in kinds] for site in sites]
    figure = go.Figure(_heat(rows, sites), layout=_layout(found, grid, sites, kinds))
    _write(figure, rows, roomy=len(sites) <= ROOMY)
    head(figure, _finding(found.cells, len(sites)), "Each hospital against all others together, training patients.",
         above_plot=86)  # fmt: skip
    return foot(figure, _notes(found, kinds), below=16, width=130)


def strength(cell: Any) -> float:
    """Return how far a value goes from chance to the measure's end, 0 to 1; 0 where it is not clear."""
    if not cell["clear"]:
        return 0.0
    high = MEASURES[cell["measure"]].high
    if math.isinf(high):
        return float(1 - cell["expected"] / cell["value"])
    return float(min(max((cell["value"] - cell["expected"]) / (high - cell["expected"]), 1e-6), 1.0))


def _heat(rows: list[list[Any]], sites: list[str]) -> go.Heatmap:
    return go.Heatmap(
        z=[[None if math.isnan(cell["value"]) else strength(cell) for cell in line] for line in rows],
        zmin=0, zmax=1, colorscale=FILL, xgap=3, ygap=3, hovertemplate="%{text}<extra></extra>",
        text=[[_hover(cell, site) for cell in line] for line, site in zip(rows, sites, strict=True)],
        colorbar=dict(title=dict(text="from chance (0) to<br>the most there can be (1)", side="right", font_size=11),
                      thickness=12, outlinewidth=0, tickvals=[0, 0.5, 1]),
    )  # fmt: skip


def _hover(cell: Any, site: str) -> str:
    measure = MEASURES[cell["measure"]]
    text = f"<b>{label(site)}: {cell.name[1]}</b><br>{measure.title}: {_value(cell, measure)}"
    text += f", mean of {cell['features']} features" if cell["features"] else ""
    if math.isnan(cell["value"]):
        return f"{text}<br>{label(cell['reason'], 200)}"
    if math.isnan(cell["expected"]):
        return text
    text += f"<br>by chance {number(cell['expected'])}; p {cell['p']:.2g}, after Holm {cell['adjusted']:.2g}"
    return f"{text}<br>{measure.sees}"


def _value(cell: Any, measure: Measure) -> str:
    if measure.unit == "°":
        return f"{number(cell['value'], 0)}°"
    return f"{'× ' if measure.unit == '×' else ''}{number(cell['value'])}"


def _layout(found: Heterogeneity, grid: pd.DataFrame, sites: list[str], kinds: list[str]) -> go.Layout:
    first = {kind: grid.xs(kind, level="kind")["measure"].iloc[0] for kind in kinds}
    n = dict(zip(found.census.sites, found.census.patients, strict=True))
    between = "<br>" if len(sites) <= ROOMY else ", "
    return go.Layout(
        template=NAME,
        xaxis=dict(side="top", tickvals=list(range(len(kinds))), showgrid=False, ticks="", showline=False,
                   ticktext=[f"<b>{AXIS[kind]}</b><br><span style='font-size:11px'>{SHORT[first[kind]]}</span>"
                             for kind in kinds], tickangle=0, range=[-0.5, len(kinds) - 0.5]),
        yaxis=dict(tickvals=list(range(len(sites))), showgrid=False, ticks="", showline=False,
                   ticktext=[f"{label(site)}{between}n = {n[site]:.0f}" if n[site] else f"{label(site)}{between}tiny"
                             for site in sites], range=[len(sites) - 0.5, -0.5]),
        height=190 + (52 if len(sites) <= ROOMY else 24) * len(sites),
        width=max(430 + 84 * len(kinds), 700),
    )  # fmt: skip


def _write(figure: go.Figure, rows: list[list[Any]], *, roomy: bool) -> None:
    """Value and chance into each cell, in the ink that its colour asks for."""
    notes = []
    for y, line in enumerate(rows):
        for x, cell in enumerate(line):
            shade, measure = strength(cell), MEASURES[cell["measure"]]
            ink = "#ffffff" if shade > DARK_FROM else "#000000" if shade > 0 else GREY
            text = "no value" if math.isnan(cell["value"]) else _value(cell, measure)
            if cell["clear"]:
                text = f"<b>{text}</b>"
            if roomy and not math.isnan(cell["expected"]):
                by_chance = number(cell["expected"], 0 if measure.unit == "°" else 2)
                text += f"<br><span style='font-size:10px'>chance {by_chance}</span>"
            size = 13 if not math.isnan(cell["value"]) else 11
            notes.append(dict(x=x, y=y, text=text, showarrow=False, font=dict(size=size, color=ink)))
    figure.update_layout(annotations=notes)


def _finding(cells: pd.DataFrame, sites: int) -> str:
    """Say in which kinds all sites differ, in which some, and in which none can be told to."""
    tested = cells.dropna(subset="p").groupby("kind", sort=False)["clear"].agg(["sum", "size"])
    names = {kind: AXIS[kind].replace("<br>", " ").removesuffix(" ʳ") for kind in tested.index}
    every = [names[kind] for kind, row in tested.iterrows() if row["sum"] == sites]
    some = [f"{names[kind]} ({row['sum']})" for kind, row in tested.iterrows() if 0 < row["sum"] < sites]
    none = [names[kind] for kind, row in tested.iterrows() if not row["sum"]]
    if not every and not some:
        return f"No hospital of {sites} clearly differs from the others: no more than chance"
    said = [f"All {sites} hospitals differ from the others in {listed(every)}: more than chance"] if every else []
    said += [f"Some differ in {listed(some)}"] if some else []
    return "; ".join(said) + (f". No clear difference in {listed(none)}" if none else "")


def _notes(found: Heterogeneity, kinds: list[str]) -> list[str]:
    first = found.cells.drop_duplicates("kind").set_index("kind")
    sees = [f"{AXIS[k].replace('<br>', ' ')}: {MEASURES[first.loc[k, 'measure']].title}" for k in kinds]
    notes = [
        "Coloured and bold: above chance after Holm's correction over all cells. Chance: the mean if there were no "
        "difference. " + "; ".join(sees) + "."
    ]
    if "rows" in set(found.cells["needs"]):
        notes.append("ʳ needs the rows themselves: computed with all of them in this process, nothing was sent.")
    if found.cells.loc[found.cells["kind"] == "training", "value"].notna().any():
        notes.append("Chance of training: all patients dealt out again, in this process, to sites of the same sizes.")
    return [*notes, *found.notes[1:-1], *_without(found.cells)]


def _without(cells: pd.DataFrame) -> list[str]:
    absent = cells[cells["value"].isna()]
    told: dict[str, list[str]] = {}
    for cell in absent.itertuples():
        told.setdefault(f"{AXIS[cell.kind].replace('<br>', ' ')}: {cell.reason}", []).append(cell.site)
    return [f"No value, {why} ({listed(sites) if len(sites) < 5 else f'{len(sites)} sites'})."
            for why, sites in told.items()]  # fmt: skip
