"""Learning curves over data: what more rows per hospital, and more hospitals, are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine import openings
from fedlab.engine.plan import planned
from fedlab.engine.progress import progress_line
from fedlab.engine.replicas import train_seeds
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.engine.stream import seed_numbers
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.federation.numbers import is_whole
from fedlab.models import ModelLike, model_name
from fedlab.study.compare import name_arms
from fedlab.study.curve import LearningCurve, point

LEAST, MOST = 8, 8  # rows at the first point; points of a curve


def learning_curve(
    federation: Federation,
    model: ModelLike | None = None,
    algorithms: Sequence[str | Algorithm] | Mapping[str, str | Algorithm] = ("centralized", "fedavg"),
    *,
    rows: Sequence[int] | None = None,
    sites: Sequence[int] | None = None,
    seeds: int | Sequence[int] = 10,
    progress: bool = True,
    **settings: Any,
) -> LearningCurve:
    """Train on less data than there is, and test every model on the same patients: all hospitals' ``test``.

    Along ``rows`` every hospital learns from at most so many training rows (:meth:`Federation.thinned`; fewer are among
    more). Along ``sites`` so many hospitals take part with all their rows; they join in a random order, another one for
    each seed. ``valid``, on which the round is chosen, keeps all rows of those who take part. All points have as many
    gradient steps, to within a round: with fewer batches a round makes more passes over them (and there are more rounds
    where that does not come out even), unless ``local_steps`` is set. With all data it is what :func:`fedlab.compare`
    gives, to the bit.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
    algorithms : sequence of str or Algorithm, or dict
        As for :func:`fedlab.compare`.
    rows : sequence of int, optional
        Training rows per hospital, each at least 1; a hospital with fewer gives what it has. Default: 8, 16, … (at
        most eight) up to all of the largest hospital. ``[]`` leaves this curve out.
    sites : sequence of int, optional
        Numbers of hospitals, 1 to all. Default: each, or eight of them where there are more. ``[]`` leaves it out.
    seeds : int or sequence of int
        How many (0, 1, …), or which: a split, a start, a batch order, a draw of rows and an order of hospitals.
    progress : bool
        Show a line after two seconds. A kernel interrupt keeps the points that are finished.
    **settings
        Of :class:`~fedlab.engine.settings.Settings`, the same for all.

    Returns
    -------
    LearningCurve
        ``.table()`` has the means with their intervals over seeds; ``fedlab.figures.more_data`` draws it.

    Raises
    ------
    ValueError
        If there is no point, or one out of range, or every point fails.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> curve = learning_curve(hospitals, rows=[16], sites=[1, 4], seeds=2, rounds=2, progress=False)
    >>> curve.points
    [('rows', 16), ('sites', 1), ('sites', 4)]
    """
    arms, numbers = name_arms(algorithms), seed_numbers(seeds)
    if "seed" in settings:
        raise TypeError("learning_curve draws its seeds itself: use seeds=")
    model = federation.task.model if model is None else model
    trainer = _Trainer(federation, model, numbers, settings)
    for alg in arms.values():  # what is wrong with all data is said now, and not at the first point
        begin(planned(trainer.splits[0], model, alg, settings))
    points = _points(federation, trainer.largest, rows, sites)
    curve = LearningCurve(federation, model_name(model), tuple(arms), numbers)
    if sites is None and len(federation.sites) == 1:
        curve.notes.append(f"{federation.names[0]} is the only hospital: no curve over hospitals")
    doing = [""]
    words = f"a learning curve of {', '.join(arms)} ({curve.model_name}), {len(numbers)} seeds"
    entry = openings.one(federation, "learning_curve", by=[words, points, settings], words=words)
    shown = progress_line(len(points) * len(arms), "curve", "point", show=progress, doing=lambda: doing[0])
    with entry, shown as line:
        try:
            for by, x in points:
                found = {}
                for name, alg in arms.items():
                    doing[0] = f"{name}, {point(by, x)}"
                    found[name] = trainer.scores(alg, by, x)
                    line.update()
                curve.add(by, x, found)
        except KeyboardInterrupt:
            if not curve.points:
                raise
            curve.notes.append(f"interrupted: {len(curve.points)} of {len(points)} points are finished")
    if curve.scores.empty:
        raise ValueError(f"no point could be computed: {curve.failures['reason'].iloc[0]}")
    return curve


def _points(
    federation: Federation, largest: int, rows: Sequence[int] | None, sites: Sequence[int] | None
) -> list[tuple[str, int]]:
    n = len(federation.sites)
    if rows is None:
        doubled = [x for x in (LEAST * 2**k for k in range(30)) if x <= 0.75 * largest] + [largest]
        rows = doubled if len(doubled) <= MOST else _spaced(LEAST, largest)
    if sites is None:
        sites = [] if n == 1 else list(range(1, n + 1)) if n <= MOST else _spaced(1, n)
    _check("rows", rows, None, "training rows per hospital, at least 1")
    _check("sites", sites, n, f"numbers of hospitals, 1 to {n}")
    points = [("rows", int(x)) for x in sorted(rows)] + [("sites", int(x)) for x in sorted(sites)]
    if not points:
        raise ValueError("rows and sites are both empty: there is no point to compute")
    return points


def _spaced(low: int, high: int) -> list[int]:
    numbers: list[int] = np.unique(np.geomspace(low, high, MOST).round().astype(int)).tolist()
    return numbers


def _check(name: str, values: Sequence[int], most: int | None, what: str) -> None:
    good = not isinstance(values, (str, int)) and all(
        is_whole(x) and x >= 1 and (most is None or x <= most) for x in values
    )
    if not good or len(set(values)) < len(values):
        raise ValueError(f"{name} is {values!r}: give a list of different {what}")


def taking_part(names: Sequence[str], number: int, *, seed: int) -> list[str]:
    """Return the first ``number`` hospitals of a seed's random order, in the order in which they are shown.

    Examples
    --------
    >>> taking_part(["A", "B", "C"], 2, seed=0), taking_part(["A", "B", "C"], 2, seed=1)
    (['A', 'C'], ['B', 'C'])
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    first = {str(name) for name in rng.permutation(sorted(names))[:number]}
    return [name for name in names if name in first]


class _Trainer:
    """Trains one arm at one point, all seeds, and scores it at all hospitals."""

    def __init__(self, federation: Federation, model: ModelLike, seeds: list[int], settings: dict[str, Any]) -> None:
        self.model, self.seeds, self.settings = model, seeds, settings
        self.splits = [federation.resplit(seed) for seed in seeds]
        self.largest = max(map(_longest, self.splits))
        self._whole: dict[int, pd.DataFrame] = {}

    def scores(self, alg: Algorithm, by: str, x: int) -> pd.DataFrame | Exception:
        """Return the scores at a point, or what went wrong: some algorithms ask for more hospitals than take part."""
        whole = x >= (self.largest if by == "rows" else len(self.splits[0].sites))
        if whole and id(alg) in self._whole:  # where both curves end
            return self._whole[id(alg)]
        try:
            found = self._train(alg, [self._less(k, by, x) for k in range(len(self.seeds))])
        except Exception as error:
            return error
        if whole:
            self._whole[id(alg)] = found
        return found

    def _less(self, number: int, by: str, x: int) -> Federation:
        split, seed = self.splits[number], self.seeds[number]
        return split.thinned(x, seed=seed) if by == "rows" else split.select(*taking_part(split.names, x, seed=seed))

    def _train(self, alg: Algorithm, parts: list[Federation]) -> pd.DataFrame:
        # seeds with the same hospitals, and as many batches, train in one stacked pass: a patient of two rows may need
        # a batch more
        alike: dict[tuple[tuple[str, ...], int, int], list[int]] = {}
        for number, part in enumerate(parts):
            key = part.names, self._batches(_longest(self.splits[number])), self._batches(_longest(part))
            alike.setdefault(key, []).append(number)
        tables: dict[int, pd.DataFrame] = {}
        for (_, whole, here), members in alike.items():
            mine = [parts[k] for k in members]
            settings = self.settings | self._as_many_steps(alg, whole, here)
            *_, runs = train_seeds(mine, self.model, alg, seeds=[self.seeds[k] for k in members], **settings)
            tables |= {k: _scores(run, self.splits[k], self.seeds[k]) for k, run in zip(members, runs, strict=True)}
        return pd.concat([tables[k] for k in sorted(tables)], ignore_index=True)

    def _batches(self, rows: int) -> int:
        return -(-rows // Settings(**self.settings).batch_size)

    def _as_many_steps(self, alg: Algorithm, whole: int, here: int) -> dict[str, int]:
        """Return passes of a round, and rounds, that have as many gradient steps as those of all data's batches."""
        s = Settings(**self.settings)
        if alg.full_batch or s.local_steps:
            return {}
        passes = whole // here
        return {"local_epochs": s.local_epochs * passes, "rounds": round(s.rounds * whole / (here * passes))}


def _longest(part: Federation) -> int:
    return max(len(site.split.train) for site in part.sites)


def _scores(run: Run, split: Federation, seed: int) -> pd.DataFrame:
    """Score a run at all hospitals of the split, those that took no part too, and say what it learnt from."""
    part, classes = run.federation, len(split.task.classes)
    table = run.report(unseen=[site for site in split.sites if site.name not in part.names])
    present = [len(np.unique(site.rows.y.numpy()[site.split.train])) for site in part.sites]
    return table.assign(
        seed=seed,
        took_part=table["test"].isin(part.names),
        rows=sum(len(site.split.train) for site in part.sites),
        hospitals=len(part.sites),
        lacking=sum(n < classes for n in present),
        rounds=len(run.records),
        steps=len(run.records) * run.steps_per_round,
    )
