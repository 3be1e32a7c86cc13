r"""FedAvg, then each hospital adapts the shared model to its own patients.

Yu, Bagdasaryan & Shmatikov, *Salvaging federated learning by local adaptation*, arXiv:2002.04758, section 3.1; Cheng,
Chadha & Duchi, *Fine-tuning is fine in federated learning*, arXiv:2108.07313.

The server's model :math:`w` is FedAvg's. What a site predicts with is :math:`w` after ``steps`` steps of gradient
descent on all its training rows, :math:`v \leftarrow v - \eta \nabla F_k(v)`.

:math:`\eta` is the site's learning rate before the schedule: in every round, and at a hospital that joins late with its
own rows, the model is adapted alike.

Deviates: full-batch steps, so that the adapted model is a function of :math:`w` and can be looked at in every round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlab.algorithms.base import At
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.ranges import counts
from fedlab.algorithms.tensors import Tensors, steps_on


@dataclass(frozen=True, kw_only=True)
class FineTuned(FedAvg):
    """FedAvg with local fine-tuning.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    steps : int
        Full-batch steps of adaptation, at least 0 (FedAvg), with the site's learning rate before the schedule.

    Examples
    --------
    >>> FineTuned(steps=3).one_model
    False
    """

    one_model: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("steps", self.steps, 0)

    def personal(self, at: At) -> list[Tensors]:
        """Adapt what the server sent."""
        v = at.anchor
        for _ in range(self.steps):
            v = steps_on(v, at.gradient(dict(v), risk=True), at.base_lr)
        return [v]
