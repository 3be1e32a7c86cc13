"""The cross-site map: train here, test there."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd
import plotly.graph_objects as go

from fedlab.federation import Federation
from fedlab.federation.reserved import ALL_BUT, EVERY_SITE
from fedlab.figures.drawable import check_table
from fedlab.figures.theme import CLEAR, GREY, NAME, foot, head, label
from fedlab.metrics.cells import FEW, is_few, written
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.study.words import Words, arm_name, few, number, signed, words

# Luminance falls all the way, so that grey tells the same story; both ends stand out from white and from black.
SCALE = [(0.0, "#f2d9b8"), (0.35, "#b9c4c9"), (0.7, "#4f8fb8"), (1.0, "#08426e")]
DARK_FROM = 0.78  # of the scale: from here on white ink has more contrast than black, and both at least 4.5
ROOM = 6  # columns: with more there is no room for the difference in a cell
WIDE = 72  # characters above all columns
CROWDED = 12  # columns: with more there is none for a number, and the names stand upright
Cell: TypeAlias = dict[str, float]  # value, low, high, patients, fewest; empty if the atlas has no such cell


@dataclass(frozen=True)
class _Row:
    """One row of cells: its label and where they come from."""

    label: str
    arm: str
    sources: dict[str, str]  # test site to the ``train`` of its cell
    block: str


def atlas_map(atlas: pd.DataFrame, metric: str | None = None, *, federation: Federation | None = None) -> go.Figure:
    """Draw the cross-site heat map: a row for each model, a column for the hospital that it is tested at.

    First every hospital's own model (its home is framed), then the models of all hospitals, then the model of all
    hospitals but the one that it is tested at; a hospital that was held out is the last column. Darker is better, and
    in brackets is the difference to the hospital's own model.

    Parameters
    ----------
    atlas : DataFrame
        Made by ``fedlab.atlas`` or ``Study.atlas(resamples=…)``.
    metric : str, optional
        ``"auc"``, ``"accuracy"``, ``"log_loss"``, …; default: the first, which is the task's headline.
    federation : Federation, optional
        To name the class that is rare at a site in the note.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> table = fedlab.atlas(hospitals, rounds=2, resamples=50, progress=False)
    >>> atlas_map(table, "auc", federation=hospitals).layout.title.text.startswith("A hospital")
    True
    """
    check_table(atlas, ["train", "test", "metric"], "fedlab.atlas(…) or study.atlas()")
    metric = metric or str(atlas["metric"].iloc[0])
    what = words(metric)
    cells = atlas[atlas["metric"] == metric]
    if cells.empty:
        raise ValueError(f"this atlas has no row of metric {metric!r}; it has {', '.join(atlas['metric'].unique())}")
    kept = cells.get("holdout", pd.Series(False, cells.index)).astype(bool)
    cells = cells.assign(holdout=kept).sort_values("holdout", kind="stable")
    sites = list(cells["test"].unique())
    rows = _rows(cells, sites)
    found = cells.set_index(["arm", "train", "test"])
    grid = [[_cell(found, row, site) for site in sites] for row in rows]
    figure = go.Figure(_heat(grid, rows, sites, what), layout=_layout(cells, rows, sites))
    _write(figure, grid, rows, sites, what)
    _part_blocks(figure, rows, len(sites))
    _part_holdout(figure, cells, len(sites), len(rows))
    lines = max(len(_column(site, len(sites))) for site in sites)
    head(figure, _finding(cells, what), "Rows: where a model was trained. Columns: where it is tested.",
         above_plot=32 + 16 * lines if len(sites) <= CROWDED else 130)  # fmt: skip
    return foot(figure, _notes(cells, sites, federation, metric), below=16)


def _rows(cells: pd.DataFrame, sites: list[str]) -> list[_Row]:
    rows = []
    for arm, group in cells.groupby("arm", sort=False):
        trained = list(group["train"].unique())
        homes = [site for site in sites if site in trained]
        rows += [_Row(f"{label(site)} alone", str(arm), dict.fromkeys(sites, site), "alone") for site in homes]
        if EVERY_SITE in trained:
            rows.append(_Row(f"all, {label(arm_name(str(arm)))}", str(arm), dict.fromkeys(sites, EVERY_SITE), "shared"))
        if any(str(t).startswith(ALL_BUT) for t in trained):
            left_out = {site: f"{ALL_BUT}{site}" for site in sites}
            left_out |= dict.fromkeys(cells.loc[cells["holdout"], "test"], EVERY_SITE)  # all the others are all
            rows.append(
                _Row(f"all the others,<br>{label(arm_name(str(arm)))}: never saw it", str(arm), left_out, "unseen")
            )
    return sorted(rows, key=lambda row: ["alone", "shared", "unseen"].index(row.block))


def _cell(found: pd.DataFrame, row: _Row, site: str) -> Cell:
    key = (row.arm, row.sources[site], site)
    if key not in found.index:
        return {}
    return {str(k): float(v) for k, v in found.loc[key, ["value", "low", "high", "patients", "fewest"]].items()}


def _heat(grid: list[list[Cell]], rows: list[_Row], sites: list[str], what: Words) -> go.Heatmap:
    values = [[cell.get("value", math.nan) for cell in line] for line in grid]
    low, high = _ends(grid)
    hover = [
        [_hover(cell, row, site, what) for cell, site in zip(line, sites, strict=True)]
        for line, row in zip(grid, rows, strict=True)
    ]
    ends = SCALE if what.higher else [(1 - at, colour) for at, colour in reversed(SCALE)]
    return go.Heatmap(
        z=[[None if math.isnan(v) else v for v in line] for line in values], colorscale=ends,
        zmin=low, zmax=max(high, low + 1e-9), xgap=3, ygap=3, text=hover, hovertemplate="%{text}<extra></extra>",
        colorbar=dict(title=dict(text=what.name, side="right"), thickness=12, outlinewidth=0),
    )  # fmt: skip


def _ends(grid: list[list[Cell]]) -> tuple[float, float]:
    """Return the lowest and the highest value; of no value at all, 0 and 1."""
    known = [cell["value"] for line in grid for cell in line if cell and not math.isnan(cell["value"])]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _hover(cell: Cell, row: _Row, site: str, what: Words) -> str:
    if not cell:
        return ""
    source = row.sources[site]
    text = f"<b>trained at {label(source)}, tested at {label(site)}</b><br>{what.name} {number(cell['value'], 3)}"
    if not math.isnan(cell["low"]):
        text += f" [{number(cell['low'], 3)}, {number(cell['high'], 3)}]"
    return text + f"<br>n = {written(cell['patients'])} test patients, {written(cell['fewest'])} of the rarest class"


def _layout(cells: pd.DataFrame, rows: list[_Row], sites: list[str]) -> go.Layout:
    n = {site: written(count) for site, count in cells.groupby("test")["patients"].first().items()}
    unseen = set(cells.loc[cells["holdout"], "test"])
    return go.Layout(
        template=NAME,
        xaxis=dict(side="top", tickvals=list(range(len(sites))), tickangle=-90 if len(sites) > CROWDED else 0,
                   showgrid=False, ticks="", showline=False,
                   ticktext=[f"{'<br>'.join(map(label, _column(site, len(sites))))}<br>n = {n[site]}"
                             + ", seen by none" * (site in unseen) for site in sites],
                   range=[-0.5, len(sites) - 0.5]),
        yaxis=dict(tickvals=list(range(len(rows))), ticktext=[row.label for row in rows], showgrid=False, ticks="",
                   showline=False, range=[len(rows) - 0.5, -0.5]),
        height=190 + 46 * len(rows),
    )  # fmt: skip


def _column(site: str, sites: int) -> list[str]:
    """Return the name above a column, in lines that fit its width where it stands level."""
    return textwrap.wrap(site, max(WIDE // sites, 10), max_lines=3, placeholder="…") if sites <= CROWDED else [site]


def _part_holdout(figure: go.Figure, cells: pd.DataFrame, columns: int, rows: int) -> None:
    if cells["holdout"].any():
        x = columns - cells.loc[cells["holdout"], "test"].nunique() - 0.5
        figure.add_shape(type="line", x0=x, x1=x, y0=-0.5, y1=rows - 0.5, layer="above",
                         line=dict(color=GREY, width=1.5, dash="dot"))  # fmt: skip


def _finding(cells: pd.DataFrame, what: Words) -> str:
    """Home against elsewhere, and the models of all hospitals; without the sites whose score is mostly luck."""
    large = cells[cells["test"].map(cells.groupby("test")["fewest"].min()) >= FEW]
    cells = cells if large.empty else large
    cells, unseen = cells[~cells["holdout"]], cells[cells["holdout"] & (cells["train"] == EVERY_SITE)]
    own = cells[~cells["train"].str.startswith(ALL_BUT) & (cells["train"] != EVERY_SITE)]
    shared = cells[cells["train"] == EVERY_SITE].groupby("arm", sort=False)["value"].mean()
    others = ", ".join(f"{arm_name(str(arm))} {number(value)}" for arm, value in shared.items())
    if len(unseen):
        each = unseen.groupby("arm", sort=False)["value"].mean()
        others += f"; at {unseen['test'].iloc[0]}, which none has seen, "
        others += ", ".join(f"{arm_name(str(arm))} {number(value)}" for arm, value in each.items())
    if own.empty:
        return f"What is one model worth at every hospital? {what.name}: {others}"
    home = own.loc[own["train"] == own["test"], "value"].mean()
    away = own.loc[own["train"] != own["test"], "value"].mean()
    text = f"A hospital's own model: {what.name} {number(home)} at home, {number(away)} elsewhere"
    return text + (f"; one model of all: {others}" if others else "")


def _write(figure: go.Figure, grid: list[list[Cell]], rows: list[_Row], sites: list[str], what: Words) -> None:
    """Value and interval into each cell, and a frame where a model is at home, in the ink that its colour asks for."""
    low, high = _ends(grid)
    home = {site: cell["value"] for line, row in zip(grid, rows, strict=True)
            for site, cell in zip(sites, line, strict=True) if cell and row.sources[site] == site}  # fmt: skip
    notes, frames = [], []
    for y, (line, row) in enumerate(zip(grid, rows, strict=True)):
        for x, (cell, site) in enumerate(zip(line, sites, strict=True)):
            if not cell or math.isnan(cell["value"]):
                text = "no value" if cell else "–"
                notes.append(dict(x=x, y=y, text=text, showarrow=False, font=dict(size=11)))
                continue
            share = (cell["value"] - low) / max(high - low, 1e-9)
            ink = "#ffffff" if (share if what.higher else 1 - share) > DARK_FROM else "#000000"
            against = home.get(site, math.nan) if row.sources[site] != site and len(sites) <= ROOM else math.nan
            if len(sites) <= CROWDED:
                text = _text(cell, cell["value"] - against)
                notes.append(dict(x=x, y=y, text=text, showarrow=False, font=dict(size=13, color=ink)))
            if row.sources[site] == site:
                frames.append(dict(type="rect", x0=x - 0.46, x1=x + 0.46, y0=y - 0.43, y1=y + 0.43, fillcolor=CLEAR,
                                   line=dict(color=ink, width=2)))  # fmt: skip
    figure.update_layout(annotations=notes, shapes=frames)  # at once: one by one takes minutes with many hospitals


def _text(cell: Cell, apart: float) -> str:
    mark = " †" if is_few(cell["fewest"]) else ""
    text = f"<b>{number(cell['value'])}</b>{mark}"
    if not math.isnan(apart):
        text += f" <span style='font-size:11px'>({signed(apart)})</span>"
    if not math.isnan(cell["low"]):
        return f"{text}<br><span style='font-size:10px'>{number(cell['low'])} – {number(cell['high'])}</span>"
    return text


def _part_blocks(figure: go.Figure, rows: list[_Row], columns: int) -> None:
    for y, (row, after) in enumerate(zip(rows, rows[1:], strict=False)):
        if row.block != after.block:
            figure.add_shape(type="line", x0=-0.5, x1=columns - 0.5, y0=y + 0.5, y1=y + 0.5, layer="above",
                             line=dict(color=GREY, width=1.5, dash="dot"))  # fmt: skip


def _notes(cells: pd.DataFrame, sites: list[str], federation: Federation | None, metric: str) -> list[str]:
    seeds = int(cells["seeds"].max()) if "seeds" in cells and cells["seeds"].notna().any() else 1
    notes = ["Framed: at home. " + (f"Mean over {seeds} seeds (splits). " if seeds > 1 else "One seed (split). ")]
    if len(sites) > CROWDED:
        notes[0] += "Numbers: in the table."
    elif cells["low"].notna().any():
        over = "over the seeds" if seeds > 1 else "over its test patients"
        notes[0] += f"Small: 95 % interval {over}."
        if cells.loc[cells["value"].notna(), "low"].isna().any():
            notes[0] += " None where it cannot be told, as with fewer than twenty patients of a class."
    if len(sites) <= ROOM and (cells["train"] == cells["test"]).any():
        notes[0] += " In brackets: difference to the hospital's own model."
    fewest = cells.groupby("test")["fewest"].min()
    small = [site for site in sites if is_few(fewest[site])]
    named = few(federation) if federation is not None else {}
    named |= {s: f"{written(fewest[s])} test patients in its rarest class"
              for s in small if s not in named or math.isnan(fewest[s])}  # fmt: skip
    told = [f"{s}: {named[s]}" for s in small]
    # what needs both classes hangs on the few; a mean over all patients does not
    luck = "mostly luck, and " if metric in NEEDS_EVERY_CLASS else ""
    return [*notes, "† " + "; ".join(told) + f": {luck}not in the title's means." if told else ""]
