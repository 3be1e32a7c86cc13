"""FLamby's protocol is FLamby's: rows, split, scale, start; and the table is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import figures, flamby_heart, published
from fedlab.algorithms import FedAvg
from fedlab.federation import Federation

PATIENTS = {"Cleveland": (199, 104), "Hungary": (172, 89), "Switzerland": (30, 16), "Long Beach": (85, 45)}


@pytest.fixture(scope="module")
def sites() -> Federation:
    return flamby_heart.federation()


def test_the_rows_are_those_without_a_question_mark() -> None:
    every = flamby_heart.patients()
    assert every.groupby("site", sort=False).size().to_dict() == {site: sum(n) for site, n in PATIENTS.items()}
    assert list(every.columns.drop(["site", "y"])) == [
        "age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak",
        "cp_2.0", "cp_3.0", "cp_4.0", "restecg_1.0", "restecg_2.0",
    ]  # fmt: skip
    assert (every.query("site == 'Switzerland'")["chol"] == 0).all()  # not measured, and kept as it stands


def test_the_split_has_the_published_sizes(sites: Federation) -> None:
    assert {site.name: (len(site.train), len(site.test)) for site in sites.sites} == PATIENTS
    healthy = {site.name: (int((site.train.y == 0).sum()), int((site.test.y == 0).sum())) for site in sites.sites}
    assert healthy["Cleveland"] == (108, 56) and healthy["Switzerland"] == (0, 1)


def test_each_site_is_standardised_with_its_training_rows(sites: Federation) -> None:
    for site in sites.sites:
        x = site.train.x.double()  # each value is rounded to float32, by 3e-7 at 10; their sums here are not
        assert x.shape[1] == 13
        torch.testing.assert_close(x.mean(0), torch.zeros(13).double(), atol=1e-6, rtol=0)
        varies = torch.ones(13).double()
        varies[3] = site.name != "Switzerland"  # its cholesterol is 0 throughout, and stays so
        torch.testing.assert_close(x.std(0), varies, atol=1e-6, rtol=0)
        assert site.test.x.abs().max() < 10


def test_nothing_but_training_rows_stands_in_valid(sites: Federation) -> None:
    for site in sites.sites:
        assert torch.equal(site.valid.x, site.train.x) and torch.equal(site.valid.y, site.train.y)


def test_the_pooled_model_learns_on_one_scale_and_is_tested_on_the_sites(sites: Federation) -> None:
    pooled = flamby_heart.federation(pooled=True)
    x = torch.cat([site.train.x for site in pooled.sites]).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(13).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(13).double(), atol=1e-6, rtol=0)
    assert not torch.allclose(pooled["Cleveland"].train.x, sites["Cleveland"].train.x)
    for site in pooled.sites:
        assert torch.equal(site.test.x, sites[site.name].test.x) and torch.equal(site.test.y, sites[site.name].test.y)


def test_the_start_is_torchs_of_that_seed_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(42)
    theirs = torch.nn.Linear(13, 1)
    before = torch.get_rng_state()
    assert torch.equal(flamby_heart.start(42).weight, theirs.weight)
    assert not torch.equal(flamby_heart.start(43).weight, theirs.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_seed_starts_from_its_own_model(sites: Federation) -> None:
    runs = published.train(sites, FedAvg(), (42, 43), rounds=1, local_steps=1, lr=1e-9)
    for seed, run in zip((42, 43), runs, strict=True):
        torch.testing.assert_close(run.weights["weight"], flamby_heart.start(seed).weight.detach())
        assert run.settings.seed == seed


def test_fedavg_of_a_seed_is_flambys(sites: Federation) -> None:
    theirs = (79 / 104 + 62 / 89 + 11 / 16 + 28 / 45) / 4  # published for seed 42
    assert published.federated(sites, FedAvg(), 0.001, [42]) == pytest.approx([theirs], abs=0.01)


def test_holds_is_computed() -> None:
    near = published.Entry("A", 0.7, lambda seeds: [], note="so")
    assert published.figure(near, [0.7, 0.74]).holds is True
    assert published.figure(near, [0.74, 0.74]).holds is False
    shown = published.figure(published.Entry("B", 0.639, lambda seeds: [], close=False), [0.1, 0.3])
    assert (shown.name, shown.unit, shown.target, shown.holds) == ("accuracy, B", "", "", None)
    assert shown.note == "published .639; sd 0.141 over 2 seeds"


@pytest.mark.slow
def test_the_comparison_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures.main("published", published.ABOUT, published.measure, ["--quick", "--json", str(tmp_path / "f.json")])
    told = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["figures"]
    assert [figure["name"] for figure in told][:2] == ["accuracy, pooled", "accuracy, FedAvg"] and len(told) == 9
    targets = {figure["name"]: figure["target"] for figure in told}
    assert targets["accuracy, FedAvg"] == "within 0.03 of .685" and targets["accuracy, local"] == ""
    assert all(0.5 < figure["value"] < 0.9 and "published ." in figure["note"] for figure in told)
    assert "SCAFFOLD" in capsys.readouterr().out
