"""The cast of the course: the four hospitals, loaded when an answer is first checked."""

from __future__ import annotations

from functools import cache

import pandas as pd

from data_recipes import heart_disease
from fedlab.federation import Federation


@cache
def hospitals() -> Federation:
    """Return the four hospitals as a federation."""
    return heart_disease.load()


@cache
def raw() -> dict[str, pd.DataFrame]:
    """Return their tables as they wrote them."""
    return heart_disease.raw()


@cache
def records() -> pd.DataFrame:
    """Return their tables put together and tidied."""
    return heart_disease.tidy(raw())
