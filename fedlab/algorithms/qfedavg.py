r"""Fair resource allocation: sites with a larger loss count more.

Li, Sanjabi, Beirami & Smith, *Fair resource allocation in federated learning*, ICLR 2020, arXiv:1905.10497, Algorithm 2
(q-FedAvg). With :math:`L = 1 / \eta`, the loss :math:`F_k` of the received model on a site's training rows and
:math:`\Delta w_k = L (w_t - w_{t+1}^k)`, a site sends

.. math:: \Delta_k = F_k^q \, \Delta w_k, \qquad h_k = q F_k^{q-1} \lVert \Delta w_k \rVert^2 + L F_k^q

and the server takes :math:`w_{t+1} = w_t - \sum_k \Delta_k / \sum_k h_k`. At :math:`q = 0` this is the *uniform* mean,
not FedAvg's. With momentum at the sites :math:`\eta` is the rate that plain steps would need to go as far
(:mod:`~fedlab.algorithms.fednova`); of other optimisers that is not known, and they are refused.

Deviates: every site is asked, where the paper samples them in proportion to their rows; :math:`10^{-10}` is added to
:math:`F_k`, so that its powers exist where a model makes no error. Flower's QFedAvg evaluates :math:`F_k` elsewhere and
agrees at equal losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.fednova import reach
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, statistic, trained


@dataclass(frozen=True, kw_only=True)
class QFedAvg(Algorithm):
    """Q-FedAvg.

    Parameters
    ----------
    q : float
        At least 0: how much a large loss counts; 0 is the uniform mean.

    Examples
    --------
    >>> import torch
    >>> w, sent = {"w": torch.tensor(1.0)}, {"w": torch.tensor([4.0, 8.0])}  # two sites' Δ_k, h_k below
    >>> h = {"h": torch.tensor([2.0, 4.0], dtype=torch.float64)}
    >>> QFedAvg().combine(w, sent, h, torch.ones(2), {}, torch.arange(2))[0]["w"].item()
    -1.0
    """

    needs_sgd: ClassVar[bool] = True
    q: float = 1.0

    def __post_init__(self) -> None:
        in_range("q", self.q, 0)

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the weighted change and the weight of the step."""
        scale = 1 / (at.lr * (reach(at.steps, at.momentum or 0.0) / at.steps))
        loss = at.risk(at.anchor) + 1e-10
        change = {k: scale * (at.anchor[k] - w) for k, w in trained(vars).items()}
        length = torch.stack([(d**2).sum() for d in change.values()]).sum()
        h = self.q * loss ** (self.q - 1) * length + scale * loss**self.q
        moved = {k: v for k, v in vars.items() if statistic(k)}
        return moved | {k: loss**self.q * d for k, d in change.items()}, {"h": h}, at.memory

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Step by the sum of the changes over the sum of the weights."""
        total = extra["h"].sum()
        return {k: params[k] - (u.sum(0) / total).to(u.dtype) for k, u in uploads.items()}, state
