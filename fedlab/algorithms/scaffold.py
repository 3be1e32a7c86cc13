r"""Control variates against client drift.

Karimireddy, Kale, Mohri, Reddi, Stich & Suresh, *SCAFFOLD: stochastic controlled averaging for federated learning*,
ICML 2020, arXiv:1910.06378, Algorithm 1, option II.

With the site's control variate :math:`c_i` and the server's :math:`c`, a site steps along

.. math:: y_i \leftarrow y_i - \eta_l \, (g_i(y_i) - c_i + c)

and after :math:`K` steps sets :math:`c_i^+ = c_i - c + \frac{1}{K \eta_l}(x - y_i)`, the mean of its gradients. The
server, of the sites :math:`S` that answered out of :math:`N`, takes

.. math:: x \leftarrow x + \frac{\eta_g}{|S|} \sum_{i \in S} (y_i - x), \qquad
          c \leftarrow c + \frac{1}{N} \sum_{i \in S} (c_i^+ - c_i).

The sites count alike, whatever their size, as in the paper. With momentum at the sites the paper's :math:`K` would make
:math:`c_i` up to :math:`1 / (1 - \rho)` times too large, and the run diverge: it is replaced by how often the gradients
count in all, FedNova's :math:`\lVert a_i \rVert_1`, so that :math:`c_i` stays their mean. Of other optimisers that
number is not known: they are refused. Deviates in nothing else; Flower 1.41 ships none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm, At, Sums
from fedlab.algorithms.fednova import reach
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors, statistic, zeros


@dataclass(frozen=True, kw_only=True)
class Scaffold(Algorithm):
    r"""SCAFFOLD.

    Parameters
    ----------
    server_lr : float
        :math:`\eta_g > 0`; with 1 the first round is that of FedAvg with equal weights.
    """

    needs_sgd: ClassVar[bool] = True
    server_lr: float = 1.0

    def __post_init__(self) -> None:
        in_range("server_lr", self.server_lr, 0, open_low=True)

    def remember(self, params: Tensors) -> Tensors:
        """The site's control variate, zero at first."""
        return zeros(params)

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The server's control variate, and how many sites there are."""
        return {"c": zeros(params), "sites": torch.tensor(float(sites), dtype=torch.float64)}

    def broadcast(self, state: Tensors) -> Tensors:
        """The server's control variate travels."""
        c: Tensors = state["c"]
        return c

    def direction(self, grad: Tensors, vars: Tensors, at: At) -> Tensors:
        """Correct the gradient."""
        return {k: g - at.memory[k] + at.extra[k] for k, g in grad.items()}

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the model and the change of the control variate; keep the new one."""
        c, far = at.extra, reach(at.steps, at.momentum or 0.0) * at.lr
        new = {k: own - c[k] + (at.anchor[k] - vars[k]) / far for k, own in at.memory.items()}
        return vars, {k: new[k] - own for k, own in at.memory.items()}, new

    @property
    def sums(self) -> Sums:
        """The sites count alike."""
        return "equal"

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Move the model by the mean of the updates, and the control variate by the share that answered."""
        new = {k: params[k] + self.server_lr * (u.mean(0) - params[k]) for k, u in uploads.items() if not statistic(k)}
        c = {k: old + (extra[k].sum(0) / state["sites"]).to(old.dtype) for k, old in state["c"].items()}
        return new, {**state, "c": c}
