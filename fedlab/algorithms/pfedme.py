r"""Personal models within a Moreau envelope of the shared one.

T. Dinh, Tran & Nguyen, *Personalized federated learning with Moreau envelopes*, NeurIPS 2020, arXiv:2006.08848,
Algorithm 1. On each batch a site solves (here by ``inner`` steps of rate ``rate``)

.. math:: \theta_k = \arg\min_\theta F_k(\theta) + \frac{\lambda}{2} \lVert \theta - w_k \rVert^2 ,
          \qquad w_k \leftarrow w_k - \eta \lambda (w_k - \theta_k) ,

and the server takes :math:`w \leftarrow (1 - \beta) w + \beta \sum_k p_k w_k`. A site predicts with its
:math:`\theta_k`. Deviates: :math:`p_k` are FedAvg's weights; on every batch the search for :math:`\theta_k` starts
again from :math:`w_k`, not from the last :math:`\theta_k`. A hospital that joins late predicts with the shared model
until it has trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import counts, in_range
from fedlab.algorithms.tensors import Tensors, distance2, statistic


@dataclass(frozen=True, kw_only=True)
class PFedMe(FedAvg):
    r"""PFedMe.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    lam : float
        Strength of the envelope, more than 0.
    inner : int
        Steps towards the personal model on each batch, at least 1.
    rate : float
        Rate of those steps, more than 0.
    beta : float
        How far the server moves to the sites' mean, more than 0.

    Examples
    --------
    >>> import torch
    >>> alg, one = PFedMe(beta=0.5), torch.ones(1)
    >>> alg.combine({"w": torch.tensor(0.0)}, {"w": torch.tensor([4.0])}, {}, one, {}, torch.tensor([0]))[0]["w"].item()
    2.0
    """

    one_model: ClassVar[bool] = False
    lam: float = 5.0
    inner: int = 4
    rate: float = 0.05
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("inner", self.inner, 1)
        for name in ("lam", "rate", "beta"):
            in_range(name, getattr(self, name), 0, open_low=True)

    def remember(self, params: Tensors) -> Tensors:
        """The personal model."""
        return {"theta": params}

    def start(self, at: At) -> Tensors:
        """Train the shared model; the personal one is carried along."""
        return {"w": at.anchor, "_theta": at.anchor}

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Find the personal model; the gradient of the envelope is ``lam (w - theta)``."""
        w = vars["w"]
        theta = {k: t.detach() for k, t in w.items()}
        for _ in range(self.inner):
            g = at.gradient(theta)
            theta |= {k: (theta[k] - self.rate * (d + self.lam * (theta[k] - w[k]))).detach() for k, d in g.items()}
        vars["_theta"] = theta
        w.update({k: t for k, t in theta.items() if statistic(k)})
        return self.lam / 2 * distance2(w, theta)

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the shared model, keep the personal one."""
        return vars["w"], {}, {"theta": vars["_theta"]}

    sums = FedAvg.sums  # a step along their mean

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Move towards the mean."""
        new = self.average(uploads, weights)
        return {k: (1 - self.beta) * params[k] + self.beta * m for k, m in new.items()}, state

    def personal(self, at: At) -> list[Tensors]:
        """The personal model."""
        return [at.memory["theta"]]
