"""Federated preprocessing equals the pooled one, and says nothing of rows it may not see."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlab.federation import Federation, fit, merge, prepare, summarise


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    offset=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_merged_summaries_are_the_pooled_ones(sizes: list[int], offset: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n, 3)) * scale + offset for n in sizes]
    for part in parts:
        part[rng.random(part.shape) < 0.2] = np.nan
    pooled = np.concatenate(parts)
    pooled[0] = parts[0][0] = offset  # every feature measured at least once
    got = fit(merge([summarise(torch.from_numpy(part)) for part in parts]))
    spread = np.nanstd(pooled, axis=0)
    size = np.maximum(np.abs(np.nanmean(pooled, axis=0)), 1)
    assert (np.abs(got["fill"].numpy() - np.nanmean(pooled, axis=0)) / size).max() < 1e-12
    varies = spread > 1e-9 * size
    assert (np.abs(got["scale"].numpy() - spread) / np.maximum(spread, size))[varies].max(initial=0) < 1e-12


def test_the_hospitals_to_twelve_digits(hospitals: Federation) -> None:
    trains = [site.train.x for site in hospitals.sites]
    pooled = torch.cat(trains).numpy()
    got = fit(merge([summarise(x) for x in trains]))
    np.testing.assert_allclose(got["fill"].numpy(), np.nanmean(pooled, axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["scale"].numpy(), np.nanstd(pooled, axis=0), rtol=1e-12)


def test_the_order_of_the_sites_does_not_matter(hospitals: Federation) -> None:
    sums = [summarise(site.train.x) for site in hospitals.sites]
    forward, backward = fit(merge(sums)), fit(merge(sums[::-1]))
    assert all(torch.allclose(forward[k], backward[k], rtol=1e-12) for k in forward)


def test_a_feature_nobody_measured_is_missing_everywhere() -> None:
    x = torch.tensor([[float("nan"), 1.0], [float("nan"), 3.0]])
    got = fit(summarise(x))
    assert (got["fill"][0], got["scale"][0], got["indicator"][0]) == (0, 1, 1)
    elsewhere = prepare(torch.tensor([[250.0, 2.0]]), got)
    assert elsewhere.tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_an_indicator_speaks_only_where_training_rows_were_missing() -> None:
    got = fit(summarise(torch.tensor([[1.0], [3.0]])))
    assert prepare(torch.tensor([[float("nan")]]), got).tolist() == [[0.0, 0.0]]


def test_a_constant_feature_keeps_scale_one() -> None:
    got = fit(summarise(torch.full((5, 1), 0.1)))
    assert got["scale"].item() == 1.0
