"""What a comparison is judged by, named before anything is trained: one metric, and the difference that matters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedlab.federation import Federation
from fedlab.metrics.known import KNOWN
from fedlab.metrics.scores import NEEDS_EVERY_CLASS, NEEDS_TWO_CLASSES, bounds
from fedlab.study.words import listed

NEVER = {
    "ece": "a calibrated model has one as well, which grows as patients get fewer, so that it names the wrong winner; "
    "name 'log_loss' or 'brier', which see calibration too"
}
"""Metrics that are shown and never judged, and why."""


def check_named(primary: str | None, smallest: float | None) -> None:
    """Refuse what no comparison can be judged by, whatever its data.

    Parameters
    ----------
    primary : str, optional
        Default: the task says it.
    smallest : float, optional

    Raises
    ------
    ValueError
        No metric, or one that is never judged; or no difference that two arms could have.

    Examples
    --------
    >>> check_named("f1", None)
    Traceback (most recent call last):
    ...
    ValueError: primary is 'f1', which is no metric; there are auc, accuracy, ...
    """
    there = [name for name in KNOWN if name not in NEVER]
    if primary in NEVER:
        raise ValueError(f"primary is {primary!r}, which is shown and never judged: {NEVER[primary]}")
    if primary is not None and primary not in there:
        raise ValueError(f"primary is {primary!r}, which is no metric; there are {', '.join(there)}")
    if smallest is None:
        return
    least, most = (0.0, math.inf) if primary is None else bounds(primary)
    if isinstance(smallest, bool) or not isinstance(smallest, (int, float, np.number)) or not 0 < smallest < math.inf:
        raise ValueError(
            f"smallest is {smallest!r}: give the smallest difference in {primary or 'the score'} that matters, above "
            "0, e.g. 0.02, or leave it out"
        )
    if smallest >= most - least:
        raise ValueError(
            f"smallest is {smallest}, and {primary} lies between {least:g} and {most:g}: no two arms can differ by "
            "more. Give the smallest difference that matters, e.g. 0.02"
        )


def check_stated(splits: Sequence[Federation], primary: str, smallest: float | None) -> None:
    """Refuse a primary metric, or a smallest difference that matters, which no verdict could be given by.

    Parameters
    ----------
    splits : sequence of Federation
        One a seed: a metric that needs every class needs them among the test patients of one hospital in all of them,
        or no mean over hospitals has a value on every seed.
    primary : str
    smallest : float, optional

    Raises
    ------
    ValueError
        Saying what is wrong, and what there is instead.

    Examples
    --------
    >>> import fedlab
    >>> check_stated([fedlab.load("heart_disease")], "auc", 0.02)
    """
    check_named(primary, smallest)
    task = splits[0].task
    if primary not in task.metrics:
        raise ValueError(f"primary is {primary!r}, and {task.about} has {', '.join(task.metrics)}")
    classes = len(task.classes)
    if primary in NEEDS_TWO_CLASSES and classes != 2:
        raise ValueError(f"primary is {primary!r}, which needs a task of two classes, and this one has {classes}")
    if primary not in NEEDS_EVERY_CLASS:
        return
    has = [{site.name for site in split.sites if _has(site.rows.y.numpy()[site.split.test], classes)}
           for split in splits]  # fmt: skip
    instead = f"Name one that needs no two classes, {task.choosing!r}"
    if not any(has):
        raise ValueError(
            f"primary is {primary!r}, which no hospital can have: {listed(list(splits[0].names))} lack test patients "
            f"of a class in every split. {instead}"
        )
    if not set.intersection(*has):
        raise ValueError(
            f"primary is {primary!r}, and no mean over hospitals can be judged by it: none of "
            f"{listed(list(splits[0].names))} has test patients of every class in each of the {len(splits)} splits. "
            f"{instead}, or join hospitals that have so few of a class"
        )


def _has(y: np.ndarray[tuple[int, ...], np.dtype[np.int64]], classes: int) -> bool:
    return len(np.unique(y)) == classes
