r"""One shared representation, and a head of one's own trained first.

Collins, Hassani, Mokhtari & Shakkottai, *Exploiting shared representations for personalized federated learning*, ICML
2021, arXiv:2102.07078, Algorithm 1. In a round a site first trains its head with the received body held still, then the
body with the head held still, and sends the body.

Deviates: the paper takes :math:`\tau` head steps and one epoch of the body; here both share the round's steps, the
first ``floor(share · steps)`` (at least one, where there are two) being the head's, so that no algorithm takes more
steps than another. The server weights by rows as FedAvg does, where the paper averages plainly (``weights="equal"``). A
hospital that joins late has the shared body and must train a head on its own rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.fedper import FedPer
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import in_layers


@dataclass(frozen=True, kw_only=True)
class FedRep(FedPer):
    """FedRep.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    head : str
        Names of the layers that make the head, separated by commas.
    share : float
        Share of a round's steps that trains the head, in [0, 1].

    Examples
    --------
    >>> from types import SimpleNamespace as At
    >>> import torch
    >>> [bool(FedRep(share=0.5).moves("head.bias", At(step=i, steps=torch.tensor(5.0)))) for i in range(5)]
    [True, True, False, False, False]
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("share", self.share, 0, 1)

    def moves(self, name: str, at: At) -> bool | Tensor:
        """The head first, then the body."""
        first = torch.floor(self.share * at.steps)
        if 0 < self.share < 1:
            first = torch.minimum(first.clamp(min=1), at.steps - 1)
        return (at.step < first) == in_layers(name, self.head)
