"""Which models an algorithm can train: some keep or compare layers that not every model has."""

from __future__ import annotations

from functools import cache

from fedlab.algorithms import Algorithm
from fedlab.models import MODELS, build

MANY = 100  # sites: how few an algorithm can do with is another question


@cache
def models_for(algorithm: Algorithm) -> tuple[str, ...]:
    """Return the names of the models that an algorithm takes.

    Examples
    --------
    >>> from fedlab.algorithms import FedAvg, FedBN
    >>> models_for(FedAvg()), models_for(FedBN())
    (('logistic', 'linear', 'mlp', 'mlp_norm'), ('mlp_norm',))
    """
    return tuple(name for name in MODELS if not refusal(algorithm, name))


def refusal(algorithm: Algorithm, model: str) -> str:
    """Return why an algorithm does not take a model; empty if it does."""
    try:
        algorithm.bind(build(model, 4, 1), MANY)
    except ValueError as error:
        return str(error)
    return ""
