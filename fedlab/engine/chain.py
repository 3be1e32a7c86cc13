"""Chains of layers that carry the axis of sites themselves: the numbers that ``vmap`` gives, in half its time.

``vmap`` carries any function, and takes some ten microseconds for each of its operations. Layers one after the other,
on rows of numbers, need no more than a product of matrices a site, and everything else goes on by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.net import Net
from fedlab.federation import Task
from fedlab.models import MLP
from fedlab.models.layers import NO_KEY, BatchNorm, Dropout

ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Identity
)  # fmt: skip
Pass: TypeAlias = "Callable[[Tensors, Tensor, Now], Tensor]"
"""A layer of all sites: their tensors [sites, ...] and rows [sites, rows, features] to what it makes of them."""
Now: TypeAlias = tuple[bool, Tensor | None, Tensor, int]
"""Whether it is training; the weight of each row, the key of each site, the step."""


class Chain:
    """A model of all sites at once: every tensor has a leading axis of sites."""

    def __init__(self, task: Task, layers: list[Pass]) -> None:
        self.task, self.layers = task, layers

    @classmethod
    def of(cls, net: Net) -> Chain | None:
        """Return the chain that a model is, or ``None``: then ``vmap`` carries it."""
        by_row = type(net.task).batch_loss is Task.batch_loss  # a chain adds up the losses of rows
        apart = net.constants or net.tied or not by_row or _draws_again(net.model)
        layers = None if apart else _passes(net.model)
        return None if layers is None else cls(net.task, layers)

    def _run(self, params: Tensors, x: Tensor, now: Now) -> Tensor:
        for layer in self.layers:
            x = layer(params, x, now)
        return x

    def losses(self, params: Tensors, x: Tensor, y: Tensor, mask: Tensor, key: Tensor, step: int) -> Tensor:
        """Loss of each prepared row in training, [sites, rows]; running statistics move in ``params``."""
        out = self._run(params, x, (True, mask, key, step))
        each: Tensor = self.task.loss(out.flatten(0, 1), y.flatten(0, 1))
        return each.view(y.shape[:2])

    def probabilities(self, params: Tensors, x: Tensor) -> Tensor:
        """Class probabilities for prepared rows, float64 [sites, rows, classes]."""
        out = self._run(params, x, (False, None, NO_KEY, 0)).double()
        each: Tensor = self.task.predict(out.flatten(0, 1))
        return each.view(*out.shape[:2], -1)


def _draws_again(model: nn.Module) -> bool:
    """Return whether a dropout layer stands in two places: only a forward pass counts its calls."""
    layers = [layer for _, layer in model.named_modules(remove_duplicate=False) if isinstance(layer, Dropout)]
    return len(set(layers)) < len(layers)


def _passes(model: nn.Module, name: str = "") -> list[Pass] | None:
    """List the layers in the order in which rows pass them; ``None`` where one is not known to be a link."""
    if model._forward_hooks or model._forward_pre_hooks or "forward" in vars(model):
        return None
    forward = type(model).forward
    if forward is nn.Sequential.forward:
        inside = list(model._modules.items())  # named_children leaves out a layer that stands there twice
    elif isinstance(model, MLP) and forward is MLP.forward and type(model).features is MLP.features:
        inside = [("body", model.body), ("head", model.head)]
    else:
        one = _pass(model, name)
        return None if one is None else [one]
    parts = [_passes(part, f"{name}{child}.") for child, part in inside if part is not None]
    return None if None in parts else [layer for part in parts for layer in part or []]


def _pass(layer: nn.Module, name: str) -> Pass | None:
    if type(layer) is nn.Linear:
        return _linear(name, biased=layer.bias is not None, single=layer.out_features == 1)
    if type(layer) in ELEMENTWISE:
        return lambda params, x, now: layer(x)
    if type(layer) is BatchNorm:
        return _norm(layer, name)
    if type(layer) is Dropout:
        return lambda params, x, now: layer.dropped(x, *now[2:]) if now[0] else x
    return None


def _linear(name: str, *, biased: bool, single: bool) -> Pass:
    weight, bias = f"{name}weight", f"{name}bias"

    def run(params: Tensors, x: Tensor, now: Now) -> Tensor:
        w = params[weight]
        if single and not x.requires_grad:  # the same, and its derivative by w in a third of the time, by x in more
            out = torch.bmm(w, x.transpose(1, 2)).transpose(1, 2)
        else:
            out = torch.bmm(x, w.transpose(1, 2))
        return out + params[bias].unsqueeze(1) if biased else out

    return run


def _norm(layer: BatchNorm, name: str) -> Pass:
    keys = [f"{name}{k}" for k in ("weight", "bias", "running_mean", "running_var")]

    def run(params: Tensors, x: Tensor, now: Now) -> Tensor:
        train, mask, *_ = now
        weight, bias, mean, var = (params[k] for k in keys)
        out, *moved = layer.normalised(x, weight, bias, mean, var, train=train, mask=mask)
        params.update(zip(keys[2:], moved, strict=True))
        return out

    return run
