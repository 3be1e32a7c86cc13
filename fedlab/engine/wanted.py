"""What can be asked of the ``test`` patients of a run, by name; a plan names it beforehand, and here it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.federation import Feature, Task
from fedlab.federation.groups import group_by
from fedlab.federation.numbers import is_number, whole
from fedlab.metrics.benefit import THRESHOLDS, checked
from fedlab.metrics.reliability import BINS

MOST_BINS = 100


def _report(task: Task, features: Sequence[Feature], *, resamples: int = 0) -> dict[str, Any]:
    return {"resamples": whole("resamples", resamples, 0)}


def _calibration(task: Task, features: Sequence[Feature], *, bins: int = BINS) -> dict[str, Any]:
    if whole("bins", bins, 1) > MOST_BINS:
        raise ValueError(f"bins is {bins!r}: it must be at most {MOST_BINS}")
    task.needs_classes("calibration is of the risks of classes")
    return {"bins": int(bins)}


def _calibration_summary(task: Task, features: Sequence[Feature]) -> dict[str, Any]:
    task.needs_classes("calibration is of the risks of classes")
    return {}


def _decisions(
    task: Task, features: Sequence[Feature], *, threshold: Any, thresholds: Any = THRESHOLDS
) -> dict[str, Any]:
    task.needs_classes("decisions are taken at a risk of a class")
    if (classes := len(task.classes)) != 2:
        raise ValueError(f"decisions at a threshold need a task of two classes, and this one has {classes}")
    if isinstance(thresholds, str) or not isinstance(thresholds, (Sequence, np.ndarray)):
        raise ValueError(f"thresholds is {thresholds!r}: give a list of risks, e.g. [0.1, 0.2, 0.3]")
    return {"threshold": checked(threshold), "thresholds": tuple(map(checked, thresholds))}


def _subgroups(
    task: Task,
    features: Sequence[Feature],
    *,
    by: Any,
    bands: Any = None,
    smallest: int = 10,
    fewest: int = 5,
    resamples: int = 0,
) -> dict[str, Any]:
    if not isinstance(by, str):
        raise ValueError(f"by is {by!r}: name a column, e.g. by='sex'")
    if bands is not None and (isinstance(bands, str) or not all(map(is_number, _listed(bands)))):
        raise ValueError(f"bands is {bands!r}: give the edges of the groups, e.g. bands=[50, 60]")
    few = {name: whole(name, n, 1) for name, n in (("smallest", smallest), ("fewest", fewest))}
    group_by(features, by, bands)
    edges = None if bands is None else tuple(bands)
    return {"by": by, "bands": edges, **few, "resamples": whole("resamples", resamples, 0)}


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (Sequence, np.ndarray)) else [None]


REPORTS: dict[str, Callable[..., dict[str, Any]]] = {
    "report": _report,
    "calibration": _calibration,
    "calibration_summary": _calibration_summary,
    "decisions": _decisions,
    "subgroups": _subgroups,
}
"""Methods of :class:`fedlab.Run`, and what checks their options."""


def options_of(name: str, options: Mapping[str, Any], *, task: Task, features: Sequence[Feature]) -> dict[str, Any]:
    """Return all options of a report, checked.

    Raises
    ------
    ValueError
        For a report or an option that there is not, or one that does not fit the task or the columns.

    Examples
    --------
    >>> from fedlab.tasks import Classification
    >>> options_of("calibration", {}, task=Classification(("well", "ill")), features=[])
    {'bins': 10}
    """
    if name not in REPORTS:
        raise ValueError(f"there is no report {name!r}; known are {', '.join(REPORTS)}")
    try:
        return REPORTS[name](task, features, **options)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).removeprefix(f'_{name}() ')}") from None
