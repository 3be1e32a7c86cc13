r"""FedAvg with momentum at the server.

Hsu, Qi & Brown, *Measuring the effects of non-identical data distribution for federated visual classification*,
arXiv:1909.06335, section 4.3. With :math:`\Delta = \sum_k \frac{n_k}{n} (w_t - w_{t+1}^k)`,

.. math:: v \leftarrow \beta v + \Delta, \qquad w_{t+1} = w_t - \eta_s v .

Deviates: the server rate :math:`\eta_s`, as in Flower's FedAvgM; 1 is the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class FedAvgM(FedAvg):
    r"""FedAvgM.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    momentum : float
        :math:`\beta` in [0, 1]; 0 is FedAvg.
    server_lr : float
        Rate :math:`\eta > 0` of the server.

    Examples
    --------
    >>> import torch
    >>> alg, one = FedAvgM(momentum=0.5), torch.ones(1)
    >>> w, state = {"w": torch.tensor(4.0)}, {"w": torch.tensor(0.0)}
    >>> for _ in range(2):  # the site always answers one less
    ...     w, state = alg.combine(w, {"w": w["w"][None] - 1}, {}, one, state, torch.tensor([0]))
    >>> w["w"].item()
    1.5
    """

    momentum: float = 0.9
    server_lr: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("momentum", self.momentum, 0, 1)
        in_range("server_lr", self.server_lr, 0, open_low=True)

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """No velocity at first."""
        return zeros(params)

    sums = FedAvg.sums  # a step along their mean

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Roll on."""
        new = self.average(uploads, weights)
        v = {k: self.momentum * state[k] + (params[k] - new[k]) for k in new}
        return {k: params[k] - self.server_lr * v[k] for k in v}, v
