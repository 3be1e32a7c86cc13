r"""Krum, again and again, then a trimmed mean of what it chose.

El Mhamdi, Guerraoui & Rouault, *The hidden vulnerability of distributed learning in Byzantium*, ICML 2018,
arXiv:1802.07927, section 4. :math:`\theta = n - 2f` updates are chosen one by one, Krum scoring the rest anew each
time; of each coordinate the :math:`\theta - 2f` values nearest to the median are averaged. Needs :math:`n \ge 4f + 3`.

Deviates as Krum does. Flower's Bulyan chooses all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.fedmedian import median
from fedlab.algorithms.krum import Krum, distances, scores
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Bulyan(Krum):
    """Bulyan.

    Parameters
    ----------
    f : int
        Faulty sites to be survived; −1: as many as those that answered allow, (n − 3) / 4.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 99.0])}
    >>> Bulyan(f=1).combine({}, sent, {}, torch.ones(7), {}, torch.arange(7))[0]["w"].item()
    2.0
    """

    per_fault: ClassVar[int] = 4

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Choose, then average near the median."""
        f = self.faulty(len(who))
        chosen = torch.tensor(choose(distances(uploads), f, len(who) - 2 * f))
        kept = len(chosen) - 2 * f

        def merged(u: Tensor) -> Tensor:
            order = (u - median(u)).abs().argsort(dim=0, stable=True)[:kept]
            return u.gather(0, order).mean(0)

        return {k: merged(u[chosen]) for k, u in uploads.items()}, state


def choose(apart: Tensor, f: int, count: int) -> list[int]:
    """Choose ``count`` sites one by one, each the best by Krum's score among those still there."""
    left = list(range(len(apart)))
    chosen = []
    for _ in range(count):
        best = int(scores(apart[left][:, left], f).argmin()) if len(left) > 1 else 0
        chosen.append(left.pop(best))
    return chosen
