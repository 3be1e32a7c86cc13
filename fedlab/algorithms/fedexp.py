r"""A server step as long as the sites' disagreement allows.

Jhunjhunwala, Wang & Joshi, *FedExP: speeding up federated averaging via extrapolation*, ICLR 2023, arXiv:2301.09604,
equation 6. With :math:`\Delta_k = w_t - w_{t+1}^k` and their mean :math:`\bar\Delta = \sum_k p_k \Delta_k`,

.. math:: \eta_g = \max\left(1, \frac{\sum_k p_k \lVert \Delta_k \rVert^2}
                                     {2 (\lVert \bar\Delta \rVert^2 + \epsilon)}\right),
          \qquad w_{t+1} = w_t - \eta_g \bar\Delta .

Deviates: :math:`p_k` are FedAvg's weights (``weights="equal"`` is the paper), and the last model is reported, not the
mean of the last two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, mean, squared_norms


@dataclass(frozen=True, kw_only=True)
class FedExP(FedAvg):
    r"""FedExP.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    eps : float
        More than 0, keeps the step finite where the updates cancel.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([[-1.0, 0.0], [0.0, -1.0]])}
    >>> FedExP(eps=1e-9).server_lr(sent, torch.ones(2)).item()  # 1 / (2 × 0.5)
    1.0
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("eps", self.eps, 0, open_low=True)

    def server_lr(self, updates: Tensors, weights: Tensor) -> Tensor:
        r"""Return :math:`\eta_g`, float64 scalar, of updates [sites, ...]."""
        p = (weights / weights.sum()).double()
        together = squared_norms({k: d[None] for k, d in mean(updates, weights).items()})[0]
        return (p @ squared_norms(updates) / (2 * (together + self.eps))).clamp(min=1)

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Step as far as the disagreement allows."""
        weights = weights if self.weights == "examples" else torch.ones_like(weights)
        updates = {k: params[k] - u for k, u in uploads.items()}
        rate = self.server_lr(updates, weights)
        return {k: params[k] - rate.to(d.dtype) * d for k, d in mean(updates, weights).items()}, state
