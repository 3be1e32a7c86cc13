"""A quantity: days in hospital, a laboratory value, a score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.metrics.errors import ERRORS, many_errors
from fedlab.metrics.quick import error_and_r2, padded
from fedlab.metrics.scores import Metric, Score
from fedlab.metrics.thresholds import Threshold
from fedlab.tasks.base import Floats, Task

STRATA, A_STRATUM = 5, 5  # quantile strata of a site at most, and patients in one at least
LARGEST = 1e30  # above it a square no longer fits into single precision


@dataclass(frozen=True)
class Regression(Task):
    """The prediction of a quantity, judged by its errors in the quantity's own unit.

    A model is trained on ``(y - center) / scale`` by squared error, so that the usual learning rates fit; what it is
    asked for afterwards (predictions, metrics, the score that chooses the round) is in the unit of ``y``. Both numbers
    are constants of the task, agreed beforehand like the unit: nothing of them is learnt from a site, and no site tells
    anything for them. They need not be exact.

    Parameters
    ----------
    name : str
        What is predicted.
    center : float
        About where its values lie.
    scale : float
        About how far they lie apart: a standard deviation, above 0.
    unit : str
        ``"days"``; empty where there is none.

    Examples
    --------
    >>> task = Regression("stay", center=6, scale=4, unit="days")
    >>> task.kind, task.outputs, task.predict(torch.tensor([[0.5]])).tolist()
    ('regression', 1, [[8.0]])
    """

    name: str = "quantity"
    center: float = 0.0
    scale: float = 1.0
    unit: str = ""

    dtype: ClassVar[torch.dtype] = torch.float64
    model: ClassVar[str] = "linear"
    elsewhere: ClassVar[Mapping[str, str]] = {"logistic": "linear"}
    choosing: ClassVar[str] = "mse"
    headline: ClassVar[str] = "r2"
    guessed: ClassVar[float] = 0.0
    main: ClassVar[tuple[str, ...]] = ("r2", "mae", "rmse")
    metrics: ClassVar[Mapping[str, Metric]] = ERRORS

    def __post_init__(self) -> None:
        for what in ("center", "scale"):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
                raise ValueError(f"{what} is {value!r}: give a number, about the mean or the spread of the target")
            object.__setattr__(self, what, float(value))
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale!r}: it must be above 0, about a standard deviation of the target")
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name is {self.name!r}: say what is predicted")

    @staticmethod
    def of(y: Tensor, *, name: str, unit: str = "") -> Regression:
        """Return a task whose center and scale are about those of these values, to one digit.

        Examples
        --------
        >>> Regression.of(torch.tensor([61.0, 83.0, 72.0]), name="heart rate")
        Regression(name='heart rate', center=72.0, scale=9.0, unit='')
        """
        spread = float(y.double().std(correction=0)) if len(y) else 0.0
        if not spread > 1e-9 * float(y.double().abs().max() if len(y) else 0.0):
            raise ValueError(f"{name!r} has one value only: there is nothing to predict")
        digit = -math.floor(math.log10(spread))
        scale = round(spread, digit)
        return Regression(name, center=round(float(y.double().mean()), digit) + 0.0, scale=scale, unit=unit)

    @property
    def kind(self) -> str:
        """``"regression"``."""
        return "regression"

    @property
    def outputs(self) -> int:
        """One number."""
        return 1

    @property
    def columns(self) -> tuple[str, ...]:
        """What is predicted."""
        return (self.name,)

    @property
    def about(self) -> str:
        """What is predicted."""
        return f"a regression of {self.name!r}" + (f" in {self.unit}" if self.unit else "")

    def check_values(self, y: Tensor) -> None:
        """Refuse what is missing or infinite."""
        if not bool((y.abs() < LARGEST).all()):
            raise ValueError("missing or infinite labels: leave those rows out, or correct them")

    def stratum(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Return the fifth of the site's patients in which each stands, of fewer patients a coarser one.

        Equal values share a stratum.

        Examples
        --------
        >>> Regression().stratum(np.array([3.0, 1.0, 2.0, 9.0, 8.0, 7.0, 4.0, 5.0, 6.0, 10.0])).tolist()
        [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
        """
        strata = min(STRATA, max(1, len(y) // A_STRATUM))
        ends = np.quantile(y, np.arange(1, strata) / strata) if len(y) else np.empty(0)
        return np.searchsorted(ends, y, side="left").astype(np.int64)

    def counts(self, who: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
        """Count all patients: there are no classes."""
        return np.array([len(np.unique(who))], dtype=np.int64)

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """Squared error per row, in units of ``scale``."""
        return (out.reshape(y.shape) - ((y - self.center) / self.scale).to(out.dtype)) ** 2

    def predict(self, out: Tensor) -> Tensor:
        """Return the quantity, [n, 1]."""
        return out.reshape(len(out), 1) * self.scale + self.center

    def read(self, out: Tensor) -> Tensor:
        """Return the quantity, [n, 1]."""
        return self.predict(out)

    def voted(self, p: Tensor) -> Tensor:
        """Return the mean as it is."""
        return p

    def padded(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Stack quantities, padded with ``nan``."""
        return padded(labels, math.nan)

    def quick_scores(self, y: NDArray[Any], p: Floats) -> dict[str, Floats]:
        """Mean squared error and R²."""
        return error_and_r2(y, p)

    def many_scores(
        self,
        y: NDArray[Any],
        p: Floats,
        *,
        thresholds: Sequence[Threshold],
        resamples: int = 0,
        seed: int = 0,
        who: NDArray[Any] | None = None,
    ) -> list[dict[str, Score]]:
        """Every metric of several models on the same patients: see :mod:`fedlab.metrics.errors`."""
        del thresholds, seed
        return many_errors(y, p, intervals=resamples > 0, who=who)

    def guess(self, train: NDArray[Any], valid: NDArray[Any]) -> float:
        """Return the mean squared error of the training patients' mean."""
        return float(((valid - train.mean()) ** 2).mean())

    def describe(self, y: NDArray[Any]) -> dict[str, float]:
        """Return mean and standard deviation."""
        if not len(y):
            return {f"mean {self.name}": math.nan, f"sd {self.name}": math.nan}
        return {f"mean {self.name}": float(y.mean()), f"sd {self.name}": float(y.std())}
