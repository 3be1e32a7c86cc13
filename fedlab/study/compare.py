"""``compare``: several algorithms on the same splits, starts and clock."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.plan import planned
from fedlab.engine.progress import progress_line
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.engine.stream import seed_numbers
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.models import ModelLike, model_name
from fedlab.study.failed import Lost, SeedsFailed, told
from fedlab.study.plan import Given, say_plan
from fedlab.study.record import Arm, study_of
from fedlab.study.saving import Saving
from fedlab.study.stated import check_stated
from fedlab.study.study import Study
from fedlab.study.tuning import Trial, train_trials, trials, validation_loss
from fedlab.study.words import CALLED

ARMS = ("isolated", "centralized", "fedavg")


def compare(
    federation: Federation,
    model: ModelLike | None = None,
    algorithms: Sequence[str | Algorithm] | Mapping[str, str | Algorithm] = ARMS,
    *,
    seeds: int | Sequence[int] = 10,
    primary: str | None = None,
    smallest: float | None = None,
    tune: Mapping[str, Sequence[Any]] | None = None,
    progress: bool = True,
    save: str | Path | None = None,
    **settings: Any,
) -> Study:
    """Train every algorithm with every seed; nothing is opened on ``test`` yet.

    A seed is a split, a start and a batch order, the same for every algorithm. The clock is gradient steps: a round is
    as many as the largest site needs for its local epochs, and isolated and centralized training take exactly as many.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
    algorithms : sequence of str or Algorithm, or dict
        A dict gives each a name of your own.
    seeds : int or sequence of int
        How many (0, 1, …), or which.
    primary : str, optional
        The one metric that ``study.verdict()`` judges the arms by, named now, before anything is seen; the others are
        shown with their intervals, and name no winner. Default: the one that chooses the round, ``"log_loss"`` of
        classes and ``"mse"`` of a quantity.
    smallest : float, optional
        The smallest difference in it that matters, e.g. ``0.02``: two arms are called the same where the whole
        interval of their difference lies within it.
    tune : dict of str to list, optional
        Settings to try, e.g. ``{"lr": [0.03, 0.1, 0.3]}``: every arm tries the same, each seed chooses by the task's
        choosing score (log loss of classes) on its own ``valid`` (of patients, or of hospitals alike: ``choose=``);
        ``study.trials`` has them all, and ``study.verdict()`` says which arms mostly chose the end of what was tried.
    progress : bool
        Show a line after two seconds. A kernel interrupt keeps the algorithms that are finished.
    save : str or Path, optional
        A folder that keeps every algorithm as it is finished: after a kill the same call goes on with those that are
        missing. One that keeps another comparison is refused with the difference. What the study opens of ``test``
        later on is counted there too.
    **settings
        Of :class:`~fedlab.engine.settings.Settings`, the same for all.

    Warns
    -----
    SeedsFailed
        If an algorithm failed on some seeds: its rows are of the others, the rest stands, ``study.failed`` says how; or
        if a hospital did not take part as it was asked to. An arm that failed on all has no result (with ``save`` it is
        tried again); where no arm has one, the failure is raised.

    Examples
    --------
    >>> import fedlab
    >>> study = compare(fedlab.load("heart_disease"), "logistic", ["isolated", "fedavg"], seeds=2, rounds=2)
    >>> study.arms
    ('isolated', 'fedavg')
    """
    model = federation.task.model if model is None else model
    primary = federation.task.choosing if primary is None else primary
    arms = name_arms(algorithms)
    numbers = seed_numbers(seeds)
    if "seed" in settings:
        raise TypeError("compare draws its seeds itself: use seeds=")
    tried = trials(tune or {}, settings)
    splits = [federation.resplit(seed) for seed in numbers]
    check_stated(splits, primary, smallest)
    once = Settings(**settings).rounds
    rounds = once * len({str({**trial, "lr": 0}) for trial in tried})  # rates train side by side
    for alg in arms.values():  # what no seed can do is said now, and not after the arms before it
        begin(planned(splits[0], model, alg, {**settings, **tried[0]}))
    stated = {"primary": primary, "smallest": None if smallest is None else float(smallest)}
    plan = say_plan(federation, model, arms, numbers, tried if tune else [], {**settings, **tried[0]}, stated=stated)
    kept = Saving(save, plan, federation, Given(model, arms, [{**settings, **trial} for trial in tried]))
    done: dict[str, Arm] = {}
    lost: list[tuple[pd.DataFrame, Exception]] = []
    doing = [""]
    with kept, progress_line(len(arms) * rounds, "compare", "round", show=progress, doing=lambda: doing[0]) as line:
        try:
            for number, (name, alg) in enumerate(arms.items()):
                if found := kept.find(name):
                    done[name] = found
                    continue
                doing[0] = f"{name}, {len(numbers)} seeds" + (f", {len(tried)} trials" if tune else "")
                failures = Lost()
                options: dict[str, Any] = {"seeds": numbers, "tried": tried, "lose": failures.enter} | settings
                for runs in train_trials(splits, model, alg, **options):
                    share = sum(max(len(run.records) for run in each) for each in runs) / (once * len(tried))
                    line.update(max(0, number * rounds + int(share * rounds) - line.n))
                arm = _chosen(name, runs, tried if tune else [], numbers, failures)
                if arm.runs:
                    done[name] = arm
                    kept.enter(name, arm)
                else:
                    lost.append((arm.failed, failures.runs[0][1]))
        except KeyboardInterrupt:
            if not done:
                raise
    if lost and not done:
        raise lost[0][1]
    about: dict[str, Any] = {"federation": federation, "model_name": model_name(model), "seeds": numbers, "asked": plan}
    study = kept.finish(study_of(done, failed=[table for table, _ in lost], **about, **stated))
    for what in told(study):
        warnings.warn(what, SeedsFailed, stacklevel=2)
    return study


def _chosen(name: str, runs: list[list[Run]], tried: list[Trial], seeds: list[int], lost: Lost) -> Arm:
    """Take each seed's best trial on its own ``valid``, ties to the first; a seed has failed where all trials have."""

    def failed(run: Run) -> bool:
        return lost.error(run) is not None

    def loss(run: Run) -> float:
        return math.inf if failed(run) else validation_loss(run)

    by_seed = list(zip(*runs, strict=True))
    best = [min(each, key=lambda run: (failed(run), loss(run))) if len(each) > 1 else each[0] for each in by_seed]
    kept = [run for run in best if not failed(run)]
    rows = [
        {"seed": seed, **trial, run.scored[0]: loss(run), "chosen": run is chosen and not failed(run), "arm": name}
        for seed, each, chosen in zip(seeds, by_seed, best, strict=True)
        for trial, run in zip(tried, each, strict=True)
    ] if tried else []  # fmt: skip
    return Arm(kept, pd.DataFrame(rows), lost.table(name, best))


def name_arms(algorithms: Sequence[str | Algorithm] | Mapping[str, str | Algorithm]) -> dict[str, Algorithm]:
    """Name each algorithm; two settings of one are told apart by their fields."""
    if isinstance(algorithms, Mapping):
        if not algorithms:
            raise ValueError("there is no algorithm to compare: name at least one")
        arms = {name: algorithm(which) for name, which in algorithms.items()}
        for name, alg in arms.items():
            if name in CALLED and alg.name != name:
                raise ValueError(
                    f"the arm {name!r} is {alg}, and a verdict calls {name!r} {CALLED[name]}: rename the arm"
                )
        return arms
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
