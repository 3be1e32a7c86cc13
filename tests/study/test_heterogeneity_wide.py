"""Many columns: what is done for many at once, or by the smaller of two equal systems, is what it was one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.metrics.cells import block_means, screened
from fedlab.study.heterogeneity import by_counts, drift, two_sample
from fedlab.study.heterogeneity.chance import against, each_against

QUIET: dict[str, Any] = {"progress": False}
RNG = np.random.default_rng(0)


def wide(columns: int, rows: int = 60) -> Federation:
    """Three sites of which one differs, a twentieth of the cells missing, some columns whole numbers."""
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(3 * rows, columns))
    x[:rows] += 0.4
    x[:, ::7] = x[:, ::7].round()
    x[rng.random(x.shape) < 0.05] = np.nan
    frame = pd.DataFrame(x, columns=[f"c{k}" for k in range(columns)])
    frame["ill"] = (rng.normal(size=3 * rows) + np.nan_to_num(x[:, 0]) > 0).astype(int)
    return Federation.from_frame(frame.assign(site=np.repeat(["A", "B", "C"], rows)), site="site", label="ill")


def test_columns_and_deals_together_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = wide(40)
    together = fedlab.heterogeneity(federation, draws=30, **QUIET)
    pairs = together.pairs()
    monkeypatch.setattr(by_counts, "TOGETHER", 1)
    monkeypatch.setattr(drift, "DEALT", 1)
    monkeypatch.setattr(two_sample, "WIDE", 3)
    alone = fedlab.heterogeneity(federation, draws=30, **QUIET)
    counted = together.detail["kind"] != "training"
    pd.testing.assert_frame_equal(together.detail[counted], alone.detail[counted], rtol=1e-9)
    pd.testing.assert_frame_equal(together.detail, alone.detail, rtol=1e-3)  # its updates are float32
    pd.testing.assert_frame_equal(pairs, alone.pairs(), rtol=1e-9)


@pytest.mark.parametrize("columns", [10, 40, 200])
def test_the_classifier_by_inner_products_is_the_one_by_columns(columns: int) -> None:
    x, y = RNG.normal(size=(50, columns)), RNG.normal(size=(60, columns)) + 0.2
    rows, fold = np.concatenate([x, y]), np.arange(110) % 5
    second = np.stack([np.arange(110) >= 50, RNG.permutation(np.arange(110) >= 50)], axis=1)
    seen = two_sample._with_squares(rows)
    for k in range(5):
        train = fold != k
        by_columns = two_sample.discriminant(seen[train], second[train], seen[~train])
        by_products = two_sample.discriminant_of_products(seen @ seen.T, train, second[train])
        assert by_products == pytest.approx(by_columns, abs=1e-9)
    assert two_sample.c2st(x, y, draws=20, rng=np.random.default_rng(1))[0] > 0.5


def plainly_against(value: float, draws: np.ndarray) -> tuple[float, float, float, float]:
    from scipy.stats import norm, pearson3, t

    kept = draws[~np.isnan(draws)]
    if np.isnan(value) or 2 * len(kept) < len(draws):
        return value, np.nan, np.nan, np.nan
    p = (1 + (kept >= value - 1e-9).sum()) / (1 + len(kept))
    if not (kept >= value - 1e-9).any() and kept.std() > 0:
        n, sd = len(kept), kept.std(ddof=1)
        skew = max((((kept - kept.mean()) / sd) ** 3).mean() + np.sqrt(6 / n), 0)
        read = pearson3.sf((value - kept.mean()) / sd, skew)
        p = min(p, t.sf(norm.isf(read) / np.sqrt(1 + 1 / n), n - 1))
    return value, kept.mean(), np.quantile(kept, 0.95), p


def test_many_values_are_judged_as_each_by_itself() -> None:
    draws = RNG.gamma(2.0, size=(60, 50))
    draws[RNG.random(draws.shape) < np.linspace(0, 0.9, 60)[:, None]] = np.nan  # some too seldom told
    draws[7] = 1.0
    values = np.where(np.arange(60) % 9 == 0, np.nan, RNG.gamma(2.0, size=60) + 10 * (np.arange(60) % 4 == 0))
    for chance, value, each in zip(each_against(values, draws), values, draws, strict=True):
        assert chance == pytest.approx(plainly_against(value, each), rel=1e-12, nan_ok=True)
        assert against(float(value), each) == pytest.approx(chance, rel=1e-12, nan_ok=True)


def test_many_tables_are_screened_as_each_by_itself() -> None:
    tables = RNG.integers(0, 12, size=(500, 6)) * (RNG.random((500, 6)) < 0.6)
    together = screened(tables)
    for row, kept in zip(tables, together, strict=True):
        alone = np.where(row >= 5, row, 0)
        while alone.any() and 0 < row.sum() - alone.sum() < 5:
            alone[np.flatnonzero(alone == alone[alone > 0].min())[-1]] = 0
        assert kept.tolist() == alone.tolist() == screened(row).tolist()
    assert screened(np.zeros((3, 0), dtype=np.int64)).shape == (3, 0)


@pytest.mark.parametrize("number", [4, 5, 23, 100, 101])
def test_blocks_are_equal_shares_of_the_sorted_values(number: int) -> None:
    column = np.append(RNG.normal(size=number), np.nan)
    shares = np.array_split(np.sort(column[:-1]), min(20, number // 5)) if number >= 5 else []
    assert block_means(column, least=5).tolist() == [share.mean() for share in shares]
