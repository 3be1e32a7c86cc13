r"""The mean without the extremes, number by number.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal statistical rates*, ICML
2018, arXiv:1803.01498, definition 2: of each coordinate the largest and the smallest :math:`\beta` of the sites' values
are left out, and the rest averaged.

Takes the number left out at each end, ``trim`` :math:`= \beta N`, because hospitals are few: with Flower's
``FedTrimmedAvg(beta=0.2)`` nobody is left out of four. The sites count alike. Deviates: of models after local epochs,
where the paper takes gradients; running statistics too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.ranges import counts
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class TrimmedMean(Algorithm):
    """Coordinate-wise trimmed mean.

    Parameters
    ----------
    trim : int
        Values left out at each end, at least 0 (the plain mean); more than twice as many sites must answer.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([1.0, 2.0, 6.0, 99.0])}
    >>> TrimmedMean(trim=1).combine({}, sent, {}, torch.ones(4), {}, torch.arange(4))[0]["w"].item()
    4.0
    """

    statistics: ClassVar[str] = "combine"
    trim: int = 1

    def __post_init__(self) -> None:
        counts("trim", self.trim, 0)

    def quorum(self, sites: int) -> int:
        """Somebody must be left."""
        return 2 * self.trim + 1

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Sort, trim, average."""
        return {k: u.sort(0).values[self.trim : len(u) - self.trim].mean(0) for k, u in uploads.items()}, state
