"""Errors of a predicted quantity: squared and absolute error, R², and their intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.cells import ENOUGH, enough_for_interval
from fedlab.metrics.ranking import Floats, ratio, weighted
from fedlab.metrics.scores import Score
from fedlab.metrics.thresholds import PREDICTS_NAN

FEW_PATIENTS = f"fewer than {ENOUGH} patients: no interval"
NO_ERROR = "the model makes no error on these patients: no interval"
MEASURES = ("r2", "mae", "rmse", "mse")


def _squared(y: Floats, p: Floats) -> Floats:
    out: Floats = (p[..., 0] - y) ** 2
    return out


def mse(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean squared error of predictions ``p`` [..., n, 1], weights ``w`` [resamples, n]; shape [..., resamples]."""
    return ratio(weighted(_squared(y, p), w), w.sum(1))


def _rmse(y: Floats, p: Floats, w: Floats) -> Floats:
    out: Floats = np.sqrt(mse(y, p, w))
    return out


def mae(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean absolute error; shapes as :func:`mse`."""
    return ratio(weighted(np.abs(p[..., 0] - y), w), w.sum(1))


def r2(y: Floats, p: Floats, w: Floats) -> Floats:
    """R²: 1 less the squared error over that of telling everybody the mean; ``nan`` where all have one value.

    The mean is that of the very patients it is given, as scikit-learn's ``r2_score`` has it: 0 is their mean told to
    all, below 0 is worse than that.

    Examples
    --------
    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [2.0]]), np.ones((1, 3))).tolist()
    [0.5]
    """
    middle = ratio(weighted(y, w), w.sum(1))
    spread = (w * (y[None] - middle[:, None]) ** 2).sum(1)
    spread = np.where(spread > 1e-12 * (w * y[None] ** 2).sum(1), spread, 0.0)  # a constant, to rounding
    out: Floats = 1 - ratio(weighted(_squared(y, p), w), spread)
    return out


ERRORS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {"r2": r2, "mae": mae, "rmse": _rmse, "mse": mse}
"""The metrics of a predicted quantity."""


def many_errors(
    y: Floats, p: Floats, *, intervals: bool = False, who: NDArray[Any] | None = None
) -> list[dict[str, Score]]:
    """Every metric of several models' predictions ``p`` [models, n, 1] of quantities ``y`` [n].

    The 95 % intervals are over patients, the models fixed: the delete-one-patient jackknife of the metric's logarithm
    (of R²: of the logarithm of 1 - R²) with the t distribution. In simulations of 20 to 200 patients (``tests/metrics/
    test_errors.py``) it covered .93 to .96 with normal errors; with skewed quantities of heavy tails R² and MAE still
    .89 to .95, but MSE and RMSE as little as .70, for the few patients of large errors decide them: judge those by MAE.

    Parameters
    ----------
    y : float array, shape [n]
    p : float array, shape [models, n, 1]
    intervals : bool
        None with fewer than twenty patients, whatever is asked.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient. A patient is left out with all rows.

    Examples
    --------
    >>> y = np.arange(30.0)
    >>> found = many_errors(y, (y + np.where(y % 2, 1, -2))[None, :, None], intervals=True)[0]
    >>> found["mae"].value, [round(each, 3) for each in found["r2"][:3]]
    (1.5, [0.967, 0.949, 0.978])
    """
    if len(y) == 0:
        return [_nothing("no patients") for _ in p]
    y, w = y.astype(float), np.ones((1, len(y)))
    who = np.arange(len(y)) if who is None else who
    number = np.unique(who, return_inverse=True)[1]
    why = "" if enough_for_interval(number.max() + 1) else FEW_PATIENTS
    out = []
    for one in p.astype(float):
        if not np.isfinite(one).all():
            out.append(_nothing(PREDICTS_NAN))
            continue
        values = {name: float(metric(y, one, w)[0]) for name, metric in ERRORS.items()}
        told = {name: Score(value) for name, value in values.items()}
        if intervals:
            told = {name: score._replace(reason=why) for name, score in told.items()}
            told = told if why else _with_intervals(values, y, one[:, 0], number)
        if math.isnan(values["r2"]):
            told["r2"] = Score(math.nan, reason=f"these {len(y)} rows have one value: R² compares with a spread")
        out.append(told)
    return out


def _nothing(reason: str) -> dict[str, Score]:
    return {name: Score(math.nan, reason=reason) for name in ERRORS}


def _with_intervals(values: dict[str, float], y: Floats, p: Floats, number: NDArray[np.int64]) -> dict[str, Score]:
    """Give each value its interval; ``number`` says whose row it is."""
    rows, absolute, square, level, levels = (
        np.bincount(number, weights=each).astype(float)
        for each in (np.ones_like(y), np.abs(p - y), (p - y) ** 2, y, y**2)
    )
    left: Floats = rows.sum() - rows
    without = partial(_without, left=left)
    spread = levels.sum() - levels - (level.sum() - level) ** 2 / left
    logs = {"mse": without(square), "mae": without(absolute)}
    half = {name: _half(np.log(np.maximum(mean, np.finfo(float).tiny))) for name, mean in logs.items()}
    fine = (spread > 0).all()
    half["r2"] = _half(np.log(np.maximum(logs["mse"], np.finfo(float).tiny) * left / spread)) if fine else math.nan
    half["rmse"] = half["mse"] / 2
    out = {}
    for name, value in values.items():
        lost = 1 - value if name == "r2" else value
        if not lost > 0:
            out[name] = Score(value, reason=NO_ERROR)
            continue
        low, high = lost * math.exp(-half[name]), lost * math.exp(half[name])
        out[name] = Score(value, 1 - high, 1 - low) if name == "r2" else Score(value, low, high)
    return out


def _without(sums: Floats, *, left: Floats) -> Floats:
    """Return the mean without each patient."""
    out: Floats = (sums.sum() - sums) / left
    return out


def _half(each: Floats) -> float:
    """Half the width of a jackknife interval, from the values without each patient."""
    from scipy.stats import t  # a second to import: only when asked

    n = len(each)
    return float(t.ppf(0.975, n - 1) * math.sqrt((n - 1) / n * ((each - each.mean()) ** 2).sum()))
