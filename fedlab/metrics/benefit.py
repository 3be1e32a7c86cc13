"""What a model is worth to whoever acts on its risks: net benefit, the decision curve, sensitivity and specificity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedlab.metrics.cells import ENOUGH, enough_for_interval, patients_by_class, steps
from fedlab.metrics.clusters import worth
from fedlab.metrics.ranking import Floats
from fedlab.metrics.reliability import wilson
from fedlab.metrics.thresholds import PREDICTS_NAN

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""Of a decision curve."""
NET_BENEFIT, TREAT_ALL, OVER_TREAT_ALL = "net_benefit", "treat_all", "over_treat_all"
MEASURES = (NET_BENEFIT, TREAT_ALL, OVER_TREAT_ALL, "sensitivity", "specificity")


class Decision(NamedTuple):
    """One measure of acting on all whose risk reaches a threshold, with its 95 % interval over patients.

    ``small`` is whether it would tell, beside its neighbours on the curve, of fewer than five patients: not to be sent
    on. ``reason`` says why something is ``nan``.
    """

    threshold: float
    measure: str
    value: float
    low: float = math.nan
    high: float = math.nan
    small: bool = False
    reason: str = ""


def net_benefit(y: ArrayLike, risk: ArrayLike, threshold: float) -> float:
    r"""Net benefit of treating all whose risk reaches a threshold (Vickers & Elkin, Medical Decision Making 26, 2006).

    :math:`TP/n - FP/n \cdot t/(1-t)`, in true positives a patient: who acts at a risk of t says by it that one found is
    worth :math:`(1-t)/t` treated for nothing. Treating nobody is 0.

    Parameters
    ----------
    y : array, shape [n]
        0 or 1 (or bool).
    risk : array, shape [n]
        Probability of 1.
    threshold : float
        Above 0 and below 1.

    Raises
    ------
    ValueError
        For another threshold, no patient, labels that are not 0 and 1, or risks that are no probabilities.

    Examples
    --------
    >>> net_benefit([1, 1, 0, 0], [0.9, 0.1, 0.3, 0.1], 0.2)
    0.1875
    """
    at = checked(threshold)
    labels, told = np.asarray(y), np.asarray(risk, dtype=float)
    if labels.ndim != 1 or labels.shape != told.shape or not len(labels):
        raise ValueError(f"y and risk have shapes {labels.shape} and {told.shape}: give one of each for every patient")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"y has the labels {np.unique(labels).tolist()}: a net benefit is of two classes, 0 and 1")
    if not ((told >= 0) & (told <= 1)).all():
        raise ValueError("risk holds what is no probability: give numbers from 0 to 1")
    acted, ill = told >= at, labels.astype(bool)
    return float((acted & ill).sum() - (acted & ~ill).sum() * at / (1 - at)) / len(labels)


def checked(threshold: Any) -> float:
    """Return a threshold, or refuse one that is not above 0 and below 1.

    Examples
    --------
    >>> checked(1.0)
    Traceback (most recent call last):
    ...
    ValueError: threshold is 1.0: it must be a risk above 0 and below 1, e.g. 0.2
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)) or not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold!r}: it must be a risk above 0 and below 1, e.g. 0.2")
    return float(threshold)


def decisions(
    y: NDArray[np.int64],
    p: Floats,
    *,
    threshold: float,
    thresholds: Sequence[float] = THRESHOLDS,
    who: NDArray[Any] | None = None,
) -> list[Decision]:
    """Measure what acting on probabilities ``p`` [n, 2] is worth, at the threshold and along the decision curve.

    ``net_benefit``; ``treat_all``, that of treating everybody; ``over_treat_all``, the first less the second on the
    same patients; ``sensitivity`` and ``specificity``. Of shares the interval is Wilson's, of net benefits Zou and
    Donner's of a difference of two shares (Statistics in Medicine 27, 2008), which has a width where nobody reaches
    the threshold, and covered .93 to .998 where the plain one covered as little as .06
    (``tests/metrics/test_benefit.py``). Rows count alike in the values; in the intervals those of one patient are
    worth no more than if they all said the same.

    Parameters
    ----------
    y : int array, shape [n]
    p : float array, shape [n, 2]
    threshold : float
        The one named beforehand: above 0 and below 1, as are those of the curve.
    thresholds : sequence of float
        Of the curve; the named one is added.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient.

    Returns
    -------
    list of Decision
        For each threshold, rising, one per :data:`MEASURES`. All ``nan`` with a reason with fewer than twenty patients
        of a class, or where the model predicts NaN.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> told = rng.random(200)
    >>> y = (rng.random(200) < told).astype(int)
    >>> found = decisions(y, np.stack([1 - told, told], axis=1), threshold=0.2, thresholds=[])
    >>> [(each.measure, round(each.value, 2)) for each in found[:3]]
    [('net_benefit', 0.41), ('treat_all', 0.38), ('over_treat_all', 0.03)]
    """
    named = checked(threshold)
    curve = sorted({named, *map(checked, thresholds)})
    who = np.arange(len(y)) if who is None else who
    if reason := _none(y, p, who):
        return [Decision(at, measure, math.nan, reason=reason) for at in curve for measure in MEASURES]
    risk, small = p[:, 1].astype(float), _small(p[:, 1].astype(float), who, curve, named)
    return [
        Decision(at, measure, *each, small=at in small)
        for at in curve
        for measure, each in _measured(y == 1, risk >= at, at / (1 - at), who).items()
    ]


def _none(y: NDArray[np.int64], p: Floats, who: NDArray[Any]) -> str:
    if not np.isfinite(p).all():
        return PREDICTS_NAN
    return "" if enough_for_interval(patients_by_class(who, y, 2).min()) else f"fewer than {ENOUGH} patients of a class"


def _small(risk: Floats, who: NDArray[Any], curve: list[float], named: float) -> set[float]:
    """Return the thresholds between which and the next one told there would be fewer than five patients."""
    told = {named}
    below, above = [at for at in curve if at < named], [at for at in curve if at > named]
    for side, edges in ((risk < named, below), (risk >= named, above)):
        between = np.searchsorted(edges, risk[side], side="right")
        told |= {edges[step.start - 1] for step in steps(between, who[side], len(edges) + 1) if step.start}
    return set(curve) - told


def _measured(
    ill: NDArray[np.bool_], acted: NDArray[np.bool_], price: float, who: NDArray[Any]
) -> dict[str, tuple[float, float, float]]:
    """Value and interval of each measure; ``price`` is what one treated for nothing costs, in patients found."""
    found, false, missed, spared = (
        float(both.mean()) for both in (ill & acted, ~ill & acted, ill & ~acted, ~ill & ~acted)
    )
    cases, everybody = float(ill.mean()), worth(who)
    lost = _difference(missed, spared, everybody, price)  # what treating all has over the model
    return {
        NET_BENEFIT: _difference(found, false, everybody, price),
        TREAT_ALL: _difference(cases, 1 - cases, everybody, price),
        OVER_TREAT_ALL: (-lost[0], -lost[2], -lost[1]),
        "sensitivity": _share(float(acted[ill].mean()), worth(who[ill])),
        "specificity": _share(float((~acted[~ill]).mean()), worth(who[~ill])),
    }


def _share(share: float, of: float) -> tuple[float, float, float]:
    low, high = wilson(np.array([share]), np.array([of]))
    return share, float(low[0]), float(high[0])


def _difference(share: float, other: float, of: float, price: float) -> tuple[float, float, float]:
    """One share of patients less ``price`` times that of others among them, with Zou & Donner's interval."""
    (one, low, high), (two, below, above) = _share(share, of), _share(other, of)
    both = (1 - one) * (1 - two)
    apart = 2 * price * math.sqrt(one * two / both) if both > 0 else 0.0  # who is the one is not the other
    value = one - price * two

    def _half(own: float, others: float) -> float:
        return math.sqrt(own**2 + (price * others) ** 2 + apart * own * others)

    return value, value - _half(one - low, above - two), value + _half(high - one, two - below)
