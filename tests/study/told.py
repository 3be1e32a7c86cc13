"""Studies whose report is given, so that what is said of it can be foreseen."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch

import fedlab
from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.study import Study

SITES = ("A", "B", "C")


class Told(Study):
    """A study whose report is given."""

    def report(self, *, resamples: int = 0, **_: object) -> pd.DataFrame:
        return self.given.copy()


def federation(*, published: bool = False, one_class: str = "") -> Federation:
    x, y = torch.arange(80.0).reshape(40, 2), torch.arange(40) % 2
    sites = {name: (x, torch.ones_like(y) if name == one_class else y) for name in SITES}
    rows = np.arange(40)
    split = fedlab.Split(rows[:24], rows[24:30], rows[30:])
    return Federation.from_tensors(sites, splits=dict.fromkeys(SITES, split) if published else None)


def told(
    scores: dict[str, list[list[float]]],
    *,
    metric: str = "auc",
    published: bool = False,
    smallest: float | None = None,
    reason: str = "the model predicts NaN",
) -> Told:
    """A study from ``{arm: [[a number a site], one row a seed]}``; isolated models are scored at home alone.

    ``metric`` is the primary one; ``reason`` is that of a ``nan``.
    """
    rows = [
        {"arm": arm, "seed": seed, "train": site if arm == "isolated" else EVERY_SITE, "test": site, "metric": metric,
         "value": value, "low": np.nan, "high": np.nan, "patients": 40, "fewest": 20,
         "reason": "" if math.isfinite(value) else reason}
        for arm, seeds in scores.items()
        for seed, values in enumerate(seeds)
        for site, value in zip(SITES, values, strict=True)
    ]  # fmt: skip
    count = len(next(iter(scores.values())))
    arms, seeds = {arm: [] for arm in scores}, list(range(count))
    study = Told(federation(published=published), "logistic", arms, seeds, primary=metric, smallest=smallest)
    study.given = pd.DataFrame(rows)
    return study


def jitter(arm: int, seed: int, site: int, size: float = 0.004) -> float:
    return size * math.sin(1 + 7 * arm + 3 * seed + 5 * site + arm * seed)


def steady(*gains: tuple[float, float, float], seeds: int = 10) -> dict[str, list[list[float]]]:
    """Isolated learning at .7, and arms that gain so much at each site, with a little noise."""
    names = ("isolated", "fedavg", "fedprox", "scaffold")
    return {
        name: [[0.7 + gain[k] + jitter(a, s, k) for k in range(3)] for s in range(seeds)]
        for a, (name, gain) in enumerate(zip(names, ((0, 0, 0), *gains), strict=False))
    }
