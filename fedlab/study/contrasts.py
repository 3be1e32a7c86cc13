"""Sentences on the difference of two arms: everywhere, at home, and at each hospital."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.reserved import EVERYWHERE, HOME, HOME_LARGE
from fedlab.study.pairs import SHOWN, away, gains, rows_of
from fedlab.study.words import called, counted, digits_of, listed, signed, words

if TYPE_CHECKING:
    from fedlab.study.study import Study

Pair = tuple[str, str]
MOST = 8  # hospitals' numbers that fit into a sentence
NAMED = 3  # sites that are named
TINY = 4  # digits of a difference, beyond which it is none


def contrast(study: Study, table: pd.DataFrame, pair: Pair, metric: str, few: list[str]) -> str:
    """Say how one arm differs from another, everywhere and at home, whichever way it points.

    ``table`` is that of :func:`~fedlab.study.pairs.beside`; ``few`` are the sites that are small.
    """
    rows = {row["where"]: row for row in map(_oriented(pair), rows_of(_of(table, pair)))}
    once = not away(study) & set(pair)
    places = {EVERYWHERE: "everywhere and at home" if once else "everywhere", HOME: "at home",
              HOME_LARGE: f"at home without {_sites(few)}"}  # fmt: skip
    parts: list[str] = []
    for where, name in places.items():
        if where not in rows or (once and where == HOME):
            continue
        parts.append(_part(study, rows[where], name, metric, first=not parts))
        if where != EVERYWHERE and _sign(rows[where]) * _sign(rows[EVERYWHERE]) < 0:
            parts[-1] += ", the other way"
    said = f"{called(pair[0])} against {called(pair[1])}: {'; '.join(parts)}."
    return said[0].upper() + said[1:]


def _sign(row: dict[str, Any]) -> float:
    apart = row["difference"]
    return 0.0 if math.isnan(apart) else math.copysign(1, apart) * (round(abs(apart), TINY) > 0)


def _part(study: Study, row: dict[str, Any], place: str, metric: str, *, first: bool) -> str:
    if math.isnan(row["low"]):
        return f"{place} {_missing(row, metric, first)}"
    said = [f"{place} {shown(row, metric if first else '')}", *filter(None, [_called(study, row)])]
    return ", ".join(said)


def _called(study: Study, row: dict[str, Any]) -> str:
    """Return what a judged difference is called; nothing where it is shown and not judged."""
    if math.isnan(row["p_holm"]):
        return ""
    if row["winner"]:
        how = "better" if row["winner"] == row["one"] else "worse"
        return f"clearly {how}" + (f", by less than matters ({study.smallest:g})" if row["same"] else "")
    if row["same"]:
        return f"the same for what matters (within ±{study.smallest:g})"
    seen = "" if math.isnan(row["detectable"]) else f" ({amount(row['detectable'])} could have been seen)"
    corrected = " after Holm’s correction" if row["low"] > 0 or row["high"] < 0 else ""
    return f"no clear winner{corrected}{seen}"


def _missing(row: dict[str, Any], metric: str, first: bool) -> str:
    why = row["reason"].partition(f"; {SHOWN}")[0]
    if math.isnan(row["difference"]):
        return f"not judged ({why})"
    return f"{signed(row['difference'], 3)}{f' {words(metric).name}' * first}, not judged ({why})"


def undecided(study: Study, table: pd.DataFrame, open_: list[Pair]) -> str:
    """Say of pairs without any winner how small a difference could have been seen."""
    arms = list(dict.fromkeys(arm for pair in open_ for arm in pair))
    whole = len(open_) == math.comb(len(arms), 2)
    who = f"Among {listed([called(arm) for arm in arms])}" if whole else f"In the {counted(len(open_))} other pairs"
    rows = pd.concat([_of(table, pair) for pair in open_])
    rows = rows[rows["where"] != HOME_LARGE]
    seen = rows["detectable"].dropna()
    known = f" ({_between(seen.min(), seen.max())} could have been seen)" if len(seen) else ""
    same = rows[rows["same"]][["one", "other"]].drop_duplicates()
    alike = f"; {counted(len(same))} of them the same for what matters somewhere" if len(same) else ""
    return f"{who}: no clear winner, everywhere or at home{known}{alike}; study.pairs() has each."


def hospitals(study: Study, metric: str, against: str) -> str:
    """Show what each hospital gains by itself, and say that nobody judges it."""
    table = gains(study, metric=metric, against=against)
    known = table[table["low"].notna()]
    silent = table[table["difference"].isna()].drop_duplicates("where")
    why = [f"{row['where']} has none ({row['reason'].partition(f'; {SHOWN}')[0]})" for row in rows_of(silent)[:NAMED]]
    why += [f"{counted(len(silent) - NAMED)} more have none"] if len(silent) > NAMED else []
    told = [f"study.pairs(where=…) has the {counted(known['where'].nunique())} of them"]
    if len(known) <= MOST:
        told = []
        for arm, rows in known.groupby("one", sort=False):
            each = [f"at {row['where']} {shown(row, metric * (k == 0))}" for k, row in enumerate(rows_of(rows))]
            told.append(f"{called(str(arm))} against {called(against)} {', '.join(each)}")
    parts = [*told, *why]
    return f"Each hospital by itself, shown and not judged: {'; '.join(parts)}." if parts else ""


# --------------------------------------------------------------------------- words


def shown(row: dict[str, Any], metric: str = "") -> str:
    """Write a difference and its interval, with more digits where one of them would look like the zero that it is not.

    Examples
    --------
    >>> shown({"difference": 0.05, "low": 0.01, "high": 0.09}, "auc")
    '+0.05 AUC [0.01, 0.09]'
    >>> shown({"difference": -0.003, "low": -0.04, "high": 0.03})
    '−0.003 [−0.040, 0.030]'
    """
    digits = max(digits_of(row["low"], row["high"]), min(TINY, digits_of(row["difference"], row["difference"])))
    name = f" {words(metric).name}" if metric else ""
    low, high = (f"{row[end]:.{digits}f}".replace("-", "−") for end in ("low", "high"))
    return f"{signed(row['difference'], digits)}{name} [{low}, {high}]"


def amount(value: float) -> str:
    """Write a size with two digits that count.

    Examples
    --------
    >>> amount(0.0449), amount(0.00012), amount(1.26)
    ('0.045', '0.00012', '1.3')
    """
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{max(0, digits)}f}"


def _between(low: float, high: float) -> str:
    least, most = amount(low), amount(high)
    return least if least == most else f"{least} to {most}"


def _sites(names: list[str]) -> str:
    return listed(names) if len(names) <= NAMED else f"the {counted(len(names))} small hospitals"


def _of(table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    return table[table["one"].isin(pair) & table["other"].isin(pair)]


def _oriented(pair: Pair) -> Any:
    """Turn a row so that it is the first arm less the second."""

    def turn(row: dict[str, Any]) -> dict[str, Any]:
        if row["one"] == pair[0]:
            return row
        turned = {"one": pair[0], "other": pair[1], "difference": -row["difference"]}
        return row | turned | {"low": -row["high"], "high": -row["low"]}

    return turn
