"""fedlab: a workbench for federated learning in health AI.

>>> import fedlab
>>> hospitals = fedlab.load("heart_disease")
>>> run = fedlab.train(hospitals, "logistic", "fedavg", rounds=5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedlab.engine import SGD, Adam, Event, Plan, Run, Settings, TooFewSites, stream, train
from fedlab.federation import Classification, Examples, Feature, Federation, Regression, Site, Split, Task
from fedlab.study import (
    Explanation,
    Harmony,
    Heterogeneity,
    LearningCurve,
    Study,
    atlas,
    compare,
    explain,
    harmonise,
    heterogeneity,
    learning_curve,
)

if TYPE_CHECKING:
    import pandas as pd

    from fedlab.report.report import report

__version__ = "0.1.0"


def load(name: str, **options: Any) -> Federation:
    """Load the federation of a recipe; :func:`catalogue` lists them.

    Parameters
    ----------
    name : str
        For example ``"heart_disease"``: four real hospitals, inside fedlab, no network needed.
    **options
        The recipe's own, e.g. ``seed`` (of the split) or ``source``.

    Examples
    --------
    >>> load("heart_disease").names
    ('Cleveland', 'Hungary', 'Switzerland', 'Long Beach')
    """
    import data_recipes

    return data_recipes.load(name, **options)


def catalogue() -> pd.DataFrame:
    """Return a table of the data sets: name, modality, sites, rows, licence, and where each is now."""
    import data_recipes

    return data_recipes.catalogue()


def __getattr__(name: str) -> Any:
    """Import the report when it is asked for: figures come with it."""
    if name == "report":
        return import_module("fedlab.report")
    raise AttributeError(f"module 'fedlab' has no attribute {name!r}")


__all__ = [
    "SGD",
    "Adam",
    "Classification",
    "Event",
    "Examples",
    "Explanation",
    "Feature",
    "Federation",
    "Harmony",
    "Heterogeneity",
    "LearningCurve",
    "Plan",
    "Regression",
    "Run",
    "Settings",
    "Site",
    "Split",
    "Study",
    "Task",
    "TooFewSites",
    "atlas",
    "catalogue",
    "compare",
    "harmonise",
    "heterogeneity",
    "explain",
    "learning_curve",
    "load",
    "report",
    "stream",
    "train",
]
