"""The report in six lines: which differences are clear and which are not, metric by metric."""

from __future__ import annotations

from fedlab.cli.gap import Difference, Gap, signed
from fedlab.figures.words import arm_name, listed, words
from fedlab.study.study import REFERENCE

SAID = ("auc", "accuracy", "log_loss")


def in_short(gap: Gap) -> list[tuple[str, str]]:
    """Return ``(what, said)``, one line each; what cannot be said from this study is left out."""
    arm, sites = gap.federated, gap.study.federation.names
    lines = []
    if gap.isolated and len(sites) > 1:
        lines.append(
            ("Own models, at other hospitals against home:", _told(gap, (REFERENCE, "elsewhere"), (REFERENCE, "home")))
        )
    if arm is not None and arm in gap.shared:
        name = arm_name(arm)
        for other, word in (
            (REFERENCE, "the own models"),
            ("centralized", "pooling"),
            ("ensemble", "a vote of own models"),
        ):
            if other in gap.study.arms:
                told = _told(gap, (arm, "everywhere"), (other, "everywhere"))
                lines.append((f"{name} against {word}, everywhere:", told))
        if gap.isolated:
            lines.append((f"{name} against the own model, at home:", _home(gap, arm)))
        if not gap.unseen.empty:
            told = _told(gap, (arm, "unseen"), (arm, "home"))
            lines.append((f"{name} at a hospital it has never seen, against one that has:", told))
    if gap.large and lines:
        lines.append(
            (
                "AUC",
                f"here leaves out {listed(list(gap.few))}: too few test patients of one class. It is in all tables.",
            )
        )
    return lines


def _told(gap: Gap, one: tuple[str, str], other: tuple[str, str]) -> str:
    return "; ".join(_said(_apart(gap, metric, one, other)) for metric in SAID) + "."


def _apart(gap: Gap, metric: str, one: tuple[str, str], other: tuple[str, str]) -> Difference:
    large = gap.large if metric == "auc" else ""
    return gap.difference(metric, (one[0], one[1] + large), (other[0], other[1] + large))


def _said(apart: Difference) -> str:
    word = {"not known": "not judged"}.get(apart.said, apart.said)
    name = words(apart.metric).name
    return f"{name} clearly {word} ({signed(apart.mean)})" if word in ("better", "worse") else f"{name} {word}"


def _home(gap: Gap, arm: str) -> str:
    found: dict[str, dict[str, list[str]]] = {"better": {}, "worse": {}}
    known = False
    for site in gap.study.federation.names:
        for metric in SAID:
            if metric == "auc" and gap.large and site in gap.few:
                continue
            apart = gap.at_home(arm, site, metric)
            known = known or apart.said != "not known"
            if apart.said in found:
                found[apart.said].setdefault(site, []).append(f"{words(metric).name} ({signed(apart.mean)})")
    if not known:
        return "not judged."
    told = []
    for said, word in (("better", "gain"), ("worse", "loss")):
        told += [f"clear {word} at {site} in {listed(what)}" for site, what in found[said].items()]
    return "; ".join([*told, "no clear difference otherwise." if told else "no clear difference."])
