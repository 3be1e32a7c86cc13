r"""Adam at the server.

Reddi et al., *Adaptive federated optimization*, ICLR 2021, arXiv:2003.00295, Algorithm 2: the step of
:mod:`fedlab.algorithms.fedopt` with

.. math:: v_t = \beta_2 v_{t-1} + (1 - \beta_2) \Delta_t^2 .

No bias correction, as in the paper. Deviates as :mod:`fedlab.algorithms.fedopt` does. Flower's FedAdam corrects the
bias, and starts :math:`v` at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlab.algorithms.fedopt import FedOpt
from fedlab.algorithms.ranges import in_range


@dataclass(frozen=True, kw_only=True)
class FedAdam(FedOpt):
    r"""FedAdam.

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
    >>> FedAdam(beta2=0.5).second_moment(torch.tensor(1.0), torch.tensor(3.0)).item()
    5.0
    """

    beta2: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("beta2", self.beta2, 0, 1)

    def second_moment(self, v: Tensor, delta: Tensor) -> Tensor:
        """Moving mean of squares."""
        return self.beta2 * v + (1 - self.beta2) * delta**2
