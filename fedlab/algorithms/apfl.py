r"""A mixture of a shared and a personal model whose share is learned.

Deng, Kamani & Mahdavi, *Adaptive personalized federated learning*, arXiv:2003.13461, Algorithm 1. With
:math:`\bar v_k = \alpha_k v_k + (1 - \alpha_k) w_k` a site steps

.. math:: w_k \leftarrow w_k - \eta \nabla F_k(w_k), \quad
          v_k \leftarrow v_k - \eta \alpha_k \nabla F_k(\bar v_k), \quad
          \alpha_k \leftarrow \alpha_k - \eta \langle v_k - w_k, \nabla F_k(\bar v_k) \rangle

and predicts with :math:`\bar v_k`. Deviates: :math:`\alpha_k` moves in every step and is held in [0, 1]; with an
optimiser that has a memory it has one too; the server weights by rows as FedAvg does, where the paper averages plainly
(``weights="equal"``). A hospital that joins late predicts with the shared model until it has trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, carried, trained


@dataclass(frozen=True, kw_only=True)
class APFL(FedAvg):
    r"""APFL.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    alpha : float
        Share of the personal model in the mixture at first, in [0, 1].

    Examples
    --------
    >>> import torch
    >>> mix({"a": torch.tensor(2.0)}, {"a": torch.tensor(6.0)}, torch.tensor(0.25))["a"].item()
    3.0
    """

    one_model: ClassVar[bool] = False
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("alpha", self.alpha, 0, 1)

    def remember(self, params: Tensors) -> Tensors:
        """The personal model, the site's copy of the shared one, and the share."""
        like = next(iter(trained(params).values()))
        return {"v": params, "w": params, "a": torch.full((), self.alpha, dtype=like.dtype, device=like.device)}

    def start(self, at: At) -> Tensors:
        """Train all three."""
        return {"w": at.anchor, "v": at.memory["v"], "a": at.memory["a"]}

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss of the shared model, and of the mixture, in which the shared one is held still."""
        still = {k: w.detach() for k, w in vars["w"].items()}
        return at.loss(vars["w"]) + at.loss(mix(still, vars["v"], vars["a"]), into=vars["v"])

    def project(self, vars: Tensors, at: At) -> Tensors:
        """Hold the share in [0, 1]."""
        return {**vars, "a": vars["a"].clamp(0, 1)}

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the shared model, keep the rest."""
        return vars["w"], {}, vars

    def personal(self, at: At) -> list[Tensors]:
        """The mixture."""
        return [mix(at.memory["w"], at.memory["v"], at.memory["a"])]


def mix(w: Tensors, v: Tensors, a: Tensor) -> Tensors:
    """Return ``a v + (1 - a) w``; running statistics are those of ``v``."""
    return {k: t if carried(k) else a * t + (1 - a) * w[k] for k, t in v.items()}
