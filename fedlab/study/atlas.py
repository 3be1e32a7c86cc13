"""The atlas: train here, test there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.progress import progress_line
from fedlab.engine.replicas import train_seeds
from fedlab.federation import Federation
from fedlab.models import ModelLike
from fedlab.study.compare import ARMS, compare
from fedlab.study.study import average

RESAMPLES = 500


def atlas(
    federation: Federation,
    model: ModelLike = "logistic",
    algorithms: Sequence[str | Algorithm] = ARMS,
    *,
    unseen: str | Algorithm | None = "fedavg",
    seeds: int | Sequence[int] = 1,
    resamples: int = RESAMPLES,
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Score every model on every hospital's test patients.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
    algorithms : sequence of str or Algorithm
    unseen : str or Algorithm, optional
        Also train this one without each hospital in turn, and test it on the hospital that it has not seen.
    seeds : int or sequence of int
        Averaged over.
    resamples : int
        Of the patient-level bootstrap.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, metric``: ``value`` (mean over seeds), ``low`` and ``high`` (95 % bootstrap
        interval over the test patients of one split, averaged over seeds), ``sd`` over seeds, ``patients``, ``fewest``
        (test patients of the rarest class). ``train`` is a site, ``all sites`` or ``all but SITE``.
    """
    study = compare(federation, model, algorithms, seeds=seeds, progress=progress, **settings)
    parts = [study.atlas(resamples=resamples)]
    if unseen is not None and len(federation.sites) > 1:
        options: dict[str, Any] = {"seeds": study.seeds, "resamples": resamples, "progress": progress} | settings
        parts.append(average(unseen_sites(federation, model, unseen, **options)))
    return pd.concat(parts, ignore_index=True)


def unseen_sites(
    federation: Federation,
    model: ModelLike = "logistic",
    which: str | Algorithm = "fedavg",
    *,
    seeds: Sequence[int],
    resamples: int = 0,
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Leave each hospital out in turn and test the others' model there.

    Returns
    -------
    DataFrame
        As :meth:`Study.report`: one row per arm, seed, ``train`` (``all but SITE``), ``test`` and metric.
    """
    alg = algorithm(which)
    if not alg.one_model:
        raise ValueError(f"{alg.name} leaves no model for a hospital that took no part: choose another in unseen=")
    splits = [federation.resplit(seed) for seed in seeds]
    rows = []
    with progress_line(len(federation.sites), "unseen hospitals", "hospital", show=progress) as line:
        for name in federation.names:
            rest = [split.holdout(name)[0] for split in splits]
            *_, runs = train_seeds(rest, model, alg, seeds=seeds, **settings)
            for seed, split, run in zip(seeds, splits, runs, strict=True):
                scores = run.report(resamples=resamples, unseen=[split[name]])
                rows.append(scores[scores["test"] == name].assign(arm=alg.name, train=f"all but {name}", seed=seed))
            line.update()
    return pd.concat(rows, ignore_index=True)
