"""Random effects over hospitals: against published numbers, independent code, and simulations of their coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm, t

from fedlab.study.meta import pool, reml

# Vaccinated and not: ill and well. Colditz et al., JAMA 271, 1994, as metafor's dat.bcg has them.
BCG = [(4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
       (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
       (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)]  # fmt: skip


def log_risk_ratios() -> tuple[np.ndarray, np.ndarray]:
    ill, well, ill_0, well_0 = np.array(BCG, dtype=float).T
    n, n_0 = ill + well, ill_0 + well_0
    return np.log(ill / n / (ill_0 / n_0)), 1 / ill - 1 / n + 1 / ill_0 - 1 / n_0


def test_the_trials_of_bcg_as_metafor_has_them() -> None:
    """``rma(yi, vi, data=dat.bcg, test="knha")``: tau² .3132, -0.7145 [-1.1084, -0.3206]."""
    found = pool(*log_risk_ratios())
    assert round(found.tau**2, 4) == 0.3132
    assert [round(x, 4) for x in (found.mean, found.low, found.high)] == [-0.7145, -1.1084, -0.3206]
    assert found.next_low < found.low and found.high < found.next_high


@pytest.mark.parametrize("seed", range(5))
def test_reml_solves_its_equation(seed: int) -> None:
    """The derivative of the restricted likelihood, written down by hand, is 0 there; or below 0 at 0."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.05, 0.3, 6)
    y = rng.normal(0, np.sqrt(v + 0.2))

    def slope(between: float) -> float:
        w = 1 / (v + between)
        mean = (w * y).sum() / w.sum()
        return float((w**2 * (y - mean) ** 2).sum() - w.sum() + (w**2).sum() / w.sum())

    wanted = brentq(slope, 0, 50) if slope(0) > 0 else 0.0
    assert reml(y, v) == pytest.approx(wanted, abs=1e-6)


def test_of_equal_variances_everything_is_known_in_closed_form() -> None:
    y, v = np.array([0.2, 0.9, 1.4, 0.1, 1.1]), 0.05
    found = pool(y, [v] * 5)
    assert found.mean == pytest.approx(y.mean()) and found.tau**2 == pytest.approx(y.var(ddof=1) - v, abs=1e-7)
    half = t.ppf(0.975, 4) * y.std(ddof=1) / math.sqrt(5)
    assert found.high - found.mean == pytest.approx(half, abs=1e-6)


def test_hospitals_that_agree_by_luck_are_not_certain() -> None:
    found = pool([1.0, 1.0, 1.0], [0.1, 0.1, 0.1])
    assert found.tau == 0 and found.mean == pytest.approx(1)
    assert found.high - found.mean == pytest.approx(t.ppf(0.975, 2) * math.sqrt(0.1 / 3))
    assert found.next_low <= found.low and found.next_high >= found.high


some = st.lists(st.tuples(st.floats(-4, 4), st.floats(0.01, 4)), min_size=3, max_size=8)


@given(points=some, shift=st.floats(-3, 3), factor=st.floats(0.1, 10))
def test_the_order_of_hospitals_their_zero_and_their_unit_do_not_matter(
    points: list[tuple[float, float]], shift: float, factor: float
) -> None:
    y, v = np.array(points).T
    found, back = np.array(pool(y, v)), np.array(pool(y[::-1], v[::-1]))
    assert back[[0, 1, 2, 3]] == pytest.approx(found[[0, 1, 2, 3]], abs=1e-3)
    moved = np.array(pool(factor * y + shift, factor**2 * v))
    assert moved[[0, 1, 2, 4, 5]] == pytest.approx(factor * found[[0, 1, 2, 4, 5]] + shift, abs=2e-2 * factor, rel=1e-2)
    assert found[4] <= found[1] <= found[0] <= found[2] <= found[5]


@pytest.mark.parametrize(
    "effects,variances,sentence",
    [
        ([1.0, 2.0], [0.1, 0.1], "2 hospitals: how hospitals differ is told from 3 on"),
        ([1.0], [0.1], "1 hospital: "),
        ([1.0, 2.0, math.inf], [0.1, 0.1, 0.1], "finite"),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.0], "above 0"),
        ([1.0, 2.0, 3.0], [0.1, 0.1], "one of each for every hospital"),
    ],
)
def test_what_cannot_be_pooled(effects: Any, variances: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        pool(effects, variances)


def coverage(hospitals: int, tau: float, many: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often the mean, and a hospital not yet seen, lie in their intervals."""
    held = np.zeros(2)
    for _ in range(many):
        v = rng.uniform(0.03, 0.25, hospitals)
        found = pool(rng.normal(0, np.sqrt(tau**2 + v)), v)
        held += found.low <= 0 <= found.high, found.next_low <= tau * rng.standard_normal() <= found.next_high
    return tuple((held / many).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("hospitals", [3, 4, 8, 20])
def test_both_intervals_hold_what_they_say(hospitals: int) -> None:
    rng = np.random.default_rng(hospitals)
    for tau in (0.2, 0.5):
        mean, unseen = coverage(hospitals, tau, 150, rng)
        least = 0.95 - 2.6 * math.sqrt(0.95 * 0.05 / 150)  # one in two hundred would be below by chance
        assert mean >= least and unseen >= least, (hospitals, tau, mean, unseen)


def test_the_normal_prediction_interval_would_hold_less() -> None:
    """Why it is not the textbook's: with 20 hospitals that differ a little it holds 85 %."""
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        v = rng.uniform(0.03, 0.25, 20)
        y = rng.normal(0, np.sqrt(0.2**2 + v))
        w = 1 / (v + (between := reml(y, v)))
        half = t.ppf(0.975, 18) * math.sqrt(between + 1 / w.sum())
        held.append(abs(0.2 * rng.standard_normal() - (w * y).sum() / w.sum()) <= half)
    assert np.mean(held) < 0.91 < norm.cdf(1.96)
