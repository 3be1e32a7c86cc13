r"""A shared model, and a personal one tied to it.

Li, Hu, Beirami & Smith, *Ditto: fair and robust federated learning through personalization*, ICML 2021,
arXiv:2012.04221, Algorithm 1. Beside FedAvg's :math:`w` each site keeps a model :math:`v_k` and minimises

.. math:: F_k(v_k) + \frac{\lambda}{2} \lVert v_k - w_t \rVert^2 .

Deviates: :math:`v_k` steps on the same batches as :math:`w`, so it takes as many steps; the server weights by rows as
FedAvg does, where the paper averages plainly (``weights="equal"``). A hospital that joins late starts its personal
model from the shared one, and predicts with that until it has trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, distance2


@dataclass(frozen=True, kw_only=True)
class Ditto(FedAvg):
    r"""Ditto.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    lam : float
        :math:`\lambda \ge 0`, how strongly the personal model is tied to the shared one; 0 is learning alone.

    Examples
    --------
    >>> import torch
    >>> list(Ditto().remember({"w": torch.ones(1)}))
    ['v']
    """

    one_model: ClassVar[bool] = False
    lam: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("lam", self.lam, 0)

    def remember(self, params: Tensors) -> Tensors:
        """The personal model, the start at first."""
        return {"v": params}

    def start(self, at: At) -> Tensors:
        """Train both."""
        return {"w": at.anchor, "v": at.memory["v"]}

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Both losses, and the tie: neither model's gradient has the other in it."""
        return at.loss(vars["w"]) + at.loss(vars["v"]) + self.lam / 2 * distance2(vars["v"], at.anchor)

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the shared model, keep the personal one."""
        return vars["w"], {}, {"v": vars["v"]}

    def personal(self, at: At) -> list[Tensors]:
        """The personal model."""
        return [at.memory["v"]]
