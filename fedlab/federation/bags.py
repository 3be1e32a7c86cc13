"""Bags: rows that are sets of instances, each of its own size, as the tiles of a slide or the lines of a record.

They are held as they come, one instance after the other, and padded for a batch alone: a slide of 20,000 tiles beside
one of 200 costs what both have. Taking some of them copies nothing, so that instances may stay in the file that they
were mapped from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Bags:
    """Bags of instances: ``bags[i]`` is one, a tensor [instances, width].

    Parameters
    ----------
    flat : float tensor or array, shape [instances of all bags, width]
        Not copied. Of an array in a file, ``np.load(file, mmap_mode="c")``, no more is read than is asked for.
    offsets : int array, shape [bags + 1]
        Bag ``i`` is ``flat[offsets[i] : offsets[i + 1]]``; the first is 0, the last the number of instances.

    Raises
    ------
    ValueError
        If the two do not fit, or a bag is empty.

    Examples
    --------
    >>> bags = Bags(torch.arange(6.0).reshape(3, 2), [0, 1, 3])
    >>> len(bags), bags[1].tolist(), bags[[1]].offsets.tolist()
    (2, [[2.0, 3.0], [4.0, 5.0]], [0, 2])
    >>> x, mask = bags.padded()
    >>> x.shape, mask.tolist()
    (torch.Size([2, 2, 2]), [[True, False], [True, True]])
    """

    def __init__(self, flat: Tensor | NDArray[Any], offsets: ArrayLike | Tensor) -> None:
        whole, ends = _flat(flat), np.asarray(offsets)
        if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) < 1:
            raise ValueError(f"offsets has shape {list(ends.shape)}: give whole numbers, one more than there are bags")
        ends = ends.astype(np.int64)
        if ends[0] != 0 or ends[-1] != len(whole):
            raise ValueError(
                f"offsets goes from {ends[0]} to {ends[-1]}, and there are {len(whole)} instances: it must go from 0 "
                f"to {len(whole)}"
            )
        lengths = np.diff(ends)
        if len(lengths) and lengths.min() < 1:
            raise ValueError(_nothing_in(int(lengths.argmin())))
        self._set((whole,), np.zeros(len(lengths), np.int64), ends[:-1], lengths)

    def _set(self, flats: tuple[Tensor, ...], of: Ints, starts: Ints, lengths: Ints) -> Bags:
        self._flats, self._of, self._starts, self.lengths = flats, of, starts, lengths
        return self

    @classmethod
    def of(cls, bags: Sequence[Tensor | ArrayLike]) -> Bags:
        """Put bags of one's own, each [instances, width], one after the other; copies.

        Examples
        --------
        >>> Bags.of([torch.zeros(1, 2), torch.ones(3, 2)]).lengths.tolist()
        [1, 3]
        """
        each = [torch.as_tensor(np.asarray(bag) if not isinstance(bag, Tensor) else bag.detach().cpu()) for bag in bags]
        if not each:
            raise ValueError("there are no bags")
        for number, bag in enumerate(each):
            if bag.ndim != 2 or bag.shape[1] != each[0].shape[-1]:
                raise ValueError(
                    f"bag {number} has shape {list(bag.shape)}, and bag 0 {list(each[0].shape)}: give [instances, "
                    "width], of the same width"
                )
            if not len(bag):
                raise ValueError(_nothing_in(number))
            if bag.dtype == torch.uint8:
                raise ValueError(f"bag {number} is of bytes: say which numbers they are, e.g. bag.float() / 255")
        joined = torch.cat(each)
        joined = joined.clone() if len(each) == 1 else joined
        floats = joined if joined.is_floating_point() else joined.float()
        return cls(floats, np.cumsum([0, *map(len, each)]))

    @classmethod
    def where(cls, x: Tensor, mask: Tensor) -> Bags:
        """Return the instances of ``x`` [bags, instances, width] that are there: those with ``mask`` true, in order.

        Raises
        ------
        ValueError
            If ``mask`` is not true or false for each instance, or false for all of a bag.

        Examples
        --------
        >>> Bags.where(torch.arange(4.0).reshape(2, 2, 1), torch.tensor([[True, True], [False, True]])).flat[:, 0]
        tensor([0., 1., 3.])
        """
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            what = f"of {str(mask.dtype).split('.')[1]}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
            raise ValueError(f"the mask is {what}: give true or false, e.g. mask.bool()")
        if x.ndim != 3 or mask.shape != x.shape[:2]:
            raise ValueError(
                f"the mask has shape {list(mask.shape)}, and x {list(x.shape)}: of x [bags, instances, width] it must "
                "have [bags, instances]"
            )
        lengths = mask.sum(1)
        if len(lengths) and int(lengths.min()) < 1:
            raise ValueError(f"{_nothing_in(int(lengths.argmin()))} (its mask is false everywhere)")
        return cls(x[mask], np.cumsum([0, *lengths.tolist()]))

    # ------------------------------------------------------------------ looking at them

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, which: Any) -> Any:
        """Return one bag, a view; of a slice, numbers or a mask, these bags, which copies nothing."""
        if isinstance(which, (int, np.integer)) or (isinstance(which, Tensor) and not which.ndim):
            i = range(len(self))[int(which)]
            start = int(self._starts[i])
            return self._flats[self._of[i]][start : start + int(self.lengths[i])]
        at = which.cpu().numpy() if isinstance(which, Tensor) else which
        at = np.asarray(at, np.int64) if isinstance(at, (list, tuple)) else at
        return object.__new__(Bags)._set(self._flats, self._of[at], self._starts[at], self.lengths[at])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<Bags: {len(self)} of {int(self.lengths.sum())} instances of width {self.width}>"

    @property
    def width(self) -> int:
        """Numbers of an instance."""
        return self._flats[0].shape[1]

    @property
    def flat(self) -> Tensor:
        """All instances, one after the other, [instances, width]; a copy, but of all bags as they were given."""
        if (
            len(self._flats) == 1
            and np.array_equal(self._ends[:-1], self._starts)
            and self._ends[-1] == len(self._flats[0])
        ):
            return self._flats[0]
        return torch.cat(list(self)) if len(self) else self._flats[0][:0]

    @property
    def _ends(self) -> Ints:
        return np.append(0, np.cumsum(self.lengths))

    @property
    def offsets(self) -> Tensor:
        """Where each bag begins in :attr:`flat`, and where the last one ends, [bags + 1]."""
        return torch.from_numpy(self._ends)

    # what a tensor [bags, instances, width] would say

    @property
    def ndim(self) -> int:
        """Three, as of a tensor [bags, instances, width]."""
        return 3

    @property
    def shape(self) -> torch.Size:
        """Bags, instances of the largest, width."""
        return torch.Size([len(self), int(self.lengths.max(initial=0)), self.width])

    @property
    def dtype(self) -> torch.dtype:
        """Of the instances."""
        return self._flats[0].dtype

    @property
    def device(self) -> torch.device:
        """Always the CPU: a batch goes elsewhere, the bags stay."""
        return self._flats[0].device

    def numel(self) -> int:
        """Numbers of all instances."""
        return int(self.lengths.sum()) * self.width

    @property
    def nbytes(self) -> int:
        """Bytes of all instances."""
        return self.numel() * self._flats[0].element_size()

    @property
    def _version(self) -> int:
        """How often the instances were written in place."""
        return sum(flat._version for flat in self._flats)

    @classmethod
    def __torch_function__(cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let torch put bags together; nothing else of it knows what a bag is."""
        if func is torch.cat and not kwargs and len(args) == 1:
            return joined(args[0])
        name = getattr(func, "__name__", str(func))
        raise TypeError(f"torch's {name} knows no bags: take one, bags[i], or padded ones, x, mask = bags.padded()")

    # ------------------------------------------------------------------ using them

    def padded(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Return ``x`` [bags, instances of the largest, width], with zeros, and ``mask``, true where an instance is."""
        x = torch.zeros(self.shape, dtype=dtype or self.dtype)
        for row, bag in zip(x, self, strict=True):
            row[: len(bag)] = bag
        return x, torch.arange(x.shape[1]) < torch.from_numpy(self.lengths).unsqueeze(1)

    def digests(self) -> NDArray[np.uint8]:
        """Return what is equal for equal bags, [bags, 16] bytes."""
        each = (hashlib.blake2b(bag.contiguous().numpy().tobytes(), digest_size=16).digest() for bag in self)
        return np.frombuffer(b"".join(each), dtype=np.uint8).reshape(len(self), 16)


def bags_in(x: object) -> Bags | None:
    """Return rows that are bags, or ``None``."""
    return x if isinstance(x, Bags) else None


def joined(parts: Sequence[Bags]) -> Bags:
    """Return the bags of all of these, one after the other; nothing is copied."""
    widths = {part.width for part in parts}
    if len(widths) > 1:
        raise ValueError(f"instances of {' and '.join(map(str, sorted(widths)))} numbers cannot be together")
    flats = tuple({id(flat): flat for part in parts for flat in part._flats}.values())
    number = {id(flat): k for k, flat in enumerate(flats)}
    of = [np.array([number[id(flat)] for flat in part._flats], np.int64)[part._of] for part in parts]
    starts, lengths = ([getattr(part, name) for part in parts] for name in ("_starts", "lengths"))
    return object.__new__(Bags)._set(flats, *map(np.concatenate, (of, starts, lengths)))


def in_passes(bags: Bags, most: int) -> Iterator[Bags]:
    """Cut bags into runs that, padded, hold at most so many numbers each, or one bag.

    Examples
    --------
    >>> bags = Bags(torch.zeros(7, 1), [0, 1, 2, 6, 7])
    >>> [part.lengths.tolist() for part in in_passes(bags, 4)]
    [[1, 1], [4], [1]]
    """
    cuts, longest = [0], 0
    for i, length in enumerate(bags.lengths.tolist()):
        longest = max(longest, length)
        if i > cuts[-1] and (i + 1 - cuts[-1]) * longest * bags.width > most:
            cuts.append(i)
            longest = length
    return (bags[a:b] for a, b in pairwise([*cuts, len(bags)]))


def _flat(given: Any) -> Tensor:
    if isinstance(given, np.ndarray):
        if not given.flags.writeable:
            raise ValueError('the instances are read-only: copy them, or map their file with mmap_mode="c"')
        given = torch.from_numpy(given)
    if not isinstance(given, Tensor) or given.ndim != 2 or not given.shape[1]:
        what = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"the instances are {what}: give a tensor or an array of shape [instances, width]")
    if not given.is_floating_point():
        raise ValueError(f"the instances are of {str(given.dtype).split('.')[1]}: give floats")
    return given.detach().cpu()


def _nothing_in(number: int) -> str:
    return f"bag {number} has no instance: leave it out"
