r"""A representation of one's own and a shared head: FedPer the other way round.

Liang, Liu, Ziyin, Allen, Auerbach, Brent, Salakhutdinov & Morency, *Think locally, act globally: federated learning
with local and global representations*, arXiv:2001.01523, Algorithm 1. Each site keeps the layers that read its records
and shares those that decide.

Deviates: without the paper's auxiliary losses on the local representation. A hospital that joins late has the shared
head and an untrained body: it must train the body on its own rows before it can predict.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedlab.algorithms.fedper import FedPer
from fedlab.algorithms.tensors import in_layers


@dataclass(frozen=True, kw_only=True)
class LGFedAvg(FedPer):
    """LG-FedAvg.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    head : str
        Names of the layers that are shared, separated by commas.

    Examples
    --------
    >>> LGFedAvg().shared("body.0.weight"), LGFedAvg().shared("head.weight")
    (False, True)
    """

    def shared(self, name: str) -> bool:
        """The head."""
        return in_layers(name, self.head)
