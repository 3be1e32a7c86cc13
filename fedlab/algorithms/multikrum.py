r"""The mean of the updates that most others are near.

Blanchard, El Mhamdi, Guerraoui & Stainer, *Machine learning with adversaries: Byzantine tolerant gradient descent*,
NeurIPS 2017, arXiv:1703.02757, section 6: the ``m`` updates with the smallest scores of :mod:`fedlab.algorithms.krum`
are averaged; :math:`m \le n - f - 2` keeps the guarantee.

Deviates in nothing: the chosen count alike. Flower's MultiKrum weighs them by the examples that they claim, which a
faulty site can use.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlab.algorithms.krum import Krum, distances, scores
from fedlab.algorithms.ranges import counts
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class MultiKrum(Krum):
    """Multi-Krum.

    Parameters
    ----------
    f : int
        Faulty sites to be survived; −1: as many as those that answered allow, (n − 3) / 2.
    m : int
        How many updates are averaged; −1: those that answered less f less 2, at least one.

    Examples
    --------
    >>> import torch
    >>> sent = {"w": torch.tensor([0.0, 1.0, 3.0, 4.0, 99.0])}
    >>> MultiKrum(f=1, m=2).combine({}, sent, {}, torch.ones(5), {}, torch.arange(5))[0]["w"].item()
    2.0
    """

    m: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        counts("m", self.m, -1)
        if self.m == 0:
            raise ValueError("m is 0: at least one update must be chosen, or -1 for as many as keep the guarantee")

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average the best."""
        f = self.faulty(len(who))
        m = self.m if self.m > 0 else max(len(who) - f - 2, 1)
        best = scores(distances(uploads), f).argsort(stable=True)[:m]
        return {k: u[best].mean(0) for k, u in uploads.items()}, state
