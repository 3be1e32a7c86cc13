"""fedlab: a workbench for federated learning in health AI.

>>> import fedlab
>>> hospitals = fedlab.load("heart_disease")
>>> run = fedlab.train(hospitals, "logistic", "fedavg", rounds=5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedlab.engine import SGD, Adam, Event, Run, Settings, TooFewSites, stream, train
from fedlab.federation import Examples, Feature, Federation, Site, Split, Task
from fedlab.study import (
    Explanation,
    Heterogeneity,
    LearningCurve,
    Study,
    atlas,
    compare,
    explain,
    heterogeneity,
    learning_curve,
)

if TYPE_CHECKING:
    import pandas as pd

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


__all__ = [
    "SGD",
    "Adam",
    "Event",
    "Examples",
    "Explanation",
    "Feature",
    "Federation",
    "Heterogeneity",
    "LearningCurve",
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
    "explain",
    "heterogeneity",
    "learning_curve",
    "load",
    "stream",
    "train",
]
