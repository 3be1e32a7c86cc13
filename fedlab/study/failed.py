"""Seeds on which an algorithm fails: its row says so, and the rest stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from fedlab.engine.run import Run

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ("arm", "seed", "round", "error")


class SeedsFailed(UserWarning):
    """An algorithm failed on some seeds of a comparison; ``study.failed`` says which, and how."""


def no_failures() -> pd.DataFrame:
    """Return the table of failures without a row."""
    return pd.DataFrame(columns=list(COLUMNS))


class Lost:
    """The runs of one arm that failed, and how."""

    def __init__(self) -> None:
        self.runs: list[tuple[Run, Exception]] = []

    def enter(self, run: Run, error: Exception) -> None:
        """Remember a run that failed."""
        self.runs.append((run, error))

    def error(self, run: Run) -> Exception | None:
        """Return how this run failed, if it did."""
        return next((error for lost, error in self.runs if lost is run), None)

    def table(self, arm: str, runs: Sequence[Run]) -> pd.DataFrame:
        """One row for each of these runs that failed: ``arm, seed, round, error``."""
        rows = [
            (arm, run.settings.seed, len(run.records) + 1, f"{type(error).__name__}: {error}")
            for run in runs
            if (error := self.error(run))
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


def why(failed: pd.DataFrame, arm: str, seeds: int) -> str:
    """Say on which of how many seeds an arm failed, and how the first did; nothing where it did not.

    Examples
    --------
    >>> failed = pd.DataFrame([("mine", 3, 7, "ValueError: no step")], columns=COLUMNS)
    >>> why(failed, "mine", 5), why(failed, "fedavg", 5)
    ('failed on 1 of 5 seeds (seed 3 in round 7: ValueError: no step)', '')
    """
    rows = failed[failed["arm"] == arm]
    if rows.empty:
        return ""
    first = rows.iloc[0]
    return f"failed on {len(rows)} of {seeds} seeds (seed {first['seed']} in round {first['round']}: {first['error']})"


def told(study: Study) -> list[str]:
    """One sentence an arm that failed on some seeds."""
    arms = dict.fromkeys(study.failed["arm"])
    return [
        f"{arm} {why(study.failed, arm, len(study.seeds))}"
        + (": it is judged on the others." if arm in study.arms else ": it has no result.")
        for arm in arms
    ]
