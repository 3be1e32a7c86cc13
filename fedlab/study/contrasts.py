"""Sentences on the difference of two arms: everywhere, at home, and at each hospital."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.federation.reserved import EVERYWHERE, HOME, HOME_LARGE
from fedlab.study.pairs import SHOWN, away, gains, rows_of
from fedlab.study.words import called, counted, digits_of, listed, words

if TYPE_CHECKING:
    from fedlab.study.study import Study

Pair = tuple[str, str]
MOST = 8  # hospitals' numbers that fit into a sentence
NAMED = 3  # sites that are named


def contrast(study: Study, table: pd.DataFrame, pair: Pair, metric: str, few: list[str]) -> str:
    """Say how one arm differs from another, everywhere and at home, whichever way it points.

    ``table`` is that of :func:`~fedlab.study.pairs.beside`; ``few`` are the sites that are small.
    """
    rows = {row["where"]: row for row in map(_oriented(pair), rows_of(_of(table, pair)))}
    once = not away(study) & set(pair)
    places = {EVERYWHERE: "everywhere and at home" if once else "everywhere", HOME: "at home",
              HOME_LARGE: f"at home without {_sites(few)}"}  # fmt: skip
    parts = []
    for where, name in places.items():
        if where not in rows or (once and where == HOME):
            continue
        parts.append(_part(study, rows[where], name, metric, first=not parts))
        if where != EVERYWHERE and rows[where]["difference"] * rows[EVERYWHERE]["difference"] < 0:
            parts[-1] += ", the other way"
    said = f"{called(pair[0])} against {called(pair[1])}: {'; '.join(parts)}."
    return said[0].upper() + said[1:]


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
    return f"no clear winner{seen}"


def _missing(row: dict[str, Any], metric: str, first: bool) -> str:
    why = row["reason"].partition(f"; {SHOWN}")[0]
    if math.isnan(row["difference"]):
        return f"not judged ({why})"
    return f"{_signed(row['difference'], 2)}{f' {words(metric).name}' * first}, not judged ({why})"


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
    if len(known) > MOST:
        count = known["where"].nunique()
        told = [f"study.pairs(where=…) has the {counted(count)} of them"]
    else:
        told = [
            f"{called(str(arm))} against {called(against)} "
            + ", ".join(
                f"at {row['where']} {shown(row, metric if k == 0 else '')}" for k, row in enumerate(rows_of(rows))
            )
            for arm, rows in known.groupby("one", sort=False)
        ]
    parts = [*told, *why]
    return f"Each hospital by itself, shown and not judged: {'; '.join(parts)}." if parts else ""


# --------------------------------------------------------------------------- words


def shown(row: dict[str, Any], metric: str = "") -> str:
    """``+0.05 AUC [0.01, 0.09]``, with more digits where a bound would look like the zero that it is not."""
    digits = digits_of(row["low"], row["high"])
    name = f" {words(metric).name}" if metric else ""
    text = f"{row['difference']:+.{digits}f}{name} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return text.replace("-", "−")


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


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


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
