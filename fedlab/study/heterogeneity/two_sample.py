"""Two groups of patients, all their columns at once: are they drawn alike? Both answers need the rows themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.study.heterogeneity.distances import Floats

FOLDS = 5
WIDE = 1024  # columns that are squared and multiplied at once
MOST = 500  # rows a side: the kernel has as many entries as the square of both together


def squared_distances(x: Floats) -> Floats:
    """Squared Euclidean distances of rows [n, columns], shape [n, n]."""
    square = (x**2).sum(1)
    out: Floats = np.maximum(square[:, None] + square[None] - 2 * _dot(x, x.T), 0)
    np.fill_diagonal(out, 0)
    return out


def median_heuristic(d2: Floats) -> float:
    """Return the median distance of two different rows, the kernel's width (Gretton et al., 2012, section 8).

    Where more than half of the rows are equal, the median of those that differ; where all are, 1.
    """
    apart = d2[np.triu_indices(len(d2), 1)]
    for some in (apart, apart[apart > 0]):
        if len(some) and np.median(some) > 0:
            return float(np.sqrt(np.median(some)))
    return 1.0


def mmd2(x: Floats, y: Floats, *, width: float | None = None) -> float:
    r"""Squared maximum mean discrepancy, unbiased: about 0 for equal distributions, and then negative half of the time.

    With the kernel :math:`k(a, b) = \exp(-\lVert a - b\rVert^2 / 2\sigma^2)`, the mean of k within x and within y, each
    without a row against itself, less twice that between them (Gretton, Borgwardt, Rasch, Schölkopf & Smola, *A kernel
    two-sample test*, JMLR 13, 2012, equation 3). At most 2.

    Parameters
    ----------
    x, y : float array, shape [rows, columns]
        At least two rows each, without ``nan``.
    width : float, optional
        :math:`\sigma`; by default the median distance of all rows.

    Examples
    --------
    >>> same, far = np.zeros((2, 1)), np.full((2, 1), 9.0)
    >>> mmd2(same, same), round(mmd2(same, far, width=1.0), 3)
    (0.0, 2.0)
    """
    first = np.arange(len(x) + len(y)) < len(x)
    return float(of_kernel(kernel(np.concatenate([x, y]), width), first[None])[0])


def kernel(rows: Floats, width: float | None = None) -> Floats:
    """Gaussian kernel of rows [n, columns], shape [n, n]."""
    d2 = squared_distances(rows)
    out: Floats = np.exp(-d2 / (2 * (median_heuristic(d2) if width is None else width) ** 2))
    return out


def of_kernel(k: Floats, first: NDArray[np.bool_]) -> Floats:
    """Squared discrepancies of a kernel [n, n] for several ways [ways, n] to say which rows are the first group's."""
    one = np.asarray(first, dtype=np.float64)
    m = one.sum(1)
    n = len(k) - m
    if (np.minimum(m, n) < 2).any():
        raise ValueError("a group has fewer than two rows: the unbiased discrepancy needs two of each")
    to_first = _dot(one, k)
    within_first = (to_first * one).sum(1)
    between = to_first.sum(1) - within_first
    within_second = k.sum() - within_first - 2 * between
    out: Floats = (within_first - m) / (m * (m - 1)) + (within_second - n) / (n * (n - 1)) - 2 * between / (m * n)
    return out


def mmd_with_null(x: Floats, y: Floats, *, draws: int, rng: np.random.Generator) -> tuple[float, Floats]:
    """Return the discrepancy and what it is with the rows dealt out anew ``draws`` times; at most 500 rows a side."""
    x, y = (_some(side, rng) for side in (x, y))
    k = kernel(np.concatenate([x, y]))
    first = np.arange(len(k)) < len(x)
    ways = np.stack([first, *(rng.permutation(first) for _ in range(draws))])
    found = of_kernel(k, ways)
    return float(found[0]), found[1:]


def _dot(a: Floats, b: Floats) -> Floats:
    """Multiply matrices by torch, which keeps to one thread where it is told to: so small, more only wait."""
    out: Floats = (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
    return out


def _some(rows: Floats, rng: np.random.Generator) -> Floats:
    return rows if len(rows) <= MOST else rows[np.sort(rng.choice(len(rows), MOST, replace=False))]


def c2st(x: Floats, y: Floats, *, folds: int = FOLDS, draws: int = 0, rng: np.random.Generator) -> tuple[float, Floats]:
    """Classifier two-sample test: the AUC with which a classifier tells the groups apart.

    Fisher's discriminant (ridge regression on the group) sees the columns and their squares, at most 500 rows a side,
    and scores only rows that it did not learn from; the AUC is the mean over ``folds`` (Lopez-Paz & Oquab, *Revisiting
    classifier two-sample tests*, ICLR 2017, arXiv 1610.06545, who use the accuracy: the AUC does not mind that one
    group is larger). 0.5: not to be told apart; 1: always. A difference that neither means nor spreads show is missed.

    Parameters
    ----------
    x, y : float array, shape [rows, columns]
        Without ``nan``; at least ``folds`` rows each.
    draws : int
        How often to compute it with the groups permuted (within folds, so that these stay balanced), too. The folds'
        common rows make their AUCs hang together, which a normal law of their mean does not know.

    Returns
    -------
    (float, float array of shape [draws])
        The AUC, and those of permuted groups.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found, by_chance = c2st(rng.normal(size=(60, 2)), rng.normal(size=(90, 2)) + 3, draws=50, rng=rng)
    >>> found > 0.99, by_chance.mean().round(1).item()
    (True, 0.5)
    """
    if min(len(x), len(y)) < folds:
        raise ValueError(f"{min(len(x), len(y))} rows cannot be dealt to {folds} folds: a group needs one for each")
    x, y = (_some(side, rng) for side in (x, y))
    rows = np.concatenate([x, y])
    fold = np.concatenate([rng.permutation(len(side)) % folds for side in (x, y)])
    second = np.repeat(np.arange(len(rows))[:, None] >= len(x), 1 + draws, axis=1)
    for k in range(folds):
        second[fold == k, 1:] = rng.permuted(second[fold == k, 1:], axis=0)
    scored = _scored(rows, second, fold, folds)
    found = np.mean([ranked_auc(scores, second[fold == k]) for k, scores in enumerate(scored)], axis=0)
    return float(found[0]), found[1:]


def _scored(rows: Floats, second: NDArray[np.bool_], fold: NDArray[np.int64], folds: int) -> Iterator[Floats]:
    """Fold by fold, what the discriminant of all other folds predicts: by the smaller of two equal systems."""
    if 2 * rows.shape[1] <= len(rows):
        seen = _with_squares(rows)
        yield from (discriminant(seen[fold != k], second[fold != k], seen[fold == k]) for k in range(folds))
        return
    products = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], WIDE):
        some = _with_squares(rows[:, start : start + WIDE])
        products += _dot(some, some.T)
    for k in range(folds):
        yield discriminant_of_products(products, fold != k, second[fold != k])


def _with_squares(rows: Floats) -> Floats:
    both = np.concatenate([rows, rows**2], axis=1)
    out: Floats = (both - both.mean(0)) / np.where(both.std(0) > 0, both.std(0), 1)
    return out


def discriminant(rows: Floats, second: NDArray[np.bool_], test: Floats, *, ridge: float = 1.0) -> Floats:
    """Regress several ways to group the rows [rows, ways] on them; what that predicts for test rows, [tests, ways]."""
    centre = rows.mean(0)
    x = rows - centre
    left = torch.from_numpy(_dot(x.T, x) + ridge * np.eye(x.shape[1]))
    weights = torch.linalg.solve(left, torch.from_numpy(_dot(x.T, second - second.mean(0)))).numpy()
    return _dot(test - centre, weights)


def discriminant_of_products(
    products: Floats, train: NDArray[np.bool_], second: NDArray[np.bool_], *, ridge: float = 1.0
) -> Floats:
    """Return what :func:`discriminant` does, from the inner products of all rows [n, n]: for more columns than rows.

    ``train`` [n] tells the rows to learn from, of which ``second`` [rows, ways] are the groups; the others are scored.
    """
    own, others = products[np.ix_(train, train)], products[np.ix_(~train, train)]
    mean = own.mean(0)
    own, others = own - mean[:, None], others - others.mean(1, keepdims=True)
    own, others = own - own.mean(0), others - (mean - mean.mean())
    left = torch.from_numpy(own + ridge * np.eye(len(own)))
    weights = torch.linalg.solve(left, torch.from_numpy(second - second.mean(0))).numpy()
    return _dot(others, weights)


def ranked_auc(scores: Floats, second: NDArray[np.bool_]) -> Floats:
    """Area under the ROC curve, column by column, ties counted half: scores and groups [rows, ways] to [ways]."""
    from scipy.stats import rankdata  # a second to import: only when somebody asks

    b = second.sum(0)
    above = (rankdata(scores, axis=0) * second).sum(0) - b * (b + 1) / 2
    out: Floats = above / (b * (len(second) - b))
    return out
