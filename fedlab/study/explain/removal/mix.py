"""Other patients in other respects than the label: rows weighed so that a site's mix is that of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.study.explain.removal.columns import LEVEL, Floats, Table
from fedlab.study.explain.removal.labels import classifier

MOST = 10.0  # times that a row can count, or can count less
FOLDS = 3


def weights(tables: Sequence[Table], strange: Sequence[bool]) -> list[Floats]:
    """Return the density ratio of all sites to each one, by a classifier that tells them apart; 1 where it cannot.

    Whether it can is judged on rows that it has not seen, within each class, so that a prevalence is not seen.

    Parameters
    ----------
    tables : sequence of Table
        As all write, measure and read alike.
    strange : sequence of bool
        Sites that are left alone, and are no measure for the others: what they differ in is no mix.

    Returns
    -------
    list of float array, shape [rows], each with a mean of 1
    """
    alike = [t for t, s in zip(tables, strange, strict=True) if not s]
    if len(alike) < 2:
        return [np.ones(len(t.y)) for t in tables]
    found = iter([_told_apart(alike, k) for k in range(len(alike))])
    told = [(1.0, np.zeros(len(t.y))) if s else next(found) for t, s in zip(tables, strange, strict=True)]
    if min(p for p, _ in told) >= LEVEL / len(tables):
        return [np.ones(len(t.y)) for t in tables]
    out = []
    for _, logit in told:
        ratio = np.exp(-np.clip(logit - np.median(logit), -np.log(MOST), np.log(MOST)))
        out.append(ratio / ratio.mean())
    return out


def _told_apart(tables: Sequence[Table], k: int) -> tuple[float, Floats]:
    """P of the classifier's AUC (Mann-Whitney, one-sided, unseen rows) and its logit of each of the site's rows."""
    from scipy.stats import norm
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x = np.concatenate([tables[k].x, *(t.x for i, t in enumerate(tables) if i != k)])
    y = np.concatenate([tables[k].y, *(t.y for i, t in enumerate(tables) if i != k)])
    here = np.arange(len(x)) < len(tables[k].y)
    if min(here.sum(), (~here).sum()) < 2 * FOLDS:
        return 1.0, np.zeros(here.sum())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    logit = cross_val_predict(classifier(), np.column_stack([x, y]), here, cv=folds, method="decision_function")
    z = [_rank_z(logit[(y == c) & here], logit[(y == c) & ~here]) for c in np.unique(y)]
    return float(norm.sf(np.sum(z) / np.sqrt(len(z)))), logit[here]


def _rank_z(one: Floats, other: Floats) -> float:
    from scipy.stats import rankdata

    n, m = len(one), len(other)
    if not n or not m:
        return 0.0
    u = rankdata(np.concatenate([one, other]))[:n].sum() - n * (n + 1) / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))
