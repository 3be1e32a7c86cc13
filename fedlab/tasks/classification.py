"""Classes: who is ill, or which of several diseases it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fedlab.metrics.cells import patients_by_class
from fedlab.metrics.quick import NOBODY, loss_and_auc, padded
from fedlab.metrics.scores import METRICS, Metric, Score, many_scores
from fedlab.metrics.thresholds import Threshold
from fedlab.tasks.base import Floats, Task


@dataclass(frozen=True)
class Classification(Task):
    """A classification task.

    Parameters
    ----------
    classes : tuple of str
        Names of the classes in the order of their numbers 0, 1, …; two make the task binary, and the
        second is then the *positive* one.

    Examples
    --------
    >>> task = Classification(("healthy", "ill"))
    >>> task.kind, task.outputs
    ('binary', 1)
    """

    classes: tuple[str, ...]

    dtype: ClassVar[torch.dtype] = torch.int64
    model: ClassVar[str] = "logistic"
    elsewhere: ClassVar[Mapping[str, str]] = {"linear": "logistic"}
    choosing: ClassVar[str] = "log_loss"
    headline: ClassVar[str] = "auc"
    guessed: ClassVar[float] = 0.5
    main: ClassVar[tuple[str, ...]] = ("auc", "accuracy", "log_loss")
    metrics: ClassVar[Mapping[str, Metric]] = METRICS

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

    @property
    def columns(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    @property
    def about(self) -> str:
        """How many classes it has."""
        return f"a {self.kind} task of {len(self.classes)} classes"

    def check_values(self, y: Tensor) -> None:
        """Refuse what is no number of a class."""
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(self.classes):
            raise ValueError(f"labels outside 0 … {len(self.classes) - 1}")

    def stratum(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Return the class."""
        return y

    def counts(self, who: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
        """Count the patients of each class."""
        return patients_by_class(who, y, len(self.classes))

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy per example in nats; logits [n, outputs] (or [n] if binary), ``y`` [n]."""
        if self.kind == "binary":
            flat = out.reshape(y.shape)
            # log(1 + exp(-z)) of the true class's z: torch's own has no rule for stacked sites and falls into 30 pieces
            return F.softplus(torch.rsub(y, 1, alpha=2) * flat, threshold=40)
        return F.cross_entropy(out.reshape(len(y), self.outputs), y, reduction="none")

    def predict(self, out: Tensor) -> Tensor:
        """Probability of each class, shape [n, classes]."""
        if self.kind == "binary":
            p = torch.sigmoid(out.reshape(len(out)))
            return torch.stack([1 - p, p], dim=1)
        return torch.softmax(out, dim=1)

    def voted(self, p: Tensor) -> Tensor:
        """Return the logits of mean probabilities."""
        return torch.logit(p[:, 1:]) if self.kind == "binary" else p.log()

    def padded(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Stack labels, padded with no class."""
        return padded(labels, NOBODY)

    def quick_scores(self, y: NDArray[Any], p: Floats) -> dict[str, Floats]:
        """Log loss and AUC."""
        return loss_and_auc(y, p)

    def many_scores(
        self,
        y: NDArray[np.int64],
        p: Floats,
        *,
        thresholds: Sequence[Threshold],
        resamples: int = 0,
        seed: int = 0,
        who: NDArray[Any] | None = None,
    ) -> list[dict[str, Score]]:
        """Every metric of several models on the same patients: see :mod:`fedlab.metrics.scores`."""
        return many_scores(y, p, thresholds=thresholds, resamples=resamples, seed=seed, who=who)

    def guess(self, train: NDArray[Any], valid: NDArray[Any]) -> float:
        """Return the log loss of the training patients' shares of the classes."""
        known, there = train.tolist(), valid.tolist()
        shares = {k: known.count(k) / len(known) for k in set(there)}
        each = (-math.log(share) * there.count(k) if share else math.inf for k, share in shares.items())
        return sum(each) / len(there)

    def describe(self, y: NDArray[Any]) -> dict[str, float]:
        """Return the share of each class; of a binary task that of the positive one."""
        shown = self.classes[1:] if self.kind == "binary" else self.classes
        return {share_of(name): float((y == self.classes.index(name)).mean()) for name in shown}


def share_of(name: str) -> str:
    """Name the column of a class's share; "share missing" is that of missing cells."""
    return f"share {name}" if name != "missing" else "share 'missing'"
