r"""Adagrad at the server.

Reddi et al., *Adaptive federated optimization*, ICLR 2021, arXiv:2003.00295, Algorithm 2: the step of
:mod:`fedlab.algorithms.fedopt` with

.. math:: v_t = v_{t-1} + \Delta_t^2 .

The paper's experiments take :math:`\beta_1 = 0`, as is the default here. Deviates as :mod:`fedlab.algorithms.fedopt`
does. Flower's FedAdagrad starts :math:`v` at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlab.algorithms.fedopt import FedOpt


@dataclass(frozen=True, kw_only=True)
class FedAdagrad(FedOpt):
    r"""FedAdagrad.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    server_lr : float
        Rate :math:`\eta > 0` of the server.
    beta1 : float
        Decay of the first moment, in [0, 1].
    tau : float
        Degree of adaptivity, more than 0; the second moment starts at its square.

    Examples
    --------
    >>> import torch
    >>> FedAdagrad().second_moment(torch.tensor(1.0), torch.tensor(3.0)).item()
    10.0
    """

    beta1: float = 0.0

    def second_moment(self, v: Tensor, delta: Tensor) -> Tensor:
        """Sum of squares."""
        return v + delta**2
