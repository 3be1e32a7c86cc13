"""The report's tables, as HTML that a screen reader can read and a printer can print."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fedlab.cli.gap import Difference, Gap
from fedlab.engine.run import EVERY_SITE
from fedlab.figures.words import arm_name, words
from fedlab.study.study import REFERENCE

JUDGED = {"better": "▲ clearly better", "worse": "▼ clearly worse", "no clear difference": "no clear difference"}
MAIN = ("auc", "accuracy", "log_loss")
ALL = ("auc", "accuracy", "log_loss", "brier", "ece")


class Against(NamedTuple):
    """A value, and how it differs from the reference."""

    value: str
    apart: Difference | None


Cell = str | Difference | Against


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], *, text: int = 1, kind: str = "") -> str:
    """Build a table; the first ``text`` columns are words, the others numbers, the first cell of a row its header.

    A row of one cell is a heading over the rows that follow.
    """
    columns = "".join(f'<th scope="col"{"" if i < text else _RIGHT}>{_lines(what)}</th>' for i, what in enumerate(head))
    body = "".join(_row(row, text, len(head)) for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


_RIGHT = ' class="number"'


def _row(row: Sequence[Cell], text: int, columns: int) -> str:
    if len(row) == 1:
        return f'<tr class="group"><th scope="rowgroup" colspan="{columns}">{_lines(str(row[0]))}</th></tr>'
    return f"<tr>{''.join(_cell(cell, i, text) for i, cell in enumerate(row))}</tr>"


def _lines(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _cell(cell: Cell, column: int, text: int) -> str:
    if isinstance(cell, Difference):
        return f'<td class="number">{_judged(cell)}</td>'
    if isinstance(cell, Against):
        apart = "" if cell.apart is None else f"<br>{_judged(cell.apart)}"
        return f'<td class="number">{html.escape(cell.value)}{apart}</td>'
    if column == 0:
        return f'<th scope="row">{_lines(cell)}</th>'
    return f"<td{'' if column < text else _RIGHT}>{_lines(cell)}</td>"


def _judged(apart: Difference) -> str:
    word = JUDGED.get(apart.said, "")
    return f'{html.escape(str(apart))}<br><small class="{apart.said.replace(" ", "-")}">{word}</small>'


# --------------------------------------------------------------------------- the tables


def sites(gap: Gap) -> str:
    """The hospitals and their patients."""
    found = gap.study.federation.describe()
    shares = [column for column in found.columns if column.startswith("share")]
    rows = []
    for site, row in found.iterrows():
        about = gap.study.federation[str(site)].about
        where = ", ".join(filter(None, [about.get("hospital", ""), about.get("country", "")]))
        counts = [f"{row[column]:.0f}" for column in ("patients", "train", "valid", "test")]
        rows.append([str(site), where, *counts, *(f"{row[column]:.0%}" for column in shares)])
    head = ["site", "hospital", "patients", "train", "valid", "test", *shares]
    return table("The sites, with one split’s rows to fit on, choose on and report on.", head, rows, text=2)


def worth(gap: Gap) -> str:
    """What a model is worth: at home, elsewhere, everywhere, unseen."""
    places = []
    if gap.isolated:
        places = [("own model, at home", REFERENCE, "home"), ("own model, elsewhere", REFERENCE, "elsewhere")]
        places += [("own model, everywhere", REFERENCE, "everywhere")]
    places += [(f"{arm_name(arm)}, everywhere", arm, "everywhere") for arm in gap.shared]
    if not gap.unseen.empty:
        arm = str(gap.federated)
        places.append((f"{arm_name(arm)}, at a hospital\nthat it has never seen", arm, "unseen"))
    if gap.large:
        places += [(f"{label}, large sites", arm, where + gap.large) for label, arm, where in places]
    rows = [[label, *(_spread(gap, arm, metric, where) for metric in ALL)] for label, arm, where in places]
    caption = (
        f"Mean ± sd over {_seeds(gap)} on test patients; hospitals count alike. Everywhere: own models "
        "over all pairs of training and test hospital, one model over all hospitals. ↓ lower is better. ECE: expected "
        "calibration error."
    )
    if gap.large:
        caption += f" Large sites: tested without {', '.join(gap.few)}."
    return table(caption, ["model", *map(_head, ALL)], rows)


def differences(gap: Gap) -> str:
    """Each arm against the own models, everywhere."""
    if not gap.isolated or not gap.shared:
        return ""
    rows: list[list[Cell]] = [
        [arm_name(arm), *(gap.difference(m, (arm, "everywhere"), (REFERENCE, "everywhere")) for m in MAIN)]
        for arm in gap.shared
    ]
    caption = (
        "Everywhere, paired difference to the hospitals’ own models on the same seeds, with its 95 % interval. "
        "↓ lower is better."
    )
    return table(caption, ["model", *map(_head, MAIN)], rows)


def at_home(gap: Gap) -> str:
    """Each hospital's own patients, by each arm."""
    rows: list[list[Cell]] = []
    for site in gap.study.federation.names:
        rows.append([site])
        for arm in gap.study.arms:
            judged = gap.isolated and arm != REFERENCE
            cells = [
                Against(_spread(gap, arm, m, gap.own(arm, site)[1]), gap.at_home(arm, site, m) if judged else None)
                for m in MAIN
            ]
            rows.append([arm_name(arm), *cells])
    caption = (
        "At home: each hospital’s own test patients. Mean ± sd over seeds; below it the paired difference to the "
        "hospital’s own model with its 95 % interval. ↓ lower is better."
    )
    return table(caption, ["model", *map(_head, MAIN)], rows)


def atlas(gap: Gap, metric: str) -> str:
    """Train here (rows), test there (columns)."""
    cells = gap.atlas[gap.atlas["metric"] == metric].set_index(["arm", "train", "test"])
    names = gap.study.federation.names
    rows = []
    if gap.isolated:
        rows += [[f"{t} alone", *(_interval(cells, (REFERENCE, t, s)) for s in names)] for t in names]
    rows += [[f"all, {arm_name(a)}", *(_interval(cells, (a, EVERY_SITE, s)) for s in names)] for a in gap.shared]
    if not gap.unseen.empty:
        arm = str(gap.federated)
        rows.append([f"all but it, {arm_name(arm)}", *(_interval(cells, (arm, f"all but {s}", s)) for s in names)])
    drawn = f"95 % bootstrap interval over one split’s test patients ({gap.resamples} resamples)"
    caption = f"{_head(metric)}: trained at (row), tested at (column). Mean over seeds; {drawn}."
    return table(caption, ["trained at", *names], rows)


def cost(gap: Gap) -> str:
    """What each arm took."""
    rows = []
    for arm, row in gap.study.cost().iterrows():
        took = [f"{row[c]:,.0f}" for c in ("rounds", "steps", "examples", "bytes")]
        rows.append([arm_name(str(arm)), *took, f"{row['seconds']:.2f}"])
    head = ["model", "rounds", "gradient steps\nin sequence", "examples\nseen", "bytes\nmoved", "seconds"]
    caption = (
        "Cost of one run, mean over seeds. Bytes: arrays in all messages to and from the sites (validation included); "
        "pooled counts the patients’ rows that would have to move."
    )
    return table(caption, head, rows)


def facts(caption: str, what: dict[str, str]) -> str:
    """Two columns: what, and its value."""
    return table(caption, ["what", "value"], [[key, value] for key, value in what.items()], text=2, kind="facts")


# --------------------------------------------------------------------------- cells


def _seeds(gap: Gap) -> str:
    number = len(gap.study.seeds)
    return f"{number} seed{'s' * (number != 1)}"


def _head(metric: str) -> str:
    what = words(metric)
    return ("ECE" if metric == "ece" else what.name) + ("" if what.higher else " ↓")


def _spread(gap: Gap, arm: str, metric: str, where: str | tuple[str, str]) -> str:
    found = gap.interval(arm, metric, where)
    if math.isnan(found.mean):
        return "–"
    return f"{found.mean:.3f}" + ("" if math.isnan(found.sd) else f" ± {found.sd:.3f}")


def _interval(cells: pd.DataFrame, key: tuple[str, str, str]) -> str:
    if key not in cells.index:
        return "–"
    value, low, high = (float(v) for v in cells.loc[key, ["value", "low", "high"]])
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" + ("" if math.isnan(low) else f"\n[{low:.2f}, {high:.2f}]")
