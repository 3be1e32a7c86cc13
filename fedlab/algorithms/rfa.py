r"""The point with the smallest sum of distances to the sites' models.

Pillutla, Kakade & Harchaoui, *Robust aggregation for federated learning*, IEEE Transactions on Signal Processing 70,
2022, arXiv:1912.13445, Algorithm 2 (smoothed Weiszfeld). The geometric median

.. math:: w_{t+1} = \arg\min_z \sum_k \alpha_k \lVert z - w_{t+1}^k \rVert

is found by :math:`z \leftarrow \sum_k \beta_k w_{t+1}^k / \sum_k \beta_k` with
:math:`\beta_k = \alpha_k / \max(\nu, \lVert z - w_{t+1}^k \rVert)`, from the weighted mean; :math:`\alpha_k` are
FedAvg's weights.

Deviates: the server has all models at hand, so it iterates until the point rests (at most ``iterations`` times), where
the paper stops after three so as to exchange few messages; running statistics are part of the point. Flower ships none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import counts, in_range
from fedlab.algorithms.tensors import Tensors

REST = 1e-12  # relative movement at which the point rests


@dataclass(frozen=True, kw_only=True)
class RFA(FedAvg):
    r"""RFA, the geometric median.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    nu : float
        Distance below which a site's pull grows no further, more than 0.
    iterations : int
        At most so many, at least 1.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([[0.0], [1.0], [50.0]])}
    >>> round(RFA().combine({}, sent, {}, torch.ones(3), {}, torch.arange(3))[0]["w"].item(), 4)
    1.0
    """

    statistics: ClassVar[str] = "combine"
    nu: float = 1e-6
    iterations: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("nu", self.nu, 0, open_low=True)
        counts("iterations", self.iterations, 1)

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Find the point, in float64."""
        flat = torch.cat([u.double().reshape(len(u), -1) for u in uploads.values()], 1)
        alpha = weights.double() if self.weights == "examples" else torch.ones(len(who), dtype=torch.float64)
        pull, z = alpha / alpha.sum(), (alpha / alpha.sum()) @ flat
        for _ in range(self.iterations):
            beta = alpha / (flat - z).norm(dim=1).clamp(min=self.nu)
            pull, before = beta / beta.sum(), z
            z = pull @ flat
            if (z - before).norm() <= REST * z.norm():
                break
        return self._part(z, uploads), state

    @staticmethod
    def _part(z: Tensor, uploads: Tensors) -> Tensors:
        pieces = z.split([u[0].numel() for u in uploads.values()])
        return {k: p.reshape(u.shape[1:]).to(u.dtype) for p, (k, u) in zip(pieces, uploads.items(), strict=True)}
