"""Patients dealt out anew: exactly, by a seed, and as the scheme says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlab.federation import (
    IID,
    Classes,
    Clusters,
    Column,
    Dirichlet,
    Federation,
    Infeasible,
    PowerLaw,
    Quantity,
)
from fedlab.federation.schemes import Scheme, apportion

SCHEMES = [IID(), Quantity(0.8), PowerLaw(1.0), Dirichlet(0.5), Classes(2), Clusters()]


def numbered(n: int = 400, classes: int = 4, visits: int = 1, seed: int = 0) -> Federation:
    """Two hospitals whose rows have a number of their own in the first column."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(n, 3)))
    x[:, 0] = torch.arange(n)
    y = torch.from_numpy(rng.integers(0, classes, n))
    who = np.arange(n) // visits
    cut = n // 3 // visits * visits
    parts = {"A": slice(0, cut), "B": slice(cut, n)}
    return Federation.from_tensors(
        {name: (x[part], y[part]) for name, part in parts.items()},
        groups={name: who[part] - who[part][0] for name, part in parts.items()},  # both count their patients from 0
        prepared=False,
    )


def dealt(federation: Federation) -> list[list[int]]:
    return [sorted(site.rows.x[:, 0].long().tolist()) for site in federation.sites]


def sizes(federation: Federation) -> list[int]:
    return [len(site) for site in federation.sites]


@given(st.sampled_from(SCHEMES), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_every_row_once_and_patients_whole(scheme: Scheme, sites: int, visits: int, seed: int) -> None:
    before = numbered(visits=visits)
    try:
        after = before.partition(scheme, sites=sites, seed=seed)
    except Infeasible:
        assert isinstance(scheme, (Classes, Dirichlet, Clusters))
        return
    rows = dealt(after)
    assert sorted(sum(rows, [])) == list(range(400)) and len(rows) == sites
    patients = [{row // visits for row in mine} for mine in rows]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert (after.task, after.features, after.prepared) == (before.task, before.features, before.prepared)
    assert after.fingerprint == before.partition(scheme, sites=sites, seed=seed).fingerprint


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_another_seed_deals_otherwise_and_the_sites_order_does_not(scheme: Scheme) -> None:
    before = numbered()
    after = before.partition(scheme, sites=4, seed=1)
    assert dealt(before.select("B", "A").partition(scheme, sites=4, seed=1)) == dealt(after)
    if not isinstance(scheme, Clusters):
        assert dealt(before.partition(scheme, sites=4, seed=2)) != dealt(after)


def test_quantity() -> None:
    before = numbered()
    assert sizes(before.partition(IID(), sites=7)) == sizes(before.partition(Quantity(0.0), sites=7))
    assert sizes(before.partition(PowerLaw(1.0), sites=4)) == [192, 96, 64, 48]
    drawn = np.log([sizes(numbered(4000).partition(Quantity(0.5), sites=40, seed=k)) for k in range(10)])
    assert drawn.std() == pytest.approx(0.5, abs=0.06)
    assert min(sizes(before.partition(Quantity(4.0), sites=20))) >= 3


def class_shares(federation: Federation) -> np.ndarray[Any, Any]:
    each = [np.bincount(site.rows.y.numpy(), minlength=4) for site in federation.sites]
    return np.array([counts / counts.sum() for counts in each])


def test_dirichlet_nears_iid_as_alpha_grows() -> None:
    before = numbered()
    spread = [class_shares(before.partition(Dirichlet(alpha), sites=6)).std(0).mean() for alpha in (0.3, 3.0, 1e6)]
    assert spread[0] > spread[1] > spread[2] and spread[2] < 0.01


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pathological(k: int) -> None:
    after = numbered().partition(Classes(k), sites=8)
    assert [(row > 0).sum() for row in class_shares(after)] == [k] * 8


def test_a_column(hospitals: Federation) -> None:
    by_sex = hospitals.partition(Column("sex"))
    assert by_sex.names == ("sex female", "sex male") and sum(sizes(by_sex)) == 920
    bands = hospitals.partition(Column("age", (50, 60)))
    ages = [site.rows.x[:, hospitals.columns.index("age")] for site in bands.sites]
    assert ages[0].max() < 50 <= ages[1].min() and ages[1].max() < 60 <= ages[2].min()


def test_clusters_are_found() -> None:
    rng = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]).repeat(40, 1)
    x = middles + torch.randn(120, 2, generator=rng)
    after = Federation.from_tensors({"all": (x, torch.arange(120) % 2)}).partition(Clusters(), sites=3)
    assert sizes(after) == [40, 40, 40]
    assert all(float(site.rows.x.std(0).max()) < 1.5 for site in after.sites)


def test_a_partition_trains(hospitals: Federation) -> None:
    import fedlab

    run = fedlab.train(hospitals.partition(Dirichlet(0.3), sites=5), "logistic", "fedavg", rounds=2, progress=False)
    assert len(run.records) == 2 and run.federation.name == "heart_disease, Dirichlet(alpha=0.3)"


@pytest.mark.parametrize(
    ("scheme", "sites", "said"),
    [
        (IID(), 134, "400 patients do not make 134 sites of at least 3: the nearest is 133 sites"),
        (Classes(5), 4, "cannot hold 5 classes, there are 4: the nearest is Classes(4)"),
        (Classes(1), 3, "leave some of the 4 classes to nobody: the nearest is Classes(2), or 4 sites"),
        (Clusters(), 100, "fewer than 3 patients: the nearest is "),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_with_the_nearest(scheme: Scheme, sites: int, said: str) -> None:
    with pytest.raises(Infeasible) as refused:
        numbered().partition(scheme, sites=sites)
    assert said in str(refused.value)


def test_the_nearest_alpha_can_be_had() -> None:
    with pytest.raises(
        Infeasible, match=r"a site stays with fewer than 3 patients: the nearest is Dirichlet"
    ) as refused:
        numbered().partition(Dirichlet(1e-4), sites=12)
    told = str(refused.value).split("nearest is ")[1]
    alpha = float(told.split("alpha=")[1].split(")")[0])
    assert len(numbered().partition(Dirichlet(alpha), sites=12).sites) == 12
    fewer = int(told.split(", or ")[1].split()[0])
    assert len(numbered().partition(Dirichlet(1e-4), sites=fewer).sites) == fewer


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Dirichlet(0.0), lambda: Dirichlet(float("nan")), lambda: Quantity(-1.0), lambda: Classes(0),
        lambda: PowerLaw(float("inf")), lambda: numbered().partition(IID(), sites=0),
        lambda: numbered().partition(Column("nobody")),
    ],
)  # fmt: skip
def test_bad_wishes(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|no column"):
        wrong()


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=9), st.integers(30, 300), st.integers(0, 3))
def test_apportion_is_exact(shares: list[float], whole: int, least: int) -> None:
    if sum(shares) <= 0:
        return
    counts = apportion(np.array(shares), whole, least=least)
    assert counts.sum() == whole and counts.min() >= least


FLOWERS = {
    "share": [
        0.0, 0.0052, 0.0134, 0.0263, 0.0405, 0.0561, 0.074, 0.0973, 0.1258, 0.1667,
        0.188, 0.2313, 0.2744, 0.3293, 0.3695, 0.4236, 0.5057, 0.5898, 0.7097,
    ],
    "rows": [
        54.0, 85.7, 107.0, 125.8, 138.0, 153.7, 172.6, 185.6, 205.6, 221.0,
        237.0, 262.0, 281.4, 310.0, 340.5, 357.6, 395.2, 432.1, 543.0,
    ],
}  # fmt: skip
"""The 5 to 95 % quantiles of flwr-datasets 0.6.1, which asks for other versions of numpy and rich than fedlab has.

``DirichletPartitioner(8, partition_by="y", alpha=0.5, min_partition_size=3, self_balancing=False, seed=0…59)`` on 2,000
rows of four classes: the first class's share of a site, and a site's rows.
"""


def test_dirichlet_is_distributed_as_flowers() -> None:
    found: dict[str, list[float]] = {"share": [], "rows": []}
    before = numbered(2000)
    for seed in range(60):
        after = before.partition(Dirichlet(0.5), sites=8, seed=seed)
        found["share"] += class_shares(after)[:, 0].tolist()
        found["rows"] += sizes(after)
    for what, quantiles in FLOWERS.items():
        below = [np.mean(np.array(found[what]) <= q + 1e-4) for q in quantiles]
        assert np.abs(np.array(below) - np.linspace(0.05, 0.95, 19)).max() < 0.09  # Kolmogorov–Smirnov, p = .05


def test_iid_and_pathological_have_flowers_sizes() -> None:
    """``IidPartitioner(8)``: 250 each; ``PathologicalPartitioner(8, …, 2)``: two classes each, shared evenly."""
    before = numbered(2000)
    assert sizes(before.partition(IID(), sites=8)) == [250] * 8
    counts = class_shares(before.partition(Classes(2), sites=8)) * np.array(
        sizes(before.partition(Classes(2), sites=8))
    )[:, None]  # fmt: skip
    held = [column[column > 0] for column in counts.T]
    assert [len(column) for column in held] == [4] * 4 and all(np.ptp(column.round()) <= 1 for column in held)
