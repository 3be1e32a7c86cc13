"""The order of mini-batches: a pure function of (seed, round, site), so that every engine draws the same.

A row's place in an epoch is settled by a hash of (seed, site, epoch, row): the rows in the order of their hashes. No
generator is made for any of it, so that the orders of a thousand sites are a few operations on one array, each of them
what the site draws alone.

Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014 (splitmix64).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedlab.models.layers import SPLITMIX64

Ints: TypeAlias = NDArray[np.int64]
Bits: TypeAlias = NDArray[np.uint64]

STRIDE, MIX1, MIX2 = map(np.uint64, SPLITMIX64)
HIGH, LOW = np.uint64(0xFFFFFFFF00000000), np.uint64(0xFFFFFFFF)
ORDER, MASKS, SLOWNESS = range(3)
"""What is drawn: each from numbers of its own."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a site is told about the round besides the tensors: plain numbers, so that it travels anywhere.

    ``base_lr`` is the rate before the schedule (0: ``lr`` is). ``clock`` is the number of steps that every place of
    training takes, or 0: each its own local epochs. ``clip`` is the largest norm of a gradient, or 0; ``stragglers``
    the share of the sites that manage only some of their steps.
    """

    round: int
    rounds: int
    lr: float
    batch_size: int
    local_epochs: int
    seed: int
    base_lr: float = 0.0
    shuffle: bool = True
    clock: int = 0
    clip: float = 0.0
    stragglers: float = 0.0


def steps_alone(rows: int, *, batch_size: int, local_epochs: int) -> int:
    """Number of steps a site of so many training rows takes in a round."""
    return local_epochs * -(-rows // batch_size)


def examples(rows: int, job: Job, site: str = "") -> int:
    """Count the training examples that a place of so many rows takes through a gradient in this round.

    Examples
    --------
    >>> job = Job(round=2, rounds=9, lr=0.1, batch_size=2, local_epochs=1, seed=0, clock=3)
    >>> examples(3, job)  # batches of 2, 1, 2 | 1, 2, 1 rows
    4
    """
    steps = job.clock or steps_alone(rows, batch_size=job.batch_size, local_epochs=job.local_epochs)
    return _taken(rows, job.batch_size, (job.round - 1) * steps, manages(steps, job, site))


@lru_cache(maxsize=4096)  # thirty seeds ask alike
def _taken(rows: int, batch_size: int, begun: int, steps: int) -> int:
    per_epoch = -(-rows // batch_size)

    def until(step: int) -> int:
        epochs, rest = divmod(step, per_epoch)
        return epochs * rows + min(rest * batch_size, rows)

    return until(begun + steps) - until(begun)


def manages(steps: int, job: Job, site: str) -> int:
    """Tell how many of its steps a site manages: all, or, where it is a straggler in this round, 1 to all."""
    return int(_managed(np.array([steps]), Draws.of([0], [job], [site]), job)[0]) if job.stragglers else steps


@dataclass(frozen=True)
class Draws:
    """The sites that draw side by side, one entry each.

    Parameters
    ----------
    rows, batch_size : int array, shape [sites]
    start : uint64 array, shape [sites]
        What a site's seed and name come to: its numbers follow from it.
    """

    rows: Ints
    batch_size: Ints
    start: Bits

    @classmethod
    def of(cls, rows: Sequence[int], jobs: Sequence[Job], sites: Sequence[str]) -> Draws:
        """Make it of each site's training rows, job and name."""
        seeds = np.array([job.seed % 2**64 for job in jobs], dtype=np.uint64)
        names = np.array([_number(site) for site in sites], dtype=np.uint64)
        return cls(np.array(rows), np.array([job.batch_size for job in jobs]), _mix(_mix(seeds + STRIDE) ^ names))

    def own(self, what: int, round: int | None = None) -> Bits:
        """Return the start of each site's numbers for this use of them, of this round or of all."""
        start = _nth(self.start, np.array([what]))
        return start if round is None else _nth(start, np.array([round]))


def site_keys(draws: Draws, job: Job) -> Ints:
    """Return a 62-bit seed of (seed, round, site) for counters: dropout masks, noise."""
    return (draws.own(MASKS, job.round) >> np.uint64(2)).astype(np.int64)


def row_plan(rows: int, job: Job, site: str) -> Ints:
    """Row numbers of a site's every step, shape [steps, batch_size], −1 where the last batch of an epoch is short.

    The epochs are one stream that goes on where the last round left it, so that every row is seen once an epoch.

    Examples
    --------
    >>> job = Job(round=1, rounds=1, lr=0.1, batch_size=2, local_epochs=1, seed=0, shuffle=False)
    >>> row_plan(3, job, "A").tolist()
    [[0, 1], [2, -1]]
    """
    return row_plans(Draws.of([rows], [job], [site]), job)[:, 0]


def row_plans(draws: Draws, job: Job) -> Ints:
    """Return the plans of many sites side by side, shape [steps, sites, batch_size], −1 also where a site is done.

    Examples
    --------
    >>> job = Job(round=1, rounds=1, lr=0.1, batch_size=2, local_epochs=1, seed=0)
    >>> both = row_plans(Draws.of([3, 2], [job, job], ["A", "B"]), job)
    >>> both.shape, np.array_equal(both[:, 0], row_plan(3, job, "A")), both[1, 1].tolist()
    ((2, 2, 2), True, [-1, -1])
    """
    n, size = draws.rows, draws.batch_size
    per_epoch = -(-n // size)
    steps = np.full_like(n, job.clock) if job.clock else job.local_epochs * per_epoch
    begun, taken = (job.round - 1) * steps, _managed(steps, draws, job) if job.stragglers else steps
    step, column = np.arange(taken.max())[:, None], np.arange(size.max())
    epoch, batch = np.divmod(begun + step, per_epoch)
    place = batch * size  # of a batch's first row
    there = column < np.where(step < taken, np.minimum(n - place, size), 0)[..., None]
    if not job.shuffle:
        return np.where(there, place[..., None] + column, -1)
    order, line = _orders(n, draws.own(ORDER), begun // per_epoch, (begun + taken - 1) // per_epoch)
    place += (line + epoch) * order.shape[1]
    return np.where(there, order.take(place[..., None] + column, mode="clip"), -1)


def _orders(rows: Ints, keys: Bits, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Return a random order of the rows for each epoch of each site, and where to find a site's.

    The orders have the shape [sites and epochs, most rows]; what lies beyond a site's rows is void. Epoch ``e`` of site
    ``i`` is line ``line[i] + e``. A row's number is the low half of what is sorted: sorting needs no index beside it.
    """
    count = last - first + 1
    line = np.cumsum(count) - count - first
    whose = np.repeat(np.arange(len(rows)), count)
    place = np.arange(rows.max())
    drawn = _nth(_nth(keys[whose], np.arange(len(whose)) - line[whose])[:, None], place)
    drawn = np.where(place < rows[whose, None], (drawn & HIGH) | place.astype(np.uint64), HIGH | LOW)
    drawn.sort(axis=1)
    return (drawn & LOW).astype(np.int64), line


def _managed(steps: Ints, draws: Draws, job: Job) -> Ints:
    key = draws.own(SLOWNESS, job.round)
    slow, share = ((_nth(key, np.array([i])) >> np.uint64(11)) * 2.0**-53 for i in (0, 1))  # uniform in [0, 1)
    return np.where(slow < job.stragglers, 1 + (share * steps).astype(np.int64), steps)


# --------------------------------------------------------------------------- splitmix64


@lru_cache(maxsize=65536)
def _number(site: str) -> int:
    return int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest())


def _nth(start: Bits, n: Ints) -> Bits:
    """Return the n-th number that follows ``start``."""
    return _mix(start + (n.astype(np.uint64) + np.uint64(1)) * STRIDE)


def _mix(z: Bits) -> Bits:
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    return z ^ (z >> np.uint64(31))
