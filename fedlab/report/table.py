"""A table as HTML that a screen reader can read and a printer can print."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from fedlab.report.judged import SAME, UNCLEAR, Difference
from fedlab.study.contrasts import amount

JUDGED = {"better": "▲ clearly better", "worse": "▼ clearly worse", SAME: "the same for what matters"}
RIGHT = ' class="number"'


class Against(NamedTuple):
    """A value, and how it differs from the reference."""

    value: str
    apart: Difference | None


Cell = str | Difference | Against


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], *, text: int = 1, kind: str = "") -> str:
    """Build a table; the first ``text`` columns are words, the others numbers, the first cell of a row its header.

    A row of one cell is a heading over the rows that follow.

    Examples
    --------
    >>> table("Two & two", ["a", "b"], [["x", "1"]]).count("<th ")
    3
    """
    columns = "".join(f'<th scope="col"{"" if i < text else RIGHT}>{_lines(what)}</th>' for i, what in enumerate(head))
    body = "".join(_row(row, text, len(head)) for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><caption><span>{html.escape(caption)}</span></caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


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
    return f"<td{'' if column < text else RIGHT}>{_lines(cell)}</td>"


def _judged(apart: Difference) -> str:
    word = apart.unclear if apart.said == UNCLEAR else JUDGED.get(apart.said, "")
    if apart.said == UNCLEAR and math.isfinite(apart.seen):
        word += f" ({amount(apart.seen)} could have been seen)"
    told = f'<br><small class="{apart.said.replace(" ", "-")}">{word}</small>' if word else ""
    return f"{html.escape(str(apart))}{told}"
