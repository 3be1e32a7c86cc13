"""Seeds on which an algorithm fails, and sites that did not take part: their rows say so, and the rest stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from fedlab.engine.absences import absences, keeps_own, never_trained, one_class
from fedlab.engine.run import Run

if TYPE_CHECKING:
    from fedlab.study.study import Study

COLUMNS = ("arm", "seed", "round", "error")
MOST = 3  # hospitals that are told of each by itself


class SeedsFailed(UserWarning):
    """An algorithm failed on some seeds of a comparison, or a hospital did not take part as it was asked to.

    ``study.failed`` says which failed and how, and ``study.table()`` what each hospital missed; :func:`fedlab.train`
    with such a seed shows where.
    """


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


def missed(runs: Sequence[Run]) -> dict[str, str]:
    """Return the sites that did not take part as they were asked to: on how many seeds, and how on the first.

    Examples
    --------
    >>> import fedlab
    >>> missed([fedlab.train(fedlab.load("heart_disease"), rounds=1, progress=False)])
    {}
    """
    return _by_site([absences(run) for run in runs])


def _by_site(each: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return what there is to say of each site, one dict a seed: each such, and on how many seeds it is so."""
    counts: dict[str, Counter[str]] = {}
    for found in each:
        for site, what in found.items():
            counts.setdefault(site, Counter())[what] += 1
    return {
        site: "; ".join(f"{what}, on {n} of {len(each)} seeds" for what, n in said.items())
        for site, said in counts.items()
    }


def told(study: Study) -> list[str]:
    """One sentence an arm that failed on some seeds, and for each arm what hospitals missed: of three, and how many."""
    arms = dict.fromkeys(study.failed["arm"])
    failures = [
        f"{arm} {why(study.failed, arm, len(study.seeds))}"
        + (": it is judged on the others." if arm in study.arms else ": it has no result.")
        for arm in arms
    ]
    return failures + [sentence for arm, runs in study.runs.items() for sentence in _absent(arm, runs)]


def _absent(arm: str, runs: Sequence[Run]) -> list[str]:
    never = Counter(site for run in runs for site in never_trained(run))
    own = any(keeps_own(run.algorithm) for run in runs)

    def so(site: str) -> str:
        if site not in never:
            return ""
        where = "there" if never[site] == len(runs) else f"on {never[site]} of them"
        lacks = "it has no model of its own and no score" if own else "the model was learnt without that hospital"
        return f": {where} {lacks}"

    told = [f"{arm}: {site} {what}{so(site)}." for site, what in missed(runs).items()]
    more = len(told) - MOST
    return told[:MOST] + [f"{arm}: so it is with {more} more; study.table() has what each missed."] * (more > 0)


def of_one_class(study: Study) -> list[str]:
    """One sentence an arm whose sites learn each for itself, and some from patients of one class."""
    said = []
    for arm, runs in study.runs.items():
        found = _by_site([one_class(run) for run in runs])
        sites = [f"{site} ({what})" for site, what in list(found.items())[:MOST]]
        more = len(found) - MOST
        if sites:
            beyond = f" and {more} more" * (more > 0)
            said.append(f"{arm} learns from one class alone at {', '.join(sites)}{beyond}.")
    return said
