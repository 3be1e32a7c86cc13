"""Log loss and AUC of many sites at once: what each round can afford, and what of it may leave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.cells import LEAST, patients_by_class
from fedlab.federation.site import Patients

NOBODY = -1
"""The label that pads."""


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


def leaving(rows: OfPatients, classes: int) -> Leaving:
    """Tell by the patients that the rows are of (:mod:`fedlab.federation.cells`)."""
    who = rows.patients.of
    rarest = int(patients_by_class(who, rows.y.numpy(), classes).min())
    return Leaving(len(rows.patients.first) >= LEAST, rarest >= LEAST)


def screened(scores: dict[str, NDArray[np.float64]], sites: Sequence[Leaving]) -> dict[str, NDArray[np.float64]]:
    """Return what of the scores of :func:`quick_scores` leaves these sites.

    ``nan`` where it may not; and ``n`` 0 where not even how many it would be of.

    Examples
    --------
    >>> two = {"log_loss": np.array([0.5, 0.4]), "auc": np.array([0.8, 1.0]), "n": np.array([9.0, 4.0])}
    >>> {name: value.tolist() for name, value in screened(two, [Leaving(True, False), Leaving(False, False)]).items()}
    {'log_loss': [0.5, nan], 'auc': [nan, nan], 'n': [9.0, 0.0]}
    """
    means, every_class = (np.array(each) for each in zip(*sites, strict=True))
    return {
        "log_loss": np.where(means, scores["log_loss"], np.nan),
        "auc": np.where(every_class, scores["auc"], np.nan),
        "n": np.where(means, scores["n"], 0.0),
    }


def padded(labels: Sequence[Tensor]) -> NDArray[np.int64]:
    """Stack label vectors of different lengths, [sites, longest]."""
    out = np.full((len(labels), max(map(len, labels))), NOBODY, dtype=np.int64)
    for row, y in zip(out, labels, strict=True):
        row[: len(y)] = y.numpy()
    return out


def quick_scores(y: NDArray[np.int64], p: Tensor) -> dict[str, NDArray[np.float64]]:
    """``log_loss``, ``auc`` and ``n`` of each site, arrays [sites].

    From labels ``y`` [sites, rows] (padded) and probabilities [sites, rows, classes].

    As the metrics of the report have them: natural log of clipped probabilities, ties in the AUC counted half, ``nan``
    where a class is missing. A site whose probabilities are not finite has an infinite log loss.

    Examples
    --------
    >>> import torch
    >>> y = np.array([[1, 0, NOBODY], [0, 1, 1]])
    >>> said = torch.tensor([[[0.2, 0.8], [0.9, 0.1], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]).double()
    >>> quick_scores(y, said)["auc"].tolist()
    [1.0, 0.5]
    """
    there, said = y != NOBODY, p.numpy()
    n, classes = there.sum(1), said.shape[2]
    chosen = said.ravel()[(np.arange(0, said.size, classes).reshape(y.shape) + y) * there]
    chosen[~there] = 1.0
    lost = -np.log(np.maximum(chosen, np.finfo(said.dtype).eps)).sum(1)
    sane = np.isfinite(lost)
    of = [1] if classes == 2 else range(classes)
    ranks = np.mean([_auc(y == k, (y != k) & there, np.where(there, said[:, :, k], np.inf)) for k in of], axis=0)
    return {"log_loss": np.where(sane, lost / n, np.inf), "auc": np.where(sane, ranks, np.nan), "n": n.astype(float)}


def _auc(ill: NDArray[np.bool_], well: NDArray[np.bool_], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the ROC curve of each row; ranks and groups of ties are found in one flat pass over all rows."""
    rows, width = score.shape
    begins = np.arange(0, rows * width, width)
    order = (np.argsort(score, axis=1) + begins[:, None]).ravel()
    ranked, ill, well = score.ravel()[order], ill.ravel()[order], well.ravel()[order]
    starts_group = np.append(True, ranked[1:] != ranked[:-1])
    starts_group[begins] = True
    starts = np.flatnonzero(starts_group)
    passed = np.append(0, np.cumsum(well))  # the well in all places before
    twice = (passed[starts] + passed[np.append(starts[1:], rows * width)])[np.cumsum(starts_group) - 1]
    before, after = passed[begins], passed[begins + width]
    won = (((twice - np.repeat(2 * before, width)) * ill).reshape(rows, width).sum(1)) / 2  # in a tie, half
    pairs = ill.reshape(rows, width).sum(1) * (after - before)
    out = np.full(rows, np.nan)
    np.divide(won, pairs, out=out, where=pairs > 0)
    return out
