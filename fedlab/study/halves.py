"""How fragile a winner is: whether two halves of a study's seeds name the same one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation.numbers import whole
from fedlab.federation.reserved import EVERYWHERE
from fedlab.metrics.scores import LOWER_IS_BETTER
from fedlab.study.paired import LEVEL
from fedlab.study.pairs import FAMILY, away, series, two
from fedlab.study.places import per_seed
from fedlab.study.prevalence import prevalence
from fedlab.study.statistics import FLAT, error_of_mean

if TYPE_CHECKING:
    from fedlab.study.study import Study

Floats = NDArray[np.float64]
FEWEST = 4


class Halves(NamedTuple):
    """How often two halves of the seeds say the same, by the primary metric everywhere; shares of the ``halvings``.

    ``best``: the same arm has the best mean in both. ``clear``: in both it is also clearly better than each other arm.
    ``pairs`` has one row per pair of arms, ``one`` and ``other``: the share in which both halves have the same one
    ``ahead``; in which both name the same ``winner``, judged as :meth:`Study.pairs` judges; in which at least one half
    has ``one_wins``, and ``other_wins``. ``seeds`` is how many each half has.
    """

    halvings: int
    seeds: int
    best: float
    clear: float
    pairs: pd.DataFrame


def halves(study: Study, *, times: int = 200, seed: int = 0) -> Halves:
    """Cut the seeds in two at random, all arms alike, and see whether both halves name the same winner.

    A winner that other seeds do not name is one of these seeds. Each half judges with half of the seeds, so that it
    misses more than the study does: what is asked is how steady the answer is, and not how strong. What the splits do
    not show (:mod:`fedlab.study.prevalence`) is for both halves that of the study.

    Parameters
    ----------
    times : int
        Random halvings; where there are no more than so many different ones, all of them. Of an odd number of seeds
        each leaves one out.
    seed : int
        Of the halvings.

    Returns
    -------
    Halves

    Raises
    ------
    ValueError
        Fewer than four seeds, one arm, or ``times`` below one.

    Examples
    --------
    >>> import fedlab
    >>> study = fedlab.compare(fedlab.load("heart_disease"), algorithms=["isolated", "fedavg"], seeds=6, rounds=4)
    >>> found = study.halves()
    >>> found.halvings, found.seeds, found.best
    (10, 3, 1.0)
    """
    two(study)
    if len(study.seeds) < FEWEST:
        raise ValueError(
            f"the study has {len(study.seeds)} seeds, and halves need {FEWEST}: a half of one seed has no spread. "
            "Compare with more, seeds=10"
        )
    cuts = _cuts(len(study.seeds), whole("times", times, 1), whole("seed", seed, 0))
    each, better = per_seed(study.report()), -1 if study.primary in LOWER_IS_BETTER else 1
    scores: dict[str, Floats] = {}
    for where in FAMILY:
        values = series(study, study.primary, where, each=each)
        scores[where] = np.array([values[arm].reindex(study.seeds) for arm in study.arms])
    names = list(itertools.combinations(range(len(study.arms)), 2))
    apart = away(study)
    asked = [(EVERYWHERE, pair) for pair in names]
    asked += [(where, pair) for where in FAMILY[1:] for pair in names if apart & {study.arms[k] for k in pair}]
    differences = better * np.array([scores[where][k] - scores[where][j] for where, (k, j) in asked])
    beyond = prevalence(study)
    unseen = [beyond.of(study.primary, where, study.arms[k], less=study.arms[j]) for where, (k, j) in asked]
    mean, p = _tested(differences, cuts, study.overlap, np.array(unseen))
    won = np.where(_holm(p) < LEVEL, np.sign(mean), 0)[: len(names)]  # [pairs, 2, halvings]; 1: the first of the two
    best = _best(better * scores[EVERYWHERE], cuts)
    both = (best[0] == best[1]) & (best[0] >= 0)
    beats = np.ones(best.shape, dtype=bool)
    for (k, j), sign in zip(names, won, strict=True):
        beats &= np.where(best == k, sign == 1, np.where(best == j, sign == -1, True))
    table = pd.DataFrame(
        {
            "one": study.arms[k],
            "other": study.arms[j],
            "ahead": float((ahead[0] * ahead[1] > 0).mean()),
            "winner": float((sign[0] * sign[1] > 0).mean()),
            "one_wins": float((sign == 1).any(0).mean()),
            "other_wins": float((sign == -1).any(0).mean()),
        }
        for (k, j), ahead, sign in zip(names, np.sign(mean), won, strict=False)
    )
    return Halves(cuts.shape[1], cuts.shape[2], float(both.mean()), float((both & beats.all(0)).mean()), table)


def _cuts(seeds: int, times: int, seed: int) -> NDArray[np.intp]:
    """Return the seeds' numbers in both halves of each halving: ``[2, halvings, seeds // 2]``."""
    size = seeds // 2
    different = math.comb(seeds, size) * math.comb(seeds - size, size) // 2
    if different <= times:
        every = [
            (one, other)
            for one in itertools.combinations(range(seeds), size)
            for other in itertools.combinations(sorted(set(range(seeds)) - set(one)), size)
            if one < other
        ]
    else:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 11]))
        orders = [rng.permutation(seeds) for _ in range(times)]
        every = [(tuple(order[:size]), tuple(order[size : 2 * size])) for order in orders]
    return np.array(every, dtype=np.intp).transpose(1, 0, 2)


def _best(scores: Floats, cuts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the arm with the best mean of each half and halving, -1 where none has one: ``[2, halvings]``."""
    means = _mean(scores[:, cuts])
    known = ~np.isnan(means).all(0)
    return np.where(known, np.nan_to_num(means, nan=-np.inf).argmax(0), -1)


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    many = known.sum(-1)
    return np.where(many > 0, np.where(known, values, 0).sum(-1) / np.maximum(many, 1), np.nan)


def _tested(differences: Floats, cuts: NDArray[np.intp], overlap: float, prevalence: Floats) -> tuple[Floats, Floats]:
    """Return mean and p of the corrected t, ``[rows, 2, halvings]``: :func:`fedlab.study.corrected_t`, all at once."""
    from scipy.stats import t  # a second to import: only when a report asks

    values = differences[:, cuts]
    mean, many = _mean(values), np.isfinite(values).sum(-1)
    apart = np.where(np.isfinite(values), values - mean[..., None], 0)
    freedom = np.maximum(many - 1, 1)
    sd, unseen = np.sqrt((apart**2).sum(-1) / freedom), prevalence[:, None, None]
    error = error_of_mean(sd, np.maximum(many, 1), overlap=overlap, prevalence=unseen)
    flat = np.abs(apart).max(-1) <= FLAT
    p = 2 * t.sf(np.abs(mean) / np.where(flat, 1, error), freedom)
    p = np.where(flat, np.where(np.abs(mean) <= FLAT, 1, np.nan), p)
    return mean, np.where(many < 2, np.nan, p)


def _holm(p: Floats) -> Floats:
    """Adjust over the first axis: :func:`fedlab.study.holm`, all at once."""
    order = np.argsort(p, axis=0, kind="stable")  # nan comes last
    made = np.isfinite(p).sum(0)
    steps = np.maximum(made - np.arange(len(p)).reshape(-1, *[1] * (p.ndim - 1)), 1)
    sorted_p = np.take_along_axis(p, order, 0) * steps
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.minimum(1, np.maximum.accumulate(sorted_p, axis=0)), 0)
    return out
