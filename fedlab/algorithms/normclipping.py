r"""No site may pull further than so far.

Sun, Kairouz, Suresh & McMahan, *Can you really backdoor federated learning?*, arXiv:1911.07963, section 3. With
:math:`\Delta_k = w_{t+1}^k - w_t`,

.. math:: w_{t+1} = w_t + \sum_k \frac{n_k}{n} \frac{\Delta_k}{\max(1, \lVert \Delta_k \rVert / M)} .

Deviates: without the paper's noise; running statistics are part of the update. Flower's clipping fails on an update of
zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, squared_norms


@dataclass(frozen=True, kw_only=True)
class NormClipping(FedAvg):
    """Norm clipping of the updates.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    max_norm : float
        :math:`M`, more than 0.

    Examples
    --------
    >>> import torch
    >>> w, sent = {"w": torch.zeros(2)}, {"w": torch.tensor([[0.0, 0.5], [30.0, 40.0]])}
    >>> new, _ = NormClipping(max_norm=1).combine(w, sent, {}, torch.ones(2), {}, torch.arange(2))
    >>> [f"{v:.2f}" for v in new["w"]]  # ([0, 0.5] + [0.6, 0.8]) / 2
    ['0.30', '0.65']
    """

    statistics: ClassVar[str] = "combine"
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("max_norm", self.max_norm, 0, open_low=True)

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Clip, then average."""
        updates = {k: u - params[k] for k, u in uploads.items()}
        share = (self.max_norm / squared_norms(updates).sqrt().clamp(min=1e-12)).clamp(max=1)
        clipped = {k: d * share.to(d.dtype).reshape(-1, *[1] * (d.ndim - 1)) for k, d in updates.items()}
        return {k: params[k] + d for k, d in self.average(clipped, weights).items()}, state
