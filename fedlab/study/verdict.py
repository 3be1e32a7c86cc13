"""What a study says, in a paragraph of plain words that can say "no clear winner"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.cells import FEW, is_few
from fedlab.federation.metrics import NEEDS_EVERY_CLASS
from fedlab.study.failed import told as failures
from fedlab.study.pairs import gains, pairs, rows_of
from fedlab.study.places import left_out
from fedlab.study.tuning import at_the_ends
from fedlab.study.words import arm_name, digits_of, listed, words

if TYPE_CHECKING:
    from fedlab.study.study import Study

OWN = "isolated"
CALLED = {OWN: "the hospitals’ own models", "centralized": "the pooled model"}
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def verdict(study: Study, *, metric: str = "auc", against: str = OWN) -> str:
    """Say who gains at home and which arm wins everywhere, and where there is no clear winner.

    A winner is named where the corrected interval of the paired differences leaves zero out and Holm's adjusted p is
    below .05 as well: over every arm at every hospital for the gains, and over all pairs of arms for the rest (two
    families). The intervals in the text are each by itself.

    Parameters
    ----------
    metric : str
    against : str
        The arm that gains are counted from; without isolated learning in the study, arms are only paired.

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
    if against not in study.arms and against != OWN:
        raise ValueError(f"there is no arm {against!r} to compare with; the arms are {', '.join(study.arms)}")
    if len(study.seeds) < 2:
        pairs(study, metric=metric)  # refuses what the study does not have
        one = "With one seed, differences across seeds cannot be judged: compare with several, seeds=10."
        return " ".join([*failures(study), one])
    told = winners(study, metric=metric, against=against)
    return " ".join([*failures(study), *told, *_few(study, metric), *_tuned(study), *_how(study, metric)])


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


def _how(study: Study, metric: str) -> list[str]:
    """What the intervals cover."""
    seeds, fewest = len(study.seeds), int(pairs(study, metric=metric)["seeds"].min())
    test = "t" if study.federation.published else "t, corrected for overlapping splits (Nadeau & Bengio)"
    said = [f"(95 % intervals over {seeds} seeds: {test}; winners hold after Holm’s correction; no clear winner does "
            "not mean equal.)"]  # fmt: skip
    if fewest < seeds:
        said.append(f"Some pairs have a score on {fewest} seeds only.")
    gone = left_out(study.report(), metric)
    if gone:
        told = ", ".join(f"{site} ({why})" for site, why in gone.items())
        said.append(f"No mean over hospitals has {told}.")
    if study.federation.published:
        said.append("The split is a published one: its seeds are starts and batch orders, not other patients; "
                    "study.delong() judges by those.")  # fmt: skip
    return said


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
    called = words(metric)
    lower = "" if called.higher else ", lower is better"
    text = f"{sign * row['difference']:+.{digits}f} {called.name} [{low:.{digits}f}, {high:.{digits}f}]{lower}"
    return text.replace("-", "−")
