r"""Agnostic learning: as good as can be for the worst mixture of the hospitals.

Mohri, Sivek & Suresh, *Agnostic federated learning*, ICML 2019, arXiv:1902.00146, Algorithm 1 (Stochastic-AFL). The
server holds a mixture :math:`\lambda` of the sites, the model descends and the mixture ascends,

.. math:: w_{t+1} = \sum_k \lambda_k w_{t+1}^k, \qquad
          \lambda \leftarrow \Pi_{\mathrm{simplex}}\big(\lambda + \gamma \, (F_1(w_t), \dots, F_N(w_t))\big),

from the uniform mixture. Deviates: a site takes its local epochs where the paper takes one gradient step (as in Deng,
Kamani & Mahdavi, *Distributionally robust federated averaging*, NeurIPS 2020, arXiv:2102.12660), and the loss is of all
its training rows. The model is the last iterate (of the reported round), where the paper returns the mean of all. Of
the sites that answered, the mixture is renormalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, mean


@dataclass(frozen=True, kw_only=True)
class AFL(Algorithm):
    r"""AFL.

    Parameters
    ----------
    gamma : float
        Rate of the mixture, at least 0 (the uniform mean).

    Examples
    --------
    >>> import torch
    >>> on_simplex(torch.tensor([0.5, 1.0, -0.5])).tolist()
    [0.25, 0.75, 0.0]
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        in_range("gamma", self.gamma, 0)

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The uniform mixture."""
        return {"lambda": torch.full((sites,), 1 / sites, dtype=torch.float64)}

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the model, and the loss of the one received."""
        return vars, {"loss": at.risk(at.anchor)}, at.memory

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average with the mixture, then move the mixture."""
        mixture = state["lambda"]
        new = mean(uploads, mixture[who].clamp(min=1e-12))  # all that answered may stand at zero
        raised = mixture.index_add(0, who, self.gamma * extra["loss"].to(mixture))
        return new, {"lambda": on_simplex(raised)}


def on_simplex(v: Tensor) -> Tensor:
    """Nearest point with entries of at least 0 that sum to 1.

    Duchi, Shalev-Shwartz, Singer & Chandra, *Efficient projections onto the l1-ball*, ICML 2008, figure 1.
    """
    falling = v.sort(descending=True).values
    cut = (falling.cumsum(0) - 1) / torch.arange(1, len(v) + 1, device=v.device)
    return (v - cut[int((falling > cut).sum()) - 1]).clamp(min=0)
