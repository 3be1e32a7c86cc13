"""``stream``: a run live, or several seeds of it side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, overload

from fedlab.algorithms import Algorithm
from fedlab.engine.plan import planned
from fedlab.engine.replicas import train_seeds
from fedlab.engine.rounds import Event
from fedlab.engine.spread import Spread
from fedlab.engine.train import begin, run_live
from fedlab.federation import Federation
from fedlab.federation.numbers import is_whole, whole
from fedlab.models import ModelLike


@overload
def stream(
    federation: Federation,
    model: ModelLike | None = ...,
    algorithm: str | Algorithm = ...,
    *,
    seeds: None = ...,
    stop: threading.Event | None = ...,
    **settings: Any,
) -> Iterator[Event]: ...


@overload
def stream(
    federation: Federation,
    model: ModelLike | None = ...,
    algorithm: str | Algorithm = ...,
    *,
    seeds: int | Sequence[int],
    stop: threading.Event | None = ...,
    **settings: Any,
) -> Iterator[Spread]: ...


def stream(
    federation: Federation,
    model: ModelLike | None = None,
    algorithm: str | Algorithm = "fedavg",
    *,
    seeds: int | Sequence[int] | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> Iterator[Event] | Iterator[Spread]:
    """Train live: yields an :class:`~fedlab.engine.rounds.Event` after each round.

    ``close()`` the generator between rounds, or set ``stop`` from another thread (it takes effect within one batch);
    ``event.run`` is a valid run of the rounds so far.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
        ``"logistic"`` (the default of classes), ``"linear"`` (of a quantity), ``"mlp"``, or a factory called as
        ``factory(inputs, outputs)``.
    algorithm : str or Algorithm
        ``"fedavg"``, …, or an object with its hyper-parameters.
    seeds : int or sequence of int, optional
        How many (0, 1, …), or which: each is a split, a start and a batch order. They train side by side, and each
        event is a :class:`~fedlab.engine.spread.Spread` of them.
    stop : threading.Event, optional
    **settings
        See :class:`~fedlab.engine.settings.Settings`.

    Examples
    --------
    >>> import fedlab
    >>> for event in fedlab.stream(fedlab.load("heart_disease"), rounds=2):
    ...     print(event.round, sorted(event.valid))
    1 ['Cleveland', 'Hungary', 'Long Beach', 'Switzerland']
    2 ['Cleveland', 'Hungary', 'Long Beach', 'Switzerland']
    >>> *_, last = fedlab.stream(fedlab.load("heart_disease"), rounds=2, seeds=3)
    >>> len(last.runs), last.band("log_loss").columns.tolist()
    (3, ['mean', 'low', 'high'])
    """
    halted = (stop or threading.Event()).is_set
    if seeds is None:
        return run_live(begin(planned(federation, model, algorithm, settings)), stop=halted)
    if "seed" in settings:
        raise TypeError("give seed= for one run, or seeds= for several, not both")
    numbers = seed_numbers(seeds)
    splits = [federation.resplit(seed) for seed in numbers]
    model = federation.task.model if model is None else model
    begin(planned(splits[0], model, algorithm, settings))  # what is wrong is said now, and not at the first round
    return (Spread(runs) for runs in train_seeds(splits, model, algorithm, seeds=numbers, stop=halted, **settings))


def seed_numbers(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds: 0, 1, … of a number, or those that are given.

    Examples
    --------
    >>> seed_numbers(3), seed_numbers([7, 5])
    ([0, 1, 2], [7, 5])
    """
    numbers = list(range(seeds)) if is_whole(seeds) else [whole("a seed", seed, 0) for seed in seeds]  # type: ignore[union-attr]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds is {seeds!r}: give a number of at least 1, or different seeds")
    return numbers
