"""What a study says: a plain sentence that can say "no clear winner", then the numbers, then how they were judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.cells import FEW, is_few
from fedlab.federation.metrics import NEEDS_EVERY_CLASS
from fedlab.study.failed import of_one_class
from fedlab.study.failed import told as failures
from fedlab.study.pairs import gains, pairs, rows_of
from fedlab.study.places import left_out
from fedlab.study.tuning import at_the_ends, chosen_by
from fedlab.study.words import arm_name, digits_of, listed, words

if TYPE_CHECKING:
    from fedlab.study.study import Study

OWN = "isolated"
CALLED = {OWN: "the hospitals’ own models", "centralized": "the pooled model", "ensemble": "the ensemble"}
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


PLAIN = {
    "auc": "how well the risks rank the patients",
    "accuracy": "the share of patients classified right",
    "balanced_accuracy": "the share classified right, each class counting alike",
    "log_loss": "how true the risks are",
    "brier": "how true the risks are",
    "ece": "how far the risks are off",
}


def verdict(study: Study, *, metric: str | Sequence[str] = "auc", against: str = OWN, method: bool = True) -> str:
    """Say who gains at home and which arm wins everywhere, and where there is no clear winner.

    First one plain sentence, then the numbers, then in brackets how they were judged. A winner is named where the
    corrected interval of the paired differences leaves zero out and Holm's adjusted p is below .05 as well: over every
    arm at every hospital for the gains, and over all pairs of arms for the rest (two families). The intervals in the
    text are each by itself.

    Parameters
    ----------
    metric : str or sequence of str
        Of several each has its paragraph, and how they were judged stands once, below.
    against : str
        The arm that gains are counted from; without isolated learning in the study, arms are only paired.
    method : bool
        Whether to say how it was judged.

    Returns
    -------
    str
        One seed: that differences across seeds cannot be judged.

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
    if not isinstance(metric, str):
        return _paragraphs(study, metric, against, method)
    if against not in study.arms and against != OWN:
        raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(study.arms)}")
    if len(study.seeds) < 2:
        pairs(study, metric=metric)  # refuses what the study does not have
        one = "With one seed, differences across seeds cannot be judged: compare with several, seeds=10."
        return " ".join([*failures(study), one])
    told = [plain(study, metric=metric, against=against), *failures(study)]
    told += winners(study, metric=metric, against=against)
    told += [
        *_few(study, metric),
        *of_one_class(study),
        *_tuned(study),
        *_remarks(study, metric),
        *([_method(study)] if method else []),
    ]
    return " ".join(dict.fromkeys(filter(None, told)))  # the plain sentence may be all that there is to say of winners


def _paragraphs(study: Study, metrics: Sequence[str], against: str, method: bool) -> str:
    told = [verdict(study, metric=metric, against=against, method=False) for metric in metrics]
    return "\n\n".join([*told, *([_method(study)] if method and len(study.seeds) > 1 else [])])


def plain(study: Study, *, metric: str, against: str = OWN) -> str:
    """Return the verdict in one sentence without numbers; empty where nothing could be judged."""
    table = pairs(study, metric=metric)
    if table["p"].isna().all():
        return ""
    called = words(metric)
    gloss = [PLAIN[metric]] if metric in PLAIN else []
    gloss += [] if called.higher else ["lower is better"]
    by = f"By {called.name}" + (f" ({', '.join(gloss)})" if gloss else "")
    if against not in study.arms:
        return _best(table, by) or f"No clear winner {_among([_name(arm) for arm in study.arms])}."
    rest = [arm for arm in study.arms if arm != against]
    over = _over_all(table, rest, against)
    home = _better_off(gains(study, metric=metric, against=against))
    if not over and home == "":
        return f"{by} there is no clear winner, over all hospitals or at any of them."
    nowhere = f"nothing is clearly better or worse than {_name(against)}"
    at_home = home or "no hospital is clearly better or worse off"
    return f"{by}, over all hospitals {over or nowhere}; at home {at_home}."


def _best(table: pd.DataFrame, by: str) -> str:
    """The arm that wins most often, and over which; empty without any."""
    won = table[table["winner"] != ""]
    if won.empty:
        return ""
    best = str(won["winner"].mode().iloc[0])
    beaten = [_name(r["other"] if r["one"] == best else r["one"]) for r in rows_of(won) if r["winner"] == best]
    return f"{by}, over all hospitals {_name(best)} is clearly better than {listed(beaten)}."


def _over_all(table: pd.DataFrame, rest: list[str], against: str) -> str:
    """Which arms are clearly better or worse than one, over all hospitals; empty if no pair has a winner."""
    told: dict[str, list[str]] = {"better": [], "worse": []}
    for row in rows_of(table):
        if row["winner"] and against in (row["one"], row["other"]):
            other = row["other"] if row["one"] == against else row["one"]
            told["better" if row["winner"] == other else "worse"].append(_name(other))
    parts = [f"{listed(arms)} {_are(arms)} clearly {how} than {_name(against)}" for how, arms in told.items() if arms]
    differ = table["one"].isin(rest) & table["other"].isin(rest) & (table["winner"] != "")
    if not parts and differ.any():
        parts = [f"nothing is clearly better or worse than {_name(against)}, but the others differ among themselves"]
    return ", and ".join(parts)


def _better_off(table: pd.DataFrame) -> str:
    """Which hospitals are clearly better or worse off at home with at least one arm; empty if none is."""
    told: dict[str, list[str]] = {"better": [], "worse": []}
    for row in rows_of(table):
        if row["winner"]:
            how = told["better" if row["winner"] == row["one"] else "worse"]
            how.extend([row["where"]] if row["where"] not in how else [])
    with_one = " with at least one of them" if table["one"].nunique() > 1 else ""
    parts = [f"{listed(sites)} {_are(sites)} clearly {how} off{with_one}" for how, sites in told.items() if sites]
    return ", and ".join(parts)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 and names[0] != CALLED[OWN] else "are"


def winners(study: Study, *, metric: str, against: str = OWN) -> list[str]:
    """Return the sentences of :func:`verdict` that name winners, without those on how they were judged."""
    table = pairs(study, metric=metric)
    rest = [arm for arm in study.arms if arm != against]
    undecided = _undecided(table, rest)
    told = []
    if against in study.arms:
        told.append(_at_home(gains(study, metric=metric, against=against), rest, against, metric, undecided))
    elif undecided:
        told.append(f"No clear winner {_among(undecided)}.")
    return [*told, *_everywhere(table, metric, undecided)]


def _at_home(table: pd.DataFrame, rest: list[str], against: str, metric: str, undecided: list[str]) -> str:
    """Which hospitals gain from which arm, and which are left."""
    told: dict[str, list[str]] = {}
    for row in rows_of(table):
        if row["winner"]:
            verb = "gains" if row["winner"] == row["one"] else "loses"
            which = f"with {_name(row['one'])} " if len(rest) > 1 else ""
            told.setdefault(f"{row['where']} {verb}", []).append(f"{which}({_shown(row, metric)})")
    parts = [f"{start} {listed(what)}" for start, what in told.items()]
    sites = list(dict.fromkeys(table["where"]))
    settled = set(table[table["winner"] != ""]["where"])
    unknown = [site for site in sites if table[table["where"] == site]["p"].isna().all()]
    left = len(set(sites) - settled - set(unknown))
    also = f", nor {_among(undecided)}" if undecided else ""
    if left:
        there = "other" if settled or unknown else "hospital"
        parts.append(f"no clear winner at the {_count(left)} {there}{'s' * (left > 1)}{also}")
    elif undecided:
        parts.append(f"no clear winner {_among(undecided)}")
    reasons = table.drop_duplicates("where").set_index("where")["reason"]
    parts += [f"{site} is not judged ({reasons[site]})" for site in unknown]
    return f"Against {_name(against)}, at home: {'; '.join(parts)}."


def _among(arms: list[str]) -> str:
    return f"{'between' if len(arms) == 2 else 'among'} {listed(arms)}"


def _undecided(table: pd.DataFrame, arms: list[str]) -> list[str]:
    """The arms, listed, where not one pair of them has a winner; nothing where one has or none was tested."""
    inside = table[table["one"].isin(arms) & table["other"].isin(arms)]
    if inside.empty or (inside["winner"] != "").any() or inside["p"].isna().any():
        return []
    return [_name(arm) for arm in arms]


def _everywhere(table: pd.DataFrame, metric: str, undecided: list[str]) -> list[str]:
    """Pairs with a winner over all hospitals, and what is left; ``undecided`` has been told before."""
    before = math.comb(len(undecided), 2)
    left = int(((table["winner"] == "") & table["p"].notna()).sum()) - before
    beaten: dict[str, list[str]] = {}
    unknown = []
    for row in rows_of(table):
        one, other = row["one"], row["other"]
        if row["winner"]:
            better, worse, sign = (one, other, 1) if row["winner"] == one else (other, one, -1)
            verb = "beat" if better == OWN else "beats"
            beaten.setdefault(f"{_name(better)} {verb}", []).append(f"{_name(worse)} ({_shown(row, metric, sign)})")
        elif math.isnan(row["p"]):
            unknown.append(f"{_name(one)} against {_name(other)} is not judged ({row['reason']})")
    parts = [f"{start} {listed(what)}" for start, what in beaten.items()]
    if left:
        pairs_left = f"the {_count(left)} other pair{'s' * (left > 1)} of arms"
        parts.append(f"no clear winner in {pairs_left}" if parts or before else "no clear winner")
    parts += unknown
    return [f"Over all hospitals: {'; '.join(parts)}."] if parts else []


def _remarks(study: Study, metric: str) -> list[str]:
    """What the means of this metric are not of."""
    seeds, fewest, said = len(study.seeds), int(pairs(study, metric=metric)["seeds"].min()), []
    if fewest < seeds:
        said.append(f"Some pairs have a score on {fewest} seeds only.")
    gone = left_out(study.report(), metric)
    if gone:
        told = ", ".join(f"{site} ({why})" for site, why in gone.items())
        said.append(f"No mean over hospitals has {told}.")
    return said


def _method(study: Study) -> str:
    """How winners were judged, and what the intervals cover."""
    published = study.federation.published
    test = "t" if published else "t, corrected for overlapping splits (Nadeau & Bengio)"
    said = (f"(95 % intervals over {len(study.seeds)} seeds: {test}; winners hold after Holm’s correction; no clear "
            "winner does not mean equal.)")  # fmt: skip
    if published:
        said += (" The split is a published one: its seeds are starts and batch orders, not other patients; "
                 "study.delong() judges by those.")  # fmt: skip
    return f"{said} {chosen_by(study)}"


def _few(study: Study, metric: str) -> list[str]:
    """Name the sites whose score is mostly luck."""
    scores = study.report()
    fewest = scores[scores["metric"] == metric].groupby("test", sort=False)["fewest"].min()
    small = [str(site) for site, count in fewest.items() if is_few(count)]
    if not small:
        return []
    luck = ", so that the score is mostly luck" if metric in NEEDS_EVERY_CLASS else ""
    return [f"Fewer than {FEW} test patients of a class{luck}: {', '.join(small)}."]


def _tuned(study: Study) -> list[str]:
    """Name the arms that would perhaps have chosen what was not tried."""
    told = []
    for end, setting, value, arms in at_the_ends(study.trials):
        whom = "it" if len(arms) == 1 else "them"
        told.append(
            f"{listed([_name(arm) for arm in arms])} mostly chose the {end} {setting} that was tried, {value:g}: "
            f"a {end.removesuffix('st')}r one may suit {whom} better."
        )
    return [sentence[0].upper() + sentence[1:] for sentence in told]


def _name(arm: str) -> str:
    return CALLED.get(arm) or arm_name(arm)


def _count(n: int) -> str:
    return COUNTS[n] if n < len(COUNTS) else str(n)


def _shown(row: dict[str, Any], metric: str, sign: int = 1) -> str:
    """``+0.05 AUC [0.01, 0.09]``, with more digits where a bound would look like the zero that it is not."""
    low, high = sorted((sign * row["low"], sign * row["high"]))
    digits = digits_of(low, high)
    text = f"{sign * row['difference']:+.{digits}f} {words(metric).name} [{low:.{digits}f}, {high:.{digits}f}]"
    return text.replace("-", "−")
