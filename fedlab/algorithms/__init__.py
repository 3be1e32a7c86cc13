"""Ways of learning together, one file each, and their registry."""

from __future__ import annotations

from difflib import get_close_matches

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.centralized import Centralized
from fedlab.algorithms.ensemble import Ensemble
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.fedprox import FedProx
from fedlab.algorithms.isolated import Isolated
from fedlab.algorithms.scaffold import Scaffold

ALGORITHMS: dict[str, type[Algorithm]] = {
    cls.__name__.lower(): cls for cls in (Isolated, Centralized, Ensemble, FedAvg, FedProx, Scaffold)
}


def algorithm(which: str | Algorithm | type[Algorithm]) -> Algorithm:
    """Return the algorithm of this name with its defaults, or the object itself.

    Examples
    --------
    >>> algorithm("fedprox").mu
    0.1
    """
    if isinstance(which, Algorithm):
        return which
    if isinstance(which, type):
        return which()
    if which.lower() in ALGORITHMS:
        return ALGORITHMS[which.lower()]()
    near = get_close_matches(str(which).lower(), ALGORITHMS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"there is no algorithm {which!r}{hint}; known are {', '.join(ALGORITHMS)}")


__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Centralized",
    "Ensemble",
    "FedAvg",
    "FedProx",
    "Isolated",
    "Scaffold",
    "algorithm",
]
