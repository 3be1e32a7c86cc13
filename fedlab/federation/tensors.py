"""From tensors to sites: rows and class numbers, copied, and refused where they are something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fedlab.federation.site import Examples
from fedlab.federation.task import Task


def read_sites(
    sites: Mapping[str, tuple[ArrayLike | Tensor, ArrayLike | Tensor]], groups: Mapping[str, ArrayLike] | None
) -> dict[str, Examples]:
    """Return each site's rows, in memory of their own."""
    rows = {}
    for site, (x, y) in sites.items():
        labels = class_numbers(_tensor(y), site)
        if groups is not None and site not in groups:
            raise ValueError(f"groups= has no entry for site {site!r}")
        whose = np.arange(len(labels)) if groups is None else _whose(groups[site], site)
        rows[site] = Examples(_floats(_tensor(x)), labels, whose)
    dtypes = {held.x.dtype for held in rows.values()}
    if len(dtypes) > 1:
        rows = {site: Examples(held.x.double(), held.y, held.group) for site, held in rows.items()}
    return rows


def read_task(rows: Mapping[str, Examples]) -> Task:
    """Return the task of as many classes as the largest label says.

    Raises
    ------
    ValueError
        If no row of any site has one of the classes below it.
    """
    there = sorted({k for held in rows.values() for k in held.y.unique().tolist()})
    top = max([1, *there])
    absent = [k for k in range(top + 1) if k not in there] if there and max(there) > 0 else []
    if absent and there != [1]:
        raise ValueError(
            f"the labels are {', '.join(map(str, there))}, and no row has class {absent[0]}: number the classes "
            "0, 1, …, or say what they are, task=Task((…))"
        )
    return Task(tuple(str(k) for k in range(top + 1)))


def class_numbers(y: Tensor, site: str) -> Tensor:
    """Return the number of each row's class, int64 [n], of labels [n], [n, 1] or one-hot [n, classes].

    Raises
    ------
    ValueError
        For anything that is no class number: a share, a negative number, several classes of a row.

    Examples
    --------
    >>> [class_numbers(torch.tensor(y), "A").tolist() for y in ([[0, 1], [1, 0]], [1.0, 0.0], [[1], [0]])]
    [[1, 0], [1, 0], [1, 0]]
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        if not (((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()):
            raise ValueError(
                f"site {site!r} has labels of shape {list(y.shape)} that are not one-hot (one 1 in each row): give the "
                "number of each row's class, shape [n]"
            )
        return y.argmax(1)
    if y.ndim != 1:
        raise ValueError(f"site {site!r} has labels of shape {list(y.shape)}: give the number of each row's class, [n]")
    odd = y[~(y == y.round())] if y.is_floating_point() else y[:0]
    if len(odd):
        raise ValueError(
            f"site {site!r} has the label {odd[0].item():g}, which is no class number: soft labels and measured "
            "quantities cannot be learnt as classes. Round them, or choose a threshold"
        )
    if len(y) and float(y.min()) < 0:
        raise ValueError(f"site {site!r} has the label {y.min().item():g}: classes are numbered 0, 1, …")
    return y.long()


def _tensor(given: ArrayLike | Tensor) -> Tensor:
    """Return a tensor that shares no memory with what was given."""
    return given.detach().cpu().clone() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))


def _floats(x: Tensor) -> Tensor:
    """Return floats that hold the same numbers: double where float32 has too few digits."""
    if x.is_floating_point():
        return x
    small = x.float()
    return small if bool((small.to(x.dtype) == x).all()) else x.double()


def _whose(given: ArrayLike, site: str) -> NDArray[Any]:
    whose = np.array(given)
    if whose.dtype == object:
        if any(who is None or who != who for who in whose):
            raise ValueError(f"groups={site!r} has rows of nobody: say whose each row is")
        whose = np.array([str(who) for who in whose])
    return whose
