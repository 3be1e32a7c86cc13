"""A made-up federation whose label is a quantity: days in hospital."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fedlab.federation import Federation


def stays(sizes: tuple[int, ...] = (120, 80, 60), *, seed: int = 0, noise: float = 1.5) -> pd.DataFrame:
    """A table with a number, one that is sometimes missing and a category."""
    rng = np.random.default_rng(seed)
    parts = []
    for k, n in enumerate(sizes):
        age, crp, sex = rng.normal(60 + 3 * k, 10, n), rng.gamma(2, 10, n), rng.choice(["f", "m"], n)
        stay = 6 + 0.1 * (age - 60) + 0.1 * crp + rng.normal(0, noise, n)
        crp = np.where(rng.random(n) < 0.1, np.nan, crp)
        parts.append(pd.DataFrame({"ward": f"W{k}", "age": age, "crp": crp, "sex": sex, "stay": stay}))
    return pd.concat(parts, ignore_index=True)


def wards(sizes: tuple[int, ...] = (120, 80, 60), **options: float) -> Federation:
    """The federation of such a table."""
    return Federation.from_frame(stays(sizes, **options), site="ward", label="stay", task="regression")
