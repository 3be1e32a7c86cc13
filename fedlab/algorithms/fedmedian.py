r"""The median of the sites, number by number.

Yin, Chen, Ramchandran & Bartlett, *Byzantine-robust distributed learning: towards optimal statistical rates*, ICML
2018, arXiv:1803.01498, definition 1: :math:`w_{t+1} = \operatorname{median}_k w_{t+1}^k`, coordinate-wise.

The sites count alike. Deviates: of models after local epochs, where the paper takes gradients; running statistics too.
Flower's FedMedian is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class FedMedian(Algorithm):
    """Coordinate-wise median; of an even number of sites the mean of the two in the middle.

    Examples
    --------
    >>> import torch
    >>> median(torch.tensor([9.0, 1.0, 2.0, 4.0])).item()
    3.0
    """

    statistics: ClassVar[str] = "combine"

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Take the median of each number."""
        return {k: median(u) for k, u in uploads.items()}, state


def median(u: Tensor) -> Tensor:
    """Median over the first axis; torch's own takes the lower of two."""
    rising, n = u.sort(0).values, len(u)
    return (rising[(n - 1) // 2] + rising[n // 2]) / 2
