"""A closer look at the test patients over seeds: calibration of the arms, and what they are worth by subgroup.

These are methods of :class:`fedlab.Study`. Both open ``test``, which is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedlab.engine import Run
from fedlab.engine.openings import quiet
from fedlab.federation.metrics import bounds
from fedlab.federation.reliability import BINS
from fedlab.study.openings import enter
from fedlab.study.statistics import over_seeds

if TYPE_CHECKING:
    from fedlab.study.study import Study


def calibration(self: Study, *, bins: int = BINS) -> pd.DataFrame:
    """Compare predicted with observed shares on the held-out ``test`` patients; this opens ``test``, and is counted.

    Parameters
    ----------
    bins : int
        Equal bins of predicted probability, 1 to 100.

    Returns
    -------
    DataFrame
        Columns as in ``Run.calibration``, and ``arm`` and ``seed``: one row per arm, seed, ``train``, ``test`` and
        bin. ``fedlab.figures.reliability_curves`` draws it.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> len(study.calibration(bins=5).query("arm == 'fedavg'"))
    40
    """
    return _opened(self, ("calibration", bins), lambda run: run.calibration(bins=bins)).copy()


def subgroups(
    self: Study, *, by: str, bands: Sequence[float] | None = None, smallest: int = 10, fewest: int = 5
) -> pd.DataFrame:
    """Score the arms by subgroup of the held-out ``test`` patients; this opens ``test``, and is counted.

    Parameters
    ----------
    by, bands, smallest, fewest
        As for ``Run.subgroups``: a category, or a number and the edges of its bands; how few are too few.

    Returns
    -------
    DataFrame
        One row per ``arm, train, test, group, metric``: ``mean, sd, low, high`` over the seeds whose split leaves the
        group large enough (corrected resampled t, 95 %, cut at the metric's
        ends; each seed's sites are tested on their own split), how many
        ``seeds`` those are, ``patients`` and ``fewest`` (of the rarest class), mean over all seeds, and a ``reason``
        where seeds are missing. With fewer than half of the seeds the mean is ``nan``: it would be that of a selection.
        ``fedlab.figures.subgroup_scores`` draws it.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), seeds=2, rounds=2, progress=False)
    >>> table = study.subgroups(by="age", bands=[50, 60])
    >>> table["group"].unique().tolist()
    ['under 50', '50 to under 60', '60 and over']
    """
    options: dict[str, Any] = {"by": by, "bands": bands, "smallest": smallest, "fewest": fewest}
    asked = ("subgroups", by, None if bands is None else tuple(bands), smallest, fewest)
    each = _opened(self, asked, lambda run: run.subgroups(**options))
    keys = ["arm", "train", "test", "group", "metric"]
    return pd.DataFrame(
        dict(zip(keys, key, strict=True)) | _over(rows, self.overlap, str(key[-1]))
        for key, rows in each.groupby(keys, sort=False)
    )


def _over(rows: pd.DataFrame, overlap: float, metric: str) -> dict[str, Any]:
    """One row over seeds; the reason is that of the seeds that have one, without what differs between them."""
    values = rows["value"].tolist()
    known = [value for value in values if math.isfinite(value)]
    missing = len(values) - len(known)
    if 2 * len(known) < len(values):
        known = []
    reasons = list(dict.fromkeys(reason for reason in rows["reason"] if reason))
    why = reasons[0] if reasons else ""
    if len(reasons) > 1:  # "4 patients: at least 10 needed" in one split, 2 in the next
        why = why.partition(": ")[2] or why
    reason = f"{missing} of {len(values)} seeds: {why}" if missing and len(values) > 1 else why
    return {
        **over_seeds(known, overlap=overlap, within=bounds(metric))._asdict(),
        "seeds": len(values) - missing,
        "patients": rows["patients"].mean(),
        "fewest": rows["fewest"].mean(),
        "reason": reason,
    }


def _opened(study: Study, asked: Any, look: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    """Look at every run, once."""
    if asked not in study._reports:
        runs = [(arm, run) for arm, each in study.runs.items() for run in each]
        with quiet():
            parts = [look(run).assign(arm=arm, seed=run.settings.seed) for arm, run in runs]
        study._reports[asked] = pd.concat(parts, ignore_index=True)
        enter(study, asked[0])  # only now: a question that is refused opens nothing
    return study._reports[asked]
