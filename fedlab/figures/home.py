"""What figures of a table of arms have in common: the model that each hospital would use, and how an arm looks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fedlab.federation.reserved import EVERY_SITE
from fedlab.figures.theme import Style, style
from fedlab.study.words import arm_name

MOST_ARMS = 3  # more in a panel cannot be told apart
ONE_RUN = ""  # the arm of a table that a single run has made
LOOKS = {"isolated": 1, "centralized": 2}  # as in who_gains


def home(table: pd.DataFrame, arms: Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Keep the model that each hospital would use, and the arms that are drawn: those asked for, or the first three."""
    table = table if "arm" in table else table.assign(arm=ONE_RUN, seed=0)
    there = list(table["arm"].unique())
    drawn = list(dict.fromkeys(arms)) if arms is not None else there[:MOST_ARMS]
    odd = [arm for arm in drawn if arm not in there]
    if odd or not drawn:
        raise ValueError(f"there is no arm {odd[0] if odd else None!r} in this table; its arms are {', '.join(there)}")
    if len(drawn) > MOST_ARMS:
        raise ValueError(f"{len(drawn)} arms in one panel cannot be told apart: choose at most {MOST_ARMS} in arms=")
    own = (table["train"] == table["test"]) | (table["train"] == EVERY_SITE)
    return table[own & table["arm"].isin(drawn)], drawn


def looks_of(arms: list[str]) -> dict[str, Style]:
    """Give each arm its look; own and pooled models have the same in every figure."""
    free = iter([0, 3, 4])
    return {arm: style(LOOKS[arm] if arm in LOOKS else next(free)) for arm in arms}


def called(arm: str) -> str:
    """Name an arm, or the one model of a single run."""
    return arm_name(arm) if arm else "the model"
