"""Cells that all sites agree on, and on which terms counts of them leave a site.

No single patient's value sets an edge: a site orders its values of a number and sends the mean of each block of at
least ``least`` patients, and out of all blocks come the edges. A feature with codes has them for cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation import Feature
from fedlab.metrics.cells import noised, screened
from fedlab.study.heterogeneity.distances import Floats


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one variable: by code, or by edges.

    Attributes
    ----------
    edges : float array
        Between the cells of a number, ascending: cell k holds what is above ``edges[k - 1]`` and at most ``edges[k]``.
    at : float array, optional
        Where a number's cells lie; ``None`` for a category, whose cells have no order.
    number : int
        Of cells, without the one for patients who have no value.
    """

    name: str
    number: int
    edges: Floats
    at: Floats | None = None


@dataclass(frozen=True)
class Leave:
    """On which terms counts leave a site: screened, or with ``epsilon`` noised.

    Where fewer than ``least`` patients stand outside of one cell, screening would leave nothing to tell. Then all are
    told to stand in that cell, from which nobody learns more than that the others hold fewer than ``least``.

    Examples
    --------
    >>> Leave(5)(np.array([[40, 9, 2], [40, 2, 0]]), np.random.default_rng(0)).tolist()
    [[40.0, 0.0, 0.0], [42.0, 0.0, 0.0]]
    """

    least: int
    epsilon: float | None = None

    def __post_init__(self) -> None:
        screened(np.zeros(1, dtype=np.int64), least=self.least)  # both refuse a number out of its range
        if self.epsilon is not None:
            noised(np.zeros(1, dtype=np.int64), epsilon=self.epsilon, rng=np.random.default_rng(0))

    def __call__(self, counts: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Return what may leave of counts [..., cells]."""
        flat = counts.reshape(-1, counts.shape[-1])
        if self.epsilon is not None:
            return noised(flat.ravel(), epsilon=self.epsilon, rng=rng).reshape(counts.shape)
        kept = screened(flat, least=self.least)
        top, size = flat.argmax(1), flat.sum(1)
        most = flat.max(1, initial=0)
        alone = ~kept.any(1) & (most >= self.least) & (size - most < self.least)
        kept[alone, top[alone]] = size[alone]
        return kept.reshape(counts.shape).astype(np.float64)


def filled(told: Floats, totals: Floats, *, least: int, missing: bool) -> Floats:
    """Share the patients that were withheld over the cells that came as 0, as these cells stand at all sites together.

    That reads no difference into what was not told. Where all were told to stand in one cell, up to ``least - 1`` of
    them may stand elsewhere: so many as at all sites together are taken to. A site that told nothing at all is ``nan``.

    Parameters
    ----------
    told : float array, shape [..., sites, cells]
    totals : float array, shape [..., sites]
    least : int
    missing : bool
        The last cell holds those without a value: of a site where all stand there, no value is made up.

    Examples
    --------
    >>> told = np.array([[42.0, 0.0], [60.0, 40.0]])
    >>> filled(told, told.sum(1), least=5, missing=False).tolist()
    [[38.0, 4.0], [60.0, 40.0]]
    """
    pooled = np.broadcast_to(told.sum(-2, keepdims=True), told.shape)
    room = np.where(told == 0, pooled + 1e-9, 0.0)
    share = np.divide(room, room.sum(-1, keepdims=True), out=np.zeros_like(room), where=room > 0)
    withheld = np.clip(totals - told.sum(-1), 0, None)
    alone = ((told > 0).sum(-1) == 1) & (withheld == 0) & ~((told[..., -1] > 0) & missing)
    elsewhere = np.where(told == 0, pooled, 0).sum(-1) / np.maximum(pooled.sum(-1), 1)
    hidden = np.where(alone, np.minimum(least - 1, elsewhere * totals), 0.0)
    counts = told * (1 - hidden / np.maximum(totals, 1))[..., None] + (withheld + hidden)[..., None] * share
    return np.where(told.any(-1, keepdims=True), counts, np.nan)


def agree(feature: Feature, bins: int, blocks: Sequence[Tensor | None] | None) -> Cells:
    """Agree on the cells of a feature: its codes, the blocks' quantiles, or equal steps of its range.

    Raises
    ------
    ValueError
        If there are no blocks, because no site has ``least`` values; or (with noise) no codes and no range.
    """
    if feature.codes and feature.kind == "category":
        return by_code(feature.name, len(feature.codes))
    if feature.codes and not by_blocks(feature):
        at = np.array(sorted(feature.codes), dtype=float)
        return Cells(feature.name, len(at), (at[1:] + at[:-1]) / 2, at)
    if blocks is None:
        if feature.range is None:
            raise ValueError(
                "needs an agreed range, Feature(range=…): edges that are read off the data are not covered by epsilon"
            )
        edges = np.linspace(*feature.range, bins + 1)
        return Cells(feature.name, bins, edges[1:-1], (edges[1:] + edges[:-1]) / 2)
    sent = [block.numpy() for block in blocks if block is not None and len(block)]
    if not sent:
        raise ValueError("no site has enough values of it")
    values = np.sort(np.concatenate(sent))
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    below = np.searchsorted(values, edges, side="right")  # a cell that holds no block would be nowhere
    edges = edges[np.unique(below, return_index=True)[1]]
    edges = edges[(edges >= values[0]) & (edges < values[-1])]
    where = np.searchsorted(edges, values, side="left")
    number = len(edges) + 1
    at = np.array([values[where == k].mean() for k in range(number)])
    return Cells(feature.name, number, edges, at)


def by_code(name: str, number: int) -> Cells:
    """Return cells without an order, one a code."""
    return Cells(name, number, np.empty(0))


def by_blocks(feature: Feature) -> bool:
    """Tell a number whose cells have to be found: it has no codes that are numbers."""
    coded = feature.codes and all(isinstance(code, (int, float)) for code in feature.codes)
    return feature.kind == "number" and not coded


def counted(column: Floats, edges: Floats | None, number: int) -> NDArray[np.int64]:
    """Count values a cell, and in one more cell those that are missing."""
    there = column[~np.isnan(column)]
    cell = there.astype(int) if edges is None else np.searchsorted(edges, there, side="left")
    return np.append(np.bincount(cell, minlength=number), len(column) - len(there))
