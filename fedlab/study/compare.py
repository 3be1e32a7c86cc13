"""``compare``: several algorithms on the same splits, starts and clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.progress import progress_line
from fedlab.engine.replicas import train_seeds
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
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
        Show a line after two seconds. A kernel interrupt keeps the algorithms that are finished.
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
    splits = [federation.resplit(seed) for seed in numbers]
    rounds = Settings(**settings).rounds
    runs: dict[str, list[Run]] = {}
    doing = [""]
    with progress_line(len(arms) * rounds, "compare", "round", show=progress, doing=lambda: doing[0]) as line:
        try:
            for number, (name, alg) in enumerate(arms.items()):
                doing[0] = f"{name}, {len(numbers)} seeds"
                for together in train_seeds(splits, model, alg, seeds=numbers, **settings):
                    line.update(number * rounds + len(together[-1].records) - line.n)
                runs[name] = together
        except KeyboardInterrupt:
            if not runs:
                raise
    return Study(federation, model_name(model), runs, numbers)


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
