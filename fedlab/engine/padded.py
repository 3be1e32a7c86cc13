"""Batches of sites that step together: gathered a few steps ahead, short ones padded at weight 0."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.engine.at import Batch

AHEAD = 1 << 20  # numbers that are gathered at once: a few steps of a small model, one of a large


class PaddedBatches:
    """A round's batches of all sites, padded to the same size and number.

    Parameters
    ----------
    x, y : Tensor
        The rows of all sites.
    plans : int array, shape [steps, sites, batch_size]
        Each site's row numbers, counted from its first; −1 where there is none.
    first : int array
        Where each site's rows begin.
    """

    def __init__(self, x: Tensor, y: Tensor, plans: NDArray[np.int64], first: NDArray[np.int64]) -> None:
        self.x, self.y = x, y
        there = plans >= 0
        steps = there[:, :, 0].sum(0)
        self.length = int(steps.max())
        flat = (np.where(there, plans, 0) + first[:, None]).reshape(len(plans), -1)
        self.flat = torch.from_numpy(flat).to(x.device)
        self.weights = torch.from_numpy(there).to(x)
        self.few = max(1, AHEAD // (self.flat.shape[1] * x[0].numel()))
        self.ahead: dict[int, Batch] = {}
        self.steps = torch.from_numpy(steps).to(x.device)
        self.everybody = int(steps.min())

    def batch(self, step: int) -> Batch:
        """Return ``(x, y, weight)`` of a step; weight 0 marks padding."""
        if step not in self.ahead:
            at, weights = self.flat[step : step + self.few], self.weights[step : step + self.few]
            x, y = (rows.index_select(0, at.reshape(-1)) for rows in (self.x, self.y))
            x, y = (part.view(*weights.shape, *part.shape[1:]) for part in (x, y))
            cut = x.unbind(), y.unbind(), weights.unbind()
            self.ahead = dict(enumerate(zip(*cut, strict=True), step))
        return self.ahead[step]

    def going(self, step: int) -> Tensor | None:
        """Tell which sites still have a batch; ``None``: all."""
        return None if step < self.everybody else self.steps > step
