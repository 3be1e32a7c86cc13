"""Small sites that do not differ: withheld counts, and curves through few draws, must not make a difference of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.federation import IID, Federation
from fedlab.study.heterogeneity.binned import Leave, filled
from fedlab.study.heterogeneity.chance import alike, each_against
from fedlab.study.heterogeneity.likely import expected, likeliest

LEAST = 5


def settled(told: np.ndarray, totals: np.ndarray, share: np.ndarray) -> np.ndarray:
    tilt = np.ones(totals.shape)
    for _ in range(40):
        counts, tilt = expected(told, totals, share, tilt, least=LEAST)
    return counts


@pytest.mark.parametrize(
    ("share", "n"),
    [
        ([0.3, 0.3, 0.25, 0.1, 0.05], 40),
        ([0.45, 0.3, 0.1, 0.1, 0.05], 28),
        ([0.9, 0.1], 28),
        ([0.15] * 6 + [0.08, 0.02], 60),  # a large cell goes often with the small one
        ([0.125] * 8, 28),
    ],
)
def test_what_is_expected_of_withheld_cells_is_what_stands_in_them(share: list[float], n: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.multinomial(n, share, size=3_000)
    told = Leave(LEAST)(true, rng)
    counts = settled(told, np.full(len(told), float(n)), np.broadcast_to(share, told.shape))
    assert (counts[told == 0] >= -1e-9).all() and counts.sum(1) == pytest.approx(n)
    assert counts.mean(0) == pytest.approx(true.mean(0), rel=0.06)


def test_a_large_cell_that_went_with_a_small_one_is_not_taken_for_small() -> None:
    told = Leave(LEAST)(np.array([[25, 19, 20, 21, 2]]), np.random.default_rng(0))
    assert told.tolist() == [[25, 0, 20, 21, 0]]
    counts = settled(told, np.array([87.0]), np.array([[0.25, 0.24, 0.25, 0.24, 0.02]]))
    assert 17 < counts[0, 1] <= 20 and 1 <= counts[0, 4] < 4


@given(
    st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=2, max_size=6),
    st.sampled_from([1, 2, 5, 8, 60]),
)
def test_totals_are_kept_whatever_was_told(rows: list[list[int]], least: int) -> None:
    true = np.array(rows)
    told = Leave(least)(true, np.random.default_rng(0))
    totals = np.where(told.any(1), true.sum(1), 0).astype(float)
    start = np.nan_to_num(filled(told, totals, least=least, missing=True))
    for kind in ("label", "features", "missingness"):
        counts = likeliest(told[None], totals[None], start[None], partial(alike, kind=kind), least=least)[0]
        assert np.isfinite(counts).all() and (counts >= -1e-6).all()
        assert counts.sum(1) == pytest.approx(totals, abs=1e-6)


def test_a_rare_cell_that_few_sites_told_is_as_common_as_it_is() -> None:
    """At twenty sites of 28, a cell of 8 % reaches five patients at one or two: these are not the others."""
    rng = np.random.default_rng(1)
    found, pooled = [], []
    for _ in range(40):
        true = rng.multinomial(28, [0.92, 0.08], size=20)
        told = Leave(LEAST)(true, rng)
        counts = likeliest(told[None], told.sum(1)[None], told[None], partial(alike, kind="label"), least=LEAST)[0]
        found.append(counts[:, 1].sum() / counts.sum())
        pooled.append(told[:, 1].sum() / told.sum())
    assert np.mean(pooled) < 0.03  # what the told counts alone say
    assert np.median(found) == pytest.approx(0.08, abs=0.02)  # 0 where no site told any


@pytest.mark.parametrize("draws", [50, 200])
def test_the_tail_of_a_curve_through_few_draws_holds(draws: int) -> None:
    rng = np.random.default_rng(draws)
    for many in (rng.normal(size=(60_000, draws + 1)), rng.gamma(8.0, size=(60_000, draws + 1))):
        p = np.array([chance.p for chance in each_against(many[:, 0], many[:, 1:])])
        for level in (0.01, 0.001, 0.0004):
            assert (p <= level).mean() < 1.5 * level
    assert each_against(np.array([9.0]), rng.normal(size=(1, draws)))[0].p < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("sites", "deals"), [(40, 4), (20, 6), (10, 8)])
def test_small_sites_that_do_not_differ_reach_a_level_no_more_often_than_it_says(
    hospitals: Federation, sites: int, deals: int
) -> None:
    tables = [
        fedlab.heterogeneity(
            hospitals.partition(IID(), sites=sites, seed=k), seed=k, progress=False,
            measures=["jensen_shannon", "total_variation", "concept"],
        )
        for k in range(deals)
    ]  # fmt: skip
    assert sum(t.clear().any().any() for t in tables) <= 1
    p = pd.concat([t.detail for t in tables]).dropna(subset="p").groupby(["kind", "measure"])["p"]
    for level, most in ((0.05, 1.25), (0.01, 1.5), (0.001, 3)):
        assert (p.apply(lambda values, at=level: (values <= at).mean()) <= most * level).all()


# ---------------------------------------------------------------------- so many that draws do not reach


def small_sites(sites: int, away: float) -> Federation:
    """Sites of 46 patients alike in 13 features, but that the first measures one of them ``away`` from the others."""
    rng = np.random.default_rng(0)
    tables = []
    for k in range(sites):
        table = pd.DataFrame(rng.normal(size=(46, 13)), columns=[f"f{i}" for i in range(13)])
        table["f0"] += away * (k == 0)
        tables.append(table.assign(site=f"S{k:02}", y=rng.integers(0, 2, 46)))
    return Federation.from_frame(pd.concat(tables, ignore_index=True), site="site", label="y")


def test_a_large_difference_is_clear_among_twenty_small_sites_and_no_small_one_is() -> None:
    found, alike = (
        fedlab.heterogeneity(small_sites(20, away), measures=["total_variation"], progress=False) for away in (8.0, 0.0)
    )
    clear = found.clear()
    assert clear["features"].tolist() == [True] + [False] * 19 and not clear["label"].any()
    assert not alike.clear()[["label", "features"]].any(axis=None)
    assert not any("Not known" in note for note in (*found.notes, *alike.notes))


def test_where_no_number_of_draws_could_make_it_clear_that_is_said() -> None:
    found = fedlab.heterogeneity(small_sites(60, 8.0), measures=["total_variation"], progress=False)
    assert not found.clear()["features"].any()
    assert any("Not known: 1 of features" in note and "no ● says nothing of these" in note for note in found.notes)
