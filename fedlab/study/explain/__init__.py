"""How much of a fall is due to each kind of difference between hospitals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.plan import planned
from fedlab.engine.progress import progress_line
from fedlab.engine.settings import Settings
from fedlab.engine.stream import seed_numbers
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.federation.shift import Shifts
from fedlab.models import ModelLike, model_name
from fedlab.study.explain.explanation import Explanation
from fedlab.study.explain.gaps import Floats, Gap, unreadable
from fedlab.study.explain.removal import ESTIMATED, Found, look, removed
from fedlab.study.explain.shapley import shapley, subsets
from fedlab.study.statistics import overlap


def explain(
    federation: Federation,
    *,
    gap: str = "elsewhere",
    shifts: Shifts | None = None,
    model: ModelLike | None = None,
    which: str | Algorithm = "fedavg",
    metric: str | None = None,
    seeds: int | Sequence[int] = 10,
    progress: bool = True,
    **settings: Any,
) -> Explanation:
    """Share a fall between two ways of learning out among the kinds of difference between the hospitals.

    Everything is trained again with each set of kinds removed, on the same seeds. A kind's part is its Shapley value:
    by how much the fall grows when this kind comes to others, over all orders in which they may come. What stays when
    all are removed is the residual: few patients, a model that cannot say it, differences of other kinds. Parts and
    residual sum to the fall.

    Which kinds there are is known with ``shifts``: a kind is removed by not planting it. Without, each is estimated
    from the rows of all hospitals in this process (a laboratory's tool), removed as
    :func:`fedlab.study.explain.removal.removed` says, and left alone where its test finds nothing. Where a site's rows
    fit two kinds, neither is named alone; what none of the kinds does (wrong labels, columns that say nothing of what
    they say elsewhere) stays in the residual.

    Parameters
    ----------
    federation : Federation
        Of two sites or more. With ``shifts``, the one before them.
    gap : {"elsewhere", "federated", "own"}
        ``"elsewhere"``: from own models at home to own models at the other hospitals. ``"federated"``: from the pooled
        model to the federated one. ``"own"``: from the pooled model to own models, at home and elsewhere; of the three
        it sees the most kinds, sizes among them. All on test patients, hospitals alike: this opens ``test``.
    shifts : Shifts, optional
        The differences, where they are planted.
    model : str, callable or Module
    which : str or Algorithm
        The federated one.
    metric : str, optional
        Any but ``balanced_accuracy_chosen``. A positive fall is a loss, whichever way the metric goes.
    seeds : int or sequence of int
        At least two; each a split, a start, a batch order and a draw of what is removed.
    progress : bool
        Show a line after two seconds. A kernel interrupt keeps nothing: half of the sets give no parts.
    **settings
        Of :class:`~fedlab.engine.settings.Settings`. Own and pooled models train in 10 rounds of three epochs if
        nothing is said: as many steps as in 30 of one, and ``valid`` is looked at less often.

    Raises
    ------
    ValueError
        One site; fewer than two seeds; an unknown gap or metric; a shift at a site that is not there; or no hospital
        whose test patients allow for the metric.

    Examples
    --------
    >>> import fedlab
    >>> from fedlab.federation import LabelShift, Shifts
    >>> alike = fedlab.load("heart_disease").partition(fedlab.federation.IID(), sites=4)
    >>> ill = Shifts({"site 2": [LabelShift(0.9)]})
    >>> explain(alike, shifts=ill, seeds=3, rounds=5, progress=False).table()["kind"].tolist()
    ['label', 'residual']
    """
    numbers = _checked(federation, seeds, settings)
    model = federation.task.model if model is None else model
    metric = federation.task.choosing if metric is None else metric
    if shifts is None:
        federation.task.needs_classes("kinds of difference are estimated for classes", "give shifts= that were planted")
    asked = Gap(gap, model, algorithm(which), metric, settings)
    if metric not in federation.task.metrics:
        raise ValueError(f"metric is {metric!r}, and {federation.task.about} has {', '.join(federation.task.metrics)}")
    begin(planned(federation, model, asked.arms[-1], settings))
    planted = federation if shifts is None else federation.shift(shifts)
    source: Shifts | Found = look(federation) if shifts is None else shifts
    sets = subsets(source.kinds)
    splits = [
        _with_only(kept, source, federation.resplit(seed), seed) for kept in sets for seed in numbers
    ]  # fmt: skip
    rounds = Settings(**asked.pace).rounds * len(asked.arms)
    with progress_line(rounds, "explain", "round", show=progress, doing=lambda: f"{len(sets)} sets of kinds") as line:
        arms = asked.scores(splits, numbers * len(sets), line.update)
    left_out = unreadable(splits, [np.concatenate(each) for each in zip(*arms, strict=True)], metric)
    kept_sites = [k for k, name in enumerate(federation.names) if name not in left_out]
    if not kept_sites:
        raise ValueError(f"{metric} cannot be computed at any hospital: {'; '.join(map(': '.join, left_out.items()))}")
    falls = np.array([asked.fall(first, last, kept_sites) for first, last in zip(arms[0], arms[-1], strict=True)])
    values: dict[frozenset[str], Floats] = dict(zip(sets, falls.reshape(len(sets), -1), strict=True))
    return Explanation(
        name=federation.name,
        model_name=model_name(model),
        gap_name=gap,
        metric=metric,
        seeds=numbers,
        parts=shapley(values),
        values=values,
        overlap=overlap(planted),
        looked_for=ESTIMATED if isinstance(source, Found) else source.kinds,
        known=shifts is not None,
        left_out=left_out,
        notes=list(getattr(source, "notes", [])),
        instead=getattr(source, "instead", {}),
    )


def _with_only(kept: frozenset[str], source: Shifts | Found, split: Federation, seed: int) -> Federation:
    """Return the federation with these kinds of difference alone."""
    if isinstance(source, Shifts):
        return split.shift(source.only(*kept))
    return removed(split, source, set(source.kinds) - kept, seed=seed)


def _checked(federation: Federation, seeds: int | Sequence[int], settings: dict[str, Any]) -> list[int]:
    numbers = seed_numbers(seeds)
    if len(federation.sites) < 2:
        raise ValueError(f"{federation.names[0]} is the only hospital: nothing can differ between hospitals")
    if len(numbers) < 2:
        raise ValueError(f"seeds is {seeds!r}: one seed has no spread, and parts could not be judged; use seeds=10")
    if "seed" in settings:
        raise TypeError("explain draws its seeds itself: use seeds=")
    return numbers
