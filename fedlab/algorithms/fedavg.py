r"""Federated averaging.

McMahan, Moore, Ramage, Hampson & Agüera y Arcas, *Communication-efficient learning of deep networks from
decentralized data*, AISTATS 2017, arXiv:1602.05629, Algorithm 1.

Each site starts from :math:`w_t`, takes its local epochs of SGD and sends :math:`w_{t+1}^k`; the server sets

.. math:: w_{t+1} = \sum_k \frac{n_k}{n} w_{t+1}^k .

Deviates: every site is asked in every round unless ``fraction`` says otherwise; ``weights="equal"`` counts the sites
alike. Flower's FedAvg is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, Sums
from fedlab.algorithms.tensors import Tensors, mean


@dataclass(frozen=True, kw_only=True)
class FedAvg(Algorithm):
    """FedAvg: the contract as it stands.

    Parameters
    ----------
    weights : {"examples", "equal"}
        Whether a site counts by its training rows, or all sites alike.

    Examples
    --------
    >>> import torch
    >>> uploads, rows = {"w": torch.tensor([0.0, 4.0])}, torch.tensor([30.0, 10.0])
    >>> [FedAvg(weights=w).average(uploads, rows)["w"].item() for w in ("examples", "equal")]
    [1.0, 2.0]
    """

    weights: Literal["examples", "equal"] = "examples"

    def __post_init__(self) -> None:
        if self.weights not in ("examples", "equal"):
            raise ValueError(f"weights is {self.weights!r}: it must be 'examples' or 'equal'")

    @property
    def sums(self) -> Sums:
        """As the sites count: by rows, or alike."""
        return "rows" if self.weights == "examples" else "equal"

    def average(self, uploads: Tensors, weights: Tensor) -> Tensors:
        """Mean over the sites."""
        return mean(uploads, weights if self.weights == "examples" else torch.ones_like(weights))

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average the models."""
        return self.average(uploads, weights), state
