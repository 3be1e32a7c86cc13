"""Optimisers of the sites: pure, elementwise, on trees of tensors, so that one or all sites step alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from fedlab.algorithms.ranges import in_range
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.trees import tree_map


class Optimizer(Protocol):
    """State in, state out; ``lr`` is a tree shaped against ``params``."""

    def init(self, params: Tensors, lr: Tensors) -> Tensors:
        """Return the state before the first step, each entry a tree like ``params``."""

    def step(self, params: Tensors, grads: Tensors, state: Tensors, lr: Tensors) -> tuple[Tensors, Tensors]:
        """Return the parameters and the state after a step."""


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent as :class:`torch.optim.SGD` has it (``dampening=0``)."""

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        in_range("momentum", self.momentum, 0, 1)
        in_range("weight_decay", self.weight_decay, 0)

    def init(self, params: Tensors, lr: Tensors) -> Tensors:
        """Return zero velocity, or nothing without momentum."""
        return {"m": tree_map(torch.zeros_like, params)} if self.momentum else {}

    def step(self, params: Tensors, grads: Tensors, state: Tensors, lr: Tensors) -> tuple[Tensors, Tensors]:
        """Step along the (accumulated) gradient."""
        grads = _decayed(params, grads, self.weight_decay)
        if not self.momentum:
            return tree_map(lambda p, g, r: p - r * g, params, grads, lr), state
        m = tree_map(lambda m, g: self.momentum * m + g, state["m"], grads)
        return tree_map(lambda p, m, r: p - r * m, params, m, lr), {"m": m}


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba, ICLR 2015, arXiv:1412.6980) as :class:`torch.optim.Adam` has it."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            in_range(name, getattr(self, name), 0, 1)
        in_range("eps", self.eps, 0, open_low=True)
        in_range("weight_decay", self.weight_decay, 0)

    def init(self, params: Tensors, lr: Tensors) -> Tensors:
        """Return zero moments and a step count per tensor: one that does not move waits."""
        zero = tree_map(torch.zeros_like, params)
        return {"m": zero, "v": tree_map(torch.zeros_like, params), "t": tree_map(torch.zeros_like, lr)}

    def step(self, params: Tensors, grads: Tensors, state: Tensors, lr: Tensors) -> tuple[Tensors, Tensors]:
        """Step along the bias-corrected moments."""
        grads = _decayed(params, grads, self.weight_decay)
        b1, b2 = self.beta1, self.beta2
        t = tree_map(lambda t: t + 1, state["t"])
        m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, state["m"], grads)
        v = tree_map(lambda v, g: b2 * v + (1 - b2) * g * g, state["v"], grads)
        new = tree_map(
            lambda p, m, v, t, r: p - r * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + self.eps), params, m, v, t, lr
        )
        return new, {"m": m, "v": v, "t": t}


def _decayed(params: Tensors, grads: Tensors, decay: float) -> Tensors:
    """Add the gradient of ``decay / 2 ||w||²``, as torch's ``weight_decay`` does (biases too)."""
    out: Tensors = tree_map(lambda p, g: g + decay * p, params, grads) if decay else grads
    return out


def clipped(grads: Tensors, limit: float) -> Tensors:
    """Scale a gradient down to a norm of at most ``limit``; each model of a nest by itself.

    As :func:`torch.nn.utils.clip_grad_norm_` has it.

    Examples
    --------
    >>> [f"{g:.3f}" for g in clipped({"w": torch.tensor([3.0, 4.0])}, 1.0)["w"]]
    ['0.600', '0.800']
    """
    models = {k: clipped(v, limit) for k, v in grads.items() if isinstance(v, dict)}
    flat = {k: v for k, v in grads.items() if not isinstance(v, dict)}
    if not flat:
        return models
    norm = torch.stack([(g**2).sum() for g in flat.values()]).sum().sqrt()
    share = (limit / (norm + 1e-6)).clamp(max=1)
    return {k: models[k] if k in models else g * share for k, g in grads.items()}
