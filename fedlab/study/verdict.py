"""What a study says: a plain sentence that can say "no clear winner", then the numbers, then how they were judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from fedlab.federation.reserved import EVERYWHERE, HOME
from fedlab.metrics.cells import FEW, is_few
from fedlab.metrics.scores import NEEDS_EVERY_CLASS, OVER_PATIENTS
from fedlab.study.contrasts import Pair, contrast, hospitals, undecided
from fedlab.study.estimand import estimand
from fedlab.study.failed import of_one_class
from fedlab.study.failed import told as failures
from fedlab.study.halves import halves
from fedlab.study.pairs import away, beside, family, rows_of, small, two
from fedlab.study.places import left_out, per_seed
from fedlab.study.prevalence import BEYOND
from fedlab.study.tuning import at_the_ends, chosen_by, two_tried
from fedlab.study.words import OWN, called, counted, listed, words

if TYPE_CHECKING:
    from fedlab.study.study import Study

PLAIN = {
    "auc": "how well the risks rank the patients",
    "accuracy": "the share of patients classified correctly",
    "balanced_accuracy": "the share classified correctly, averaged over the classes",
    "log_loss": "how accurate the stated risks are",
    "brier": "how accurate the stated risks are",
    "mse": "how far predictions are off, large errors most",
    "rmse": "how far predictions are off, large errors most",
    "mae": "how far predictions are off",
    "r2": "the share of the spread that is predicted",
}
STEADY = 10  # seeds from which on their halves are worth asking
MOST = 3  # pairs that are told one by one


def verdict(study: Study, *, also: str | Sequence[str] = (), against: str = OWN, method: bool = True) -> str:
    """Say which arm is better, everywhere and at home, and where there is no clear winner.

    First one plain sentence, then what the means are of and the numbers, then in brackets how they were judged. Judged
    is one family: every pair of arms, everywhere and at home, by the prespecified metric (``primary`` of
    ``compare``). A winner is named where the corrected interval of the paired differences leaves zero out and Holm's
    adjusted p over all of the family is below .05 as well. Beside it stand, with their intervals and without a winner,
    the hospitals one by one, the mean at home without small sites, and the metrics in ``also``. The intervals in the
    text are each by itself.

    Parameters
    ----------
    also : str or sequence of str
        Other metrics, each a paragraph of intervals: shown, not judged.
    against : str
        The arm that the others are told against; without isolated learning in the study, arms are only paired.
    method : bool
        Whether to say how it was judged.

    Returns
    -------
    str
        Paragraphs, with an empty line between them. One seed: that differences across seeds cannot be judged.

    Raises
    ------
    ValueError
        One arm, or a metric or arm that the study does not have.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), algorithms=["isolated", "fedavg"], seeds=1, rounds=1)
    >>> print(study.verdict())
    With one seed, differences across seeds cannot be judged: compare with several, seeds=10.
    """
    two(study)
    _known(study, against)
    if not isinstance(also, (str, Sequence)):
        raise ValueError(f"also is {also!r}: name metrics to be shown beside {study.primary!r}, e.g. also=['auc']")
    others = [metric for metric in dict.fromkeys([also] if isinstance(also, str) else also) if metric != study.primary]
    for metric in others:
        words(metric, study.federation.task)  # refuses what there is not
    if len(study.seeds) < 2:
        one = "With one seed, differences across seeds cannot be judged: compare with several, seeds=10."
        return " ".join([*failures(study), one])
    metrics, each = [study.primary, *others], per_seed(study.report())
    table = family(study, each=each)
    told = [
        " ".join(filter(None, [plain(study, against=against, table=table), *failures(study)])),
        *numbers(study, against=against, each=each),
        *(unjudged(study, metric, against=against, each=each) for metric in others),
        " ".join([*steady(study, table), *_few(study, metrics), *of_one_class(study), *_tuned(study),
                  *_remarks(study, metrics, table)]),
        _method(study) if method else "",
    ]  # fmt: skip
    return "\n\n".join(filter(None, told))


def _known(study: Study, against: str) -> None:
    if against not in study.arms and against != OWN:
        raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(study.arms)}")


# --------------------------------------------------------------------------- the plain sentence


def plain(study: Study, *, against: str = OWN, table: pd.DataFrame | None = None) -> str:
    """Return the verdict in one sentence without numbers; empty where nothing could be judged.

    ``table`` is the study's :func:`~fedlab.study.pairs.family`, for who has it.
    """
    table = family(study) if table is None else table
    if table["p"].isna().all():
        return ""
    what = words(study.primary)
    gloss = [PLAIN[study.primary]] if study.primary in PLAIN else []
    gloss += [] if what.higher else ["lower is better"]
    by = f"By {what.name}" + (f" ({', '.join(gloss)})" if gloss else "")
    places = {where: table[table["where"] == where] for where in (EVERYWHERE, HOME)}
    if not away(study):
        del places[HOME]
    if against not in study.arms:
        told = {where: _best(rows) for where, rows in places.items()}
    else:
        told = {where: _against(rows, against) for where, rows in places.items()}
    if not any(told.values()):
        same = _same(list(places.values())) if len(study.arms) == 2 else ""
        return f"{by} there is no clear winner{', everywhere or at home' * (len(told) == 2)}{same}."
    nothing = "there is no clear winner"
    if against in study.arms:
        nothing = f"nothing is clearly better or worse than {called(against)}"
    said = {where: what or nothing for where, what in told.items()}
    if HOME not in said:
        return f"{by}, {said[EVERYWHERE]}."
    return f"{by}, everywhere {said[EVERYWHERE]}; at home {said[HOME]}{_turned(places, against)}."


def _same(places: list[pd.DataFrame]) -> str:
    """Where two arms are the same for what matters; they may be so everywhere and at home, or at one of these."""
    found = [name for name, rows in zip(("everywhere", "at home"), places, strict=False) if rows["same"].all()]
    where = f" {listed(found)}" if len(places) == 2 else ""
    return f"; the two are the same for what matters{where}" if found else ""


def _best(table: pd.DataFrame) -> str:
    """The arm that wins most often, and over which; empty without any."""
    won = table[table["winner"] != ""]
    if won.empty:
        return ""
    best = str(won["winner"].mode().iloc[0])
    beaten = [called(r["other"] if r["one"] == best else r["one"]) for r in rows_of(won) if r["winner"] == best]
    return f"{called(best)} {_are([called(best)])} clearly better than {listed(beaten)}"


def _against(table: pd.DataFrame, against: str) -> str:
    """Which arms are clearly better or worse than one; empty if no pair has a winner."""
    told: dict[str, list[str]] = {"better": [], "worse": []}
    for row in rows_of(table):
        if row["winner"] and against in (row["one"], row["other"]):
            other = row["other"] if row["one"] == against else row["one"]
            less = " (by less than matters)" if row["same"] else ""
            told["better" if row["winner"] == other else "worse"].append(called(other) + less)
    parts = [f"{listed(arms)} {_are(arms)} clearly {how} than {called(against)}" for how, arms in told.items() if arms]
    differ = (table["one"] != against) & (table["other"] != against) & (table["winner"] != "")
    if not parts and differ.any():
        parts = [f"nothing is clearly better or worse than {called(against)}, but the others differ among themselves"]
    return ", and ".join(parts)


def _turned(places: dict[str, pd.DataFrame], against: str) -> str:
    """Name the arms that everywhere has a winner of and that at home point the other way without one."""
    keys = ["one", "other"]
    both = places[EVERYWHERE].merge(places[HOME], on=keys, suffixes=("", "_home"))
    turned = both[(both["winner"] != "") & (both["winner_home"] == "")
                  & (both["difference"] * both["difference_home"] < 0)]  # fmt: skip
    arms = [called(row["other"] if row["one"] == against else row["one"]) for row in rows_of(turned)
            if against in (row["one"], row["other"])]  # fmt: skip
    return f" (the mean difference of {listed(arms)} points the other way there)" if arms else ""


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 and names[0] != called(OWN) else "are"


# --------------------------------------------------------------------------- the numbers


def numbers(study: Study, *, against: str, each: pd.DataFrame) -> list[str]:
    """Return the paragraphs of :func:`verdict` with what was judged, and each hospital beside it."""
    metric = study.primary
    table, few = beside(study, metric, each=each), small(study, metric, each=each)
    first = [(arm, against) for arm in study.arms if arm != against] if against in study.arms else []
    rest = [(one, other) for k, one in enumerate(study.arms) for other in study.arms[k + 1 :]
            if not first or against not in (one, other)]  # fmt: skip
    clear: list[Pair] = []
    open_: list[Pair] = []
    for pair in rest:
        mine = table[(table["one"] == pair[0]) & (table["other"] == pair[1])]
        (clear if (mine["winner"] != "").any() or len(rest) <= MOST else open_).append(pair)
    lines = [contrast(study, table, pair, metric, few) for pair in [*first, *clear]]
    return [
        estimand(study, metric),
        *lines,
        *([undecided(study, table, open_)] if open_ else []),
        *([hospitals(study, metric, against)] if first else []),
    ]


def unjudged(study: Study, metric: str, *, against: str = OWN, each: pd.DataFrame | None = None) -> str:
    """Return the paragraph of another metric: intervals, and no winner."""
    each = per_seed(study.report()) if each is None else each
    table, few = beside(study, metric, each=each), small(study, metric, each=each)
    if against in study.arms:
        chosen = [(arm, against) for arm in study.arms if arm != against]
    else:
        chosen = [(one, other) for k, one in enumerate(study.arms) for other in study.arms[k + 1 :]]
    what = words(metric)
    lower = "" if what.higher else " (lower is better)"
    lines = [contrast(study, table, pair, metric, few) for pair in chosen[: 2 * MOST]]
    if len(chosen) > len(lines):
        lines.append(f"{counted(len(chosen) - len(lines))} more: study.pairs(metric={metric!r}).".capitalize())
    return " ".join([f"By {what.name}{lower}, shown and not judged.", *lines])


def steady(study: Study, table: pd.DataFrame) -> list[str]:
    """Say how often halves of the seeds name the same winner, where there are seeds enough to ask."""
    if len(study.seeds) < STEADY:
        return []
    found = halves(study)
    named = []
    for row, half in zip(rows_of(table[table["where"] == EVERYWHERE]), rows_of(found.pairs), strict=True):
        if row["winner"]:
            loser = row["other"] if row["winner"] == row["one"] else row["one"]
            named.append(f"{called(row['winner'])} over {called(loser)} in {_share(half['winner'])}")
    more = f"; study.halves() has {counted(len(named) - MOST)} more" if len(named) > MOST else ""
    again = f" Both halves find the same clear winner: {listed(named[:MOST])} of the ways{more}." if named else ""
    ways = f"{found.halvings} ways to halve the seeds"
    return [f"In {_share(found.best)} of {ways}, the same arm is best everywhere in both halves.{again}"]


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


# --------------------------------------------------------------------------- what else is to be known


def _remarks(study: Study, metrics: Sequence[str], table: pd.DataFrame) -> list[str]:
    """What the means of these metrics are not of."""
    said = []
    fewest = int(table["seeds"].min())
    if fewest < len(study.seeds):
        said.append(f"Some pairs have scores on only {fewest} seeds.")
    scores = study.report()
    for metric in metrics:
        gone = left_out(scores, metric)
        if gone:
            told = ", ".join(f"{site} ({why})" for site, why in gone.items())
            said.append(f"Left out of the mean {words(metric).name} over hospitals: {told}.")
    return said


def _method(study: Study) -> str:
    """How winners were judged, and what the intervals cover."""
    published = study.federation.published
    test = "t" if published else "t, corrected for overlapping splits (Nadeau & Bengio)"
    test += f" and {BEYOND}" if study.primary in OVER_PATIENTS else ""
    said = (
        f"(Judged by {words(study.primary).name}, the prespecified metric: every pair of arms, everywhere and at home; "
        f"95 % intervals over {len(study.seeds)} seeds: {test}, each by itself; a winner is named only if it "
        "is one after Holm’s correction, too. All else is shown, not judged. What could have been seen: the smallest "
        "true difference that such a test, by itself, finds in four studies of five (80 % power). No clear winner does "
        "not mean equal."
    )
    if study.smallest is not None:
        said += (
            f" The same for what matters: the 95 % interval lies within ±{study.smallest:g}, which is two one-sided "
            "tests at 2.5 % each, pair by pair."
        )
    if published:
        said += (" The split is a published one: its seeds are starts and batch orders, not other patients; "
                 "study.delong() judges by those.")  # fmt: skip
    return " ".join(filter(None, [said, chosen_by(study)])) + ")"


def _few(study: Study, metrics: Sequence[str]) -> list[str]:
    """Name the sites whose score is mostly luck."""
    scores = study.report()
    fewest = scores[scores["metric"].isin(metrics)].groupby("test", sort=False)["fewest"].min()
    few = [str(site) for site, count in fewest.items() if is_few(count)]
    if not few:
        return []
    ranked = [words(metric).name for metric in metrics if metric in NEEDS_EVERY_CLASS]
    luck = f", so that {listed(ranked)} there is mostly luck" if ranked else ""
    whom = " of a class" if study.federation.task.classes else ""
    return [f"Fewer than {FEW} test patients{whom}{luck}: {', '.join(few)}."]


def _tuned(study: Study) -> list[str]:
    """Name the arms that would perhaps have chosen what was not tried."""
    told = []
    for end, setting, value, often, arms in at_the_ends(study.trials):
        whom = "it" if len(arms) == 1 else "them"
        told.append(
            f"{listed([called(arm) for arm in arms])} {often} the {end} {setting} that was tried, {value:g}: "
            f"a {end.removesuffix('st')}r one may suit {whom} better."
        )
    told += [f"of {name} two values were tried, so that each is an end of them." for name in two_tried(study.trials)]
    return [sentence[0].upper() + sentence[1:] for sentence in told]
