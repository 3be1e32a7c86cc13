r"""Adaptive optimisers at the server: what FedAdagrad, FedAdam and FedYogi share.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar & McMahan, *Adaptive federated optimization*, ICLR 2021,
arXiv:2003.00295, Algorithm 2. With :math:`\Delta_t = \sum_k \frac{n_k}{n} (w_{t+1}^k - w_t)`,

.. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) \Delta_t, \qquad
          w_{t+1} = w_t + \eta \frac{m_t}{\sqrt{v_t} + \tau},

where the three differ in :math:`v_t`, which starts at :math:`\tau^2`. There is no bias correction. Running statistics
of norm layers are averaged and not stepped. Deviates: :math:`\tau` is .01 by default, which suits the small models
here; most of the paper's experiments take .001.

Flower 1.41 differs: its FedAdam corrects the bias with exponent round + 1, all three start :math:`v` at 0, and step
running statistics too, so that a variance can turn negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, zeros


@dataclass(frozen=True, kw_only=True)
class FedOpt(FedAvg):
    r"""What the adaptive server optimisers share; not an algorithm by itself.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    server_lr : float
        Rate :math:`\eta > 0` of the server.
    beta1 : float
        Decay of the first moment, in [0, 1].
    tau : float
        Degree of adaptivity, more than 0: the smaller, the more a tensor's own history decides.
    """

    server_lr: float = 0.1
    beta1: float = 0.9
    tau: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("server_lr", self.server_lr, 0, open_low=True)
        in_range("beta1", self.beta1, 0, 1)
        in_range("tau", self.tau, 0, open_low=True)

    def second_moment(self, v: Tensor, delta: Tensor) -> Tensor:
        """Return the next :math:`v`."""
        raise NotImplementedError(f"{type(self).__name__} must say how v moves")

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """Both moments."""
        return {"m": zeros(params), "v": {k: z + self.tau**2 for k, z in zeros(params).items()}}

    sums = FedAvg.sums  # a step along their mean

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Step along the first moment, scaled by the second."""
        new = self.average(uploads, weights)
        delta = {k: new[k] - params[k] for k in new}
        m = {k: self.beta1 * state["m"][k] + (1 - self.beta1) * d for k, d in delta.items()}
        v = {k: self.second_moment(state["v"][k], d) for k, d in delta.items()}
        return {k: params[k] + self.server_lr * m[k] / (v[k].sqrt() + self.tau) for k in m}, {"m": m, "v": v}
