r"""What a site's labels and patients can tell of each other: prevalence, another reading, or wrong labels.

With :math:`r(x)` the likelihood ratio of the second class to the first as the other hospitals see it, a row of a site
whose patients of a class are like theirs has the density

.. math:: f(x, y) = f_0(x)\,[\,y\,(A\,r(x) + B) + (1 - y)\,(C\,r(x) + D)\,], \quad A + B + C + D = 1.

:math:`A` and :math:`D` are those who are labelled as elsewhere; :math:`B` those who would be of the first class there,
and are called the second here; :math:`C` the reverse. A prevalence moves :math:`A + C`, the patients, and leaves
:math:`B = C = 0`. Another reading leaves the patients and goes one way: :math:`B` or :math:`C`, whoever they are, or
those who look most like it (a threshold: the log odds of a label move, and grow no flatter). Labels that go wrong, and
measurements that say nothing, go both ways; where that is so at the *other* hospitals, the labels here follow the
measurements more closely than theirs. Neither is a kind of difference that could be removed. All of these are compared
by their likelihood, in resamples of the patients too (Efron, *Bootstrap methods: another look at the jackknife*, Annals
of Statistics 7, 1979).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESAMPLES, STEPS, NEWTON = 100, 60, 8
PLAUSIBLE = 0.1  # share of the resamples in which a cause must be chosen to count as possible
A, B, C, D = range(4)
NOTHING, LABEL, CONCEPT, WRONG = "nothing", "label", "concept", "wrong"

OTHERS_WRONG = np.arange(0.03, 0.35, 0.03)  # share of the others' labels that may be wrong


class Reading(NamedTuple):
    """What may have happened at a site.

    Attributes
    ----------
    causes : frozenset of str
        Of the resamples' most frequent choice: none, ``label``, ``concept``, both, or ``wrong``.
    possible : frozenset of str
        All that are chosen in 10 % of the resamples or more.
    patients : float
        Log odds of the second class by the patients.
    strength : float
        How much of what the measurements say elsewhere they say here, 0 … 1: the upper 95 % bound.
    """

    causes: frozenset[str]
    possible: frozenset[str]
    patients: float
    strength: float


class _Choice(NamedTuple):
    """A hypothesis: its causes, the coefficients that move, in blocks of a fixed sum, and how many are free.

    ``even``: of both classes the same share is labelled wrongly.
    """

    causes: frozenset[str]
    blocks: tuple[tuple[tuple[int, ...], float], ...]
    free: int
    even: bool = False


def read(ratio: Floats, y: Ints, share: float, known: float, rng: np.random.Generator) -> Reading:
    """Choose between the causes, in the site's patients and in resamples of them.

    Parameters
    ----------
    ratio : float array, shape [rows]
        Log likelihood ratios by a model of the other sites.
    y : int array, shape [rows]
        0 or 1.
    share : float
        Of the second class where nothing differs.
    known : float
        The other sites' share of all rows: what is expected of few is itself uncertain.
    rng : numpy Generator

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 600)
    >>> ratio = 2 * (rng.normal(size=600) + 2 * y - 1)
    >>> sorted(read(ratio, y, 0.5, 0.8, rng).causes)
    ['nothing']
    >>> wrong = np.where(rng.random(600) < 0.3, 1 - y, y)
    >>> sorted(read(ratio, wrong, 0.5, 0.8, rng).possible)
    ['wrong']
    """
    ratio = np.clip(ratio, -20, 20)
    choices = _choices(share)
    causes = [*(choice.causes for choice in choices), frozenset({CONCEPT}), frozenset({WRONG})]
    free = np.array([*(choice.free for choice in choices), 2, 1])
    price = 2 * np.log(len(y)) * free[:, None]  # twice that of the BIC: a resample has the noise of two draws
    like, theta = _compared(ratio, y, np.ones((1, len(y))), share, choices)
    patients = float(np.clip(theta[0, A] + theta[0, C], 1e-3, 1 - 1e-3))
    best = causes[int((2 * known * like - price)[:, 0].argmax())]
    again = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), RESAMPLES)
    like, theta = _compared(ratio, y, again, share, choices)
    score = 2 * known * like - price
    chosen = score >= score.max(0) - 1e-6  # where nothing tells them apart, both
    often = {kind: np.any([c for c, each in zip(chosen, causes, strict=True) if kind in each], axis=0).mean()
             for kind in (NOTHING, LABEL, CONCEPT, WRONG)}  # fmt: skip
    strength = theta[:, A] / np.maximum(theta[:, A] + theta[:, C], 1e-9)
    strength = strength - theta[:, B] / np.maximum(theta[:, B] + theta[:, D], 1e-9)
    possible = frozenset(kind for kind, part in often.items() if part >= PLAUSIBLE) | best
    return Reading(best, possible, float(np.log(patients / (1 - patients))), float(np.quantile(strength, 0.95)))


def _compared(
    ratio: Floats, y: Ints, weights: Floats | Ints, share: float, choices: list[_Choice]
) -> tuple[Floats, Floats]:
    """Log likelihoods [hypotheses, resamples], and the coefficients [resamples, 4] of the last of the choices.

    The hypotheses are the choices, then a threshold, then wrong labels at the others.
    """
    r = np.exp(ratio)
    rows = np.column_stack([y * r, y, (1 - y) * r, 1 - y]).astype(float)
    fits = [_fitted(rows, np.asarray(weights, dtype=float), choice) for choice in choices]
    logit = ratio + np.log(share / (1 - share))
    patients = np.asarray(weights @ np.logaddexp(np.log(share) + ratio, np.log(1 - share)))
    steeper = [patients + _threshold(logit, y, weights), patients + _others_wrong(logit, y, weights, share)]
    return np.array([*(like for _, like in fits), *steeper]), fits[-1][0]


def _choices(share: float) -> list[_Choice]:
    ill, well = share, 1 - share

    def choice(causes: set[str], free: int, *blocks: tuple[tuple[int, ...], float], even: bool = False) -> _Choice:
        return _Choice(frozenset(causes), blocks, free, even)

    return [
        choice({NOTHING}, 0, ((A,), ill), ((D,), well)),
        choice({LABEL}, 1, ((A, D), 1.0)),
        choice({CONCEPT}, 1, ((A,), ill), ((B, D), well)),
        choice({CONCEPT}, 1, ((A, C), ill), ((D,), well)),
        choice({LABEL, CONCEPT}, 2, ((A, B, D), 1.0)),
        choice({LABEL, CONCEPT}, 2, ((A, C, D), 1.0)),
        choice({WRONG}, 1, ((A, C), ill), ((B, D), well), even=True),
        choice({WRONG}, 2, ((A, C), ill), ((B, D), well)),
        choice({WRONG}, 3, ((A, B, C, D), 1.0)),
    ]


def _fitted(rows: Floats, weights: Floats, choice: _Choice) -> tuple[Floats, Floats]:
    """Coefficients [resamples, 4] by expectation-maximisation, and their log likelihoods."""
    theta = np.zeros((len(weights), 4))
    for block, total in choice.blocks:
        theta[:, block] = total / len(block)
    for _ in range(STEPS if choice.free else 0):
        expected = theta * ((weights / np.maximum(theta @ rows.T, 1e-12)) @ rows)
        if choice.even:
            wrong = expected[:, [B, C]].sum(1, keepdims=True) / np.maximum(expected.sum(1, keepdims=True), 1e-12)
            (_, ill), (_, well) = choice.blocks
            theta = np.hstack([ill * (1 - wrong), well * wrong, ill * wrong, well * (1 - wrong)])
            continue
        for block, total in choice.blocks:
            mine = expected[:, block]
            theta[:, block] = total * mine / np.maximum(mine.sum(1, keepdims=True), 1e-12)
    return theta, (weights * np.log(np.maximum(theta @ rows.T, 1e-12))).sum(1)


def _threshold(logit: Floats, y: Ints, weights: Floats | Ints) -> Floats:
    """Log likelihoods [resamples] of labels whose log odds move and grow no flatter."""
    move, slope = np.zeros(len(weights)), np.ones(len(weights))
    for turns in (True, False):  # at first both; where the slope came out flatter, the move alone
        for _ in range(NEWTON):
            p = _sigmoid(move[:, None] + slope[:, None] * logit)
            error, width = weights * (y - p), weights * p * (1 - p)
            first, cross, second = width.sum(1) + 1e-3, width @ logit, width @ logit**2 + 1e-3
            up, turn = error.sum(1), error @ logit
            if turns:
                both = first * second - cross**2
                move = move + np.clip((second * up - cross * turn) / both, -2, 2)
                slope = slope + np.clip((first * turn - cross * up) / both, -1, 1)
            else:
                move = move + np.clip(up / first, -2, 2)
        slope = np.clip(slope, 1.0, 20.0)
    z = move[:, None] + slope[:, None] * logit
    return np.asarray(-(weights * np.logaddexp(0, np.where(y == 1, -z, z))).sum(1))


def _others_wrong(logit: Floats, y: Ints, weights: Floats | Ints, share: float) -> Floats:
    """Log likelihoods [resamples] of labels that are right where the others' are partly wrong: even, or at random."""
    p, e = _sigmoid(logit)[:, None], OTHERS_WRONG
    right = np.hstack([(p - e) / (1 - 2 * e), (p - 2 * e * share) / (1 - 2 * e)]).clip(0.01, 0.99)
    return np.asarray((weights @ np.log(np.where(y[:, None] == 1, right, 1 - right))).max(1))


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))
