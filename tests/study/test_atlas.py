"""The atlas with a hospital that nobody has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import atlas_map
from fedlab.metrics.scores import bounds
from fedlab.study import over_seeds
from fedlab.study.prevalence import patients_tested

FAST = {"rounds": 3, "resamples": 40, "progress": False, "dtype": "float64"}


@pytest.fixture(scope="module")
def atlas(hospitals: Federation) -> pd.DataFrame:
    return fedlab.atlas(hospitals, seeds=2, holdout="Long Beach", **FAST)


def test_every_model_is_tested_at_the_hospital_held_out_and_none_learns_from_it(atlas: pd.DataFrame) -> None:
    auc = atlas[(atlas["metric"] == "auc") & atlas["holdout"]]
    assert set(auc["test"]) == {"Long Beach"} and not atlas["train"].str.contains("Long Beach").any()
    others = ["Cleveland", "Hungary", "Switzerland"]
    assert auc["train"].tolist() == [*others, "all sites", "all sites"]
    assert auc["arm"].tolist() == ["isolated"] * 3 + ["centralized", "fedavg"]
    assert ((auc["low"] < auc["value"]) & (auc["value"] < auc["high"])).all()
    assert (auc["patients"] == 50).all() and (auc["seeds"] == 2).all()


def test_its_interval_is_over_the_seeds_and_no_mean_of_bounds(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=3, rounds=2, progress=False)
    keys = ["train", "test", "metric"]
    drawn, table = study.report(resamples=30).set_index(keys), study.atlas(resamples=30).set_index(keys)
    for key in [("all sites", "Hungary", "auc"), ("all sites", "Switzerland", "log_loss")]:
        want = over_seeds(drawn.loc[[key], "value"].tolist(), overlap=study.overlap, within=bounds(key[2]))
        rows = drawn.loc[[key]]
        root = (rows["patients"].mean() / patients_tested(study)[key[1]]) ** 0.5
        least = max(want.mean - root * (rows["value"] - rows["low"]).mean(), bounds(key[2])[0])
        most = min(want.mean + root * (rows["high"] - rows["value"]).mean(), bounds(key[2])[1])
        ends = np.fmin(want.low, least), np.fmax(want.high, most)
        assert tuple(table.loc[key, ["value", "sd", "low", "high"]]) == pytest.approx((want.mean, want.sd, *ends))
    plain, wider = study.atlas(), study.atlas(resamples=30)
    pd.testing.assert_frame_equal(plain[["value", "sd"]], wider[["value", "sd"]])
    assert not ((wider["low"] > plain["low"] + 1e-9) | (wider["high"] < plain["high"] - 1e-9)).any()
    alone = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=1, rounds=2, progress=False)
    one, split = (each.set_index(keys) for each in (alone.atlas(resamples=30), alone.report(resamples=30)))
    pd.testing.assert_frame_equal(one[["value", "low", "high", "reason"]], split[["value", "low", "high", "reason"]])
    few = one.loc[("all sites", "Switzerland", "auc")]
    assert few["value"] > 0 and pd.isna(few["low"]) and "fewer than 20 patients of a class" in few["reason"]


def test_its_cells_are_those_of_a_run_without_it(atlas: pd.DataFrame, hospitals: Federation) -> None:
    values = []
    for seed in (0, 1):
        others, late = hospitals.resplit(seed).holdout("Long Beach")
        run = fedlab.train(others, "logistic", "fedavg", rounds=3, seed=seed, dtype="float64", progress=False)
        values.append(run.report(unseen=[late]).set_index(["test", "metric"])["value"]["Long Beach", "log_loss"])
    mine = atlas.query("holdout and arm == 'fedavg' and metric == 'log_loss'")["value"].item()
    assert mine == pytest.approx(sum(values) / 2, abs=1e-9)


def test_a_hospital_from_elsewhere_can_be_held_out(atlas: pd.DataFrame, hospitals: Federation) -> None:
    others, late = hospitals.holdout("Long Beach")
    again = fedlab.atlas(others, seeds=2, holdout=late, **FAST)
    pd.testing.assert_frame_equal(again, atlas)
    elsewhere = replace(late, name="Boston")
    assert "Boston" in set(fedlab.atlas(others, unseen=None, holdout=elsewhere, **FAST).query("holdout")["test"])


def test_what_cannot_be_held_out_is_refused(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="no site 'Boston'"):
        fedlab.atlas(hospitals, holdout="Boston", **FAST)
    with pytest.raises(ValueError, match="called 'Hungary' too: hold it out by its name"):
        fedlab.atlas(hospitals, holdout=hospitals["Hungary"], **FAST)
    with pytest.raises(ValueError, match="the only site"):
        fedlab.atlas(hospitals.select("Hungary"), holdout="Hungary", **FAST)
    site = hospitals["Hungary"]
    narrow = replace(site, name="Boston", rows=replace(site.rows, x=site.rows.x[:, :3]))
    with pytest.raises(ValueError, match="has 3 columns, and the federation 22"):
        fedlab.atlas(hospitals, holdout=narrow, **FAST)


def test_without_one_no_cell_is_held_out(hospitals: Federation) -> None:
    assert not fedlab.atlas(hospitals, algorithms=["fedavg"], unseen=None, **FAST)["holdout"].any()


def test_its_column_is_the_last_and_says_so(atlas: pd.DataFrame, hospitals: Federation) -> None:
    figure = atlas_map(atlas, federation=hospitals)
    labels = figure.layout.xaxis.ticktext
    assert labels[3] == "Long Beach<br>n = 50, seen by none" and not any("none" in label for label in labels[:3])
    assert "at Long Beach, which none has seen, pooled" in figure.layout.title.text.replace("<br>", " ")
    value = atlas.query("metric == 'auc' and holdout and arm == 'fedavg'")["value"].item()
    rows = list(figure.layout.yaxis.ticktext)
    assert [figure.data[0].z[y][3] for y, row in enumerate(rows) if "FedAvg" in row] == [value, value]
    assert any(shape.type == "line" and shape.x0 == shape.x1 == 2.5 for shape in figure.layout.shapes)


def test_a_cell_away_from_home_says_how_far_it_falls(atlas: pd.DataFrame) -> None:
    figure = atlas_map(atlas)
    cell = {(a.x, a.y): a.text for a in figure.layout.annotations if a.xref != "paper"}
    auc = atlas[atlas["metric"] == "auc"].set_index(["arm", "train", "test"])["value"]
    fall = auc["isolated", "Switzerland", "Cleveland"] - auc["isolated", "Cleveland", "Cleveland"]
    assert fall < 0 and f"(−{abs(fall):.2f})" in cell[0, 2]
    assert "(" not in cell[0, 0] and "(" not in cell[3, 0]  # at home; and where nobody is at home


def test_what_no_arm_has_is_a_dash(atlas: pd.DataFrame) -> None:
    without = atlas[~(atlas["holdout"] & (atlas["arm"] == "fedavg"))]
    assert [a.text for a in atlas_map(without).layout.annotations].count("–") == 2
