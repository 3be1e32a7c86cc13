"""Named tensors: which of them are learned, and what algorithms do with them.

A tensor stands under its name in the model. Where that could be read as something else, fedlab puts a mark before it
that begins with a dot, which no name in torch does: ``.buffer.`` for a buffer that the forward pass moves, ``.named.``
for a tensor that is called like one of fedlab's own (a layer's parameter ``running_mean``, say). So a name alone tells
what a tensor is, and no user's name can be taken for a mark.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Tensors: TypeAlias = dict[str, Any]
"""Name to tensor; may nest (several models, scalars)."""

PREPARATION = "prepare."
PREPARED = tuple(f"{PREPARATION}{part}" for part in ("fill", "scale", "indicator", "measured"))
BUFFER, NAMED = ".buffer.", ".named."
RUNNING = ("running_mean", "running_var")


def statistic(name: str) -> bool:
    """Return whether it is a running statistic or another buffer that the forward pass moves, and no gradient does.

    Examples
    --------
    >>> statistic("norm.running_mean"), statistic(".buffer.seen"), statistic(".named.norm.running_mean")
    (True, True, False)
    """
    return name.startswith(BUFFER) or (name[:1] != "." and name.rsplit(".", 1)[-1] in RUNNING)


def fixed(name: str) -> bool:
    """Return whether it is a buffer of the preparation: settled before the first round, never merged."""
    return name in PREPARED


def carried(name: str) -> bool:
    """Return whether it is in a model without a gradient."""
    return statistic(name) or fixed(name)


def plain(name: str) -> str:
    """Return a tensor's name in the model, without a mark.

    Examples
    --------
    >>> plain(".buffer.norm.seen"), plain("head.weight")
    ('norm.seen', 'head.weight')
    """
    return name.removeprefix(BUFFER).removeprefix(NAMED)


def trained(params: Tensors) -> Tensors:
    """Keep the tensors of a model that a gradient moves."""
    return {name: tensor for name, tensor in params.items() if not carried(name)}


def zeros(params: Tensors) -> Tensors:
    """Return zeros in the shape of the trained tensors."""
    return {name: torch.zeros_like(tensor) for name, tensor in trained(params).items()}


def in_layers(name: str, layers: str) -> bool:
    """Tell whether a tensor belongs to one of the named layers.

    Examples
    --------
    >>> in_layers("head.weight", "head, body.1"), in_layers("header.weight", "head"), in_layers("bias", "bias")
    (True, False, True)
    """
    wanted, name = [layer.strip().rstrip(".") for layer in layers.split(",")], plain(name)
    return any(name == layer or name.startswith(f"{layer}.") for layer in wanted if layer)


def steps_on(params: Tensors, gradient: Tensors, rate: float | Tensor) -> Tensors:
    """Take one step of gradient descent; tensors without a gradient stay."""
    return {**params, **{k: params[k] - rate * g for k, g in gradient.items()}}


def distance2(params: Tensors, anchor: Tensors) -> Tensor:
    r"""Squared distance :math:`\lVert w - w_t \rVert^2` of the trained tensors that are in both.

    Examples
    --------
    >>> import torch
    >>> distance2({"w": torch.tensor([3.0, 4.0])}, {"w": torch.zeros(2)}).item()
    25.0
    """
    return torch.stack([((w - anchor[k]) ** 2).sum() for k, w in trained(params).items() if k in anchor]).sum()


def squared_norms(updates: Tensors) -> Tensor:
    """Return the squared norm of each site's update, in float64: tensors [sites, ...] to [sites]."""
    return torch.stack([(u.double() ** 2).reshape(len(u), -1).sum(1) for u in updates.values()]).sum(0)


def mean(uploads: Tensors, weights: Tensor) -> Tensors:
    r"""Weighted mean over the sites, :math:`\sum_i w_i u_i / \sum_i w_i`; uploads [sites, ...], weights [sites].

    Examples
    --------
    >>> import torch
    >>> mean({"w": torch.tensor([[1.0], [4.0]])}, torch.tensor([1.0, 2.0]))["w"].item()
    3.0
    """
    total = weights.sum()
    if _zero(total):
        raise ValueError("the weights of all sites are zero: there is no mean")
    share = weights / total
    return {k: _mean(u, share) for k, u in uploads.items()}


def _mean(each: Tensor, share: Tensor) -> Tensor:
    """Average one tensor; counts (a buffer of whole numbers) to the nearest whole one."""
    rows = each.reshape(len(each), each[0].numel())  # -1 cannot be told of empty tensors
    if not each.is_floating_point():
        return _mean(each.double(), share).round().to(each.dtype)
    # torch.mv alone of all products gives the same bits for one run and for many in one pass
    return torch.mv(rows.T, share.to(each.dtype)).view(each.shape[1:])


def _zero(total: Tensor) -> bool:
    try:
        return not total
    except RuntimeError:  # of many runs in one pass: what is not finite there is combined again, run by run
        return False


def tensors_of(model: nn.Module, moved: Collection[str] = ()) -> Tensors:
    """Return all tensors of a model under the names that fedlab gives them; of tied ones the first name stands for all.

    Parameters
    ----------
    model : Module
    moved : collection of str
        The tensors that a forward pass was seen to move (:mod:`fedlab.models.trial`).

    Examples
    --------
    >>> list(tensors_of(nn.BatchNorm1d(2, affine=False)))
    ['running_mean', 'running_var', 'num_batches_tracked']
    """

    def entry(name: str, *, buffer: bool) -> str:
        if statistic(name) and buffer:
            return name
        if name in moved:
            return f"{BUFFER}{name}"
        return f"{NAMED}{name}" if carried(name) else name

    every = {k: entry(k, buffer=False) for k, _ in model.named_parameters()}
    every |= {k: entry(k, buffer=True) for k, _ in model.named_buffers()}
    found = dict([*model.named_parameters(), *model.named_buffers()])
    order = [*(k for k in model.state_dict() if k in every), *every]  # as torch lists them: layer by layer
    return {every[k]: found[k] for k in dict.fromkeys(order)}


def learned(model: nn.Module, moved: Collection[str] = ()) -> Tensors:
    """Return copies of a model's named tensors: what a gradient moves, and what the forward pass does.

    The rest is no part of what is learned, does not travel and stays as it was built: frozen parameters, other buffers.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> layer.bias.requires_grad_(False)
    Parameter containing:
    ...
    >>> list(learned(layer))
    ['weight']
    """
    return {k: v.detach().clone() for k, v in tensors_of(model, moved).items() if statistic(k) or moves(v)}


def moves(tensor: Tensor) -> bool:
    """Return whether a gradient moves a tensor of a model."""
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad and tensor.is_floating_point()


def check_layers(said: str, layers: str, model: nn.Module) -> list[str]:
    """Return the learned tensors in these layers; refuse names that are in no model.

    ``said`` is how the call was written, e.g. ``"FedPer(head='top')"``.
    """
    names = list(learned(model))
    for layer in layers.split(","):
        if not any(in_layers(name, layer) for name in names):
            raise ValueError(
                f"{said}: {type(model).__name__} has no layer {layer.strip()!r}. Name one that it has, or use a model "
                f'with such a layer ("mlp" has body and head); its tensors are {", ".join(names)}'
            )
    return [name for name in names if in_layers(name, layers)]
