"""The report in six lines: which differences are clear and which are not, metric by metric."""

from __future__ import annotations

from collections.abc import Iterable

from fedlab.report.gap import MAIN, Gap
from fedlab.report.judged import UNKNOWN, Difference
from fedlab.study.study import REFERENCE
from fedlab.study.words import arm_name, listed, signed, words


def in_short(gap: Gap) -> list[tuple[str, str]]:
    """Return ``(what, said)``, one line each; what cannot be said from this study is left out."""
    arm, lines = gap.federated, []
    if gap.family("away", MAIN[0]).get("elsewhere"):
        told = _told(gap.away(metric, "elsewhere") for metric in MAIN)
        lines.append(("Own models, at other hospitals against home:", told))
    if arm is not None and arm in gap.shared:
        name = arm_name(arm)
        rivals = {REFERENCE: "the own models", "centralized": "pooling", "ensemble": "a vote of own models"}
        for other, word in rivals.items():
            if other in gap.study.arms:
                told = _told(gap.everywhere(metric, arm, other) for metric in MAIN)
                lines.append((f"{name} against {word}, everywhere:", told))
        if gap.isolated:
            lines.append((f"{name} against the own model, at home:", _home(gap, arm)))
        if not gap.unseen.empty:
            told = _told(gap.away(metric, "unseen") for metric in MAIN)
            lines.append((f"{name} at a hospital it has never seen, against one that has:", told))
    if gap.few and lines:
        few = listed(list(gap.few))
        counts = "counts in these" if gap.lucky else "is in no mean here"
        lines.append(("AUC", f"at {few} is mostly luck, with too few test patients of one class, and {counts}."))
    return lines


def _told(each: Iterable[Difference]) -> str:
    return "; ".join(map(_said, each)) + "."


def _said(apart: Difference) -> str:
    name = words(apart.metric).name
    if apart.said in ("better", "worse"):
        return f"{name} clearly {apart.said} ({signed(apart.mean, 3)})"
    return f"{name} {'not judged' if apart.said == UNKNOWN else apart.said}"


def _home(gap: Gap, arm: str) -> str:
    found: dict[str, dict[str, list[str]]] = {"better": {}, "worse": {}}
    known = False
    for site in gap.study.federation.names:
        for metric in MAIN:
            apart = gap.at_home(arm, site, metric)
            known = known or apart.said != UNKNOWN
            if apart.said in found:
                found[apart.said].setdefault(site, []).append(f"{words(metric).name} ({signed(apart.mean, 3)})")
    if not known:
        return "not judged."
    told = []
    for said, word in (("better", "gain"), ("worse", "loss")):
        told += [f"clear {word} at {site} in {listed(what)}" for site, what in found[said].items()]
    return "; ".join([*told, "no clear difference otherwise." if told else "no clear difference."])
