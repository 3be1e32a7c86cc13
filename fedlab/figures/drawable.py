"""What a figure is drawn of; something else is refused with what to give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd


def check_kind(thing: Any, kind: type | tuple[type, ...], give: str) -> None:
    """Refuse what is not of this kind.

    Examples
    --------
    >>> check_kind(3, str, "a name")
    Traceback (most recent call last):
    ...
    TypeError: this figure is drawn of a name, and was given a int
    """
    if not isinstance(thing, kind):
        raise TypeError(f"this figure is drawn of {give}, and was given a {type(thing).__name__}")


def check_table(thing: Any, columns: Sequence[str], give: str) -> None:
    """Refuse what is no table, or lacks columns.

    Examples
    --------
    >>> check_table(pd.DataFrame({"test": []}), ["test", "risk"], "run.calibration()")
    Traceback (most recent call last):
    ...
    TypeError: this figure is drawn of run.calibration(), and was given a table without risk
    """
    check_kind(thing, pd.DataFrame, give)
    if lacking := [name for name in columns if name not in thing]:
        raise TypeError(f"this figure is drawn of {give}, and was given a table without {', '.join(lacking)}")
