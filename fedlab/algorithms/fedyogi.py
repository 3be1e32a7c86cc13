r"""Yogi at the server: Adam whose second moment moves in small steps.

Reddi et al., *Adaptive federated optimization*, ICLR 2021, arXiv:2003.00295, Algorithm 2: the step of
:mod:`fedlab.algorithms.fedopt` with

.. math:: v_t = v_{t-1} - (1 - \beta_2) \Delta_t^2 \operatorname{sign}(v_{t-1} - \Delta_t^2) .

Deviates as :mod:`fedlab.algorithms.fedopt` does. Flower's FedYogi starts :math:`v` at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.fedadam import FedAdam


@dataclass(frozen=True, kw_only=True)
class FedYogi(FedAdam):
    r"""FedYogi.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    server_lr : float
        Rate :math:`\eta > 0` of the server.
    beta1, beta2 : float
        Decay of the two moments, in [0, 1].
    tau : float
        Degree of adaptivity, more than 0; the second moment starts at its square.

    Examples
    --------
    >>> import torch
    >>> FedYogi(beta2=0.5).second_moment(torch.tensor([1.0, 10.0]), torch.tensor([3.0, 2.0])).tolist()
    [5.5, 8.0]
    """

    def second_moment(self, v: Tensor, delta: Tensor) -> Tensor:
        """Towards the square, by its own size."""
        return v - (1 - self.beta2) * delta**2 * torch.sign(v - delta**2)
