"""Rows by number: several seeds of a federation hold the numbers of their own splits, and share what these number.

Nothing is copied before a batch is taken. Only where each seed prepares the rows for itself (a table whose missing
values are filled and whose columns are scaled by its own training rows) does a site hold prepared rows of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms.base import Batch
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.net import Net, RawRows, laid_out
from fedlab.federation import Bags, Examples, Site
from fedlab.federation.bags import bags_in, joined
from fedlab.federation.site import Patients

Ints = NDArray[np.int64]

_CONVERTED: WeakKeyDictionary[Examples, dict[tuple[torch.dtype, torch.device], Tensor]] = WeakKeyDictionary()
"""Rows in another dtype or on a GPU, once for all runs that want them so, and no longer than the rows themselves."""


class Rows:
    """Rows of a site, or of several that are pooled, by their numbers.

    Parameters
    ----------
    parts : sequence of (Examples, int array)
        What lies at each site, and the numbers of the rows that are meant.

    Examples
    --------
    >>> held = Examples(torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 0, 1]), np.arange(4))
    >>> few = Rows([(held, np.array([3, 0]))])
    >>> len(few), few.y.tolist(), few.x.tolist()
    (2, [1, 0], [[6.0, 7.0], [0.0, 1.0]])
    """

    def __init__(self, parts: Sequence[tuple[Examples, Ints]]) -> None:
        self.blocks = tuple(held for held, _ in parts)
        self.numbers = tuple(numbers for _, numbers in parts)
        self.ends = np.cumsum([len(numbers) for numbers in self.numbers])

    @classmethod
    def of(cls, sites: Sequence[Site], part: str) -> Rows:
        """Return a part of the split, ``"train"`` or ``"valid"``, of these sites together."""
        return cls([(site.rows, site.split.parts()[part]) for site in sites])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @cached_property
    def y(self) -> Tensor:
        """Labels of the rows, in order."""
        each = [held.y[torch.from_numpy(at)] for held, at in zip(self.blocks, self.numbers, strict=True)]
        return each[0] if len(each) == 1 else torch.cat(each)

    @cached_property
    def patients(self) -> Patients:
        """Whose rows they are; a patient of one site is none of another's."""
        of, before = [], 0
        for held, at in zip(self.blocks, self.numbers, strict=True):
            of.append(held.patients.of[at] + before)
            before += len(held.patients.first)
        _, first, mine, rows = np.unique(np.concatenate(of), return_index=True, return_inverse=True, return_counts=True)
        return Patients(mine, first, rows)

    @property
    def is_table(self) -> bool:
        """Whether a row is a list of numbers: no picture, no bag."""
        return len(self.blocks[0].row.shape) == 1

    @cached_property
    def bags(self) -> Bags | None:
        """The rows as bags, where they are; shared."""
        return joined(self._each()) if self.blocks[0].row.is_bag else None

    def _each(self) -> list[Any]:
        return [held.x[torch.from_numpy(at)] for held, at in zip(self.blocks, self.numbers, strict=True)]

    @property
    def x(self) -> Tensor:
        """All of the rows, as the sites hold them: a copy, but of bags."""
        return torch.cat(self._each()) if len(self.blocks) > 1 else self._each()[0]

    @property
    def raw(self) -> RawRows:
        """All of the rows, to be predicted: of pictures what gives some of them at a time."""
        return self if not self.is_table and self.bags is None else self.x

    def __getitem__(self, some: slice) -> Tensor:
        """Return some of the rows: a copy, but of bags."""
        return self.take(np.arange(len(self))[some])

    def take(self, places: Ints, *, net: Net | None = None) -> Tensor:
        """Return the rows in these places, as they are held: where ``net`` computes and, of a table, in its dtype."""
        if self.bags is not None:
            out: Tensor = self.bags[places]
            return out
        if len(self.blocks) == 1:
            return _picked(self.blocks[0], self.numbers[0][places], net)
        block, begins = np.searchsorted(self.ends, places, side="right"), self.ends - [len(n) for n in self.numbers]
        parts, order = [], []
        for k in np.unique(block):
            mine = np.flatnonzero(block == k)
            parts.append(_picked(self.blocks[k], self.numbers[k][places[mine] - begins[k]], net))
            order.append(mine)
        x = torch.cat(parts)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable")).to(x.device)
        return x.index_select(0, back)

    def written(self) -> int:
        """Return how often what is held was written in place."""
        return sum(held.x._version + held.y._version for held in self.blocks)


def _picked(held: Examples, numbers: Ints, net: Net | None) -> Tensor:
    x = held.x if net is None else placed(held, net)
    return x.index_select(0, torch.from_numpy(np.ascontiguousarray(numbers)).to(x.device))


def placed(held: Examples, net: Net) -> Tensor:
    """Return rows where a model computes and, of a table, in its dtype; converted once, whoever asks again."""
    x = held.x
    dtype = net.dtype if x.ndim == 2 else x.dtype  # of pictures a batch is converted: bytes are a quarter of floats
    if x.dtype == dtype and x.device == net.device:
        return x
    known = _CONVERTED.setdefault(held, {})
    if (dtype, net.device) not in known:
        known[dtype, net.device] = x.to(net.device, dtype)
    return known[dtype, net.device]


class Source(Protocol):
    """Training rows as the model sees them."""

    def take(self, places: Ints) -> Batch:
        """Return the rows in these places, a copy."""

    def whole(self) -> Batch:
        """Return all of them."""


class OwnRows:
    """Rows that a site has prepared for itself."""

    def __init__(self, rows: Rows, net: Net, preparation: Tensors) -> None:
        x = net.ready(preparation, rows.x)
        self.batch = Batch(x, rows.y.to(net.device), torch.ones(len(x), dtype=net.dtype, device=net.device))

    def take(self, places: Ints) -> Batch:
        """Return the rows in these places."""
        x, y, weight, _ = self.batch
        at = torch.from_numpy(places).to(x.device)
        return Batch(x.index_select(0, at), y.index_select(0, at), weight.index_select(0, at))

    def whole(self) -> Batch:
        """Return all of them, as they are held."""
        return self.batch


class SharedRows:
    """Rows that the model eats as they are held, by whomever."""

    def __init__(self, rows: Rows, net: Net) -> None:
        self.rows, self.net, self.y = rows, net, rows.y.to(net.device)

    def take(self, places: Ints) -> Batch:
        """Return the rows in these places."""
        x, mask = self.rows.take(places, net=self.net), None
        bags = bags_in(x)
        if bags is not None:
            x, mask = bags.padded()
            mask = mask.to(self.net.device)
        weight = torch.ones(len(places), dtype=self.net.dtype, device=self.net.device)
        y = self.y.index_select(0, torch.from_numpy(places).to(self.y.device))
        return Batch(laid_out(self.net.ready({}, x)), y, weight, mask)

    def whole(self) -> Batch:
        """Return all of them, a copy."""
        return self.take(np.arange(len(self.rows)))
