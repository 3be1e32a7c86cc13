"""Three falls between two ways of learning, in one number a federation: many federations train side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.algorithms import Algorithm
from fedlab.engine import openings
from fedlab.engine.replicas import train_seeds
from fedlab.engine.run import Run
from fedlab.federation import Federation
from fedlab.metrics.known import KNOWN
from fedlab.metrics.scores import CHOSEN, LOWER_IS_BETTER
from fedlab.models import ModelLike

GAPS = {
    "federated": "from the pooled model to the federated one",
    "elsewhere": "from own models at home to own models elsewhere",
    "own": "from the pooled model to own models, at home and elsewhere",
}
OWN = ("elsewhere", "own")  # of hospitals' own models
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """What is asked: which fall, of which model, read by which metric."""

    name: str
    model: ModelLike
    algorithm: Algorithm
    metric: str
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if self.name not in GAPS:
            raise ValueError(f"gap is {self.name!r}: choose one of {', '.join(GAPS)}")
        known = [metric for metric in KNOWN if metric != CHOSEN]
        if self.metric not in known:
            raise ValueError(f"metric is {self.metric!r}: choose one of {', '.join(known)}")

    @property
    def pace(self) -> dict[str, Any]:
        """The settings, with fewer and longer rounds where nothing travels: as many steps in a third of the time."""
        given = {"rounds", "local_epochs", "local_steps"} & set(self.settings)
        return self.settings if given or self.name not in OWN else {**self.settings, "rounds": 10, "local_epochs": 3}

    @property
    def arms(self) -> tuple[str | Algorithm, ...]:
        """The algorithms to train: what the fall is from, and to."""
        own = ("isolated",) if self.name == "elsewhere" else ("centralized", "isolated")
        return own if self.name in OWN else ("centralized", self.algorithm)

    def scores(
        self, federations: Sequence[Federation], seeds: Sequence[int], step: Callable[[], None]
    ) -> list[list[Floats]]:
        """Train every arm on every federation; each arm's scores [models, test sites] of each federation.

        Parameters
        ----------
        federations : sequence of Federation
            The same sites in all.
        seeds : sequence of int
            Of the start and the batch order, one a federation.
        step : callable
            Called after each round of an arm.
        """
        words = f"an explanation of a gap ({self.name}, {self.metric})"
        with openings.one(federations[0], "explain", by=[words, self.settings], words=words):
            trained = (self._train(arm, federations, seeds, step) for arm in self.arms)
            return [[run.test_scores(self.metric) for run in runs] for runs in trained]

    def _train(
        self, arm: str | Algorithm, federations: Sequence[Federation], seeds: Sequence[int], step: Callable[[], None]
    ) -> list[Run]:
        rounds: Iterator[list[Run]] = train_seeds(federations, self.model, arm, seeds=seeds, **self.pace)
        runs: list[Run] = []
        for runs in rounds:  # noqa: B007
            step()
        return runs

    def fall(self, first: Floats, last: Floats, kept: Sequence[int]) -> float:
        """Return the fall in one number, positive where something is lost: means over the test sites that are kept.

        Parameters
        ----------
        first, last : float array, shape [models, test sites]
            Of the first arm and the last, which may be the same.
        kept : sequence of int
            Numbers of the test sites that the means are over.
        """
        if self.name == "elsewhere":
            home = float(np.mean([last[j, j] for j in kept]))
            there = float(np.mean([last[i, j] for i in range(len(last)) for j in kept if i != j]))
            lost = home - there
        elif len(last) == 1 or self.name == "own":
            lost = float(first[:, kept].mean() - last[:, kept].mean())
        else:  # a model for each site: at home
            lost = float(first[:, kept].mean() - np.mean([last[j, j] for j in kept]))
        return -lost if self.metric in LOWER_IS_BETTER else lost


def unreadable(federations: Sequence[Federation], scores: Sequence[Floats], metric: str) -> dict[str, str]:
    """Name the sites whose test patients do not allow for a metric in some seed, and why."""
    told: dict[str, str] = {}
    for federation, table in zip(federations, scores, strict=True):
        for number in np.flatnonzero(np.isnan(table).any(0)):
            site = federation.sites[number]
            y = site.test.y.numpy()
            columns = len(federation.task.columns)
            chance = np.full((len(y), columns), 1 / columns)
            why = federation.task.scores(y, chance)[metric].reason or "a model predicts NaN there"
            told.setdefault(site.name, why)
    return told
