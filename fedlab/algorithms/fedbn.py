r"""Normalisation layers stay at home: each hospital's scanner has its own scale.

Li, Jiang, Zhang, Kamp & Dou, *FedBN: federated learning on non-IID features via local batch normalization*, ICLR 2021,
arXiv:2102.07623. FedAvg for every tensor but those of the normalisation layers (weights and running statistics), which
each site trains and keeps.

Deviates: applies to every kind of normalisation layer, not batch normalisation alone; the server weights by rows as
FedAvg does, where the paper averages plainly (``weights="equal"``). A hospital that joins late starts from untrained
normalisation layers and trains them on its own rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.tensors import check_layers, in_layers
from fedlab.models import BatchNorm

NORMS = (
    BatchNorm, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FedBN(FedAvg):
    """FedBN.

    Parameters
    ----------
    weights : {"examples", "equal"}
        As in FedAvg.
    layers : str
        Names of the layers that stay, separated by commas; by default all normalisation layers.

    Examples
    --------
    >>> from fedlab.models import build
    >>> FedBN().bind(build("mlp_norm", 4, 1), 4).layers
    'body.1'
    """

    one_model: ClassVar[bool] = False
    layers: str = ""

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Find the normalisation layers."""
        if self.layers:
            check_layers(f"{self}", self.layers, model)
            return super().bind(model, sites)
        found = [name for name, layer in model.named_modules() if isinstance(layer, NORMS) and list(layer.parameters())]
        if not found:
            raise ValueError(
                f"FedBN keeps the normalisation layers at the sites, and the model {type(model).__name__} has none: "
                'use "mlp_norm", or name the layers that shall stay, layers="…"'
            )
        return replace(self, layers=", ".join(found))

    def shared(self, name: str) -> bool:
        """All but the normalisation layers."""
        return not in_layers(name, self.layers)
