"""Simulated hospitals: every patient in exactly one, by the rule as it is stated."""

from __future__ import annotations

import numpy as np
import pytest

from data_recipes import breast_cancer

SIZE = [303, 152, 76, 38]
EQUAL = [142, 142, 143, 142]


def rows(federation) -> np.ndarray:
    x = np.concatenate([np.c_[site.rows.x.numpy(), site.rows.y.numpy()] for site in federation.sites])
    return x[np.lexsort(x.T)]


def ill(federation) -> list[int]:
    return [int(site.rows.y.sum()) for site in federation.sites]


@pytest.mark.parametrize(("by", "sizes"), [("size", SIZE), ("iid", EQUAL), ("label", EQUAL)])
def test_sizes_and_every_row_once(by: str, sizes: list[int]) -> None:
    federation = breast_cancer.load(by=by)
    assert federation.names == ("Ward 1", "Ward 2", "Ward 3", "Ward 4")
    assert [len(site) for site in federation.sites] == sizes
    whole = breast_cancer.load(sites=1, by="iid")
    assert np.array_equal(rows(federation), rows(whole))
    assert sum(ill(federation)) == 212


def test_positive_is_malignant() -> None:
    table = breast_cancer.raw()["Wisconsin"]
    assert (table["diagnosis"] == "malignant").sum() == 212
    federation = breast_cancer.load()
    assert federation.task.classes == ("benign", "malignant")
    site = federation["Ward 1"].rows  # malignant tumours are larger
    radius = site.x[:, federation.columns.index("mean radius")]
    assert radius[site.y == 1].mean() > radius[site.y == 0].mean() + 3


def test_label_rises_in_equal_steps() -> None:
    share = 212 / 569
    grid = np.linspace(0.10, 2 * share - 0.10, 4)
    assert ill(breast_cancer.load(by="label")) == [14, 40, 66, 92]
    assert np.allclose(np.array([14, 40, 66, 92]) / EQUAL, grid, atol=1 / 142)


def test_size_keeps_the_share() -> None:
    assert np.allclose(np.array(ill(breast_cancer.load(by="size"))), np.array(SIZE) * 212 / 569, atol=1)


def test_seed_deals_anew_and_the_same_seed_the_same() -> None:
    for by in breast_cancer.RULES:
        one, same, other = (breast_cancer.load(by=by, seed=seed).fingerprint for seed in (3, 3, 4))
        assert one == same != other


def test_sites_say_that_they_are_simulated() -> None:
    federation = breast_cancer.load(by="label")
    assert "simulated: patients of one hospital, equal shares, the malignant tumours rising" in federation.source
    assert all(site.about["hospital"].startswith("simulated") for site in federation.sites)


@pytest.mark.parametrize("by", breast_cancer.RULES)
def test_every_feasible_number_of_sites(by: str) -> None:
    malignant = breast_cancer.raw()["Wisconsin"]["diagnosis"].to_numpy() == "malignant"
    most = 7 if by == "size" else 189
    for sites in {1, 2, 3, 5, 7, most}:
        sizes = np.bincount(breast_cancer.deal(malignant, sites=sites, by=by, seed=0), minlength=sites)
        assert len(sizes) == sites and sizes.sum() == 569 and sizes.min() >= 3
    with pytest.raises(ValueError, match=f"the nearest that can be is sites={most}"):
        breast_cancer.load(sites=most + 1, by=by)


@pytest.mark.parametrize("sites", [0, -1, 2.5, "4"])
def test_senseless_number_of_sites(sites: object) -> None:
    with pytest.raises(ValueError, match="whole number of at least 1"):
        breast_cancer.load(sites=sites)  # type: ignore[arg-type]


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="did you mean 'size'.*'iid', 'size', 'label'"):
        breast_cancer.load(by="sizes")
