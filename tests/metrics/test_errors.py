"""The errors of a predicted quantity equal scikit-learn's, and their intervals cover as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fedlab.metrics.errors import ERRORS, many_errors
from fedlab.metrics.scores import LOWER_IS_BETTER, bounds

SKLEARN = {
    "r2": sk.r2_score, "mae": sk.mean_absolute_error, "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 40), shift=st.sampled_from([0.0, 1e4]), seed=st.integers(0, 999))
def test_errors_equal_scikit_learns_with_weights(n: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.normal(size=n) + shift, rng.normal(size=(2, n, 1)) + shift
    weights = np.stack([np.ones(n), rng.integers(1, 4, n)]).astype(float)
    assert ERRORS.keys() == SKLEARN.keys()
    for name, ours in ERRORS.items():
        got = ours(y, p, weights)
        for k in range(2):
            for r, w in enumerate(weights):
                assert got[k, r] == pytest.approx(SKLEARN[name](y, p[k, :, 0], sample_weight=w), rel=1e-7)


def test_which_way_is_better_and_where_they_end() -> None:
    assert {name for name in ERRORS if name not in LOWER_IS_BETTER} == {"r2"}
    assert bounds("r2") == (-np.inf, 1.0) and bounds("mae") == (0.0, np.inf)


def told(y: np.ndarray, p: np.ndarray, **options: object) -> dict[str, object]:
    return many_errors(y, p[None, :, None], **options)[0]  # type: ignore[arg-type]


def test_what_cannot_be_has_a_reason() -> None:
    y, rng = np.arange(30.0), np.random.default_rng(0)
    assert all("no patients" in s.reason and np.isnan(s.value) for s in told(y[:0], y[:0]).values())
    assert all("NaN" in s.reason for s in told(y, np.where(y == 3, np.nan, y)).values())
    few = told(y[:19], y[:19] + rng.normal(size=19), intervals=True)
    assert all(np.isfinite(s.value) and np.isnan(s.low) and "fewer than 20 patients" in s.reason for s in few.values())
    exact = told(y, y, intervals=True)
    assert exact["r2"].value == 1 and all("no error" in s.reason and np.isnan(s.low) for s in exact.values())
    constant = told(np.full(30, 70.1), 70.1 + rng.normal(size=30), intervals=True)
    assert np.isnan(constant["r2"].value) and "one value" in constant["r2"].reason
    assert constant["mae"].low < constant["mae"].value < constant["mae"].high


def test_an_interval_does_not_depend_on_the_unit() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    p = y + rng.normal(size=50)
    days, hours = told(y, p, intervals=True), told(24 * y + 5, 24 * p + 5, intervals=True)
    for name, factor in (("r2", 1), ("mae", 24), ("rmse", 24), ("mse", 24**2)):
        assert hours[name][:3] == pytest.approx([factor * each for each in days[name][:3]])


def test_rows_of_one_patient_count_once() -> None:
    """Twenty-five patients with four equal rows each are as uncertain as twenty-five rows."""
    rng = np.random.default_rng(0)
    y, who = rng.normal(size=25), np.arange(25)
    p = y + rng.normal(size=25)
    once = told(y, p, intervals=True)
    four = told(np.repeat(y, 4), np.repeat(p, 4), intervals=True, who=np.repeat(who, 4))
    for name in ERRORS:
        assert four[name][:3] == pytest.approx(once[name][:3])
    alone = told(np.repeat(y, 4), np.repeat(p, 4), intervals=True)["mae"]
    assert alone.high - alone.low < 0.6 * (once["mae"].high - once["mae"].low)


def drawn(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A quantity, and what a good model says of it."""
    f, e = rng.normal(size=shape), rng.normal(size=shape)
    if kind == "normal":
        return f + e, f
    if kind == "weak":
        return 0.23 * f + e, 0.23 * f
    if kind == "uneven":
        return f + e * np.exp(0.5 * f), f
    return np.exp(0.7 * f + 0.7 * e), np.exp(0.7 * f + 0.245)  # skewed, as days in hospital are


LEAST = {
    # of r2, mae, mse: what many_errors promises
    ("normal", 20): (0.92, 0.93, 0.92), ("normal", 200): (0.93, 0.93, 0.93), ("weak", 20): (0.92, 0.93, 0.91),
    ("uneven", 20): (0.92, 0.92, 0.85), ("uneven", 200): (0.92, 0.93, 0.90),
    ("skewed", 20): (0.88, 0.87, 0.67), ("skewed", 200): (0.90, 0.90, 0.75),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n"), LEAST)
def test_intervals_cover_what_they_promise(kind: str, n: int) -> None:
    rng = np.random.default_rng(0)
    y, p = drawn(kind, rng, (2_000_000,))
    error = (y - p) ** 2
    truth = {"r2": 1 - error.mean() / y.var(), "mae": np.abs(y - p).mean(), "mse": error.mean()}
    inside = dict.fromkeys(truth, 0)
    times = 1200
    for _ in range(times):
        y, p = drawn(kind, rng, (n,))
        found = told(y, p, intervals=True)
        for name, value in truth.items():
            inside[name] += found[name].low <= value <= found[name].high
    shares = {name: count / times for name, count in inside.items()}
    for share, least in zip(shares.values(), LEAST[kind, n], strict=True):
        assert least <= share <= 0.985, (kind, n, shares)
