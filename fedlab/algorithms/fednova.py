r"""Normalised averaging: a site that takes more steps does not pull harder.

Wang, Liu, Liang, Joshi & Poor, *Tackling the objective inconsistency problem in heterogeneous federated
optimization*, NeurIPS 2020, arXiv:2007.07481, equations 9 and 10. After :math:`\tau_i` local steps a site sends
:math:`d_i = (w_t - w_{t+1}^i) / \lVert a_i \rVert_1` and the server takes

.. math:: w_{t+1} = w_t - \tau_{\mathrm{eff}} \sum_i p_i d_i, \qquad
          \tau_{\mathrm{eff}} = \sum_i p_i \lVert a_i \rVert_1 ,

where :math:`a_i` holds how often each gradient counts: :math:`\lVert a_i \rVert_1 = \tau_i` for SGD, and with momentum
:math:`\rho` :math:`\left[\tau_i - \rho (1 - \rho^{\tau_i}) / (1 - \rho)\right] / (1 - \rho)`. The momentum is read off
the site's optimiser. Deviates in nothing; :math:`p_i` are FedAvg's weights. Flower 1.41 ships none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.tensors import Tensors, statistic


@dataclass(frozen=True, kw_only=True)
class FedNova(FedAvg):
    """FedNova.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.

    Examples
    --------
    >>> import torch
    >>> reach(torch.tensor(2.0), 0.0).item(), reach(torch.tensor(2.0), 0.5).item()  # 1 + 1; (1 + 0.5) + 1
    (2.0, 2.5)
    """

    needs_sgd: ClassVar[bool] = True
    sums = FedAvg.sums  # two means: of the changes per step, and of the steps

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the change per step, and how many steps it stands for."""
        a = reach(at.steps, at.momentum or 0.0)
        return {k: v if statistic(k) else (at.anchor[k] - v) / a for k, v in vars.items()}, {"a": a}, at.memory

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Step as far as the sites did on average, in the mean direction."""
        d = self.average(uploads, weights)
        tau = self.average({"a": extra["a"]}, weights)["a"]
        return {k: params[k] - tau.to(g.dtype) * g for k, g in d.items()}, state


def reach(steps: Tensor, rho: float) -> Tensor:
    r"""Return :math:`\lVert a_i \rVert_1` of so many steps of SGD with momentum ``rho`` in [0, 1)."""
    if rho == 0:
        return steps
    if rho == 1:  # the limit: the j-th last gradient counts j times
        return steps * (steps + 1) / 2
    powers: Tensor = torch.pow(rho, steps)
    return (steps - rho * (1 - powers) / (1 - rho)) / (1 - rho)
