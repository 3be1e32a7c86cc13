"""The cast of the course: the four hospitals, loaded when an answer is first checked, and four made-up clinics."""

from __future__ import annotations

from functools import cache

import pandas as pd
import torch

from data_recipes import heart_disease
from fedlab.federation import Classification, Federation


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


def paradox(*, patients: int = 400, seed: int = 0) -> Federation:
    """Make four clinics in which averaging the clinics' own answers gives the wrong answer.

    Each patient has four markers; higher ones mean illness (the last: health). Clinics 1 and 2 see a wide range of the
    first marker and treat whoever has a high second one, so that there it goes with *less* illness; clinics 3 and 4 the
    other way round. The clinic that sees the wide range knows better, and pooled rows follow it; a mean of models
    follows the steeper slope of the treated.

    Parameters
    ----------
    patients : int
        In each clinic.
    seed : int
        Of the random numbers.

    Examples
    --------
    >>> paradox(patients=50).names
    ('clinic 1', 'clinic 2', 'clinic 3', 'clinic 4')
    """
    rng = torch.Generator().manual_seed(seed)
    made = {}
    for number in range(4):
        x = torch.randn(patients, 4, generator=rng)
        wide, treated = (0, 1) if number < 2 else (1, 0)
        x[:, wide] *= 3
        slope = torch.tensor([1.0, 1.0, 1.0, -1.0])
        slope[treated] = -4
        made[f"clinic {number + 1}"] = x, (torch.rand(patients, generator=rng) < torch.sigmoid(x @ slope)).long()
    return Federation.from_tensors(made, task=Classification(("healthy", "ill")), name="paradox", source="made up")
