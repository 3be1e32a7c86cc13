"""Small plain ``nn.Module``s and their registry."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from fedlab.models.layers import BatchNorm, BatchNorm2d, Dropout, give_salts
from fedlab.models.tabular import MLP, linear, logistic, mlp, mlp_norm

Factory: TypeAlias = Callable[..., nn.Module]
ModelLike: TypeAlias = str | Factory | nn.Module

MODELS: dict[str, Factory] = {"logistic": logistic, "linear": linear, "mlp": mlp, "mlp_norm": mlp_norm}


def model_name(model: ModelLike) -> str:
    """What to call it in tables and titles."""
    if isinstance(model, str):
        return model
    return getattr(model, "__name__", type(model).__name__)


def named_model(name: str) -> Factory:
    """Return the factory that is registered by this name.

    Raises
    ------
    ValueError
        If there is none, with the names that there are.

    Examples
    --------
    >>> named_model("logistc")
    Traceback (most recent call last):
    ...
    ValueError: there is no model 'logistc' (did you mean 'logistic'?); known are logistic, linear, mlp, mlp_norm, ...
    """
    if name not in MODELS:
        near = get_close_matches(name, MODELS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"there is no model {name!r}{hint}; known are {', '.join(MODELS)}, or give a factory")
    return MODELS[name]


def build(
    model: ModelLike, inputs: int, outputs: int, *, seed: int = 0, shape: tuple[int | None, ...] | None = None
) -> nn.Module:
    """Make the module that all sites start from; its dropout layers draw different masks (:func:`give_salts`).

    Parameters
    ----------
    model : str, callable or Module
        A registered name; a factory called as ``factory(inputs, outputs)``, or ``factory(inputs, outputs, shape=…)``
        where it has a parameter of that name (an ``nn.Module`` class is one); or a ready module, whose weights are then
        the start of every seed.
    inputs : int
        Columns the model sees: with federated preprocessing two per feature (the value, and whether it is missing). Of
        pictures the channels, of bags the numbers of an instance.
    outputs : int
        Logits: 1 for a binary task, else one per class.
    seed : int
        Of the start; torch's global generator is left as it was found.
    shape : tuple of int, optional
        Of a row as the model sees it: ``(columns,)``, ``(channels, height, width)``, ``(None, width)`` of a bag;
        default ``(inputs,)``.

    Examples
    --------
    >>> build("mlp", 26, 1).head.out_features
    1
    >>> def net(inputs, outputs, shape):
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], outputs))
    >>> build(net, 3, 1, shape=(3, 28, 28))[1].in_features
    2352
    """
    module = _made(model, inputs, outputs, seed, (inputs,) if shape is None else shape)
    give_salts(module)
    return module


def _made(model: ModelLike, inputs: int, outputs: int, seed: int, shape: tuple[int | None, ...]) -> nn.Module:
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if isinstance(model, str):
        model = named_model(model)
    wants_shape = _has_shape(model)
    start = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which also notes a stack trace for every kind of accelerator: half a millisecond
        torch.default_generator.manual_seed(start)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(start)
        try:
            made = model(inputs, outputs, **({"shape": shape} if wants_shape else {}))
        except TypeError as error:
            more = f", shape={shape}" if wants_shape else ""
            raise TypeError(
                f"the model factory {model_name(model)} could not be called as factory(inputs={inputs}, "
                f"outputs={outputs}{more}): {error}"
            ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"the model factory {model_name(model)} gave a {type(made).__name__}, not a torch.nn.Module")
    return made


def _has_shape(factory: Factory) -> bool:
    try:
        return "shape" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of something that does not say what it takes
        return False


__all__ = [
    "MLP",
    "MODELS",
    "BatchNorm",
    "BatchNorm2d",
    "Dropout",
    "ModelLike",
    "build",
    "give_salts",
    "linear",
    "logistic",
    "mlp",
    "mlp_norm",
    "model_name",
]
