"""Hyper-parameters in their ranges, or a sentence that says so."""

from __future__ import annotations

import math

from fedlab.federation.numbers import is_number, whole


def in_range(name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Refuse a hyper-parameter that is no finite number in its range, with a sentence that names both."""
    if not is_number(value) or not (low < value if open_low else low <= value) or not value <= high:
        bound = f"{'more than' if open_low else 'at least'} {low:g}" + (
            f" and at most {high:g}" if high < math.inf else ""
        )
        raise ValueError(f"{name} is {value!r}: it must be {bound}")


def counts(name: str, value: int, low: int) -> None:
    """Refuse a hyper-parameter that is no whole number of at least ``low``."""
    whole(name, value, low)
