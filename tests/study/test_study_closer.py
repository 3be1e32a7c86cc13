"""Calibration and subgroups over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import METRICS, Federation
from fedlab.study import Study, over_seeds
from fedlab.study.prevalence import patients_tested
from fedlab.study.splits import ALIKE


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    return fedlab.compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=4, rounds=3, progress=False)


def test_calibration_is_that_of_every_run(study: Study) -> None:
    table = study.calibration(bins=5)
    for arm, runs in study.runs.items():
        for seed, run in zip(study.seeds, runs, strict=True):
            part = table[(table["arm"] == arm) & (table["seed"] == seed)].drop(columns=["arm", "seed"])
            pd.testing.assert_frame_equal(part.reset_index(drop=True), run.calibration(bins=5))


def test_the_summary_is_over_seeds_and_of_one_seed_that_of_its_patients(study: Study, hospitals: Federation) -> None:
    keys = ["arm", "train", "test", "measure"]
    table = study.calibration_summary().set_index(keys)
    each = [run.calibration_summary().set_index(keys[1:]) for run in study.runs["fedavg"]]
    for measure, within in [("slope", (-np.inf, np.inf)), ("observed_to_expected", (0.0, np.inf))]:
        rows = pd.DataFrame([one.loc[("all sites", "Cleveland", measure)] for one in each])
        got = table.loc[("fedavg", "all sites", "Cleveland", measure)]
        t = over_seeds(rows["value"].tolist(), overlap=study.overlap, within=within)
        root = math.sqrt(rows["patients"].mean() / patients_tested(study)["Cleveland"])
        least = (
            t.mean - root * (rows["value"] - rows["low"]).mean(),
            t.mean + root * (rows["high"] - rows["value"]).mean(),
        )
        want = (t.mean, t.sd, min(t.low, least[0]), max(t.high, least[1]))
        assert tuple(got[["value", "sd", "low", "high"]]) == pytest.approx(want) and got["seeds"] == 4
        assert got["calibrated"] == 1
    error = table.xs("ece", level="measure")
    assert error["value"].notna().all() and error[["low", "high"]].isna().all(axis=None)
    chance = [one.loc[("all sites", "Cleveland", "ece"), "calibrated"] for one in each]
    assert (
        error.loc[("fedavg", "all sites", "Cleveland"), "calibrated"] == pytest.approx(np.mean(chance))
        and chance[0] > 0
    )
    few = table.loc[("fedavg", "all sites", "Switzerland", "slope")]
    assert np.isnan(few["value"]) and few["reason"] == "4 of 4 seeds: fewer than 20 patients of a class"
    single = fedlab.compare(hospitals, "logistic", ["fedavg"], seeds=1, rounds=2, progress=False)
    columns = ["value", "low", "high", "calibrated", "reason"]
    alone, split = single.calibration_summary(), single.runs["fedavg"][0].calibration_summary()
    pd.testing.assert_frame_equal(alone[columns], split[columns])
    assert single.test_openings == 1 and single.calibration_summary().equals(alone) and single.test_openings == 1


def test_subgroups_are_means_over_seeds_with_the_corrected_interval(study: Study) -> None:
    table = study.subgroups(by="sex").set_index(["arm", "test", "group", "metric"])
    each = [run.subgroups(by="sex").set_index(["test", "group", "metric"]) for run in study.runs["fedavg"]]
    values = [one.loc[("Cleveland", "male", "auc"), "value"] for one in each]
    got = table.loc[("fedavg", "Cleveland", "male", "auc")]
    want = over_seeds(values, overlap=study.overlap, within=(0.0, 1.0))
    assert tuple(got[["mean", "sd", "low", "high"]]) == pytest.approx(tuple(want)) and got["seeds"] == 4
    assert got["patients"] == np.mean([one.loc[("Cleveland", "male", "auc"), "patients"] for one in each])
    assert got["reason"] == ""
    assert set(table.index.get_level_values("metric")) == set(METRICS)


def test_seeds_without_a_score_are_counted_and_too_many_of_them_leave_none(study: Study) -> None:
    table = study.subgroups(by="age", bands=[50, 60])
    assert table.loc[table["seeds"] < 2, "mean"].isna().all() and table.loc[table["seeds"] >= 2, "mean"].notna().all()
    missing = table[table["seeds"] < 4]
    assert set(missing["seeds"]) > {0} and set(table.loc[table["seeds"] == 4, "reason"]) <= {"", ALIKE}
    alike = table["reason"] == ALIKE
    assert (table.loc[alike, "sd"] == 0).all() and table.loc[alike, ["low", "high"]].isna().all(axis=None)
    said = (4 - missing["seeds"]).astype(str) + " of 4 seeds: "
    assert all(reason.startswith(start) for reason, start in zip(missing["reason"], said, strict=True))


def test_looks_are_counted_and_a_refused_one_is_not(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, "logistic", ["fedavg"], seeds=2, rounds=1, progress=False)
    with pytest.raises(ValueError, match="no column 'race'"):
        study.subgroups(by="race")
    assert study.test_openings == 0
    assert study.subgroups(by="sex").equals(study.subgroups(by="sex")) and study.test_openings == 1
    assert study.calibration().equals(study.calibration()) and study.test_openings == 2
