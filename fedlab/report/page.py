"""The report as one HTML file: nothing is loaded from anywhere, it opens from a stick and prints on A4."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fedlab.cli import tables
from fedlab.cli.gap import Gap
from fedlab.cli.short import in_short
from fedlab.cli.verdict import Finding
from fedlab.figures import atlas_map, learning_curves, who_gains
from fedlab.figures.words import arm_name

WIDTH = 920  # of a figure; the style sheet shrinks it to the paper
INK = "#3d464e"  # darker than the theme's grey, which must do on black too
# The page itself forbids every request: whoever gets it by mail need not trust us.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "sendDataToCloud"]}
ADDRESS = re.compile(r"https?://[^\s<>&]+[^\s<>&.,)]")


@dataclass(frozen=True)
class About:
    """What a report says of itself: title, citation and licence of the data, and facts on how it was made."""

    title: str
    citation: str
    licence: str
    facts: Mapping[str, str]
    simulated: bool = False


def page(gap: Gap, findings: list[Finding], about: About) -> str:
    """Return the whole document."""
    parts = {
        "In short": _short(gap),
        "The data": _data(gap, about),
        "The gap": tables.differences(gap) + tables.worth(gap),
        "Who gains at home": _gains(gap) + tables.at_home(gap),
        "Train here, test there": _atlas(gap),
        "Learning curves of one run": _curves(gap),
        "What may be said": _verdict(findings),
        "Cost": tables.cost(gap),
        "How this was made": tables.facts("Enough to make it again.", dict(about.facts)),
    }
    keys = {title: re.sub(r"\W+", "-", title.lower()) for title in parts}
    links = "".join(f'<li><a href="#{keys[title]}">{title}</a></li>' for title in parts)
    body = "".join(
        f'<section aria-labelledby="{keys[title]}"><h2 id="{keys[title]}">{title}</h2>{part}</section>'
        for title, part in parts.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(about.title)}: gap report</title>\n<style>{_style()}</style>\n"
        f"<script>{_plotly()}</script>\n</head>\n<body>\n"
        f"<header><h1>{_text(about.title)}: the gap report</h1>{_question(gap)}"
        f'<nav aria-label="Sections"><ol>{links}</ol></nav></header>\n<main>{body}</main>\n'
        f"<footer><p>Made by fedlab. Data: {_linked(about.citation)} {_text(about.licence)}.</p></footer>\n"
        "</body>\n</html>\n"
    )


# --------------------------------------------------------------------------- sections


def _question(gap: Gap) -> str:
    federation = gap.study.federation
    sites, patients = len(federation.sites), int(federation.describe()["patients"].sum())
    what = f"“{federation.task.classes[1]}”" if federation.task.kind == "binary" else "the class"
    return (
        f'<p class="question">{sites} hospitals, {patients:,} patients, one question: how much better can they predict '
        f"{_text(what)} together than alone, and does it take moving their patients’ records to one place?</p>"
    )


def _short(gap: Gap) -> str:
    lines = "".join(f"<li><strong>{_text(what)}</strong> {_text(said)}</li>" for what, said in in_short(gap))
    if not lines:
        return "<p>One way of learning and nothing to compare it with: the numbers follow.</p>"
    more = '<p>With intervals, and with what they do not cover: <a href="#what-may-be-said">what may be said</a>.</p>'
    return f'<div class="verdict"><ul>{lines}</ul>{more}</div>'


def _verdict(findings: list[Finding]) -> str:
    told = "".join(
        f"<h3>{_text(heading)}</h3><ul>{''.join(f'<li>{_text(line)}</li>' for line in said)}</ul>"
        for heading, said in findings
    )
    return told


def _data(gap: Gap, about: About) -> str:
    note = "<p><strong>The hospitals are simulated</strong>; the patients are real.</p>" if about.simulated else ""
    source = f"<p>Source and attribution: {_linked(about.citation)} Licence: {_text(about.licence)}.</p>"
    return note + tables.sites(gap) + source


def _gains(gap: Gap) -> str:
    if not gap.isolated or gap.federated is None:
        return "<p>Without the arm <code>isolated</code> and a federated one there is no gain to show.</p>"
    figure = who_gains(gap.study, "auc", federated=gap.federated)
    caption = "Each hospital’s test patients read by its own, the federated and the pooled model: numbers in the table."
    return _figure(figure, "Dumbbell chart of AUC by hospital.", caption)


def _atlas(gap: Gap) -> str:
    figure = atlas_map(gap.atlas, "auc", federation=gap.study.federation)
    caption = "Darker is better; the tables below have the same numbers, and accuracy and log loss."
    maps = "".join(tables.atlas(gap, metric) for metric in tables.MAIN)
    return _figure(figure, "Heat map of AUC by training and test hospital.", caption) + maps


def _curves(gap: Gap) -> str:
    arm = gap.federated or gap.study.arms[-1]
    run = gap.study.runs[arm][0]
    told = f"Run of {arm_name(arm)} with seed {gap.study.seeds[0]}"
    caption = f"{told}: log loss on the validation patients after each round; the reported round is marked."
    return _figure(learning_curves(run, "log_loss"), f"Line chart. {told}, log loss by round.", caption)


# --------------------------------------------------------------------------- pieces


def _figure(figure: Any, alt: str, caption: str) -> str:
    figure.update_layout(width=WIDTH, font_color=INK)
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)
    return (
        f'<figure><div class="drawing" role="img" aria-label="{html.escape(alt, quote=True)}">{drawn}</div>'
        f"<noscript><p>The figure needs JavaScript; the tables do not.</p></noscript>"
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _text(what: str) -> str:
    return html.escape(what)


def _linked(what: str) -> str:
    """Escape, and make an address a link (which is followed only by a click)."""
    return ADDRESS.sub(lambda m: f'<a href="{m[0]}" rel="noreferrer">{m[0]}</a>', html.escape(what, quote=False))
