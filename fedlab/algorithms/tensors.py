"""Named tensors: which of them are learned, and what algorithms do with them."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Tensors: TypeAlias = dict[str, Any]
"""Name to tensor; may nest (several models, scalars)."""

PREPARATION = "prepare."


def statistic(name: str) -> bool:
    """Tell a running statistic, moved by the forward pass and never by a gradient."""
    return name.rsplit(".", 1)[-1] in ("running_mean", "running_var")


def fixed(name: str) -> bool:
    """Tell a buffer of the preparation: settled before the first round, part of the model, never merged."""
    return name.startswith(PREPARATION)


def carried(name: str) -> bool:
    """Tell what is in ``vars`` without a gradient; a leading underscore marks an algorithm's own."""
    return statistic(name) or fixed(name) or name.startswith("_")


def trained(params: Tensors) -> Tensors:
    """Keep the tensors that a gradient moves."""
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
    wanted = [layer.strip().rstrip(".") for layer in layers.split(",")]
    return any(name == layer or name.startswith(f"{layer}.") for layer in wanted if layer)


def steps_on(params: Tensors, gradient: Tensors, rate: float | Tensor) -> Tensors:
    """Take one step of gradient descent; tensors without a gradient stay."""
    return {**params, **{k: params[k] - rate * g for k, g in gradient.items()}}


def distance2(params: Tensors, anchor: Tensors) -> Tensor:
    r"""Squared distance :math:`\lVert w - w_t \rVert^2` of the trained tensors.

    Examples
    --------
    >>> import torch
    >>> distance2({"w": torch.tensor([3.0, 4.0])}, {"w": torch.zeros(2)}).item()
    25.0
    """
    return torch.stack([((w - anchor[k]) ** 2).sum() for k, w in trained(params).items()]).sum()


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
    rows = {k: u.reshape(len(u), u[0].numel()) for k, u in uploads.items()}  # -1 cannot be told of empty tensors
    # torch.mv alone of all products gives the same bits for one run and for many in one pass
    return {k: torch.mv(u.T, share.to(u.dtype)).view(uploads[k].shape[1:]) for k, u in rows.items()}


def _zero(total: Tensor) -> bool:
    try:
        return not total
    except RuntimeError:  # of many runs in one pass: what is not finite there is combined again, run by run
        return False


def learned(model: nn.Module) -> Tensors:
    """Return the named tensors of a model: what a gradient moves, and running statistics.

    The rest is no part of what is learned, does not travel and stays as it was built: frozen parameters, other buffers.
    Of tied parameters the first name stands for all.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> layer.bias.requires_grad_(False)
    Parameter containing:
    ...
    >>> list(learned(layer))
    ['weight']
    """
    moving = {k for k, v in model.named_parameters() if v.requires_grad and v.is_floating_point()}
    return {k: v.detach().clone() for k, v in model.state_dict().items() if k in moving or statistic(k)}


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
