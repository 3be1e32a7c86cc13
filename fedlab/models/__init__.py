"""Small plain ``nn.Module``s and their registry."""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from fedlab.models.layers import BatchNorm, Dropout
from fedlab.models.tabular import MLP, linear, logistic, mlp, mlp_norm

Factory: TypeAlias = Callable[[int, int], nn.Module]
ModelLike: TypeAlias = str | Factory | nn.Module

MODELS: dict[str, Factory] = {"logistic": logistic, "linear": linear, "mlp": mlp, "mlp_norm": mlp_norm}


def model_name(model: ModelLike) -> str:
    """What to call it in tables and titles."""
    if isinstance(model, str):
        return model
    return getattr(model, "__name__", type(model).__name__)


def build(model: ModelLike, inputs: int, outputs: int, *, seed: int = 0) -> nn.Module:
    """Make the module that all sites start from.

    Parameters
    ----------
    model : str, callable or Module
        A registered name; a factory called as ``factory(inputs, outputs)`` (an ``nn.Module`` class is one); or a ready
        module, whose weights are then the start of every seed.
    inputs : int
        Columns the model sees: with federated preprocessing two per feature (the value, and whether it is missing).
    outputs : int
        Logits: 1 for a binary task, else one per class.
    seed : int
        Of the start; torch's global generator is left as it was found.

    Examples
    --------
    >>> build("mlp", 26, 1).head.out_features
    1
    """
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if isinstance(model, str):
        if model not in MODELS:
            near = get_close_matches(model, MODELS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"there is no model {model!r}{hint}; known are {', '.join(MODELS)}, or give a factory")
        model = MODELS[model]
    start = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which also notes a stack trace for every kind of accelerator: half a millisecond
        torch.default_generator.manual_seed(start)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(start)
        try:
            made = model(inputs, outputs)
        except TypeError as error:
            raise TypeError(
                f"the model factory {model_name(model)} could not be called as factory(inputs={inputs}, "
                f"outputs={outputs}): {error}"
            ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"the model factory {model_name(model)} gave a {type(made).__name__}, not a torch.nn.Module")
    return made


__all__ = [
    "MLP",
    "MODELS",
    "BatchNorm",
    "Dropout",
    "ModelLike",
    "build",
    "linear",
    "logistic",
    "mlp",
    "mlp_norm",
    "model_name",
]
