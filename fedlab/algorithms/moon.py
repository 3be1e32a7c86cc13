r"""Model-contrastive learning: a site's features stay near the shared model's and leave its own last ones.

Li, He & Song, *Model-contrastive federated learning*, CVPR 2021, arXiv:2103.16257, equation 3. With the features
:math:`z` of the model in training, :math:`z_g` of the received and :math:`z_p` of the site's last model,

.. math:: \ell = F_k(w) - \mu \log \frac{\exp(\operatorname{sim}(z, z_g) / \tau)}
                 {\exp(\operatorname{sim}(z, z_g) / \tau) + \exp(\operatorname{sim}(z, z_p) / \tau)} ,

averaged over the batch; :math:`\operatorname{sim}` is the cosine. Before its first round a site's last model is the
start. Deviates: no projection head is added, the features are what ``model.features(x)`` gives. Flower 1.41 ships none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Moon(Algorithm):
    r"""MOON; needs a model with a method ``features``.

    Parameters
    ----------
    mu : float
        Weight of the contrastive term, at least 0 (FedAvg).
    tau : float
        Temperature, more than 0.

    Examples
    --------
    >>> from torch import nn
    >>> Moon().bind(nn.Linear(2, 1), 4)
    Traceback (most recent call last):
    ValueError: MOON compares features, and the model Linear has no method features(x): use "mlp", or add one
    """

    mu: float = 1.0
    tau: float = 0.5

    def __post_init__(self) -> None:
        in_range("mu", self.mu, 0)
        in_range("tau", self.tau, 0, open_low=True)

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Refuse a model without features."""
        if not callable(getattr(model, "features", None)):
            raise ValueError(
                f"MOON compares features, and the model {type(model).__name__} has no method features(x): "
                'use "mlp", or add one'
            )
        return super().bind(model, sites)

    def remember(self, params: Tensors) -> Tensors:
        """The site's last model."""
        return {"last": params}

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """Loss plus the contrastive term."""
        z, shared, last = (at.features(w) for w in (vars, at.anchor, at.memory["last"]))
        away = cosine_similarity(z, last.detach(), -1) - cosine_similarity(z, shared.detach(), -1)
        rows = at.batch.weight
        return at.loss(vars) + self.mu * (softplus(away / self.tau) * rows).sum() / rows.sum().clamp(min=1)

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the model, and remember it."""
        return vars, {}, {"last": vars}
