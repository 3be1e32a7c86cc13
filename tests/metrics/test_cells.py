"""What of a count may leave a site."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlab.federation import summarise
from fedlab.federation.preparation import patients_with, told
from fedlab.metrics.cells import (
    ENOUGH,
    FEW,
    LEAST,
    enough_for_interval,
    is_few,
    noised,
    patients_by_class,
    screened,
    shown,
    steps,
    withheld,
)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 9))
def test_no_small_cell_leaves_nor_follows_by_subtraction(counts: list[int], least: int) -> None:
    kept = screened(np.array(counts), least=least)
    assert all(k == 0 or k >= least for k in kept)
    assert all(k in (0, c) for k, c in zip(kept, counts, strict=True))
    withheld = sum(counts) - kept.sum()
    assert withheld == 0 or withheld >= least or not kept.any()


def test_nothing_is_withheld_without_need() -> None:
    assert screened(np.array([5, 0, 9])).tolist() == [5, 0, 9]


def test_noise_is_centred_and_as_wide_as_said() -> None:
    noise = noised(np.full(20_000, 1000), epsilon=0.5, rng=np.random.default_rng(0)) - 1000
    q = np.exp(-0.5)
    assert abs(noise.mean()) < 0.1
    assert noise.var() == pytest.approx(2 * q / (1 - q) ** 2, rel=0.05)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_out_of_range(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        noised(np.array([1]), epsilon=epsilon, rng=np.random.default_rng(0))


def test_least_out_of_range() -> None:
    with pytest.raises(ValueError, match="least"):
        screened(np.array([1]), least=0)


# --------------------------------------------------------------------------- doors


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.lists(st.integers(0, 7), min_size=60, max_size=60),
    st.integers(1, 10),
)
def test_every_step_of_a_curve_has_so_many_patients_or_nobody(who: list[int], number: list[int], least: int) -> None:
    bins = np.array(number[: len(who)])
    found = steps(bins, np.array(who), 8, least=least)
    assert [k for step in found for k in step] == list(range(8))
    held = [{patient for k, patient in zip(bins, who, strict=True) if k in step} for step in found]
    if len(set(who)) < least:
        assert len(found) == 1
    else:
        assert all(not patients or len(patients) >= least for patients in held)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 40), st.floats(0, 1), st.integers(0, 10_000))
def test_a_summary_tells_all_of_a_column_or_nothing(
    rows: int, columns: int, patients: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.where(rng.random((rows, columns)) < missing, np.nan, rng.normal(size=(rows, columns))))
    who = np.unique(rng.integers(patients, size=rows), return_inverse=True)[1]
    whole, kept = summarise(x), told(summarise(x), patients_with(x, who))
    assert kept.rows == whole.rows == rows
    for k in range(columns):
        having = len(set(who[(~x[:, k].isnan()).numpy()]))
        of_it = [part[k].item() for part in kept[1:]]
        assert of_it == ([part[k].item() for part in whole[1:]] if having >= LEAST else [0, 0, 0])
    other = torch.where(patients_with(x, who) < LEAST, x + 7, x)  # whoever sees it learns nothing of what was withheld
    again = told(summarise(other), patients_with(other, who))
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_the_three_bars() -> None:
    assert (LEAST, FEW, ENOUGH) == (5, 10, 20)
    assert [withheld(n) for n in (0, 1, 4, 5)] == [False, True, True, False]
    assert [is_few(n) for n in (0, 9, 10, float("nan"))] == [True, True, False, True]
    assert [enough_for_interval(n) for n in (19, 20)] == [False, True]
    assert [shown(n) for n in (0, 4, 5, float("nan"))] == ["0", "<5", "5", "<5"]


def test_a_patient_counts_once_in_a_class() -> None:
    who, y = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 1])
    assert patients_by_class(who, y, 3).tolist() == [1, 3, 0]
