"""Patients with several rows: how many patients the rows are worth, and variances with patients as what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.ranking import Floats


def numbered(who: NDArray[Any]) -> tuple[int, NDArray[np.int64]]:
    """Return how many patients there are and the number of each row's; in the order of the rows if each has one.

    Examples
    --------
    >>> patients, of = numbered(np.array(["b", "a", "b"]))
    >>> patients, of.tolist()
    (2, [1, 0, 1])
    """
    patients, of = np.unique(who, return_inverse=True)
    return len(patients), (np.arange(len(who)) if len(patients) == len(who) else of)


def worth(who: NDArray[Any]) -> float:
    r"""Return how many patients these rows are worth at least, to a mean over the rows.

    :math:`n^2 / \sum_k n_k^2` for :math:`n_k` rows of patient k: what they are worth where all rows of a patient say
    the same (Kish, Survey Sampling, 1965, with an intraclass correlation of 1). With one row each it is their number,
    and never more than the number of patients.

    Examples
    --------
    >>> worth(np.array([1, 2, 3])), worth(np.array([1, 1, 2, 2])), round(worth(np.array([1, 1, 1, 2])), 2)
    (3.0, 2.0, 1.6)
    """
    rows = np.unique(who, return_counts=True)[1]
    return float(rows.sum() ** 2 / (rows**2).sum())


def by_patient(values: Floats, who: NDArray[Any]) -> Floats:
    """Sum the values [..., rows] over the rows of each patient, [..., patients].

    Examples
    --------
    >>> by_patient(np.array([1.0, 2.0, 4.0]), np.array([7, 3, 7])).tolist()
    [2.0, 5.0]
    """
    order = np.argsort(who, kind="stable")
    starts = np.unique(who[order], return_index=True)[1]
    out: Floats = np.add.reduceat(values[..., order], starts, axis=-1)
    return out


def variance_of_means(parts: Sequence[Floats], who: Sequence[NDArray[Any]]) -> Floats:
    """Return the variance of a sum of means [...] over rows, with patients as what is drawn.

    With one row of each patient it is the sum of ``var(ddof=1) / n``. Rows of one patient vary together, also those of
    different parts (Obuchowski, Biometrics 53, 1997, of an AUC, whose parts are the two classes).

    Parameters
    ----------
    parts : sequence of float array, shape [..., rows]
    who : sequence of array, shape [rows]
        Whose rows they are, at least two patients in each part.

    Examples
    --------
    >>> one, other = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0])
    >>> apart = variance_of_means([one, other], [np.array([1, 2, 3]), np.array([4, 5])])
    >>> bool(np.isclose(apart, one.var(ddof=1) / 3 + other.var(ddof=1) / 2))
    True
    """
    each = []
    for part, of in zip(parts, who, strict=True):
        patients = len(np.unique(of))
        each.append((part - part.mean(-1, keepdims=True)) / (part.shape[-1] * np.sqrt(1 - 1 / patients)))
    out: Floats = (by_patient(np.concatenate(each, -1), np.concatenate(who)) ** 2).sum(-1)
    return out
