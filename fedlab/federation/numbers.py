"""What counts as a number: Python's and NumPy's alike, but no truth value."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np


def is_whole(value: Any) -> TypeGuard[int]:
    """Return whether it is a whole number, of Python or NumPy.

    Examples
    --------
    >>> is_whole(np.int64(3)), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return not isinstance(value, (bool, np.bool_)) and isinstance(value, Integral)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether it is a finite number, of Python or NumPy.

    Examples
    --------
    >>> is_number(np.float32(0.5)), is_number(2), is_number(float("nan")), is_number("2")
    (True, True, False, False)
    """
    return not isinstance(value, (bool, np.bool_)) and isinstance(value, Real) and math.isfinite(value)


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least`` as Python's, or refuse it by ``name``.

    Examples
    --------
    >>> whole("rounds", np.int64(3), 1)
    3
    >>> whole("rounds", 0, 1)
    Traceback (most recent call last):
    ...
    ValueError: rounds is 0: it must be a whole number of at least 1
    """
    if not is_whole(value) or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {least}")
    return int(value)
