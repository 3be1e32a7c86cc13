"""Reliability: how many of the patients who were told so much risk were ill."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlab.metrics.cells import LEAST, steps
from fedlab.metrics.clusters import numbered, worth
from fedlab.metrics.ranking import Floats

BINS = 10
DRAWS = 500  # of outcomes, for the error by chance
TOGETHER = 2**22  # outcomes drawn at once


class Bin(NamedTuple):
    """The patients whose predicted probability lies in ``low`` (included) to ``high``.

    ``predicted`` is the mean probability among them and ``observed`` the share of them that are positive, ``nan`` where
    there are none; ``observed_low`` and ``observed_high`` are its 95 % Wilson interval. ``reason`` says why there is
    nobody, or (``patients`` is ``nan``) why it is not told how many.
    """

    low: float
    high: float
    predicted: float
    observed: float
    observed_low: float
    observed_high: float
    patients: float
    reason: str = ""


def reliability(y: NDArray[np.int64], p: Floats, *, bins: int = BINS, who: NDArray[Any] | None = None) -> list[Bin]:
    """Sort patients into equal bins of predicted probability and compare with what happened.

    The bins are those of the expected calibration error, which is the mean of ``|predicted - observed|`` over patients
    (Naeini et al., AAAI 2015). Of more than two classes: the probability of the class called, and the share of calls
    that are right.

    Parameters
    ----------
    y : int array, shape [n]
    p : float array, shape [n, classes]
        Finite.
    bins : int
        At least 1.
    who : array, shape [n], optional
        Whose row it is, for a curve that leaves a site: neighbouring bins are put together until each holds five
        patients or nobody. The first of them holds all, and the others say so. Of fewer patients than that, none does.
        The interval takes the rows of a patient for one.

    Returns
    -------
    list of Bin
        As many as ``bins``.

    Examples
    --------
    >>> import numpy as np
    >>> said = np.array([0.1, 0.2, 0.8, 0.9])
    >>> low, high = reliability(np.array([0, 1, 1, 1]), np.stack([1 - said, said], axis=1), bins=2)
    >>> low.observed, round(high.predicted, 2), high.patients
    (0.5, 0.85, 2)
    """
    said, right = called(y, p)
    number = in_bin(said, bins)
    ends, reasons = np.arange(bins), [""] * bins
    if who is not None and len(np.unique(who)) < LEAST:
        number, said, right = number[:0], said[:0], right[:0]
        reasons = [f"fewer than {LEAST} patients"] * bins
    elif who is not None:
        for step in steps(number, who, bins):
            number[(number >= step.start) & (number < step.stop)] = step.start
            ends[step.start] = step.stop - 1
            reasons[step.start + 1 : step.stop] = [f"put together with bin {step.start + 1}"] * (len(step) - 1)
    rows = np.bincount(number, minlength=bins)
    there = np.maximum(rows, 1)
    predicted = np.where(rows > 0, np.bincount(number, said, minlength=bins) / there, np.nan)
    observed = np.where(rows > 0, np.bincount(number, right, minlength=bins) / there, np.nan)
    inside = [np.arange(n) if who is None else who[number == k] for k, n in enumerate(rows)]
    patients = [len(np.unique(each)) for each in inside]
    low, high = wilson(observed, np.array([worth(each) if len(each) else 0 for each in inside]))
    columns = [np.arange(bins) / bins, (ends + 1) / bins, predicted, observed, low, high]
    reasons = [reason or "no patients" * (n == 0) for reason, n in zip(reasons, patients, strict=True)]
    return [Bin(*row) for row in zip(*(column.tolist() for column in columns), patients, reasons, strict=True)]


def calibration_error(y: NDArray[np.int64], p: Floats, *, bins: int = BINS) -> float:
    """Expected calibration error over equal bins (Naeini et al., AAAI 2015) of probabilities ``p`` [n, classes].

    It is never below 0, so that chance alone makes it large: of 30 to 75 patients to whom every risk was told truly it
    is .06 to .12. It says nothing without :func:`error_by_chance` beside it.

    Examples
    --------
    >>> said = np.array([0.1, 0.1, 0.8, 0.8])
    >>> round(calibration_error(np.array([0, 1, 1, 1]), np.stack([1 - said, said], axis=1)), 3)
    0.3
    """
    said, right = called(y, p)
    apart = np.bincount(in_bin(said, bins), weights=said - right)
    return float(np.abs(apart).sum() / len(y))


def error_by_chance(
    p: Floats, *, bins: int = BINS, seed: int = 0, who: NDArray[Any] | None = None
) -> tuple[Floats, Floats]:
    """Return the calibration error that models would have if all they say were true, from draws of the outcomes.

    Each patient is drawn to be ill (of several classes: to be called rightly) with the probability that was told,
    500 times; the draws are the same for all models.

    Parameters
    ----------
    p : float array, shape [models, n, classes]
    bins : int
    seed : int
        Of the draws.
    who : array, shape [n], optional
        Whose row it is; default: each row is another patient. The rows of one come true together.

    Returns
    -------
    (float array, float array), shape [models]
        The mean, and the 95 % point: a larger calibration error is seen in one of twenty such hospitals.

    Examples
    --------
    >>> told = np.random.default_rng(0).uniform(0.1, 0.9, size=(1, 50))
    >>> [each.round(2).tolist() for each in error_by_chance(np.stack([1 - told, told], axis=2))]
    [[0.14], [0.2]]
    """
    said = p[..., 1] if p.shape[-1] == 2 else p.max(-1)
    number = in_bin(said, bins)
    order = np.argsort(number, axis=1, kind="stable")
    rng, n = np.random.default_rng(np.random.SeedSequence([seed, 5])), said.shape[1]
    at_once = max(1, TOGETHER // max(n, 1))
    patients, of = (n, np.arange(n)) if who is None else numbered(who)
    errors: list[Floats] = []
    for start in range(0, DRAWS, at_once):
        chance = rng.random((min(at_once, DRAWS - start), patients))[:, of]
        errors.append(np.stack([_errors(*row, chance) for row in zip(said, number, order, strict=True)]))
    drawn = np.concatenate(errors, axis=1)
    return drawn.mean(1), np.quantile(drawn, 0.95, axis=1)


def _errors(said: Floats, number: NDArray[np.int64], order: NDArray[np.int64], chance: Floats) -> Floats:
    """Calibration error of one model in each draw [draws, n] of whom is ill: those with less chance than told risk."""
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    apart = (said - (chance < said))[:, order]
    out: Floats = np.abs(np.add.reduceat(apart, starts, axis=1)).sum(1) / len(said)
    return out


def called(y: NDArray[np.int64], p: Floats) -> tuple[Floats, Floats]:
    """Return the probability that is to be calibrated, [..., n], and whether it came true (1 or 0)."""
    if p.shape[-1] == 2:
        return p[..., 1], (y == 1).astype(float)
    return p.max(-1), (p.argmax(-1) == y).astype(float)


def in_bin(said: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Return the number of each probability's bin; 1 belongs to the last."""
    numbers: NDArray[np.int64] = np.minimum((said * bins).astype(np.int64), bins - 1)
    return numbers


def wilson(share: Floats, patients: NDArray[np.float64] | NDArray[np.int64]) -> tuple[Floats, Floats]:
    """95 % interval of a share (Wilson, JASA 1927): stays in [0, 1] and has a width where the share is 0 or 1.

    Examples
    --------
    >>> low, high = wilson(np.array([0.5]), np.array([10]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.237], [0.763])
    """
    z = 1.959963984540054
    n = np.maximum(patients, 1)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = np.where(share == 0, 0.0, middle - half), np.where(share == 1, 1.0, middle + half)  # not 1e-17
    return low, high
