"""What of a site's scores on ``valid`` may leave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.site import Patients
from fedlab.metrics.cells import LEAST
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.tasks import Task


class Leaving(NamedTuple):
    """Which of a site's scores may leave it: those that are means of patients, and those that need every class."""

    means: bool
    every_class: bool


ALL = Leaving(True, True)


class OfPatients(Protocol):
    """Rows whose patients and labels are known."""

    @property
    def patients(self) -> Patients:
        """Whose rows they are."""

    @property
    def y(self) -> Tensor:
        """Their labels."""


def leaving(rows: OfPatients, task: Task) -> Leaving:
    """Tell by the patients that the rows are of (:mod:`fedlab.metrics.cells`)."""
    who = rows.patients.of
    rarest = int(task.counts(who, rows.y.numpy()).min())
    return Leaving(len(rows.patients.first) >= LEAST, rarest >= LEAST)


def screened(scores: dict[str, NDArray[np.float64]], sites: Sequence[Leaving]) -> dict[str, NDArray[np.float64]]:
    """Return what of a task's ``quick_scores`` leaves these sites.

    ``nan`` where it may not; and ``n`` 0 where not even how many it would be of.

    Examples
    --------
    >>> two = {"log_loss": np.array([0.5, 0.4]), "auc": np.array([0.8, 1.0]), "n": np.array([9.0, 4.0])}
    >>> {name: value.tolist() for name, value in screened(two, [Leaving(True, False), Leaving(False, False)]).items()}
    {'log_loss': [0.5, nan], 'auc': [nan, nan], 'n': [9.0, 0.0]}
    """
    means, every_class = (np.array(each) for each in zip(*sites, strict=True))
    return {
        name: np.where(means, each, 0.0) if name == "n" else
        np.where(every_class if name in NEEDS_EVERY_CLASS else means, each, np.nan)
        for name, each in scores.items()
    }  # fmt: skip
