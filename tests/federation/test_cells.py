"""What of a count may leave a site."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlab.federation.cells import noised, screened


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
