"""The same round of several seeds, and the band over them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fedlab.engine.run import Run

MIDDLE = 0.1, 0.9
"""The quantiles of the band over seeds."""


@dataclass(frozen=True)
class Spread:
    """The same round of several seeds.

    Parameters
    ----------
    runs : list of Run
        One a seed, up to date; one that has stopped early stays as it was.
    """

    runs: list[Run]

    @property
    def run(self) -> Run:
        """The first seed's."""
        return self.runs[0]

    @property
    def round(self) -> int:
        """The round that the furthest has finished."""
        return max(len(run.records) for run in self.runs)

    @property
    def rounds(self) -> int:
        """How many there will be at most."""
        return self.run.settings.rounds

    @property
    def errors(self) -> dict[str, str]:
        """Sites that failed in this round, and how, in any of the runs."""
        last = [run.records[-1] for run in self.runs if run.records and run.records[-1].round == self.round]
        return {site: what for record in last for site, what in record.errors.items()}

    def band(self, metric: str) -> pd.DataFrame:
        """Mean over the seeds and the bounds of their middle 80 %, one row a site, on ``valid`` in this round.

        ``metric`` is the task's choosing score or headline.
        """
        each = pd.DataFrame([{site: got[metric] for site, got in run.records[-1].valid.items()} for run in self.runs])
        low, high = MIDDLE
        return pd.DataFrame({"mean": each.mean(), "low": each.quantile(low), "high": each.quantile(high)})

    def __repr__(self) -> str:
        return f"<Spread of {len(self.runs)} seeds, round {self.round} of {self.rounds}>"
