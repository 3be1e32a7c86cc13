"""The algorithms by name: those that ship, and those that other packages bring.

A package adds one by an entry point in its ``pyproject.toml``::

    [project.entry-points."fedlab.algorithms"]
    mine = "my_package.mine:Mine"

It is loaded when it is first asked for by name.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from fedlab.algorithms.base import Algorithm

GROUP = "fedlab.algorithms"
ALGORITHMS: dict[str, type[Algorithm]] = {}
"""Those that ship with fedlab, by name."""


def register(cls: type[Algorithm]) -> None:
    """Enter an algorithm under its class's name in lower case."""
    ALGORITHMS[cls.__name__.lower()] = cls


def brought() -> dict[str, EntryPoint]:
    """Those that installed packages bring, by name; one of fedlab's own name does not replace it."""
    return {found.name: found for found in entry_points(group=GROUP) if found.name not in ALGORITHMS}


def algorithm(which: str | Algorithm | type[Algorithm]) -> Algorithm:
    """Return the algorithm of this name with its defaults, or the object itself.

    Raises
    ------
    ValueError
        If no algorithm has that name, here or in an installed package.
    TypeError
        If it is something else, or if what a package brings is no Algorithm.

    Examples
    --------
    >>> algorithm("fedprox").mu
    0.1
    """
    if isinstance(which, Algorithm):
        return which
    if isinstance(which, type) and issubclass(which, Algorithm):
        return which()
    if not isinstance(which, str):
        raise TypeError(
            f"an algorithm is a name or an Algorithm, not a {type(which).__name__}: wrap a Flower strategy as "
            "fedlab.algorithms.FromFlower(strategy), and derive your own class from fedlab.algorithms.Algorithm"
        )
    return algorithm_class(which)()


def algorithm_class(name: str) -> type[Algorithm]:
    """Return the class of this name; raises as :func:`algorithm`.

    Examples
    --------
    >>> algorithm_class("fedprox").__name__
    'FedProx'
    """
    low = name.lower()
    if low in ALGORITHMS:  # first: reading what is installed takes longer than a round
        return ALGORITHMS[low]
    others = brought()
    if low in others:
        return _load(others[low])
    near = get_close_matches(low, [*ALGORITHMS, *others], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"there is no algorithm {name!r}{hint}; known are {', '.join([*ALGORITHMS, *others])}")


def _load(found: EntryPoint) -> type[Algorithm]:
    package = found.dist.name if found.dist else "a package"
    try:
        cls = found.load()
    except Exception as error:
        raise TypeError(
            f"the algorithm {found.name!r} of {package} cannot be loaded ({found.value}): {error}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Algorithm)):
        raise TypeError(f"the algorithm {found.name!r} of {package} is no fedlab.algorithms.Algorithm ({found.value})")
    return cls
