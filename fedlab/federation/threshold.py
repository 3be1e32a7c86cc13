"""The threshold above which a patient is called positive: chosen on ``valid``, judged on ``test``."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.ranking import Floats, ratio

MIDDLE = 0.5


class Threshold(NamedTuple):
    """A probability from which on a patient is called positive; ``nan`` if none could be chosen, and the reason."""

    value: float
    reason: str = ""


PREDICTS_NAN = "the model predicts NaN"
NONE = Threshold(math.nan, "no threshold was chosen on valid")


def choose_threshold(y: NDArray[np.int64], p: Floats) -> Threshold:
    """Choose the threshold with the best balanced accuracy on these patients, which are then used up for reporting.

    Candidates are the probabilities given and one half; ties go to the one nearest one half, then to the lower.

    Parameters
    ----------
    y : int array, shape [n]
    p : float array, shape [n, classes]

    Returns
    -------
    Threshold
        With a reason instead of a value if the task is not binary, a class is missing or ``p`` is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> said = np.array([0.1, 0.2, 0.3, 0.4])
    >>> choose_threshold(np.array([0, 0, 1, 1]), np.stack([1 - said, said], axis=1)).value
    0.3
    """
    if p.shape[1] != 2:
        return Threshold(math.nan, f"a threshold needs a task of two classes; this one has {p.shape[1]}")
    if not np.isfinite(p).all():
        return Threshold(math.nan, f"{PREDICTS_NAN} on valid: no threshold can be chosen")
    said = p[:, 1]
    ill, well = np.sort(said[y == 1]), np.sort(said[y == 0])
    if len(ill) == 0 or len(well) == 0:
        return Threshold(math.nan, f"the {len(y)} valid patients are of one class: no threshold can be chosen")
    candidates = np.unique(np.r_[said, MIDDLE])
    found = len(ill) - np.searchsorted(ill, candidates)
    spared = np.searchsorted(well, candidates)
    worth = found * len(well) + spared * len(ill)  # balanced accuracy in whole numbers: ties are ties
    best = candidates[worth == worth.max()]
    return Threshold(float(best[np.abs(best - MIDDLE).argmin()]))


def balanced_accuracy_at(y: NDArray[np.int64], p: Floats, w: Floats, *, threshold: float = MIDDLE) -> Floats:
    """Mean of sensitivity and specificity of a binary task at a threshold; shape [resamples].

    ``w`` [resamples, n]; ``nan`` where a resample holds one class only, the task has more than two or the threshold is
    ``nan``.
    """
    if p.shape[1] != 2 or math.isnan(threshold):
        return np.full(len(w), np.nan)
    right = ((p[:, 1] >= threshold) == (y == 1)).astype(float)
    ill, well = y == 1, y == 0
    sensitivity = ratio(w[:, ill] @ right[ill], w[:, ill].sum(1))
    specificity = ratio(w[:, well] @ right[well], w[:, well].sum(1))
    middle: Floats = (sensitivity + specificity) / 2
    return middle
