"""The report in a few lines: what is judged, what could have been seen, and beside it what is only shown."""

from __future__ import annotations

from collections.abc import Iterable

from fedlab.report.gap import Gap
from fedlab.report.judged import SAME, UNCLEAR, UNKNOWN, Difference
from fedlab.study.contrasts import amount
from fedlab.study.pairs import away
from fedlab.study.study import REFERENCE
from fedlab.study.words import arm_name, listed, words

PLACES = {"everywhere": "everywhere", "home": "at home"}


def in_short(gap: Gap) -> list[tuple[str, str]]:
    """Return ``(what, said)``, one line each; what cannot be said from this study is left out."""
    arm, lines = gap.federated, []
    if gap.family("away", gap.study.primary).get("elsewhere"):
        told = _told(gap.away(metric, "elsewhere") for metric in gap.metrics)
        lines.append(("Own models, at other hospitals against home:", told))
    if arm is not None and arm in gap.shared:
        name = arm_name(arm)
        apart = away(gap.study)
        rivals = {REFERENCE: "the own models", "centralized": "pooling", "ensemble": "the ensemble of own models"}
        for other, word in rivals.items():
            if other in gap.study.arms:
                once = not apart & {arm, other}  # one model each for all hospitals: one question
                places = {"everywhere": "everywhere and at home"} if once else PLACES
                for where, place in places.items():
                    told = _told(gap.between(metric, arm, other, where) for metric in gap.metrics)
                    lines.append((f"{name} against {word}, {place}:", told))
        if not gap.unseen.empty:
            told = _told(gap.away(metric, "unseen") for metric in gap.metrics)
            lines.append((f"{name} at a hospital it has never seen, against a model that has:", told))
    if gap.few and lines:
        few = listed(list(gap.few))
        whom = " of one class" * bool(gap.task.classes)
        counts = "counts in these" if gap.lucky else "is in no mean here"
        lines.append(
            (words(gap.headline).name, f"at {few} is mostly luck, with too few test patients{whom}, and {counts}.")
        )
    return lines


def _told(each: Iterable[Difference]) -> str:
    """Tell the judged one first, then the others."""
    every = list(each)
    judged = [_said(apart) for apart in every if apart.said]
    rest = [_said(apart) for apart in every if not apart.said]
    beside = f"shown, not judged: {'; '.join(rest)}" if rest else ""
    return "; ".join(filter(None, [*judged, beside])) + "."


def _said(apart: Difference) -> str:
    name = words(apart.metric).name
    if apart.said == UNKNOWN:
        return f"{name} not judged"
    word = {"better": "clearly better ", "worse": "clearly worse ", UNCLEAR: f"{apart.unclear} ",
            SAME: "the same for what matters "}.get(apart.said, "")  # fmt: skip
    seen = f", {amount(apart.seen)} could have been seen" if apart.said == UNCLEAR and apart.seen == apart.seen else ""
    return f"{name} {word}{f'({apart}{seen})' if word else apart}"
