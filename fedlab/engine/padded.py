"""Where the rows of sites that step together stand, and their batches: short ones are padded at weight 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms.base import Batch
from fedlab.engine.net import Net, as_floats
from fedlab.engine.rows import Rows, placed
from fedlab.federation import Examples
from fedlab.federation.bags import bags_in

if TYPE_CHECKING:
    from fedlab.engine.site import SiteWork

AHEAD = 1 << 20  # numbers that are gathered at once: a few steps of a small model, one of a large

Ints = NDArray[np.int64]


class Places:
    """Where each site's rows stand among those of all.

    Parameters
    ----------
    of : sequence of int array
        The places of each site's rows, in its own order.

    Examples
    --------
    >>> Places([np.array([4, 5]), np.array([1])]).numbers(np.array([[1, 0], [0, 0]])).tolist()
    [[5, 4], [1, 1]]
    """

    def __init__(self, of: Sequence[Ints]) -> None:
        lengths = np.array(list(map(len, of)))
        self.first: Ints = np.array([each[0] for each in of])
        self.in_order = all(each[-1] - each[0] == len(each) - 1 and (np.diff(each) == 1).all() for each in of)
        self.begins: Ints = np.cumsum(lengths) - lengths
        self.every: Ints = np.concatenate(of)

    def numbers(self, rows: Ints, who: Sequence[int] | Ints | None = None) -> Ints:
        """Turn row numbers [..., sites, rows] of these sites into places; a negative one counts as the first row."""
        sites = slice(None) if who is None else who
        rows = np.maximum(rows, 0)
        if self.in_order:
            return rows + self.first[sites].reshape(-1, 1)
        return self.every.take(rows + self.begins[sites].reshape(-1, 1))


class Standing(NamedTuple):
    """All rows of sites that step together, raw but for those that each site has prepared for itself.

    ``train`` and ``valid`` say where each site's stand in ``x`` and in ``valid_x``; of tables ``valid`` is not used.
    """

    x: Tensor
    y: Tensor
    train: Places
    valid_x: Tensor
    valid: Places


def standing(sites: Sequence[SiteWork]) -> Standing:
    """Put the rows of sites in one place; what several of them share (seeds do) stands there once."""
    train, valid, net = [s.train_rows for s in sites], [s.valid_rows for s in sites], sites[0].net
    if train[0].bags is not None:
        y = torch.cat([rows.y for rows in train]).to(net.device)
        x, valid_x = (_put([rows.x for rows in each]) for each in (train, valid))  # which copies no bag
        return Standing(x, y, _one_after_the_other(train), valid_x, _one_after_the_other(valid))
    blocks = {id(held): held for rows in train for held in rows.blocks}
    shared = len(blocks) < sum(len(rows.blocks) for rows in train)
    if train[0].is_table and not (sites[0].prepared and shared):
        ready, order = [site.ready() for site in sites], _one_after_the_other(train)
        x, y = torch.cat([batch.x for batch in ready]), torch.cat([batch.y for batch in ready])
        return Standing(x, y, order, x[:0], order)
    blocks |= {id(held): held for rows in valid for held in rows.blocks}
    begins = dict(zip(blocks, np.cumsum([0, *map(len, blocks.values())]), strict=False))
    x, y = _put([placed(held, net) for held in blocks.values()]), _put([held.y for held in blocks.values()])
    return Standing(x, y.to(net.device), _among(train, begins), x, _among(valid, begins))


def _put(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _one_after_the_other(each: Sequence[Rows]) -> Places:
    ends = np.cumsum([0, *map(len, each)])
    return Places([np.arange(a, b) for a, b in zip(ends, ends[1:], strict=False)])


def _among(each: Sequence[Rows], begins: dict[int, int]) -> Places:
    def of(held: Examples, numbers: Ints) -> Ints:
        return numbers + begins[id(held)]

    return Places([np.concatenate(list(map(of, rows.blocks, rows.numbers))) for rows in each])


def padded_tables(parts: Sequence[Tensor]) -> Tensor:
    """Stack tables of different lengths, short ones filled up with their first row.

    Examples
    --------
    >>> padded_tables([torch.tensor([[1.0]]), torch.tensor([[2.0], [3.0]])])[..., 0].tolist()
    [[1.0, 1.0], [2.0, 3.0]]
    """
    longest = max(map(len, parts))
    return torch.stack([torch.cat([x, x[:1].expand(longest - len(x), *x.shape[1:])]) for x in parts])


def gathered(x: Tensor, at: Ints, net: Net) -> tuple[Tensor, Tensor | None]:
    """Return the rows in places ``at`` [...], ready for a model, and of bags their masks."""
    bags, flat = bags_in(x), at.reshape(-1)
    if bags is not None:
        padded, mask = bags[flat].padded(net.dtype)
        return padded.to(net.device).unflatten(0, at.shape), mask.to(net.device).unflatten(0, at.shape)
    rows = as_floats(x.index_select(0, torch.from_numpy(flat).to(x.device)), net.dtype)
    return rows.view(*at.shape, *rows.shape[1:]), None


class PaddedBatches:
    """A round's batches of all sites, padded to the same size and number.

    Parameters
    ----------
    x, y : Tensor
        The rows of all sites; ``x`` may be bags.
    places : int array, shape [steps, sites, batch_size]
        Where each site's rows stand, in their order of turn.
    there : bool array, same shape
        False for what fills up a batch, or the steps of a site that is done.
    net : Net
    """

    def __init__(self, x: Tensor, y: Tensor, places: Ints, there: NDArray[np.bool_], net: Net) -> None:
        self.x, self.y, self.net = x, y, net
        steps = there[:, :, 0].sum(0)
        self.length = int(steps.max())
        self.places = places
        self.weights = torch.from_numpy(there).to(net.device, net.dtype)
        numbers = places[0].size * int(np.prod(x.shape[1:]))
        self.few = max(1, AHEAD // numbers) if bags_in(x) is None else 1  # steps of bags are padded each by itself
        self.ahead: dict[int, Batch] = {}
        self.steps = torch.from_numpy(steps).to(net.device)
        self.everybody = int(steps.min())

    def batch(self, step: int) -> Batch:
        """Return the rows of a step; weight 0 marks padding."""
        if step not in self.ahead:
            at, weights = self.places[step : step + self.few], self.weights[step : step + self.few]
            x, mask = gathered(self.x, at, self.net)
            y = self.y.index_select(0, torch.from_numpy(at.reshape(-1)).to(self.y.device))
            y = y.view(*at.shape, *self.y.shape[1:])
            masks = [None] * len(x) if mask is None else mask.unbind()
            cut = zip(x.unbind(), y.unbind(), weights.unbind(), masks, strict=True)
            self.ahead = dict(enumerate((Batch(*each) for each in cut), step))
        return self.ahead[step]

    def going(self, step: int) -> Tensor | None:
        """Tell which sites still have a batch; ``None``: all."""
        return None if step < self.everybody else self.steps > step
