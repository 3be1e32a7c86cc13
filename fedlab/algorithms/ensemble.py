"""Each hospital trains alone, then all their models vote.

One exchange of models and no training together: the simplest thing that uses every hospital's knowledge. The
probabilities of all models are averaged (Lakshminarayanan, Pritzel & Blundell, *Simple and scalable predictive
uncertainty estimation using deep ensembles*, NeurIPS 2017, arXiv:1612.01474, section 2.4). Every model keeps the
preprocessing of its own hospital.

A site that has sent no model yet has no vote.

So that the vote can be watched, the models are exchanged in every round; one exchange at the end would do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.algorithms.base import At
from fedlab.algorithms.isolated import Isolated
from fedlab.algorithms.tensors import Tensors


@dataclass(frozen=True, kw_only=True)
class Ensemble(Isolated):
    """Ensemble of isolated models."""

    one_model: ClassVar[bool] = True

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """Hold every site's model; of one that has sent none, nothing that could vote."""
        return {k: p.new_full((sites, *p.shape), nothing(p)) for k, p in params.items()}

    def broadcast(self, state: Tensors) -> Tensors:
        """Send everybody's models to everybody."""
        return state

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the own model, preprocessing included."""
        return vars, {"model": vars}, at.memory

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Put the models that came in the places of their sites."""
        return params, {k: held.index_copy(0, who, extra["model"][k]) for k, held in state.items()}

    def personal(self, at: At) -> list[Tensors]:
        """Vote with all models."""
        members = len(next(iter(at.extra.values())))
        return [{k: held[i] for k, held in at.extra.items()} for i in range(members)]


def nothing(like: Tensor) -> float:
    """Return what stands for a number that is not there yet."""
    return torch.nan if like.is_floating_point() else 0
