"""What a site knows in a step: the ``At`` of the contract, and how ``vars`` part into trained and carried."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from fedlab.algorithms.base import Batch
from fedlab.algorithms.tensors import Tensors, fixed, statistic
from fedlab.engine.net import Net
from fedlab.models.layers import uniform


@dataclass
class AtSite:
    """What a site knows in this step."""

    anchor: Tensors
    extra: Tensors
    memory: Tensors
    lr: Tensor
    base_lr: Tensor
    steps: Tensor
    n: Tensor
    key: Tensor
    round: int
    rounds: int
    step: int
    net: Net
    find_rows: Callable[[], Batch]
    now: Batch | None = None
    momentum: float | None = None

    @property
    def batch(self) -> Batch:
        """Rows, labels, weights and, of bags, masks of this step."""
        if self.now is None:
            raise RuntimeError("there is no batch outside a step: use at.rows or at.risk in start, finish and personal")
        return self.now

    @property
    def rows(self) -> Batch:
        """All training rows of the site."""
        return self.find_rows()

    def loss(self, params: Tensors, part: tuple[int, int] | None = None, into: Tensors | None = None) -> Tensor:
        """Mean loss on this step's batch."""
        x, y, w, mask = self.batch
        if part is not None:
            some = slice(part[0], None, part[1])
            x, y, w, mask = x[some], y[some], w[some], None if mask is None else mask[some]
        q = dict(params)
        out = self.net(q, x, train=True, weight=w, mask=mask, key=self.key, step=self.step)
        value = self.net.mean_loss(out, y, w)
        (params if into is None else into).update({k: v for k, v in q.items() if statistic(k)})
        return value

    def gradient(self, params: Tensors, part: tuple[int, int] | None = None, risk: bool = False) -> Tensors:
        """Differentiable gradient of ``loss`` or ``risk``."""
        moving, still = parts(params, self.net.names)

        def value(w: Tensors) -> tuple[Tensor, Tensors]:
            whole = {**w, **still}
            return (self.risk(whole) if risk else self.loss(whole, part)), parts(whole, self.net.names)[1]

        g, moved = grad(value, has_aux=True)(moving)
        params.update(moved)
        return dict(g)

    def risk(self, params: Tensors) -> Tensor:
        """Mean loss on all training rows, evaluation mode."""
        x, y, w, mask = self.rows
        return self.net.mean_loss(self.net(params, x, train=False, mask=mask), y, w)

    def features(self, params: Tensors) -> Tensor:
        """``model.features(x)`` (of bags ``features(x, mask)``) on this step's batch; running statistics stay."""
        x, _, w, mask = self.batch
        given: dict[str, Any] = dict(weight=w, mask=mask, key=self.key, step=self.step)
        return self.net(dict(params), x, train=True, method="features", **given)

    def noise(self, shape: Sequence[int], salt: int = 0) -> Tensor:
        """Standard normal numbers of the site, the round and the step (Box & Muller, 1958)."""
        key = self.key + self.step * 7919
        radius, angle = (uniform(key, torch.Size(shape), salt=2 * salt + i + 101) for i in (0, 1))
        normal = (-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()
        return normal.to(self.net.dtype)


def parts(vars: Tensors, names: Collection[str]) -> tuple[Tensors, Tensors]:
    """Part what a gradient trains from what is carried, with the same nesting.

    Of the model's tensors (``names``) its kind decides. Of what an algorithm adds, a leading underscore marks what is
    carried, a nest of it too: a layer of the model may be called as it likes.

    Examples
    --------
    >>> parts({"_enc.weight": 1, "_mine": 2, "norm.running_var": 3}, ["_enc.weight", "norm.running_var"])
    ({'_enc.weight': 1}, {'_mine': 2, 'norm.running_var': 3})
    """

    def is_carried(name: str) -> bool:
        return statistic(name) if name in names else fixed(name) or name.startswith("_")

    def pick(tree: Tensors, want: bool, inside: bool) -> Tensors:
        out = {}
        for name, value in tree.items():
            if isinstance(value, dict):
                out[name] = pick(value, want, inside or name.startswith("_"))
            elif (inside or is_carried(name)) == want:
                out[name] = value
        return out

    return pick(vars, False, False), pick(vars, True, False)


def join(trained: Tensors, rest: Tensors) -> Tensors:
    """Put the two parts together again."""
    out = dict(trained)
    for name, value in rest.items():
        out[name] = join(out.get(name, {}), value) if isinstance(value, dict) else value
    return out
