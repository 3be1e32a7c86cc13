"""A closer look at the held-out test: thresholds, calibration and subgroups of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk

import fedlab
from fedlab.engine import Run
from fedlab.federation import METRICS, Federation, Split
from fedlab.metrics.auc_interval import auc_interval
from fedlab.metrics.benefit import net_benefit
from fedlab.metrics.calibration import calibration
from fedlab.metrics.scores import CHOSEN, NEEDS_EVERY_CLASS, NEEDS_TWO_CLASSES


@pytest.fixture(scope="module")
def run(hospitals: Federation) -> Run:
    return fedlab.train(hospitals, "logistic", "fedavg", rounds=5, progress=False, dtype="float64")


@pytest.fixture(scope="module")
def isolated(hospitals: Federation) -> Run:
    return fedlab.train(hospitals, "logistic", "isolated", rounds=5, progress=False, dtype="float64")


def told(run: Run, site: str, part: str, owner: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of the positive class, through the public model."""
    rows = getattr(run.federation[site], part)
    with torch.no_grad():
        return rows.y.numpy(), torch.sigmoid(run.model(owner)(rows.x))[:, 0].numpy()


def test_the_threshold_is_chosen_on_the_valid_rows_of_the_site_that_tests(isolated: Run) -> None:
    got = isolated.report().query(f"metric == '{CHOSEN}'").set_index(["train", "test"])["value"]
    for owner, site in [("Cleveland", "Cleveland"), ("Cleveland", "Hungary"), ("Long Beach", "Cleveland")]:
        y, p = told(isolated, site, "valid", owner)
        worth = {t: sk.balanced_accuracy_score(y, p >= t) for t in [*p.tolist(), 0.5]}
        best = [t for t, value in worth.items() if value >= max(worth.values()) - 1e-12]
        threshold = min(best, key=lambda t: abs(t - 0.5))
        y, p = told(isolated, site, "test", owner)
        assert got[owner, site] == pytest.approx(sk.balanced_accuracy_score(y, p >= threshold - 1e-9)), (owner, site)


def test_a_report_has_every_metric_and_intervals(run: Run) -> None:
    got = run.report(resamples=60)
    assert set(got["metric"]) == set(METRICS)
    inside = got[got["test"] == "Cleveland"]
    assert (inside["low"] <= inside["value"]).all() and (inside["value"] <= inside["high"]).all()
    assert (inside["low"] < inside["high"]).all() and (inside["reason"] == "").all()
    few = got[(got["test"] == "Long Beach") & got["metric"].isin(NEEDS_EVERY_CLASS)]
    assert (few["fewest"] < 20).all() and few["value"].notna().all() and few[["low", "high"]].isna().all(axis=None)
    assert few["reason"].str.contains("fewer than 20 patients of a class: no interval").all()


def test_the_interval_of_an_auc_is_that_of_the_module(run: Run) -> None:
    row = run.report(resamples=60).query("test == 'Cleveland' and metric == 'auc'").iloc[0]
    y, p = told(run, "Cleveland", "test")
    assert tuple(row[["value", "low", "high"]]) == pytest.approx(auc_interval(y, p)[:3], abs=1e-9)
    assert run.report(resamples=7).query("test == 'Cleveland' and metric == 'auc'")["low"].item() == row["low"]


def test_one_class_on_valid_is_the_reason() -> None:
    rows, generator = np.arange(40), torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=generator)
    y = (rows % 2).astype(np.int64)
    y[24:30] = 1
    split = Split(rows[:24], rows[24:30], rows[30:])
    fed = Federation.from_tensors({"A": (x, torch.from_numpy(y))}, splits={"A": split})
    got = fedlab.train(fed, rounds=2, progress=False).report().set_index("metric")
    assert np.isnan(got.loc[CHOSEN, "value"]) and "6 valid patients are of one class" in got.loc[CHOSEN, "reason"]
    assert got.drop(CHOSEN)["value"].notna().all()


def test_calibration_is_that_of_the_predictions(run: Run) -> None:
    table = run.calibration(bins=4)
    assert list(table["bin"]) == [1, 2, 3, 4] * 4
    y, p = told(run, "Hungary", "test")
    for row in table.query("test == 'Hungary'").to_dict("records"):
        inside = (p >= row["low"]) & (p < row["high"])
        assert row["patients"] == inside.sum() and row["uncertain"] == (inside.sum() < 10)
        assert (row["predicted"], row["observed"]) == pytest.approx((p[inside].mean(), y[inside].mean()), abs=1e-9)


def test_calibration_gives_the_reported_error(isolated: Run, hospitals: Federation) -> None:
    table = isolated.calibration()
    ece = isolated.calibration_summary().query("measure == 'ece'").set_index(["train", "test"])["value"]
    once = [s.name for s in hospitals.sites if len(s.test.patients.first) == len(s.test)]  # bins count patients
    known = table[table["test"].isin(once)]
    assert known["test"].nunique() >= 3
    for key, rows in known.groupby(["train", "test"]):
        assert rows["error"].unique() == pytest.approx([ece[key]])
        gap = (rows["patients"] * (rows["predicted"] - rows["observed"]).abs()).sum() / rows["patients"].sum()
        together = rows["reason"].str.startswith("put together").any()  # within a bin that was widened, gaps even out
        assert gap <= ece[key] + 1e-12 if together else gap == pytest.approx(ece[key])
    assert any(rows["reason"].str.startswith("put together").any() for _, rows in table.groupby("test"))


def test_subgroups_are_those_patients_and_the_site_s_threshold(run: Run) -> None:
    table = run.subgroups(by="sex").set_index(["test", "group", "metric"])
    site = run.federation["Cleveland"]
    male = site.test.x[:, run.federation.columns.index("sex=1")].numpy() == 1
    y, p = told(run, "Cleveland", "test")
    row = table.loc[("Cleveland", "male", "auc")]
    assert row["value"] == pytest.approx(sk.roc_auc_score(y[male], p[male]))
    assert row["patients"] == male.sum() and row["fewest"] == min(y[male].sum(), (1 - y[male]).sum())
    assert table.loc[("Cleveland", "female", "accuracy"), "value"] == pytest.approx(((p > 0.5) == y)[~male].mean())
    worth = table.xs("accuracy", level="metric").groupby("test", sort=False)["patients"].sum()
    assert worth.to_dict() == {site.name: len(site.test.patients.first) for site in run.federation.sites}


def test_a_group_too_small_has_its_count_and_a_reason(run: Run) -> None:
    table = run.subgroups(by="sex", smallest=10, fewest=5)
    few = table[(table["patients"] < 10)]
    assert len(few) and few["value"].isna().all() and few["reason"].str.contains("at least 10 needed").all()
    rare = table[(table["patients"] >= 10) & (table["fewest"] < 5)]
    needs = rare["metric"].isin(NEEDS_EVERY_CLASS)
    assert len(rare) and rare[needs]["value"].isna().all() and rare[~needs]["value"].notna().all()
    assert rare[needs]["reason"].str.contains("patients (?:healthy|ill): at least 5 of each class needed").all()
    assert (rare[~needs]["reason"] == "").all()
    looser = run.subgroups(by="sex", smallest=1, fewest=1)
    assert looser["value"].notna().sum() > table["value"].notna().sum()


def test_age_bands_and_those_not_known(run: Run) -> None:
    age = run.subgroups(by="age", bands=[50, 60], resamples=30)
    assert age["group"].unique().tolist() == ["under 50", "50 to under 60", "60 and over"]
    site = run.federation["Cleveland"]  # whose patients have one row each
    years = site.test.x[:, run.federation.columns.index("age")].numpy()
    counts = age.query("test == 'Cleveland' and metric == 'auc'").set_index("group")["patients"].to_dict()
    assert counts == {"under 50": (years < 50).sum(), "50 to under 60": ((years >= 50) & (years < 60)).sum(),
                      "60 and over": (years >= 60).sum()}  # fmt: skip
    enough = (age["patients"] >= 20) & ((age["fewest"] >= 20) | ~age["metric"].isin(NEEDS_EVERY_CLASS))
    assert age[enough]["low"].notna().all() and age[~enough]["low"].isna().all() and set(enough) == {True, False}
    assert age[~enough]["reason"].str.contains("fewer than 20 patients|at least").all()
    assert "not known" in set(run.subgroups(by="ca")["group"])


def test_each_look_is_counted_once_and_a_refused_one_is_not(hospitals: Federation) -> None:
    run = fedlab.train(hospitals, rounds=1, progress=False)
    for options in ({"by": "race"}, {"by": "age"}, {"by": "sex", "smallest": 0}, {"by": "sex", "fewest": -1}):
        with pytest.raises(ValueError):
            run.subgroups(**options)
    with pytest.raises(ValueError, match="bins is 0"):
        run.calibration(bins=0)
    assert run.test_openings == 0
    assert run.calibration().equals(run.calibration()) and run.test_openings == 1
    assert run.subgroups(by="sex").equals(run.subgroups(by="sex")) and run.test_openings == 2
    run.subgroups(by="sex", smallest=20)
    assert run.test_openings == 3
    mine = run.calibration()
    mine["patients"] = 0
    assert run.calibration()["patients"].sum() > 0


def several_classes(n: int = 150) -> Federation:
    generator = torch.Generator().manual_seed(0)
    rows = pd.DataFrame(torch.randn(2 * n, 3, generator=generator).numpy(), columns=["a", "b", "c"])
    rows["kind"] = rows[["a", "b", "c"]].to_numpy().argmax(1)
    rows["ward"], rows["sex"] = ["A", "B"] * n, ["f", "f", "m", "m"] * (n // 2)
    return Federation.from_frame(rows, site="ward", label="kind")


def test_several_classes_say_what_is_not_defined() -> None:
    run = fedlab.train(several_classes(), rounds=5, lr=0.5, progress=False)
    report = run.report()
    assert set(report[report["value"].isna()]["metric"]) == NEEDS_TWO_CLASSES
    assert report[report["value"].isna()]["reason"].str.contains("two classes; this one has 3").all()
    assert run.calibration()["patients"].sum() == sum(len(site.test) for site in run.federation.sites)
    groups = run.subgroups(by="sex", smallest=1, fewest=1)
    assert set(groups["group"]) == {"f", "m"} and set(groups[groups["value"].isna()]["metric"]) == NEEDS_TWO_CLASSES


def broken(run: Run) -> Any:
    run.weights = {name: value * float("nan") for name, value in run.weights.items()}
    return run


def test_a_model_that_predicts_nan_says_so(hospitals: Federation) -> None:
    run = broken(fedlab.train(hospitals, rounds=1, progress=False))
    for table in (run.report(), run.calibration()):
        assert set(table["reason"]) == {"the model predicts NaN"}
    assert run.calibration()["observed"].isna().all() and set(run.calibration()["patients"]) == {0}
    large = run.subgroups(by="sex", smallest=1, fewest=1).query("patients > 0 and metric == 'accuracy'")
    assert large["value"].isna().all() and set(large["reason"]) == {"the model predicts NaN"}


# --------------------------------------------------------------------------- calibration and decisions


def test_calibration_measures_are_those_of_the_predictions(run: Run) -> None:
    table = run.calibration_summary().set_index(["test", "measure"])
    y, p = told(run, "Cleveland", "test")
    want = calibration(y, np.stack([1 - p, p], axis=1))
    for name, measure in want.items():
        got = table.loc[("Cleveland", name)]
        assert tuple(got[["value", "low", "high", "calibrated"]]) == pytest.approx(measure[:4], abs=1e-9, nan_ok=True)
    few = table.loc[("Switzerland", "slope")]
    assert np.isnan(few["value"]) and few["reason"] == "fewer than 20 patients of a class" and few["fewest"] == 2
    error = table.xs("ece", level="measure")
    assert len(error) == 4 and error[["value", "calibrated", "calibrated_high"]].notna().all(axis=None)


def test_decisions_are_those_of_the_predictions_and_opening_is_counted(hospitals: Federation) -> None:
    run = fedlab.train(hospitals, rounds=2, progress=False, dtype="float64")
    for wrong in (0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            run.decisions(threshold=wrong)
    with pytest.raises(TypeError):
        run.decisions()
    assert run.test_openings == 0
    table = run.decisions(threshold=0.3)
    assert run.decisions(threshold=0.3).equals(table) and run.test_openings == 1
    assert run.calibration_summary().equals(run.calibration_summary()) and run.test_openings == 2
    y, p = told(run, "Hungary", "test")
    rows = table.query("test == 'Hungary' and measure == 'net_benefit'")
    assert rows["value"].tolist() == pytest.approx([net_benefit(y, p, at) for at in rows["threshold"]])
    assert table.loc[table["named"], "threshold"].unique().tolist() == [0.3]
    few = table[table["fewest"] < 20]
    assert few["value"].isna().all() and set(few["reason"]) == {"fewer than 20 patients of a class"}


def test_of_several_classes_there_is_no_decision_and_no_slope() -> None:
    run = fedlab.train(several_classes(), rounds=1, progress=False)
    with pytest.raises(ValueError, match="need a task of two classes, and this one has 3"):
        run.decisions(threshold=0.2)
    table = run.calibration_summary()
    assert table.loc[table["measure"] != "ece", "reason"].str.contains("this one has 3").all()
    auc = run.report(resamples=20).query("metric == 'auc'")
    assert auc["value"].notna().all() and auc["reason"].str.contains("mean of the AUCs of 3 classes").all()
