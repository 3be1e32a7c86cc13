"""``compare``: several algorithms on the same splits, starts and clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.progress import progress_line
from fedlab.engine.run import Run
from fedlab.engine.train import stream
from fedlab.federation import Federation
from fedlab.models import ModelLike, model_name
from fedlab.study.study import Study

ARMS = ("isolated", "centralized", "fedavg")


def compare(
    federation: Federation,
    model: ModelLike = "logistic",
    algorithms: Sequence[str | Algorithm] = ARMS,
    *,
    seeds: int | Sequence[int] = 10,
    progress: bool = True,
    **settings: Any,
) -> Study:
    """Train every algorithm with every seed; nothing is opened on ``test`` yet.

    A seed is a split, a start and a batch order, the same for every algorithm. The clock is gradient steps: a round is
    as many as the largest site needs for its local epochs, and isolated and centralized training take exactly as many.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
    algorithms : sequence of str or Algorithm
    seeds : int or sequence of int
        How many (0, 1, …), or which.
    progress : bool
        Show a line after two seconds. A kernel interrupt keeps the seeds that are whole.
    **settings
        Of :class:`~fedlab.engine.settings.Settings`, the same for all.

    Examples
    --------
    >>> import fedlab
    >>> study = compare(fedlab.load("heart_disease"), "logistic", ["isolated", "fedavg"], seeds=2, rounds=2)
    >>> study.arms
    ('isolated', 'fedavg')
    """
    arms = name_arms(algorithms)
    numbers = _seeds(seeds)
    if "seed" in settings:
        raise TypeError("compare draws its seeds itself: use seeds=")
    runs: dict[str, list[Run]] = {name: [] for name in arms}
    doing = [""]
    with progress_line(len(arms) * len(numbers), "compare", "run", show=progress, doing=lambda: doing[0]) as line:
        try:
            for seed in numbers:
                split = federation.resplit(seed)
                done = {}
                for name, alg in arms.items():
                    doing[0] = f"{name}, seed {seed}"
                    done[name] = run_to_end(stream(split, model, alg, seed=seed, **settings))
                    line.update()
                for name, run in done.items():
                    runs[name].append(run)
        except KeyboardInterrupt:
            if not next(iter(runs.values())):
                raise
    finished = numbers[: len(next(iter(runs.values())))]
    return Study(federation, model_name(model), runs, finished)


def run_to_end(events: Iterator[Any]) -> Run:
    """Go through a stream and return its run."""
    run: Run | None = None
    for event in events:
        run = event.run
    assert run is not None  # a run has at least one round
    return run


def name_arms(algorithms: Sequence[str | Algorithm]) -> dict[str, Algorithm]:
    """Name each algorithm; two settings of one are told apart by their fields."""
    if isinstance(algorithms, (str, Algorithm)):
        algorithms = [algorithms]
    chosen = [algorithm(which) for which in algorithms]
    if not chosen:
        raise ValueError("there is no algorithm to compare: name at least one")
    plain = [alg.name for alg in chosen]
    names = [alg.name if plain.count(alg.name) == 1 else str(alg) for alg in chosen]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{twice[0]} is named twice: a comparison with itself says nothing")
    return dict(zip(names, chosen, strict=True))


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds is {seeds!r}: give a number of at least 1, or different seeds")
    return numbers
