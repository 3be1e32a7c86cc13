"""The atlas: train here, test there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine import openings
from fedlab.engine.progress import progress_line
from fedlab.engine.replicas import train_seeds
from fedlab.federation import Federation, Site
from fedlab.federation.reserved import ALL_BUT
from fedlab.models import ModelLike
from fedlab.study.compare import ARMS, compare
from fedlab.study.openings import asked
from fedlab.study.prevalence import patients_tested
from fedlab.study.study import Study, average

RESAMPLES = 500


def atlas(
    federation: Federation,
    model: ModelLike | None = None,
    algorithms: Sequence[str | Algorithm] = ARMS,
    *,
    unseen: str | Algorithm | None = "fedavg",
    holdout: str | Site | None = None,
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
    holdout : str or Site, optional
        A hospital that no model learns from, nor chooses its round on, and on whose test patients all are tested: one
        of the federation (the rest is then the federation), or another one with the same columns.
    seeds : int or sequence of int
        Averaged over.
    resamples : int
        As for ``Run.report``, for intervals over the patients of each split.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, metric``: ``value`` (mean over seeds), ``low`` and ``high`` (95 %; over seeds by
        the corrected resampled t, with ``resamples`` no narrower than what the splits say of their patients, see
        :mod:`fedlab.study.splits`; with one seed over the patients of its split), ``sd`` over ``seeds``, ``patients``,
        ``fewest`` (test patients of the rarest class), the ``reason`` of a ``nan``, ``holdout`` (whether the test site
        is the one held out). ``train`` is a site, ``all sites`` or ``all but SITE``.

    Examples
    --------
    >>> import fedlab
    >>> options = dict(unseen=None, holdout="Hungary", rounds=2, resamples=50, progress=False)
    >>> table = atlas(fedlab.load("heart_disease"), algorithms=["fedavg"], **options)
    >>> table["test"].unique().tolist(), table.loc[table["holdout"], "patients"].unique().tolist()
    (['Cleveland', 'Switzerland', 'Long Beach', 'Hungary'], [73.0])
    """
    if holdout is not None:
        federation, holdout = _hold_out(federation, holdout)
    model = federation.task.model if model is None else model
    study = compare(federation, model, algorithms, seeds=seeds, progress=progress, **settings)
    parts = [study.atlas(resamples=resamples)]
    if holdout is not None:
        parts.append(average(at_holdout(study, holdout, resamples), overlap=study.overlap))
    if unseen is not None and len(federation.sites) > 1:
        options: dict[str, Any] = {"seeds": study.seeds, "resamples": resamples, "progress": progress} | settings
        never = unseen_sites(federation, model, unseen, **options)
        parts.append(average(never, overlap=study.overlap, tested=patients_tested(study)))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(holdout=table["test"] == (holdout.name if holdout is not None else None))


def _hold_out(federation: Federation, holdout: str | Site) -> tuple[Federation, Site]:
    if isinstance(holdout, str):
        return federation.holdout(holdout)
    if holdout.name in federation.names:
        raise ValueError(
            f"a site of the federation is called {holdout.name!r} too: hold it out by its name, "
            f"holdout={holdout.name!r}, or give the new hospital another one"
        )
    replace(federation, sites=(*federation.sites, holdout))  # refuses other columns and classes
    return federation, holdout


def at_holdout(study: Study, holdout: Site, resamples: int = 0) -> pd.DataFrame:
    """Test all models of a study at a hospital that took no part, on each seed's own draw of its test patients.

    Parameters
    ----------
    study : Study
    holdout : Site
        The second of ``federation.holdout("Hungary")``, whose first was compared on.
    resamples : int
        As for ``Run.report``.

    Returns
    -------
    DataFrame
        As :meth:`Study.report`, of this hospital alone.

    Examples
    --------
    >>> import fedlab
    >>> rest, late = fedlab.load("heart_disease").holdout("Hungary")
    >>> study = fedlab.compare(rest, algorithms=["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    >>> at_holdout(study, late)["train"].unique().tolist()
    ['Cleveland', 'Switzerland', 'Long Beach', 'all sites']
    """
    alone = replace(study.federation, sites=(holdout,))
    rows = []
    with openings.one(alone, "at_holdout", **asked(study)):
        for arm, runs in study.runs.items():
            for run in runs:
                seed = run.settings.seed
                there = alone.resplit(seed)[holdout.name]
                rows.append(run.at(there, resamples=resamples).assign(arm=arm, seed=seed))
    return pd.concat(rows, ignore_index=True)


def unseen_sites(
    federation: Federation,
    model: ModelLike | None = None,
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
    model = federation.task.model if model is None else model
    splits = [federation.resplit(seed) for seed in seeds]
    rows = []
    words = f"{alg} without each hospital in turn, {len(seeds)} seeds"
    entry = openings.one(federation, "unseen_sites", by=[words, settings], words=words)
    with entry, progress_line(len(federation.sites), "unseen hospitals", "hospital", show=progress) as line:
        for name in federation.names:
            rest = [split.holdout(name)[0] for split in splits]
            *_, runs = train_seeds(rest, model, alg, seeds=seeds, **settings)
            for seed, split, run in zip(seeds, splits, runs, strict=True):
                scores = run.at(split[name], resamples=resamples)
                rows.append(scores.assign(arm=alg.name, train=f"{ALL_BUT}{name}", seed=seed))
            line.update()
    return pd.concat(rows, ignore_index=True)
