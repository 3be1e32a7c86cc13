r"""A shared body and a head of one's own.

Arivazhagan, Aggarwal, Singh & Choudhary, *Federated learning with personalization layers*, arXiv:1912.00818,
Algorithm 1. FedAvg for the body; the head is trained along with it and never leaves its site.

Deviates in nothing. A hospital that joins late has the shared body and an untrained head: it must train the head on its
own rows before it can predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.tensors import check_layers, in_layers, learned


@dataclass(frozen=True, kw_only=True)
class FedPer(FedAvg):
    """FedPer.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    head : str
        Names of the layers that make the head, separated by commas.

    Examples
    --------
    >>> FedPer().shared("body.0.weight"), FedPer().shared("head.weight")
    (True, False)
    """

    one_model: ClassVar[bool] = False
    head: str = "head"

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Refuse a head that is nothing or everything."""
        said, names = f"{type(self).__name__}(head={self.head!r})", list(learned(model))
        if len(check_layers(said, self.head, model)) == len(names):
            raise ValueError(f"{said}: every tensor of {type(model).__name__} is in that head: {', '.join(names)}")
        return super().bind(model, sites)

    def shared(self, name: str) -> bool:
        """The body."""
        return not in_layers(name, self.head)
