"""What is to be learnt: the classes, the loss per example and the shape of a model's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedlab.metrics.scores import Score, many_scores, scores
from fedlab.metrics.thresholds import NONE, Threshold


@dataclass(frozen=True)
class Task:
    """A classification task.

    Parameters
    ----------
    classes : tuple of str
        Names of the classes in the order of their numbers 0, 1, …; two make the task binary, and the
        second is then the *positive* one.

    Examples
    --------
    >>> task = Task(("healthy", "ill"))
    >>> task.kind, task.outputs
    ('binary', 1)
    """

    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a task needs at least two different classes, got {self.classes!r}")

    @property
    def kind(self) -> str:
        """``"binary"`` or ``"multiclass"``."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def outputs(self) -> int:
        """Number of logits a model gives per patient: 1 for a binary task, else one per class."""
        return 1 if self.kind == "binary" else len(self.classes)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy per example in nats; ``logits`` [n, outputs] (or [n] if binary), ``y`` [n]."""
        if self.kind == "binary":
            flat = logits.reshape(y.shape)
            # log(1 + exp(-z)) of the true class's z: torch's own has no rule for stacked sites and falls into 30 pieces
            return F.softplus(torch.rsub(y, 1, alpha=2) * flat, threshold=40)
        return F.cross_entropy(logits.reshape(len(y), self.outputs), y, reduction="none")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability of each class, shape [n, classes]."""
        if self.kind == "binary":
            p = torch.sigmoid(logits.reshape(len(logits)))
            return torch.stack([1 - p, p], dim=1)
        return torch.softmax(logits, dim=1)

    def scores(
        self,
        y: NDArray[np.int64],
        p: NDArray[np.float64],
        *,
        threshold: Threshold = NONE,
        resamples: int = 0,
        seed: int = 0,
        who: NDArray[Any] | None = None,
    ) -> dict[str, Score]:
        """Every metric of predicted probabilities ``p`` [n, classes]: see :mod:`fedlab.metrics.scores`."""
        return scores(y, p, threshold=threshold, resamples=resamples, seed=seed, who=who)

    def many_scores(
        self,
        y: NDArray[np.int64],
        p: NDArray[np.float64],
        *,
        thresholds: Sequence[Threshold],
        resamples: int = 0,
        seed: int = 0,
        who: NDArray[Any] | None = None,
    ) -> list[dict[str, Score]]:
        """Every metric of several models on the same patients, ``p`` [models, n, classes]."""
        return many_scores(y, p, thresholds=thresholds, resamples=resamples, seed=seed, who=who)

    def check_output(self, shape: torch.Size, n: int) -> None:
        """Refuse a model whose output does not fit the task.

        Raises
        ------
        ValueError
            If ``shape`` is not [n, outputs] (or [n] for a binary task).
        """
        fits = [(n, self.outputs)] + ([(n,)] if self.outputs == 1 else [])
        if tuple(shape) not in fits:
            raise ValueError(
                f"the model gives an output of shape {tuple(shape)} for {n} patients, but a {self.kind} task of "
                f"{len(self.classes)} classes needs [{n}, {self.outputs}]: let its last layer have "
                f"{self.outputs} output{'s' if self.outputs > 1 else ''}"
            )
