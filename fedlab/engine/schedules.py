"""How the sites' learning rate goes over the rounds: a factor of ``lr``, from the round and their number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int, int], float]
"""``schedule(round, rounds)`` gives the factor, more than 0; rounds count from 1."""


def constant(round: int, rounds: int) -> float:
    """The same rate in every round."""
    return 1.0


def cosine(round: int, rounds: int) -> float:
    """Half a cosine wave from 1 towards 0 (Loshchilov & Hutter, ICLR 2017, arXiv:1608.03983, without restarts).

    Examples
    --------
    >>> [float(f"{cosine(t, 4):.2f}") for t in (1, 2, 3, 4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    return (1 + math.cos(math.pi * (round - 1) / rounds)) / 2


def linear(round: int, rounds: int) -> float:
    """A straight line from 1 towards 0.

    Examples
    --------
    >>> [linear(t, 4) for t in (1, 2, 3, 4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return 1 - (round - 1) / rounds


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "linear": linear}


def factor(schedule: str | Schedule, round: int, rounds: int) -> float:
    """Return this round's factor, checked.

    Raises
    ------
    ValueError
        If a schedule of one's own gives no finite number above 0.
    """
    value = (SCHEDULES[schedule] if isinstance(schedule, str) else schedule)(round, rounds)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the schedule gave {value!r} for round {round}: it must give a finite number above 0")
    return float(value)
