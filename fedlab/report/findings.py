"""What the numbers say, in words. No difference is called one whose interval holds zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fedlab.cli.gap import Difference, Gap
from fedlab.figures.words import arm_name, few, listed, words
from fedlab.study.study import REFERENCE

SAID = ("auc", "accuracy", "log_loss")
UNEVEN = 0.10  # prevalences that differ by more deserve a word
ENOUGH = 5  # seeds, before an interval over them means much
JUDGED = {"better": "clearly better", "worse": "clearly worse", "not known": "not judged"}
GROUPS = {
    "better": "clear gain at",
    "worse": "clear loss at",
    "no clear difference": "no clear difference at",
    "not known": "not judged at",
}


class Finding(NamedTuple):
    """One part of the story: a heading, and sentences."""

    heading: str
    said: list[str]


def verdict(gap: Gap) -> list[Finding]:
    """Return the findings in the order of the story; what cannot be said from this study is left out."""
    found = [
        Finding("A hospital’s own model, away from home", away(gap)),
        Finding("One model for all, everywhere", everywhere(gap)),
        Finding("Federated against pooled, and against a vote of own models", rivals(gap)),
        Finding("At home: who gains, who loses", home(gap)),
        Finding("A hospital that the model has never seen", unseen(gap)),
        Finding("What AUC hides", hidden(gap)),
        Finding("How far this goes", limits(gap)),
    ]
    return [finding for finding in found if finding.said]


def away(gap: Gap) -> list[str]:
    """How hospitals' own models do at other hospitals, and the largest drop."""
    names = gap.study.federation.names
    if not gap.isolated or len(names) < 2:
        return []
    told = [_drop(gap, metric, "") for metric in SAID]
    if gap.large:
        told.insert(1, f"Without {listed(list(gap.few))}, {_drop(gap, 'auc', gap.large)}")
    return told + _largest_drop(gap, names)


def _drop(gap: Gap, metric: str, large: str) -> str:
    home, elsewhere = (gap.interval(REFERENCE, metric, where + large).mean for where in ("home", "elsewhere"))
    apart = gap.difference(metric, (REFERENCE, f"elsewhere{large}"), (REFERENCE, f"home{large}"))
    return f"{_name(metric)}: {home:.3f} at home, {elsewhere:.3f} elsewhere: {judged(apart)}."


def _largest_drop(gap: Gap, names: tuple[str, ...]) -> list[str]:
    pairs = [(source, site) for site in names if site not in gap.few for source in names if source != site]
    if not pairs:
        return []
    apart = {pair: gap.difference("auc", (REFERENCE, pair), gap.own(REFERENCE, pair[1])) for pair in pairs}
    source, site = worst = min(pairs, key=lambda pair: np.nan_to_num(apart[pair].mean, nan=np.inf))
    theirs, own = (gap.interval(REFERENCE, "auc", (who, site)).mean for who in (source, site))
    return [
        f"The largest drop: {source}’s model reads {site}’s patients with AUC {theirs:.3f}, {site}’s own with "
        f"{own:.3f}: {judged(apart[worst])} (picked from {len(pairs)} pairs because it is the largest)."
    ]


def everywhere(gap: Gap) -> list[str]:
    """One model for all against the own models, over all hospitals."""
    if not gap.isolated or not gap.shared:
        return []
    told = []
    for metric in SAID:
        base = gap.interval(REFERENCE, metric, "everywhere").mean
        arms = []
        for arm in gap.shared:
            apart = gap.difference(metric, (arm, "everywhere"), (REFERENCE, "everywhere"))
            arms.append(f"{arm_name(arm)} {gap.interval(arm, metric, 'everywhere').mean:.3f}, {judged(apart)}")
        told.append(f"{_name(metric)}: own models {base:.3f}; {'; '.join(arms)}.")
    return told


def rivals(gap: Gap) -> list[str]:
    """The federated model against the pooled one and the ensemble, everywhere."""
    arm, told = gap.federated, []
    for other in ("centralized", "ensemble"):
        if arm is not None and arm in gap.shared and other in gap.study.arms:
            each = [gap.difference(metric, (arm, "everywhere"), (other, "everywhere")) for metric in SAID]
            what = _joined(f"{words(apart.metric).name} {judged(apart)}" for apart in each)
            told.append(f"{arm_name(arm)} against {arm_name(other)}: {what}.")
    return told


def home(gap: Gap) -> list[str]:
    """Who gains at home from the federated model, and who loses."""
    arm = gap.federated
    if not gap.isolated or arm is None:
        return []
    told = []
    for metric in SAID:
        groups: dict[str, list[str]] = {}
        for site in gap.study.federation.names:
            apart = gap.at_home(arm, site, metric)
            groups.setdefault(apart.said, []).append(f"{site} ({apart})")
        told.append(f"{_name(metric)}, {arm_name(arm)} against the hospital’s own model: {_grouped(groups)}.")
    return told + _luck(gap)


def _luck(gap: Gap) -> list[str]:
    named = few(gap.study.federation)
    told = []
    for site, count in gap.few.items():
        spread = [gap.interval(arm, "auc", gap.own(arm, site)[1]).sd for arm in gap.study.arms]
        swings = (
            f": its AUC swings from seed to seed with an sd of up to {max(spread):.2f}"
            if np.isfinite(max(spread))
            else ""
        )
        what = named.get(site, f"{count} test patients in its rarest class")
        told.append(f"{site} has only {what}{swings}; what is said of large sites leaves it out.")
    return told


def unseen(gap: Gap) -> list[str]:
    """The hospital left out, read by a model of the others."""
    if gap.unseen.empty or gap.federated is None:
        return []
    arm, sites = gap.federated, gap.study.federation.names
    told = [
        f"{arm_name(arm)} trained without the hospital and tested there, each of the {len(sites)} left out in turn."
    ]
    for metric in SAID:
        never, seen = (gap.interval(arm, metric, where).mean for where in ("unseen", "home"))
        apart = gap.difference(metric, (arm, "unseen"), (arm, "home"))
        told.append(f"{_name(metric)}, mean: {never:.3f}, against {seen:.3f} with its records: {judged(apart)}.")
    each = _joined(f"{site} {judged(gap.not_seen(site, 'auc'))}" for site in sites)
    return [*told, f"AUC, hospital by hospital: {each}."]


def hidden(gap: Gap) -> list[str]:
    """Prevalence, which AUC does not see."""
    federation = gap.study.federation
    if federation.task.kind != "binary":
        return []
    positive = federation.task.classes[1]
    share = federation.describe()[f"share {positive}"]
    if share.max() - share.min() <= UNEVEN:
        return []
    return [
        f"AUC looks at the order of patients alone. The share “{positive}” runs from {share.min():.0%} at "
        f"{share.idxmin()} to {share.max():.0%} at {share.idxmax()}, so what one hospital’s threshold and "
        "probabilities are worth at another does not follow from AUC: accuracy, log loss, Brier score and ECE stand "
        "beside it."
    ]


def limits(gap: Gap) -> list[str]:
    """What the intervals do and do not cover."""
    seeds, published = len(gap.study.seeds), gap.study.federation.published
    defaults = "Settings are fedlab’s defaults, tuned for no arm."
    if seeds == 1:
        return ["One seed: there is no interval over seeds, so no difference is judged here.", defaults]
    lean = [f"{seeds} seeds make an interval that is itself a guess: ask for ten."] if seeds < ENOUGH else []
    what = "starts and batch orders on the published split" if published else "splits of the same patients"
    how = "t" if published else "t, corrected for overlapping splits: Nadeau & Bengio 2003"
    return [
        f"Intervals are 95 %, over {seeds} {what} ({how}), each by itself: about one in twenty misses.",
        "“No clear difference” means that the interval holds zero. It does not mean that the two are equal.",
        *lean,
        defaults,
    ]


# --------------------------------------------------------------------------- words


def judged(apart: Difference) -> str:
    """Return the difference, its interval and what may be said of it."""
    return f"{apart}, {JUDGED.get(apart.said, apart.said)}"


def _name(metric: str) -> str:
    what = words(metric)
    return what.name[0].upper() + what.name[1:] + ("" if what.higher else " (lower is better)")


def _joined(parts: Iterable[str]) -> str:
    return "; ".join(parts)


def _grouped(groups: dict[str, list[str]]) -> str:
    told = [f"{word} {', '.join(groups[said])}" for said, word in GROUPS.items() if said in groups]
    if "not known" not in groups:
        told += [
            f"no hospital clearly {w}" for said, w in (("better", "gains"), ("worse", "loses")) if said not in groups
        ]
    return _joined(told)
