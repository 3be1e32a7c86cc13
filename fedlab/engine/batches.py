"""The order of mini-batches: a pure function of (seed, round, site), so that every engine draws the same."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a site is told about the round besides the tensors: plain numbers, so that it travels anywhere.

    ``clock`` is the number of steps that every place of training takes, or 0: each its own local epochs. ``clip`` is
    the largest norm of a gradient, or 0; ``stragglers`` the share of the sites that manage only some of their steps.
    """

    round: int
    rounds: int
    lr: float
    batch_size: int
    local_epochs: int
    seed: int
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
    per_epoch = -(-rows // job.batch_size)
    steps = job.clock or job.local_epochs * per_epoch
    begun = (job.round - 1) * steps if job.clock else 0

    def until(step: int) -> int:
        epochs, rest = divmod(step, per_epoch)
        return epochs * rows + min(rest * job.batch_size, rows)

    return until(begun + manages(steps, job, site)) - until(begun)


def manages(steps: int, job: Job, site: str) -> int:
    """Tell how many of its steps a site manages: all, or, where it is a straggler in this round, 1 to all."""
    if not job.stragglers:
        return steps
    rng = generator(job.seed, job.round, zlib.crc32(site.encode()), 2)
    return int(rng.integers(1, steps + 1)) if rng.random() < job.stragglers else steps


def site_key(job: Job, site: str) -> int:
    """Return a 62-bit seed of (seed, round, site) for counters: dropout masks, noise."""
    told = f"{job.seed} {job.round} {site}".encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest()) >> 2


def row_plan(rows: int, job: Job, site: str) -> NDArray[np.int64]:
    """Row numbers of every step, shape [steps, batch_size], −1 where the last batch of an epoch is short.

    With a clock, the stream of epochs goes on where the last round left it, so that every row is seen once an epoch.

    Examples
    --------
    >>> job = Job(round=1, rounds=1, lr=0.1, batch_size=2, local_epochs=1, seed=0, shuffle=False)
    >>> row_plan(3, job, "A").tolist()
    [[0, 1], [2, -1]]
    """
    plan = _whole_plan(rows, job, zlib.crc32(site.encode()))
    return plan[: manages(len(plan), job, site)]


def _whole_plan(rows: int, job: Job, name: int) -> NDArray[np.int64]:
    if not job.clock:
        rng = generator(job.seed, job.round, name) if job.shuffle else None
        if job.local_epochs == 1:  # the sum of most runs: a call saved is a twentieth
            return _epoch(rows, job, rng)
        return np.concatenate([_epoch(rows, job, rng) for _ in range(job.local_epochs)])
    per_epoch = -(-rows // job.batch_size)
    first = (job.round - 1) * job.clock
    begun = first // per_epoch
    numbers = range(begun, (first + job.clock - 1) // per_epoch + 1)
    rngs = [generator(job.seed, e, name, 1) if job.shuffle else None for e in numbers]
    stream = np.concatenate([_epoch(rows, job, rng) for rng in rngs])
    skip = first - begun * per_epoch
    return stream[skip : skip + job.clock]


def generator(*told: int) -> np.random.Generator:
    """Make numpy's generator of these numbers; as an array where they fit, which it takes in a third less time.

    Examples
    --------
    >>> generator(1, 2).random() == np.random.default_rng([1, 2]).random()
    True
    """
    return np.random.Generator(np.random.PCG64(np.array(told, dtype=np.uint32) if max(told) < 2**32 else list(told)))


def _epoch(rows: int, job: Job, rng: np.random.Generator | None) -> NDArray[np.int64]:
    per_epoch = -(-rows // job.batch_size)
    plan = np.full(per_epoch * job.batch_size, -1, dtype=np.int64)
    plan[:rows] = np.arange(rows) if rng is None else rng.permutation(rows)
    return plan.reshape(per_epoch, job.batch_size)
