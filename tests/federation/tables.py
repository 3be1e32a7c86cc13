"""Small tables as hospitals write them, for the harmoniser's tests."""

from __future__ import annotations

import numpy as np
import pandas as pd


def ward(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Numbers, codes that go with them, and a date; every column as agreed."""
    rng = np.random.default_rng(seed)
    male = rng.random(n) < 0.5
    height = np.where(male, 177, 164) + 7 * rng.standard_normal(n)
    frail = np.clip(np.round(3 + rng.standard_normal(n)), 1, 5).astype(int)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 360, n), unit="D")
    return pd.DataFrame(
        {
            "height": height.round(1),
            "weight": (24 * (height / 100) ** 2 * np.exp(0.18 * rng.standard_normal(n))).round(1),
            "temperature": (37 + 0.7 * rng.standard_normal(n)).round(1),
            "sex": np.where(male, "M", "F"),
            "frailty": frail,
            "age": (60 + 6 * (frail - 3) + 6 * rng.standard_normal(n)).round(),
            "admitted": day.strftime("%Y-%m-%d"),
        }
    )


def wards(count: int = 4, n: int = 120) -> dict[str, pd.DataFrame]:
    """Hospitals A, B, C, … that write alike."""
    return {"ABCDEFGH"[k]: ward(n, seed=k) for k in range(count)}
