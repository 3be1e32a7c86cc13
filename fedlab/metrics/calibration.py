"""Whether predicted risks are true, as measures that have an interval: in the large, slope and O:E."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.cells import ENOUGH, LEAST, enough_for_interval, patients_by_class
from fedlab.metrics.clusters import by_patient
from fedlab.metrics.delong import Z
from fedlab.metrics.ranking import Floats, expit
from fedlab.metrics.reliability import calibration_error, error_by_chance
from fedlab.metrics.thresholds import PREDICTS_NAN

IN_THE_LARGE, SLOPE, RATIO, ECE = "in_the_large", "slope", "observed_to_expected", "ece"
CALIBRATED = {IN_THE_LARGE: 0.0, SLOPE: 1.0, RATIO: 1.0}
"""The measures of calibration that are judged by their interval, and what each is where every risk is true."""
MEASURES = (*CALIBRATED, ECE)
EQUAL = 1e-6  # logits within so much of each other are one: single precision
STEPS = 100


class Measure(NamedTuple):
    """One measure of calibration with its 95 % interval over patients.

    ``calibrated`` is what it is on average where every risk is true, and ``calibrated_high`` its 95 % point then, for
    the calibration error, which has no interval. ``reason`` says why something is ``nan``.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    calibrated: float = math.nan
    calibrated_high: float = math.nan
    reason: str = ""


def calibration(
    y: NDArray[np.int64], p: Floats, *, who: NDArray[Any] | None = None, seed: int = 0
) -> dict[str, Measure]:
    r"""Measure the calibration of probabilities ``p`` [n, 2] on patients of classes ``y`` [n].

    After Van Calster et al. (BMC Medicine 17, 2019: *Calibration: the Achilles heel of predictive analytics*):

    * ``in_the_large``: the logit by which all risks together are too low; the intercept of a logistic regression on
      the logit of the risk with slope 1. Above 0: more patients are ill than was told. Its interval does not take the
      slope for granted (sandwich variance);
    * ``slope`` of the logistic regression on that logit: below 1 risks are too extreme, high ones too high and low ones
      too low, as overfitting makes them;
    * ``observed_to_expected``: how many were ill over the sum of the risks; the interval is that of the logarithm
      of a ratio of two means of the same patients;
    * ``ece``: the calibration error over ten bins, which has no interval and is not 0 where all risks are true:
      ``calibrated`` is what it is then.

    The first three have neither value nor interval with fewer than twenty patients of a class. Simulations of their
    coverage are in ``tests/metrics/test_calibration.py``.

    Parameters
    ----------
    y : int array, shape [n]
    p : float array, shape [n, classes]
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient. Intervals are over patients: what the rows of one add to
        a variance is summed before it is squared (Liang & Zeger, Biometrika 73, 1986).
    seed : int
        Of the draws behind ``calibrated`` of ``ece``.

    Returns
    -------
    dict of str to Measure
        In the order of :data:`MEASURES`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> told = rng.uniform(0.05, 0.6, size=400)
    >>> y = (rng.random(400) < told / 2).astype(int)  # half of what was told
    >>> found = calibration(y, np.stack([1 - told, told], axis=1))
    >>> [round(each, 2) for each in found["observed_to_expected"][:3]]
    [0.48, 0.39, 0.6]
    >>> found["in_the_large"].high < 0
    True
    """
    return many_calibrations(y, np.asarray(p)[None], who=who, seed=seed)[0]


def many_calibrations(
    y: NDArray[np.int64], p: Floats, *, who: NDArray[Any] | None = None, seed: int = 0
) -> list[dict[str, Measure]]:
    """As :func:`calibration` for several models on the same patients, ``p`` [models, n, classes]."""
    who = np.arange(len(y)) if who is None else who
    out = [_all(PREDICTS_NAN) for _ in p]
    fit = np.flatnonzero(np.isfinite(p).all((1, 2)))
    why = _too_few(y, who, p.shape[-1])
    errors = _calibration_errors(y, p[fit].astype(float), who, seed)
    for k, error in zip(fit.tolist(), errors, strict=True):
        judged = (
            dict.fromkeys(CALIBRATED, Measure(math.nan, reason=why)) if why else _judged(y, p[k].astype(float), who)
        )
        out[k] = {name: each._replace(calibrated=CALIBRATED[name]) for name, each in judged.items()} | {ECE: error}
    return out


def _all(reason: str) -> dict[str, Measure]:
    nothing = Measure(math.nan, reason=reason)
    return {name: nothing._replace(calibrated=CALIBRATED.get(name, math.nan)) for name in MEASURES}


def _too_few(y: NDArray[np.int64], who: NDArray[Any], classes: int) -> str:
    if classes != 2:
        return f"needs a task of two classes; this one has {classes}"
    return "" if enough_for_interval(patients_by_class(who, y, 2).min()) else f"fewer than {ENOUGH} patients of a class"


def _calibration_errors(y: NDArray[np.int64], p: Floats, who: NDArray[Any], seed: int) -> list[Measure]:
    """Calibration errors beside what they are by chance; no site of fewer than five patients tells one."""
    if len(np.unique(who)) < LEAST:
        return [Measure(math.nan, reason=f"fewer than {LEAST} patients")] * len(p)
    means, highs = error_by_chance(p, seed=seed, who=who)
    return [
        Measure(calibration_error(y, one), calibrated=mean, calibrated_high=high)
        for one, mean, high in zip(p, means.tolist(), highs.tolist(), strict=True)
    ]


# --------------------------------------------------------------------------- the three with an interval


def _judged(y: NDArray[np.int64], p: Floats, who: NDArray[Any]) -> dict[str, Measure]:
    """Measures of patients of whom there are enough of both classes."""
    ill = (y == 1).astype(float)
    told = {RATIO: _ratio(ill, p[:, 1], who)}
    if not (p > 0).all():
        nothing = Measure(math.nan, reason="somebody is told a risk of 0 or 1, whose logit is infinite")
        return dict.fromkeys((IN_THE_LARGE, SLOPE), nothing) | told
    logit = np.log(p[:, 1]) - np.log(p[:, 0])
    return {IN_THE_LARGE: _in_the_large(ill, logit, who), SLOPE: _slope(ill, logit, who)} | told


def _ratio(ill: Floats, risk: Floats, who: NDArray[Any]) -> Measure:
    observed, expected = float(ill.mean()), float(risk.mean())
    if expected == 0:
        return Measure(math.nan, reason="nobody is told any risk: nothing was expected")
    error = math.sqrt(float((by_patient(ill / observed - risk / expected, who) ** 2).sum())) / len(ill)
    if error == 0:
        return Measure(observed / expected, reason="every risk came true: no interval")
    value, width = observed / expected, math.exp(Z * error)
    return Measure(value, value / width, value * width)


def _in_the_large(ill: Floats, logit: Floats, who: NDArray[Any]) -> Measure:
    far = float(np.abs(logit).max()) + math.log(len(ill)) + 1  # beyond it all are told more, or less, than is seen
    value = _root(lambda shift: float((ill - expit(logit + shift)).sum()), -far, far)
    risk = expit(logit + value)
    spread = float((risk * (1 - risk)).sum())
    error = math.sqrt(float((by_patient(ill - risk, who) ** 2).sum())) / spread if spread > 0 else math.inf
    if not 0 < error < math.inf:
        return Measure(value, reason="every risk came true: no interval")
    return Measure(value, value - Z * error, value + Z * error)


def _slope(ill: Floats, logit: Floats, who: NDArray[Any]) -> Measure:
    if np.ptp(logit) <= EQUAL:
        return Measure(math.nan, reason="all are told the same risk: there is no slope")
    those, others = logit[ill == 1], logit[ill == 0]
    if those.min() >= others.max() or those.max() <= others.min():
        return Measure(math.nan, reason="the risks separate the classes perfectly: the slope is infinite")
    scale = float(logit.std())
    found = _fitted(ill, (logit - logit.mean()) / scale, who)
    if found is None:
        return Measure(math.nan, reason="the logistic regression did not converge")
    value, error = found[0] / scale, found[1] / scale
    return Measure(value, value - Z * error, value + Z * error)


def _fitted(ill: Floats, x: Floats, who: NDArray[Any]) -> tuple[float, float] | None:
    """Slope of a logistic regression on ``x`` and its standard error, by Newton's method with halved steps.

    With several rows of a patient the larger of the model's standard error and the one that sums over patients.
    """
    design = np.stack([np.ones_like(x), x], axis=1)
    at = np.zeros(2)
    reached = _likelihood(ill, design @ at)
    for _ in range(STEPS):
        risk = expit(design @ at)
        weight = risk * (1 - risk)
        information = design.T @ (design * weight[:, None])
        if not np.linalg.cond(information) < 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (ill - risk))
        while (there := _likelihood(ill, design @ (at + step))) < reached and np.abs(step).max() > 1e-12:
            step = step / 2
        at, reached = at + step, max(there, reached)
        if np.abs(step).max() <= 1e-9 * (1 + np.abs(at).max()):
            inverse = np.linalg.inv(information)
            among = by_patient((design * (ill - risk)[:, None]).T, who)
            several = (inverse @ among @ among.T @ inverse)[1, 1] if among.shape[1] < len(ill) else 0.0
            return float(at[1]), math.sqrt(float(max(inverse[1, 1], several)))
    return None


def _likelihood(ill: Floats, logit: Floats) -> float:
    return float((ill * logit - np.logaddexp(0, logit)).sum())


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is 0, by halving."""
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return middle
