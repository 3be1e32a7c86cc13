"""Splits of a site's rows into train, valid and test: by patient, stratified by label, seeded."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.site import Split

SHARES = np.array([0.60, 0.15, 0.25])  # train, valid, test


def split_rows(y: NDArray[np.int64], group: NDArray[Any], *, site: str, seed: int) -> Split:
    """Split rows so that no patient is in two parts and each class is shared out alike.

    The draw depends on the seed and the site's name alone: a site's split is the same whoever else is in
    the federation.

    Parameters
    ----------
    y : int array, shape [n]
    group : array, shape [n]
    site : str
    seed : int

    Raises
    ------
    ValueError
        If the site has fewer than three patients.
    """
    _, first, who, size = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    if len(first) < 3:
        raise ValueError(
            f"site {site!r} has {len(first)} patient{'s' if len(first) != 1 else ''}: train, valid and test need at "
            "least one each; leave the site out or join it to another one"
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(site.encode()), 1]))
    drawn = rng.permutation(len(first))
    order = drawn[np.argsort(y[first][drawn], kind="stable")]
    part = _deal(order, size)
    rows = [np.flatnonzero(part[who] == k) for k in range(3)]
    return Split(*rows)


def _deal(order: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each patient in turn to the part that lacks most rows; walked class by class, this stratifies."""
    part = np.zeros(len(order), dtype=np.int64)
    filled, total = [0.0, 0.0, 0.0], 0.0
    shares = SHARES.tolist()
    for patient in order.tolist():
        rows = float(size[patient])
        total += rows
        lack = [share * total - have for share, have in zip(shares, filled, strict=True)]
        k = lack.index(max(lack))
        part[patient] = k
        filled[k] += rows
    for k in range(3):  # a site of three to six patients can leave a part empty
        if not (part == k).any():
            largest = np.bincount(part, minlength=3).argmax()
            part[np.flatnonzero(part == largest)[-1]] = k
    return part
