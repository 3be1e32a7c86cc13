"""The report as one HTML file: nothing is loaded from anywhere, it opens from a stick and prints on A4."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from fedlab.metrics.cells import Said
from fedlab.report import drawings, risks, tables
from fedlab.report.across import over_hospitals
from fedlab.report.door import described, outgoing
from fedlab.report.findings import findings, limits, verdict
from fedlab.report.gap import Gap
from fedlab.report.short import in_short
from fedlab.report.tripod import as_html, tripod
from fedlab.study.verdict import plain

# The page itself forbids every request: whoever gets it by mail need not trust us.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
PARAGRAPH = "\0"  # between two of them, while the text is escaped
ADDRESS = re.compile(r"https?://[^\s<>&]+[^\s<>&.,)]")


@dataclass(frozen=True)
class About:
    """What a report says of itself: title, citation and licence of the data, and facts on how it was made."""

    title: str
    citation: str
    licence: str
    facts: Mapping[str, str]
    simulated: bool = False
    link: float = 10.0


def page(gap: Gap, about: About) -> str:
    """Return the whole document, of what may be sent on."""
    gap = outgoing(gap)
    parts = {
        "In short": _short(gap),
        "The sites": _sites(gap, about),
        "The gap": tables.differences(gap) + tables.worth(gap) + over_hospitals(gap),
        "Train here, test there": drawings.atlas(gap) + "".join(tables.atlas(gap, metric) for metric in gap.main),
        "Do the risks come true": _risks(gap),
        "Is it worth acting on them": risks.decisions(gap),
        "Who gains at home": drawings.gains(gap) + tables.at_home(gap),
        "Would more data help": drawings.more(gap),
        "Cost": tables.cost(gap, about.link),
        "The verdict": _verdict(gap),
        "Limits": _list(limits(gap)),
        "What to report": as_html(tripod(gap, about)),
        "How this was made": tables.facts("Enough to make it again.", dict(about.facts)) + drawings.training(gap),
    }
    parts = {title: part for title, part in parts.items() if part}
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
        f"<footer><p>Made by fedlab. Data: {_linked(_ended(about.citation))} {_text(about.licence)}.</p></footer>\n"
        "</body>\n</html>\n"
    )


# --------------------------------------------------------------------------- sections


def _question(gap: Gap) -> str:
    federation = gap.study.federation
    known = described(federation)["patients"]
    patients = f"{'more than ' * bool(known.isna().any())}{known.sum():,.0f}"  # one that is withheld is not in the sum
    task = federation.task
    what = f"“{(task.classes or task.columns)[-1]}”" if len(task.classes) < 3 else "the class"
    return (
        f'<p class="question">{len(federation.sites)} hospitals, {patients} patients, one question: how much better '
        f"can they predict {_text(what)} together than alone, and does it take moving their patients’ records to one "
        "place?</p>"
    )


def _risks(gap: Gap) -> str:
    if not gap.task.classes:
        what = _text(gap.task.about)
        return f"<p>Left out: calibration and decisions are of the risks of classes, and this is {what}.</p>"
    return drawings.calibration(gap) + _list(risks.calibration(gap)) + risks.calibration_table(gap)


def _short(gap: Gap) -> str:
    lines = "".join(f"<li><strong>{_text(what)}</strong> {_text(said)}</li>" for what, said in in_short(gap))
    if not lines:
        return "<p>One way of learning and nothing to compare it with: the numbers follow.</p>"
    more = '<p>More: <a href="#the-verdict">the verdict</a>. How far it goes: <a href="#limits">limits</a>.</p>'
    return f'<div class="verdict"><ul>{lines}</ul>{more}</div>'


def _verdict(gap: Gap) -> str:
    told = "".join(f"<h3>{_text(heading)}</h3>{_list(said)}" for heading, said in findings(gap))
    by_metric, how = "", ""
    for metric, said in verdict(gap, method=False).items():
        judged = metric == gap.study.primary and len(gap.study.arms) > 1
        first = plain(gap.study) if judged else ""
        lead = f"<strong>{_text(first)}</strong>" if first else ""
        rest = said.removeprefix(first).replace("\n\n", PARAGRAPH)
        by_metric += f"<p>{lead}{_text(rest).replace(PARAGRAPH, '</p><p>')}</p>"
        how = '<p>How winners are told from chance: <a href="#limits">limits</a>.</p>' if first else how
    return f'<div class="verdict">{by_metric}{how}</div>{told}'


def _sites(gap: Gap, about: About) -> str:
    note = "<p><strong>The hospitals are simulated</strong>; the patients are real.</p>" if about.simulated else ""
    held = f"<p>{_text(gap.held_out)} was held out: no model learnt from it.</p>" if gap.held_out else ""
    source = f"<p>Source and attribution: {_linked(_ended(about.citation))} Licence: {_text(about.licence)}.</p>"
    found = [note.outgoing if isinstance(note, Said) else note for note in gap.study.federation.notes]
    told = f"<p>Found in the data:</p>{_list(found)}" if found else ""
    return note + tables.sites(gap) + held + told + source


# --------------------------------------------------------------------------- pieces


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _ended(what: str) -> str:
    return what if what.endswith((".", "!", "?")) else f"{what}."


def _text(what: str) -> str:
    return html.escape(what)


def _linked(what: str) -> str:
    """Escape, and make an address a link (which is followed only by a click)."""
    return ADDRESS.sub(lambda m: f'<a href="{m[0]}" rel="noreferrer">{m[0]}</a>', html.escape(what, quote=False))
