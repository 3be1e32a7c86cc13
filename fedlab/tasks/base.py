"""What everything else asks of a task: it alone knows what ``y`` is, how a prediction is judged and by which scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.metrics.scores import Metric, Score
from fedlab.metrics.thresholds import Threshold

Floats = NDArray[np.float64]


class Task(ABC):
    """What is to be learnt. A new kind of target is one subclass: see :class:`~fedlab.tasks.Regression`.

    Predictions are float64 [n, columns] everywhere: probabilities of classes, or a quantity as a single column.
    """

    dtype: ClassVar[torch.dtype]
    """Of ``y``: whole numbers or floats."""
    width: ClassVar[int] = 1
    """Numbers a row: ``y`` is [n], or [n, width] where there are several."""
    model: ClassVar[str]
    """The model where none is named."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Named models that are of other tasks, and the one to take instead."""
    choosing: ClassVar[str]
    """The metric on ``valid`` that chooses the round and the settings: lower is better. A study judges by it too."""
    headline: ClassVar[str]
    """The metric that says how good a model is, on a scale that can be read: shown beside the choosing one."""
    guessed: ClassVar[float]
    """The headline of who tells everybody the same."""
    main: ClassVar[tuple[str, ...]]
    """The metrics that a table of few columns shows."""
    metrics: ClassVar[Mapping[str, Metric]]
    """All metrics, in the order of a report; which way is better and where they end says :mod:`fedlab.metrics`."""
    classes: tuple[str, ...] = ()
    """Names of the classes; none where a quantity is predicted."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What kind of task it is."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that a model gives per patient."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """What each column of a prediction is called."""

    def check(self, y: Tensor) -> None:
        """Refuse what is no target of this task: another shape, floats for whole numbers or the reverse, no such value.

        Raises
        ------
        ValueError
        """
        if tuple(y.shape[1:]) != ((self.width,) if self.width > 1 else ()):
            many = f"{self.width} numbers a row, [n, {self.width}]" if self.width > 1 else "one number a row, [n]"
            raise ValueError(f"labels of shape {list(y.shape)}, and the task is {self.about}: give {many}")
        if y.is_floating_point() != self.dtype.is_floating_point:
            give = "floats, y.double()" if self.dtype.is_floating_point else "the number of each row's class, y.long()"
            raise ValueError(f"labels of {y.dtype}, and the task is {self.about}: give {give}")
        self.check_values(y)

    @abstractmethod
    def check_values(self, y: Tensor) -> None:
        """Refuse values, of the right shape and dtype, that the target cannot have.

        Raises
        ------
        ValueError
        """

    @abstractmethod
    def stratum(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Return the stratum of each of a site's patients, 0, 1, …: in each the parts of a split have their shares."""

    @abstractmethod
    def counts(self, who: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
        """Count the patients of each class, or all where there are none: the smallest says what may be judged."""

    @abstractmethod
    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """Loss of each row, [n], of a model's output [n, outputs] (or [n] of a single one)."""

    def batch_loss(self, out: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Mean loss over the rows of weight 1; the others are padding."""
        return (self.loss(out, y) * weight).sum() / weight.sum().clamp(min=1)

    @abstractmethod
    def predict(self, out: Tensor) -> Tensor:
        """Prediction [n, columns] of a model's output."""

    def read(self, out: Tensor) -> Tensor:
        """Return what a model that is handed out gives: of classes the logits, of a quantity the quantity."""
        return out

    @abstractmethod
    def voted(self, p: Tensor) -> Tensor:
        """Return what :meth:`read` would give for this mean of several models' predictions, [n, columns]."""

    @abstractmethod
    def padded(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Stack the targets of sites of different sizes, [sites, longest], for :meth:`quick_scores`."""

    @abstractmethod
    def quick_scores(self, y: NDArray[Any], p: Floats) -> dict[str, Floats]:
        """Choosing score, headline and ``n`` of each site, from padded targets and predictions [sites, rows, columns].

        A site whose predictions are not finite has an infinite choosing score.
        """

    @abstractmethod
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
        """Every metric of several models on the same patients, ``p`` [models, n, columns].

        ``resamples`` above 0 adds 95 % intervals over patients; a task that has a formula draws none.
        """

    def scores(
        self,
        y: NDArray[Any],
        p: Floats,
        *,
        threshold: Threshold | None = None,
        resamples: int = 0,
        seed: int = 0,
        who: NDArray[Any] | None = None,
    ) -> dict[str, Score]:
        """Every metric of one model, ``p`` [n, columns]: see :meth:`many_scores`."""
        thresholds = [threshold or Threshold(np.nan, "no threshold was chosen on valid")]
        return self.many_scores(y, p[None], thresholds=thresholds, resamples=resamples, seed=seed, who=who)[0]

    @abstractmethod
    def guess(self, train: NDArray[Any], valid: NDArray[Any]) -> float:
        """Return the choosing score on ``valid`` of who tells all what the training patients are like on average.

        Infinite where that tells a patient that cannot be.
        """

    @abstractmethod
    def describe(self, y: NDArray[Any]) -> dict[str, float]:
        """Columns of a table of sites that say what the target is like at one of them."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What it is, in a few words."""

    def check_model(self, name: str) -> None:
        """Refuse a named model that is of another task.

        Raises
        ------
        ValueError
        """
        if name in self.elsewhere:
            raise ValueError(f"the model {name!r} is not for {self.about}: take {self.elsewhere[name]!r}")

    def check_output(self, shape: torch.Size, n: int) -> None:
        """Refuse a model whose output does not fit the task.

        Raises
        ------
        ValueError
            If ``shape`` is not [n, outputs] (or [n] of a single output).
        """
        fits = [(n, self.outputs)] + ([(n,)] if self.outputs == 1 else [])
        if tuple(shape) not in fits:
            raise ValueError(
                f"the model gives an output of shape {tuple(shape)} for {n} patients, but {self.about} "
                f"needs [{n}, {self.outputs}]: let its last layer have "
                f"{self.outputs} output{'s' if self.outputs > 1 else ''}"
            )

    def needs_classes(self, what: str, instead: str = "run.report() has the metrics that fit it") -> None:
        """Refuse what is of classes alone, and say what there is ``instead``.

        Raises
        ------
        ValueError
        """
        if not self.classes:
            raise ValueError(f"{what}, and this task is {self.about}: {instead}")
