r"""FedAvg with a proximal term that holds the sites near the server's model.

Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, *Federated optimization in heterogeneous networks*, MLSys 2020,
arXiv:1812.06127, Algorithm 2. A site minimises

.. math:: F_k(w) + \frac{\mu}{2} \lVert w - w_t \rVert^2 .

Deviates: the paper's inexact local solver is the site's epochs of SGD, and the server weights by examples as FedAvg
does (the paper samples sites in proportion to them and takes the plain mean).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, trained


@dataclass(frozen=True, kw_only=True)
class FedProx(Algorithm):
    r"""FedProx.

    Parameters
    ----------
    mu : float
        :math:`\mu \ge 0`, the weight of the proximal term; 0 is FedAvg to the bit.
    """

    mu: float = 0.1

    def __post_init__(self) -> None:
        in_range("mu", self.mu, 0)

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss plus the proximal term."""
        if self.mu == 0:
            return at.loss(vars)
        away = [((w - at.anchor[k]) ** 2).sum() for k, w in trained(vars).items()]
        return at.loss(vars) + self.mu / 2 * torch.stack(away).sum()
