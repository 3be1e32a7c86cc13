r"""Several shared models, and each hospital joins the one that suits it.

Ghosh, Chung, Yin & Ramchandran, *An efficient framework for clustered federated learning*, NeurIPS 2020,
arXiv:2006.04088, Algorithm 1 (model averaging). The server holds :math:`\theta_1 \dots \theta_k`; a site takes the one
with the smallest loss on its training rows, trains it and sends it with its choice; the server averages each cluster,

.. math:: \theta_j = \sum_{i : \hat\jmath(i) = j} w_i \Big/ \big| \{ i : \hat\jmath(i) = j \} \big| ,

weighted as FedAvg; a cluster that nobody chose stays. Deviates: the models start apart by normal noise of scale
``spread`` around one start (the paper starts them at random). A hospital that joins late takes the model with the
smallest loss on its own rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import one_hot

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.ranges import counts, in_range
from fedlab.algorithms.tensors import Tensors, fixed, statistic


@dataclass(frozen=True, kw_only=True)
class IFCA(Algorithm):
    """IFCA.

    Parameters
    ----------
    k : int
        Number of models, at least 1.
    spread : float
        Standard deviation of the noise that parts the models at first, at least 0.

    Examples
    --------
    >>> import torch
    >>> IFCA(k=3).begin({"w": torch.zeros(2)}, 4, torch.Generator().manual_seed(0))["w"].shape
    torch.Size([3, 2])
    """

    one_model: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    k: int = 2
    spread: float = 0.1

    def __post_init__(self) -> None:
        counts("k", self.k, 1)
        in_range("spread", self.spread, 0)

    def shared(self, name: str) -> bool:
        """Models travel as clusters alone."""
        return False

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The models of all clusters, stacked."""

        def apart(name: str, start: Tensor) -> Tensor:
            noise = torch.randn((self.k, *start.shape), generator=rng, dtype=start.dtype).to(start.device)
            return start + (0 if statistic(name) else self.spread) * noise

        return {name: apart(name, start) for name, start in params.items() if not fixed(name)}

    def broadcast(self, state: Tensors) -> Tensors:
        """All models travel."""
        return state

    def start(self, at: At) -> Tensors:
        """The model of the chosen cluster."""
        chosen = self._choose(at)[None]
        return {**at.anchor, **{name: models.index_select(0, chosen)[0] for name, models in at.extra.items()}}

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the cluster's model and which it is; there is no model of all."""
        model = {name: vars[name] for name in at.extra}
        return {}, {"cluster": one_hot(self._choose(at), self.k).to(at.lr.dtype), "model": model}, at.memory

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Average each cluster."""
        rows = extra["cluster"] * weights[:, None]
        total = rows.sum(0)
        share = rows / total.clamp(min=1e-12)

        def merged(sent: Tensor, old: Tensor) -> Tensor:
            new = torch.einsum("sk,s...->k...", share.to(sent.dtype), sent)
            return torch.where((total > 0).reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return {}, {name: merged(extra["model"][name], old) for name, old in state.items()}

    def personal(self, at: At) -> list[Tensors]:
        """The model of the cluster that suits."""
        return [self.start(at)]

    def _choose(self, at: At) -> Tensor:
        return vmap(lambda model: at.risk({**at.anchor, **model}))(at.extra).argmin()
