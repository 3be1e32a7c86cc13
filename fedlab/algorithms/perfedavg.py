r"""A start from which one step of gradient descent suits every hospital (MAML).

Fallah, Mokhtari & Ozdaglar, *Personalized federated learning with theoretical guarantees: a model-agnostic
meta-learning approach*, NeurIPS 2020, arXiv:2002.07948, Algorithm 1. The sites together minimise

.. math:: \frac{1}{N} \sum_k F_k\big(w - \alpha \nabla F_k(w)\big) ,

a site predicts after its own step. ``order=2`` differentiates through the inner step; ``order=1`` leaves the second
derivatives out (the paper's "FO").

Deviates: the inner gradient is of every other row of a batch, the outer of the rest (the paper draws separate batches),
so that each is of half as many rows, and with ``order=2`` the second derivatives are of the first half too (the paper
draws a third batch); the adapting step is of all training rows; the server weights as FedAvg. A hospital that joins
late takes that step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, steps_on


@dataclass(frozen=True, kw_only=True)
class PerFedAvg(FedAvg):
    r"""Per-FedAvg.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    alpha : float
        Rate of the inner step, at least 0 (FedAvg on half of each batch).
    order : int
        2, or 1 without second derivatives.

    Examples
    --------
    >>> PerFedAvg(order=3)
    Traceback (most recent call last):
    ValueError: order is 3: it must be 1 or 2
    """

    one_model: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    alpha: float = 0.05
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("alpha", self.alpha, 0)
        if self.order not in (1, 2):
            raise ValueError(f"order is {self.order!r}: it must be 1 or 2")

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss on half of the batch after a step on the other half."""
        g = at.gradient(vars, (0, 2))
        if self.order == 1:
            g = {k: v.detach() for k, v in g.items()}
        return at.loss(steps_on(vars, g, self.alpha), (1, 2), into=vars)

    def personal(self, at: At) -> list[Tensors]:
        """Take the step."""
        return [steps_on(at.anchor, at.gradient(dict(at.anchor), risk=True), self.alpha)]
