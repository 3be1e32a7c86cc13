"""The threshold above which a patient is called positive: chosen on ``valid``, judged on ``test``."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.ranking import Floats, ratio, weighted

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
    return choose_thresholds(y, p[None])[0]


def choose_thresholds(y: NDArray[np.int64], p: Floats) -> list[Threshold]:
    """Choose one for each of several models, ``p`` [models, n, classes]; as :func:`choose_threshold` does."""
    models, n, classes = p.shape
    if classes != 2:
        return [Threshold(math.nan, f"a threshold needs a task of two classes; this one has {classes}")] * models
    ill = int((y == 1).sum())
    fit: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(p), axis=(1, 2))
    out = np.full(models, math.nan)
    if 0 < ill < n and fit.any():
        out[fit] = _best(y, p[fit, :, 1])
    one_class = f"the {n} valid patients are of one class: no threshold can be chosen"
    no_number = f"{PREDICTS_NAN} on valid: no threshold can be chosen"
    return [
        Threshold(float(value), "" if math.isfinite(value) else one_class if fine else no_number)
        for value, fine in zip(out, fit, strict=True)
    ]


def _best(y: NDArray[np.int64], said: Floats) -> Floats:
    """Return the best threshold of each model, from probabilities [models, n] of patients of both classes."""
    candidates = np.append(said, np.full((len(said), 1), MIDDLE), axis=1)
    order = np.argsort(candidates, axis=1, kind="stable")
    ranked = np.take_along_axis(candidates, order, axis=1)
    new = np.ones(ranked.shape, dtype=bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.maximum.accumulate(np.where(new, np.arange(ranked.shape[1]), 0), axis=1)  # of those of one probability
    both = np.array([np.append(y == 1, False), np.append(y == 0, False)])[:, order].astype(np.int64)  # one half: nobody
    below = np.take_along_axis(both.cumsum(-1) - both, first[None], axis=-1)
    ill, well = both.sum(-1)[:, :, None]
    worth = (ill - below[0]) * well + below[1] * ill  # balanced accuracy in whole numbers: ties are ties
    best = worth == worth.max(1, keepdims=True)
    nearest = np.where(best, np.abs(ranked - MIDDLE), np.inf).argmin(1)
    out: Floats = ranked[np.arange(len(ranked)), nearest]
    return out


def balanced_accuracy_at(y: NDArray[np.int64], p: Floats, w: Floats, *, threshold: float | Floats = MIDDLE) -> Floats:
    """Mean of sensitivity and specificity of a binary task at a threshold; shape [..., resamples].

    ``p`` [..., n, classes], ``w`` [resamples, n], ``threshold`` one for all models or one each; ``nan`` where a
    resample holds one class only, the task has more than two or the threshold is ``nan``.
    """
    at = np.asarray(threshold, dtype=float)[..., None]
    if p.shape[-1] != 2:
        return np.full((*p.shape[:-2], len(w)), np.nan)
    right = ((p[..., 1] >= at) == (y == 1)).astype(float)
    ill, well = y == 1, y == 0
    sensitivity = ratio(weighted(right[..., ill], w[:, ill]), w[:, ill].sum(1))
    specificity = ratio(weighted(right[..., well], w[:, well]), w[:, well].sum(1))
    middle: Floats = np.where(np.isnan(at), np.nan, (sensitivity + specificity) / 2)
    return middle
