"""A table of many splits, one row a seed, read as one: mean over seeds and an interval that is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedlab.metrics.scores import bounds
from fedlab.study.statistics import over_seeds

ALIKE = "the seeds do not differ: no interval"


def over_splits(
    table: pd.DataFrame,
    keys: Sequence[str],
    *,
    overlap: float,
    within: Callable[[str], tuple[float, float]] = bounds,
    tested: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return one row for each combination of ``keys``, in the order in which they come.

    Bounds of several splits are never averaged, for a mean of bounds covers nothing: of several seeds the interval is
    the corrected resampled t (:func:`fedlab.study.over_seeds`), of a single one that of its patients, as it stands.
    Splits are stratified, so that between seeds nothing shows how many might have been ill. Where each split has an
    interval over its patients as well, that is the least that is told: bound by bound, the wider of the t and of the
    splits' mean half-width, times the root of the patients of one split over those that all have tested. Where they
    have none (a report without ``resamples``, subgroups) the t covers other splits and training of these patients, and
    not other patients.

    With fewer than half of the seeds there is no mean: it would be that of a selection.

    Parameters
    ----------
    table : DataFrame
        ``value, low, high, patients, fewest, reason`` beside the keys; one row a seed.
    keys : sequence of str
        The last names what is measured.
    overlap : float
        Test rows over training rows (:func:`fedlab.study.statistics.overlap`).
    within : callable
        Where what is measured lies: its interval is cut there.
    tested : mapping of str to float, optional
        How many patients of each ``test`` site all splits have tested; of another site, those of one split.

    Returns
    -------
    DataFrame
        The keys, ``value`` (mean), ``low, high``, ``sd`` over seeds, ``patients`` and ``fewest`` (mean), how many
        ``seeds`` have a value, and the ``reason`` of a ``nan``, or of seeds that have none.

    Examples
    --------
    >>> row = {"test": "A", "metric": "auc", "low": 0.5, "high": 0.9, "patients": 60, "fewest": 25, "reason": ""}
    >>> one, other = pd.DataFrame([row | {"value": 0.7}]), pd.DataFrame([row | {"value": 0.8}])
    >>> over_splits(one, ["test", "metric"], overlap=0.4)[["value", "low", "high"]].values.tolist()
    [[0.7, 0.5, 0.9]]
    >>> over_splits(pd.concat([one, other]), ["test", "metric"], overlap=0.4)[["low", "high"]].round(2).values.tolist()
    [[0.0, 1.0]]
    """
    keys = list(keys)
    grouped = table.groupby(keys, sort=False)
    number = grouped.ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    columns = {name: np.split(table[name].to_numpy()[order], starts[1:]) for name in ("value", "low", "high", "reason")}
    measured = table[keys[-1]].to_numpy()[order][starts]
    out = grouped[["patients", "fewest"]].mean().reset_index()
    among = out["test"].map(tested or {}).astype(float).fillna(0.0).clip(lower=out["patients"])
    share = (out["patients"] / among.where(among > 0)).tolist()
    rows = [
        _row(*each, overlap=overlap, within=within(what), share=part)
        for what, part, each in zip(measured, share, zip(*columns.values(), strict=True), strict=True)
    ]
    return pd.concat([out[keys], pd.DataFrame(rows), out[["patients", "fewest"]]], axis=1)


def _row(
    value: Any, low: Any, high: Any, reason: Any, *, overlap: float, within: tuple[float, float], share: float
) -> dict[str, Any]:
    if len(value) == 1:
        seeds = int(math.isfinite(value[0]))
        return {"value": value[0], "low": low[0], "high": high[0], "sd": math.nan, "seeds": seeds, "reason": reason[0]}
    known = value[np.isfinite(value)]
    missing = len(value) - len(known)
    mean, sd, bottom, top = over_seeds(known if 2 * len(known) >= len(value) else [], overlap=overlap, within=within)
    root = math.sqrt(share)
    bottom = np.fmin(bottom, max(mean - root * _half(value - low), within[0]))
    top = np.fmax(top, min(mean + root * _half(high - value), within[1]))
    why = f"{missing} of {len(value)} seeds: {_said(reason[~np.isfinite(value)])}" if missing else ""
    if not why and math.isnan(bottom):
        why = ALIKE
    return {"value": mean, "low": bottom, "high": top, "sd": sd, "seeds": len(known), "reason": why}


def _half(apart: Any) -> float:
    """Return the mean half-width of the splits' own intervals; ``nan`` where fewer than half have one."""
    known = apart[np.isfinite(apart)]
    return float(known.mean()) if 2 * len(known) >= len(apart) else math.nan


def _said(reasons: Any) -> str:
    """Return the reason of the seeds that have one, without what differs between them."""
    told = [str(reason) for reason in dict.fromkeys(reasons)]
    if len(told) > 1:  # "4 patients: at least 10 needed" in one split, 2 in the next
        return told[0].partition(": ")[2] or told[0]
    return told[0]
