"""What a score is worth that knows no patient: who tells all what the hospital's own patients are like on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.study.words import number, words


def guesses(federation: Federation) -> dict[str, float]:
    """Return for each site the choosing score on ``valid`` of who tells all what its training patients are like.

    Of classes their shares: infinite where a class is among its ``valid`` and not among its training patients.

    Examples
    --------
    >>> import fedlab
    >>> round(guesses(fedlab.load("heart_disease"))["Cleveland"], 2)
    0.69
    """
    found = {}
    for site in federation.sites:
        train, valid = (site.rows.y[rows].numpy() for rows in (site.split.train, site.split.valid))
        found[site.name] = federation.task.guess(train, valid)
    return found


def mean_guess(runs: Sequence[Run]) -> float:
    """Return the mean over patients, and over the runs; sites whose guess is infinite are left out."""
    means = []
    for run in runs:
        known = {site: loss for site, loss in guesses(run.federation).items() if math.isfinite(loss)}
        n = {site: len(run.federation[site].split.valid) for site in known}
        means += [sum(known[site] * n[site] for site in known) / sum(n.values())] if known else []
    return sum(means) / len(means) if means else math.nan


def _reported(run: Run, metrics: Sequence[str]) -> pd.DataFrame:
    """Scores on ``valid`` at each site's reported round; a live chart has no time for the whole history."""
    by_round = {record.round: record.valid for record in run.records}
    got = {site: by_round[at].get(site, {}) for site, at in run.chosen.items()}
    return pd.DataFrame({m: {site: scores.get(m, math.nan) for site, scores in got.items()} for m in metrics})


class Worse(NamedTuple):
    """A site's score that guessing beats."""

    site: str
    metric: str
    score: float
    guess: float

    def __str__(self) -> str:
        return f"{self.site} ({words(self.metric).name} {number(self.score, 3)}, guessing {number(self.guess, 3)})"


def worse_than_guessing(runs: Sequence[Run], metrics: Sequence[str] = ()) -> list[Worse]:
    """Return the sites whose score on ``valid``, at the reported round and on average over the runs, guessing beats."""
    task = runs[0].federation.task
    metrics = metrics or (task.choosing, task.headline)
    scores = pd.concat([_reported(run, metrics) for run in runs]).groupby(level=0, sort=False).mean()
    guess = pd.DataFrame([guesses(run.federation) for run in runs]).mean()
    found = []
    for metric in metrics:
        for site, score in scores[metric].items():
            against = task.guessed if metric == task.headline else float(guess[str(site)])
            if (score < against) if words(metric).higher else (score > against):
                found.append(Worse(str(site), metric, float(score), against))
    return found
