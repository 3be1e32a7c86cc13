r"""Dynamic regularisation: the sites' optima are bent until they agree.

Acar, Zhao, Matas Navarro, Mattina, Whatmough & Saligrama, *Federated learning based on dynamic regularization*, ICLR
2021, arXiv:2111.04263, Algorithm 1. A site minimises

.. math:: F_k(w) - \langle g_k, w \rangle + \frac{\alpha}{2} \lVert w - w_t \rVert^2

and keeps :math:`g_k \leftarrow g_k - \alpha (w_{t+1}^k - w_t)`. The server, of the sites :math:`S` that answered out
of :math:`N`, takes

.. math:: h \leftarrow h - \frac{\alpha}{N} \sum_{k \in S} (w_{t+1}^k - w_t), \qquad
          w_{t+1} = \frac{1}{|S|} \sum_{k \in S} w_{t+1}^k - \frac{h}{\alpha} .

The sites count alike. Deviates: the inner problem is solved by the site's epochs of SGD. Flower 1.41 ships none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, At, Sums
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, distance2, trained, zeros


@dataclass(frozen=True, kw_only=True)
class FedDyn(Algorithm):
    r"""FedDyn.

    Parameters
    ----------
    alpha : float
        Strength of the regularisation, more than 0.

    Examples
    --------
    >>> import torch
    >>> FedDyn(alpha=0.5).remember({"w": torch.ones(2)})["w"].tolist()
    [0.0, 0.0]
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        in_range("alpha", self.alpha, 0, open_low=True)

    def remember(self, params: Tensors) -> Tensors:
        """The site's linear term, zero at first."""
        return zeros(params)

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The server's mean of the linear terms, and how many sites there are."""
        return {"h": zeros(params), "sites": torch.tensor(float(sites), dtype=torch.float64)}

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss, bent and held."""
        bend = torch.stack([(at.memory[k] * w).sum() for k, w in trained(vars).items()]).sum()
        return at.loss(vars) - bend + self.alpha / 2 * distance2(vars, at.anchor)

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the model; bend further."""
        return vars, {}, {k: g - self.alpha * (vars[k] - at.anchor[k]) for k, g in at.memory.items()}

    @property
    def sums(self) -> Sums:
        """The sites count alike."""
        return "equal"

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average, and undo the mean bend."""
        share = self.alpha / state["sites"]
        h = {k: old - share.to(old.dtype) * (uploads[k] - params[k]).sum(0) for k, old in state["h"].items()}
        return {k: uploads[k].mean(0) - g / self.alpha for k, g in h.items()}, {**state, "h": h}
