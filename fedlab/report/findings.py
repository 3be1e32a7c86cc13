"""What the numbers say, in words. No difference is called one that its family does not bear out."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fedlab.metrics.cells import written
from fedlab.report.across import at_the_next
from fedlab.report.door import BARS, described
from fedlab.report.gap import Gap
from fedlab.report.judged import SAME, UNKNOWN, Difference
from fedlab.study.failed import told as failures
from fedlab.study.prevalence import BEYOND
from fedlab.study.study import REFERENCE
from fedlab.study.verdict import unjudged
from fedlab.study.words import arm_name, few, listed, words

UNEVEN = 0.10  # prevalences that differ by more deserve a word
ENOUGH = 5  # seeds, before an interval over them means much
JUDGED = {"better": "clearly better", "worse": "clearly worse", UNKNOWN: "not judged",
          SAME: "the same for what matters"}  # fmt: skip
BESIDE = "Each with its own 95 % interval, shown and not judged."


class Finding(NamedTuple):
    """One part of the story: a heading, and sentences."""

    heading: str
    said: list[str]


def verdict(gap: Gap, *, method: bool = True) -> dict[str, str]:
    """Return what :meth:`fedlab.Study.verdict` says by the primary metric, and the intervals of the others.

    ``method`` is whether to say with the first how it was judged; a page says it once, among its limits.
    """
    first, *others = gap.metrics
    if len(gap.study.arms) < 2:
        return {first: " ".join([*failures(gap.study), "One way of learning, and nothing to compare it with."])}
    told = {first: gap.study.verdict(method=method)}
    if len(gap.study.seeds) > 1:
        told |= {metric: unjudged(gap.study, metric) for metric in others}
    return told


def findings(gap: Gap) -> list[Finding]:
    """Return what the verdict leaves open, in the order of the story; what cannot be said from this is left out."""
    found = [
        Finding("A hospital’s own model, away from home", away(gap)),
        Finding("A hospital that the model has never seen", unseen(gap)),
        Finding("What AUC hides", hidden(gap)),
    ]
    return [finding for finding in found if finding.said]


def away(gap: Gap) -> list[str]:
    """How hospitals' own models do at other hospitals, and the largest drop."""
    names = gap.study.federation.names
    if not gap.isolated or len(names) < 2:
        return []
    told = [_dropped(gap, metric, gap.away(metric, "elsewhere")) for metric in gap.metrics]
    if gap.large and gap.lucky:
        home, elsewhere = ((REFERENCE, where + gap.large) for where in ("home", "elsewhere"))
        less = _dropped(gap, gap.headline, gap.shown(gap.headline, elsewhere, home), gap.large)
        told.insert(1, f"Without {listed(list(gap.few))}, {less}")
    return [*told, *_largest_drop(gap, names), BESIDE]


def _dropped(gap: Gap, metric: str, apart: Difference, large: str = "") -> str:
    home, elsewhere = (gap.interval(REFERENCE, metric, where + large).mean for where in ("home", "elsewhere"))
    return f"{_name(metric)}: {home:.3f} at home, {elsewhere:.3f} elsewhere: {judged(apart)}."


def _largest_drop(gap: Gap, names: tuple[str, ...]) -> list[str]:
    pairs = [(source, site) for site in names if site not in gap.few for source in names if source != site]
    if not pairs:
        return []
    apart = {pair: gap.shown(gap.headline, (REFERENCE, pair), gap.own(REFERENCE, pair[1])) for pair in pairs}
    source, site = worst = min(pairs, key=lambda pair: np.nan_to_num(apart[pair].mean, nan=np.inf))
    theirs, own = (gap.interval(REFERENCE, gap.headline, (who, site)).mean for who in (source, site))
    return [
        f"The largest drop: at {site}, {source}’s model has {_head(gap)} {theirs:.3f} and {site}’s own has "
        f"{own:.3f}: {apart[worst]} (picked from {len(pairs)} pairs because it is the largest, so it is not judged)."
    ]


def unseen(gap: Gap) -> list[str]:
    """A hospital that the model has not learnt from: each left out in turn, and the one held out."""
    told = []
    arm, sites = gap.federated, gap.study.federation.names
    if not gap.unseen.empty and arm is not None:
        told = [f"{arm_name(arm)} without the hospital’s records, tested there, each of {len(sites)} left out in turn."]
        for metric in gap.metrics:
            never, seen = (gap.interval(arm, metric, where).mean for where in ("unseen", "home"))
            apart = judged(gap.away(metric, "unseen"))
            told.append(f"{_name(metric)}, mean: {never:.3f}, against {seen:.3f} with its records: {apart}.")
        each = "; ".join(f"{site} {judged(gap.away(gap.headline, site))}" for site in sites)
        told.append(f"{_head(gap)}, hospital by hospital: {each}.")
        told.append(BESIDE)
    if gap.held_out:
        levels = {arm: _level(gap.interval(arm, gap.headline, "held out").mean) for arm in gap.study.arms}
        each = ", ".join(f"{arm_name(arm)} {level}" for arm, level in levels.items())
        told.append(f"{gap.held_out} was held out: nothing was learnt or chosen on it. {_head(gap)} there: {each}.")
    return told + at_the_next(gap)


def hidden(gap: Gap) -> list[str]:
    """Prevalence, which AUC does not see."""
    federation = gap.study.federation
    if federation.task.kind != "binary":
        return []
    positive = federation.task.classes[1]
    share = described(federation)[f"share {positive}"].dropna()
    if share.empty or share.max() - share.min() <= UNEVEN:
        return []
    return [
        f"AUC looks at the order of patients alone. The share “{positive}” runs from {share.min():.0%} at "
        f"{share.idxmin()} to {share.max():.0%} at {share.idxmax()}, so what one hospital’s threshold and "
        "probabilities are worth at another does not follow from AUC: accuracy, log loss, Brier score and "
        "calibration stand beside it."
    ]


def limits(gap: Gap) -> list[str]:
    """How it was judged, and what the intervals do and do not cover."""
    defaults = "Settings are fedlab’s defaults, tuned for no arm."
    return [*_judgement(gap), BARS, *_luck(gap), defaults, "For teaching and research, not for the care of patients."]


def _judgement(gap: Gap) -> list[str]:
    seeds, published = len(gap.study.seeds), gap.study.federation.published
    if seeds == 1:
        return ["One seed: there is no interval over seeds, so no difference is judged here."]
    lean = [f"{seeds} seeds make an interval that is itself a guess: ask for ten."] if seeds < ENOUGH else []
    what = "starts and batch orders on the published split" if published else "splits of the same patients"
    how = "t" if published else "t, corrected for overlapping splits: Nadeau & Bengio 2003"
    wider = "Those of all metrics"
    if gap.study.federation.task.classes:
        wider = f"Those of accuracy, log loss and Brier score are wider {BEYOND}. Those"
    return [
        f"Intervals are 95 %, over {seeds} {what} ({how}), each by itself. {wider} of the learning curves, and of a "
        "hospital left out of training, cover other splits and training runs of these patients, not other patients.",
        f"One family of differences is judged, by {words(gap.study.primary).name}, the prespecified metric: every "
        "pair of arms, everywhere and at home. A difference is called clear where it stays so after Holm’s correction "
        "for all of these. An interval may leave zero out and its difference still not be called clear.",
        "All else is shown, not judged: the other metrics, single hospitals, what is said without the small sites, "
        "what is lost away from home, and the learning curves. The clearest of so many may be luck.",
        "“No clear difference” does not mean that the two are equal. What could have been seen beside it is the "
        "smallest difference that one such test finds in four studies of five (80 % power), at these seeds’ spread.",
        *_smallest(gap),
        *lean,
    ]


def _smallest(gap: Gap) -> list[str]:
    smallest = gap.study.smallest
    if smallest is None:
        return []
    return [
        f"A difference in {words(gap.study.primary).name} below {smallest:g} was prespecified as too small to matter. "
        "“The same” is where the whole 95 % interval lies within it: two one-sided tests at 2.5 % each, pair by pair."
    ]


def _luck(gap: Gap) -> list[str]:
    named = few(gap.study.federation, told=gap.study.told)
    luckless = f"no mean of {_head(gap)} has it"
    told, whom = list[str](), " in its rarest class" * bool(gap.task.classes)
    for site, count in gap.few.items():
        spread = [gap.interval(arm, gap.headline, gap.own(arm, site)[1]).sd for arm in gap.study.arms]
        swing = f": its {_head(gap)} swings from seed to seed with an sd of up to {max(spread):.2f}"
        what = named.get(site, f"{written(count)} test patients{whom}")
        said = f"{site} has only {what}{swing if np.isfinite(max(spread)) else ''}"
        without = "what is said of large sites leaves it out" if site in gap.lucky else luckless
        told.append(f"{said}; {without}.")
    return told


# --------------------------------------------------------------------------- words


def judged(apart: Difference) -> str:
    """Return the difference, its interval and what may be said of it."""
    said = JUDGED.get(apart.said, apart.said)
    return f"{apart}, {said}" if said else str(apart)


def _head(gap: Gap) -> str:
    return words(gap.headline).name


def _level(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _model(arm: str) -> str:
    name = arm_name(arm)
    return name[0].upper() + name[1:]


def _name(metric: str) -> str:
    what = words(metric)
    return _model(what.name) + ("" if what.higher else " (lower is better)")
