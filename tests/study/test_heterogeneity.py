"""Sites × kinds: what is told, that nothing else leaves, and that noise is not taken for a difference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab.federation import IID, Feature, Federation
from fedlab.metrics.cells import LEAST
from fedlab.study import Heterogeneity
from fedlab.study.heterogeneity.census import patients
from fedlab.study.heterogeneity.measures import KINDS, MEASURES

QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(scope="module")
def found(hospitals: Federation) -> Heterogeneity:
    return fedlab.heterogeneity(hospitals, **QUIET)


def answers(found: Heterogeneity) -> list[tuple[str, dict[str, Any]]]:
    return [(purpose, payload) for _, purpose, _, way, payload in found.messages if way == "up"]


def test_a_table_of_sites_and_kinds_and_the_known_of_the_four_hospitals(
    found: Heterogeneity, hospitals: Federation
) -> None:
    table, clear = found.table(), found.clear()
    assert table.columns.tolist() == list(KINDS) and table.index.tolist() == list(hospitals.names)
    assert clear[["label", "features", "missingness", "joint", "training"]].all().all() and not clear["quantity"].any()
    assert table["label"].idxmax() == "Switzerland"  # 93 % are ill
    chol = found.detail.query("feature == 'chol' and site == 'Switzerland' and measure == 'total_variation'")
    assert chol.set_index("kind").loc["features", "reason"] == "fewer than 5 values at this site"
    assert chol.set_index("kind").loc["missingness", "value"] > 0.8


def test_no_row_and_no_cell_of_fewer_than_five_leaves(found: Heterogeneity, hospitals: Federation) -> None:
    cells = []
    for purpose, payload in answers(found):
        if purpose in ("histograms", "bands"):
            cells += [cell for counts in payload.values() for cell in counts.flatten().tolist()]
    assert cells and min(cell for cell in cells if cell) >= LEAST
    most = max(len(site.split.train) for site in hospitals.sites)
    for _, payload in answers(found):
        for told in (v for part in payload.values() for v in (part.values() if isinstance(part, dict) else [part])):
            assert not isinstance(told, torch.Tensor) or told.numel() <= 20 < most
    for _, purpose, site, way, payload in found.messages:
        if purpose == "blocks" and way == "up":
            ages, told = hospitals[site].train.x[:, 0], payload["blocks"]["age"]
            assert ages.min() < told.min() and told.max() < ages.max()


def test_what_a_histogram_withholds_cannot_be_subtracted(found: Heterogeneity) -> None:
    ups = [each for each in found.messages if each.direction == "up"]
    patients = {each.site: each.content["patients"] for each in ups if each.purpose == "blocks"}
    for _, purpose, site, way, payload in found.messages:
        if purpose == "histograms" and way == "up":
            withheld = [patients[site] - int(counts.sum()) for counts in payload.values()]
            assert all(w == 0 or w >= LEAST for w in withheld)


def test_the_ledger_has_every_message_and_its_bytes(found: Heterogeneity) -> None:
    assert {"blocks", "histograms", "risks", "bands", "train"} <= set(found.ledger["purpose"])
    assert (found.ledger.query("direction == 'up' and purpose == 'histograms'")["bytes"] > 0).all()


def test_the_label_is_counted_as_by_hand(hospitals: Federation) -> None:
    found = fedlab.heterogeneity(hospitals, measures=["total_variation"], **QUIET)
    ill = {site.name: patients(site).y.double() for site in hospitals.sites}  # two rows at Hungary are of one
    share = {name: y.mean().item() for name, y in ill.items()}
    others = torch.cat([y for name, y in ill.items() if name != "Hungary"]).mean().item()
    label = found.detail.query("kind == 'label'").set_index("site")["value"]
    assert label["Hungary"] == pytest.approx(abs(share["Hungary"] - others))
    pairs = found.pairs("label").set_index(["site", "other"])["value"]
    assert pairs["Hungary", "Cleveland"] == pytest.approx(abs(share["Hungary"] - share["Cleveland"]))


def test_test_and_valid_rows_change_nothing(hospitals: Federation) -> None:
    from dataclasses import replace

    def spoilt(site: fedlab.Site) -> fedlab.Site:
        x, y = site.rows.x.clone(), site.rows.y.clone()
        for part in (site.split.test, site.split.valid):
            x[part], y[part] = 7.0, 1
        return replace(site, rows=replace(site.rows, x=x, y=y))

    other = replace(hospitals, sites=tuple(map(spoilt, hospitals.sites)))
    pd.testing.assert_frame_equal(
        fedlab.heterogeneity(other, draws=20, **QUIET).detail, fedlab.heterogeneity(hospitals, draws=20, **QUIET).detail
    )


def test_identical_sites_give_zero(hospitals: Federation) -> None:
    site = hospitals["Hungary"]
    twins = Federation.from_tensors(
        {name: (site.rows.x, site.rows.y) for name in "ABC"}, splits=dict.fromkeys("ABC", site.split), prepared=False
    )
    found = fedlab.heterogeneity(twins, **QUIET)
    assert not found.clear().any().any()
    zero = found.detail.query("kind in ('label', 'features', 'missingness', 'concept')")["value"].dropna()
    assert len(zero) and zero.abs().max() < 1e-7


@pytest.mark.slow
def test_noise_is_not_read_as_a_difference(hospitals: Federation) -> None:
    """The same patients dealt out at random: p below .05 in about one of twenty, a clear cell in few tables."""
    tables = [fedlab.heterogeneity(hospitals.partition(IID(), sites=4, seed=k), seed=k, **QUIET) for k in range(30)]
    assert sum(t.clear().any().any() for t in tables) <= 5
    p = pd.concat([t.cells for t in tables]).dropna(subset="p").groupby("kind")["p"]
    assert (p.apply(lambda values: (values < 0.05).mean()) < 0.12).all()


def made(shift: str, n: int = 900) -> Federation:
    """Three sites of which A differs in one way."""
    rng = np.random.default_rng(3)
    sites = {}
    for name in "ABC":
        x = rng.normal(size=(n, 3))
        y = rng.random(n) < 1 / (1 + np.exp(-2.5 * x[:, 0]))
        if name == "A":
            keep = np.ones(n, dtype=bool)
            if shift == "label":
                keep = y | (rng.random(n) < 0.4)
            if shift == "concept":
                y = np.where(x[:, 0] > 0.5, y & (rng.random(n) < 0.5), y)
            if shift == "acquisition":
                x[:, 1] += 0.6
            if shift == "practice":
                x[rng.random(n) < 0.3, 2] = np.nan
            x, y = x[keep], y[keep]
        sites[name] = (torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))
    return Federation.from_tensors(sites, prepared=False)


@pytest.mark.parametrize(
    ("shift", "kind"),
    [("label", "label"), ("concept", "concept"), ("acquisition", "features"), ("practice", "missingness")],
)
def test_a_planted_difference_is_found_in_its_kind(shift: str, kind: str) -> None:
    clear = fedlab.heterogeneity(made(shift), **QUIET).clear()
    assert clear.loc["A", kind]
    others = {"label", "concept", "missingness"} - {kind} - ({"label"} if shift == "concept" else set())
    assert not clear.loc["A", sorted(others)].any()


def test_with_epsilon_counts_are_noised_and_the_budget_is_split(hospitals: Federation) -> None:
    found = fedlab.heterogeneity(hospitals, epsilon=2.0, seed=1, **QUIET)
    sent = [p for _, purpose, _, way, p in found.messages if purpose == "histograms" and way == "down"]
    assert sent[0]["epsilon"] * len(sent[0]["edges"]) == pytest.approx(2.0) and len(sent[0]["edges"]) == 14
    assert not {"blocks", "bands", "train"} & set(found.ledger["purpose"])
    assert any("2-private" in note and "14 histograms" in note for note in found.notes)
    cells = found.cells.set_index(["site", "kind"])
    assert "epsilon covers counts alone" in cells.loc[("Hungary", "training"), "reason"]
    plenty = fedlab.heterogeneity(hospitals, measures=["total_variation"], epsilon=1e4, **QUIET).table()["label"]
    exact = fedlab.heterogeneity(hospitals, measures=["total_variation"], **QUIET).table()["label"]
    assert plenty.to_numpy() == pytest.approx(exact.to_numpy(), abs=0.03)


def test_a_number_without_a_range_has_no_value_under_noise(uneven: Federation) -> None:
    found = fedlab.heterogeneity(uneven, measures=["jensen_shannon"], epsilon=1.0, **QUIET)
    assert found.detail.query("kind == 'features'")["reason"].str.contains("Feature\\(range").all()


def test_awkward_sites_have_reasons_and_the_others_values() -> None:
    rng = np.random.default_rng(0)
    n = {"big": 200, "other": 150, "tiny": 5}
    frame = pd.concat([
        pd.DataFrame({"site": site, "constant": rng.normal(size=k), "gone": rng.normal(size=k),
                      "blood": rng.choice(["0", "A"], k), "ill": rng.integers(0, 2, k)})
        for site, k in n.items()
    ])  # fmt: skip
    frame.loc[frame["site"] == "big", "constant"] = 1.0
    frame.loc[frame["site"] == "big", "gone"] = np.nan
    frame.loc[(frame["site"] == "other") & (rng.random(len(frame)) < 0.3), "blood"] = "rare"  # seen nowhere else
    blood = Feature("blood", kind="category", codes={"0": "zero", "A": "A", "rare": "rare"})
    awkward = Federation.from_frame(frame, site="site", label="ill", features=["constant", "gone", blood])
    found = fedlab.heterogeneity(awkward, **QUIET)
    of = found.detail.set_index(["kind", "measure", "site", "feature"])
    assert of.loc[("features", "jensen_shannon", "big", "gone"), "reason"] == "fewer than 5 values at this site"
    assert of.loc[("missingness", "total_variation", "big", "gone"), "value"] == pytest.approx(1)
    assert of.loc[("features", "jensen_shannon", "big", "constant"), "p"] < 0.001
    assert math.isfinite(of.loc[("features", "psi", "other", "blood"), "value"])
    assert set(found.cells.query("site == 'tiny' and kind != 'training'")["reason"]) <= {
        "fewer than 5 training patients", "fewer than 5 training patients in a class, or in each of its bands of risk",
    }  # fmt: skip
    assert found.cells.query("value != value")["reason"].str.len().gt(0).all()


def test_images_have_what_applies_and_reasons_for_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = {s: (torch.rand(60, 1, 4, 4, generator=generator), torch.arange(60) % 3) for s in "AB"}
    images = Federation.from_tensors(sites)
    cells = fedlab.heterogeneity(images, **QUIET).cells.set_index(["site", "kind"])
    assert math.isfinite(cells.loc[("A", "label"), "value"])
    for kind in ("features", "missingness", "joint", "training", "concept"):
        assert math.isnan(cells.loc[("A", kind), "value"]) and cells.loc[("A", kind), "reason"]

    def flat(inputs: int, outputs: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, outputs))

    cells = fedlab.heterogeneity(images, measures=["angle", "concept"], model=flat, **QUIET).cells
    cells = cells.set_index(["site", "kind"])
    assert math.isfinite(cells.loc[("A", "training"), "value"])
    assert cells.loc[("A", "concept"), "reason"] == "needs a task of two classes"


def test_a_patient_with_many_rows_counts_once() -> None:
    frame = pd.DataFrame({"who": np.arange(400) // 4, "site": np.where(np.arange(400) < 200, "A", "B"),
                          "x": np.arange(400) % 7, "ill": np.arange(400) // 4 % 2})  # fmt: skip
    found = fedlab.heterogeneity(Federation.from_frame(frame, site="site", label="ill", group="who"), **QUIET)
    assert found.census.patients.tolist() == [30, 30]


def test_refusals(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="only site"):
        fedlab.heterogeneity(hospitals.select("Hungary"), **QUIET)
    with pytest.raises(ValueError, match="no measure 'jensen'"):
        fedlab.heterogeneity(hospitals, measures=["jensen"], **QUIET)
    for wrong in ({"bins": 1}, {"least": 0}, {"epsilon": 0.0}, {"epsilon": math.nan}, {"draws": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fedlab.heterogeneity(hospitals, **wrong, **QUIET)
    with pytest.raises(TypeError, match="fedlab.load"):
        fedlab.heterogeneity("hospitals", **QUIET)


def test_only_what_is_asked_for_is_asked(hospitals: Federation) -> None:
    found = fedlab.heterogeneity(hospitals, measures=["mmd"], **QUIET)
    assert found.table().columns.tolist() == ["joint"] and "train" not in set(found.ledger["purpose"])
    assert found.legend()["needs"].tolist() == ["rows"]
    with pytest.raises(ValueError, match="says nothing of label"):
        found.pairs("label")
    with pytest.raises(ValueError, match="not 'joint'"):
        found.pairs("joint")


def test_the_register_says_everything_of_each() -> None:
    for name, measure in MEASURES.items():
        assert name == measure.name and set(measure.kinds) <= set(KINDS) and measure.sees.endswith(".")
        assert measure.needs in ("summaries", "rows", "updates") and measure.crosses and measure.low < measure.high
