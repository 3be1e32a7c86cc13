r"""The one update that most others are near.

Blanchard, El Mhamdi, Guerraoui & Stainer, *Machine learning with adversaries: Byzantine tolerant gradient descent*,
NeurIPS 2017, arXiv:1703.02757, section 4. Of :math:`n` sites of which :math:`f` may be faulty, each gets the score

.. math:: s(i) = \sum_{j \in \mathcal{N}_i} \lVert w_i - w_j \rVert^2 ,

:math:`\mathcal{N}_i` being the :math:`n - f - 2` nearest others; the update with the smallest score becomes the model.
Needs :math:`n \ge 2f + 3`.

Deviates: of models after local epochs, where the paper takes gradients; running statistics too. Distances are taken
from differences, in float64: Flower's Krum expands the square in float32, which cancels and picks other sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.ranges import counts
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Krum(Algorithm):
    """Krum.

    Parameters
    ----------
    f : int
        Faulty sites to be survived; −1: as many as those that answered allow, (n − 3) / 2.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([0.0, 1.0, 3.0, 4.0, 99.0])}
    >>> Krum(f=1).combine({}, sent, {}, torch.ones(5), {}, torch.arange(5))[0]["w"].item()
    1.0
    """

    statistics: ClassVar[str] = "combine"
    per_fault: ClassVar[int] = 2
    """Sites needed for each faulty one, beside three."""
    f: int = -1

    def __post_init__(self) -> None:
        counts("f", self.f, -1)

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Say how large ``f`` may be."""
        if self.f > 0 and sites < self.quorum(sites):
            most = max((sites - 3) // self.per_fault, 0)
            raise ValueError(
                f"{self} needs at least {self.per_fault} f + 3 = {self.quorum(sites)} sites, and there are {sites}: f "
                f"can be at most {most}"
            )
        return self

    def quorum(self, sites: int) -> int:
        """Enough to outvote the faulty ones; where nobody is thought faulty, anybody."""
        return self.per_fault * self.f + 3 if self.f > 0 else 1

    def faulty(self, answered: int) -> int:
        """How many of so many are thought faulty."""
        return self.f if self.f >= 0 else max((answered - 3) // self.per_fault, 0)

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Take the update with the smallest score; ties to the first by name."""
        best = int(scores(distances(uploads), self.faulty(len(who))).argmin())
        return {k: u[best] for k, u in uploads.items()}, state


def distances(uploads: Tensors) -> Tensor:
    """Squared distances of the sites' updates, [sites, sites] in float64; one site against all at a time."""
    flat = torch.cat([u.double().reshape(len(u), -1) for u in uploads.values()], 1)
    return torch.stack([((flat - one) ** 2).sum(1) for one in flat])


def scores(apart: Tensor, f: int) -> Tensor:
    """Krum's score of each site: the sum of the squared distances to its n - f - 2 (at least one) nearest."""
    n = len(apart)
    others = apart + torch.diag(torch.full((n,), torch.inf, dtype=apart.dtype, device=apart.device))
    return others.sort(1).values[:, : max(min(n - f - 2, n - 1), 1)].sum(1)
