"""Tuning: every arm tries the same settings, and each seed chooses among them on its own ``valid``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.choice import mean_loss
from fedlab.engine.replicas import Lose, train_seeds
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.federation import Federation
from fedlab.metrics.cells import LEAST
from fedlab.models import ModelLike
from fedlab.study.words import words

if TYPE_CHECKING:
    from fedlab.study.study import Study

TUNABLE = ("lr", "batch_size", "local_epochs", "local_steps", "schedule", "clip", "optimizer")
Trial = dict[str, Any]


def trials(tune: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> list[Trial]:
    """Return every combination of the values to try.

    Examples
    --------
    >>> trials({"lr": [0.1, 0.3], "clip": [None]}, {})
    [{'lr': 0.1, 'clip': None}, {'lr': 0.3, 'clip': None}]
    """
    for name, values in tune.items():
        if name not in TUNABLE:
            raise ValueError(
                f"tune cannot vary {name!r}: it varies settings that every arm has, {', '.join(TUNABLE)}, so that all "
                "have equal trials. To compare hyper-parameters, name each as an arm: [FedProx(mu=0.1), FedProx(mu=1)]"
            )
        if name in settings:
            raise ValueError(f"{name} is both set and tuned: leave one out")
        if isinstance(values, str) or not list(values) or len(set(map(str, values))) < len(values):
            raise ValueError(f"tune[{name!r}] is {values!r}: give a list of different values")
    if tune and settings.get("evaluate") is False:
        raise ValueError("tune chooses on valid, which evaluate=False does not look at: leave one of them out")
    every = [dict(zip(tune, values, strict=True)) for values in itertools.product(*tune.values())]
    for trial in every:
        Settings.of({**settings, **trial})
    return every


def train_trials(
    splits: Sequence[Federation],
    model: ModelLike,
    alg: Algorithm,
    *,
    seeds: Sequence[int],
    tried: Sequence[Trial],
    lose: Lose,
    **settings: Any,
) -> Iterator[list[list[Run]]]:
    """Train every trial of every seed; yields ``[trial][seed]`` as far as they have come, after each round.

    Trials that differ in the rate alone train in one stacked pass with all seeds. One that fails is told to ``lose``,
    and the others go on.
    """
    found: dict[int, list[Run]] = {}
    for group in _passes(tried):
        rest = {k: v for k, v in tried[group[0]].items() if k != "lr"}
        rates = [tried[t]["lr"] for t in group for _ in seeds] if "lr" in tried[group[0]] else None
        together = train_seeds(
            list(splits) * len(group), model, alg, seeds=list(seeds) * len(group), rates=rates, lose=lose,
            **{**settings, **rest},
        )  # fmt: skip
        for runs in together:
            found |= {t: runs[i * len(seeds) : (i + 1) * len(seeds)] for i, t in enumerate(group)}
            yield [found[t] for t in sorted(found)]


def _passes(tried: Sequence[Trial]) -> list[list[int]]:
    """Group trials that differ in the rate alone."""
    groups: dict[str, list[int]] = {}
    for number, trial in enumerate(tried):
        groups.setdefault(str({k: v for k, v in trial.items() if k != "lr"}), []).append(number)
    return list(groups.values())


def validation_loss(run: Run) -> float:
    """Mean choosing score on ``valid`` at the reported round (isolated: each site's own), over what the run chooses by.

    Raises
    ------
    ValueError
        If no site tells how a round did: of fewer than five validation patients nothing leaves it.
    """
    history = run.history
    chosen = history[history["chosen"]]
    told = chosen[chosen["patients"] > 0]
    if len(chosen) and told.empty:
        raise ValueError(
            f"tune chooses on valid, but every site has fewer than {LEAST} validation patients, of whom nothing leaves "
            "it: join small sites, or leave tune out"
        )
    losses = zip(told[run.federation.task.choosing].tolist(), told["patients"].tolist(), strict=True)
    return mean_loss(losses, run.settings.choose) if len(told) else float("inf")


def chosen_by(study: Study) -> str:
    """Say by what the reported rounds, and the settings where they were tuned, were chosen, and what the means are of.

    Examples
    --------
    >>> import fedlab
    >>> fed = fedlab.load("heart_disease")
    >>> options = dict(algorithms=["fedavg"], seeds=1, rounds=1, progress=False)
    >>> print(chosen_by(fedlab.compare(fed, choose="hospitals", **options)))
    The round is chosen by the mean over hospitals of log loss on valid.
    """
    runs = [run for each in study.runs.values() for run in each]
    if not runs or not runs[0].settings.evaluate:
        return "The last round is reported." if runs else ""
    score = words(runs[0].federation.task.choosing).name
    alone = [run.algorithm.alone and not run.algorithm.one_model for run in runs]
    if all(alone) and study.trials.empty:
        return f"Each hospital chooses its own round by {score} on valid."
    own = " (own models: the round by each hospital’s own)" if any(alone) else ""
    what = f"round{' and the tuned settings are' if len(study.trials) else ' is'}"
    if runs[0].settings.choose == "hospitals":
        return f"The {what} chosen by the mean over hospitals of {score} on valid{own}."
    means = "while means are over hospitals; choose='hospitals' counts them alike"
    return f"The {what} chosen by {score} on valid weighted by patients{own}, {means}."


def at_the_ends(trials: pd.DataFrame) -> list[tuple[str, str, float, str, list[str]]]:
    """Find the arms that chose the smallest or largest number that was tried on half of their seeds or more.

    Their best may lie beyond it. Of two values each is an end, and nobody can choose another: :func:`two_tried`.
    ``trials`` are a study's. Returns ``(which end, setting, its value, how often it was chosen, arms)``.

    Examples
    --------
    >>> rows = [("fedavg", seed, lr, lr == 1.0) for seed in (0, 1) for lr in (0.1, 0.3, 1.0)]
    >>> at_the_ends(pd.DataFrame(rows, columns=["arm", "seed", "lr", "chosen"]))
    [('largest', 'lr', 1.0, 'mostly chose', ['fedavg'])]
    """
    found = []
    for name, values in _numbers(trials):
        chosen = trials[trials["chosen"]]
        for end, value in (("smallest", values[0]), ("largest", values[-1])) if len(values) > 2 else ():
            share = (chosen[name] == value).groupby(chosen["arm"], sort=False).mean()
            for often, which in (("mostly chose", share > 0.5), ("chose on half of the seeds", share == 0.5)):
                if which.any():
                    found.append((end, name, value, often, list(share[which].index)))
    return found


def two_tried(trials: pd.DataFrame) -> list[str]:
    """Name the settings of which two numbers were tried.

    Examples
    --------
    >>> two_tried(pd.DataFrame({"lr": [0.1, 0.3], "chosen": [True, False]}))
    ['lr']
    """
    return [name for name, values in _numbers(trials) if len(values) == 2]


def _numbers(trials: pd.DataFrame) -> Iterator[tuple[str, list[float]]]:
    """Yield the settings that are numbers, and which were tried."""
    for name in TUNABLE:
        if name in trials and pd.api.types.is_numeric_dtype(trials[name]):
            yield name, sorted(map(float, trials[name].dropna().unique()))
