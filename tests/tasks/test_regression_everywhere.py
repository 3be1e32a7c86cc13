"""A quantity is compared, judged, reported and drawn; what is of classes alone is refused with a sentence."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import fedlab
from fedlab import figures
from fedlab.cli import app
from fedlab.federation import ConceptShift, LabelShift, QuantityShift, Shifts
from fedlab.study import Study
from fedlab.workbench import RunPanel, ShiftStudio, results
from tests.tasks.wards_of_stay import stays, wards

FAST = {"rounds": 3, "progress": False}
METRICS = ["r2", "mae", "rmse", "mse"]


@pytest.fixture(scope="module")
def study() -> Study:
    """Three arms, three seeds, one small hospital."""
    return fedlab.compare(wards((120, 80, 60, 12)), seeds=3, rounds=8, progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A report's page as text, its JSON and its CSV."""
    folder = tmp_path_factory.mktemp("report")
    paths = {kind: folder / f"r.{kind}" for kind in ("html", "json", "csv")}
    federation = wards((120, 80, 60, 12))
    fedlab.report(federation, paths["html"], seeds=2, rounds=4, json=paths["json"], csv=paths["csv"], holdout="W2",
           progress=False)  # fmt: skip
    return {kind: path.read_text(encoding="utf-8") for kind, path in paths.items()}


def page_text(made: dict[str, str]) -> str:
    bare = re.sub(r"<(script|style).*?</\1>", "", made["html"], flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare)))


# --------------------------------------------------------------------------- the study


def test_a_study_is_judged_by_the_squared_error(study: Study) -> None:
    assert study.primary == "mse" and study.model_name == "linear"
    table = study.table().set_index(["arm", "where", "metric"])
    assert list(dict.fromkeys(table.index.get_level_values("metric"))) == METRICS
    assert table.loc[("fedavg", "everywhere", "mse"), "mean"] < table.loc[("isolated", "everywhere", "mse"), "mean"]
    told = study.verdict(also=["r2", "mae"])
    assert told.startswith("By mean squared error (how far predictions are off, large errors most, lower is better)")
    assert "The round is chosen by mean squared error on valid" in told and "log loss" not in told
    assert "of a class" not in told
    assert all(metric in study._repr_html_() for metric in METRICS)


def test_a_run_reports_intervals_over_patients(study: Study) -> None:
    scores = study.runs["fedavg"][0].report(resamples=1).set_index(["test", "metric"])
    for metric in METRICS:
        row = scores.loc[("W0", metric)]
        assert row["low"] < row["value"] < row["high"]
        assert "fewer than 20 patients" in scores.loc[("W3", metric), "reason"]
    assert (scores["fewest"] == scores["patients"]).all()


def test_an_r2_of_patients_of_one_value_says_why_there_is_none() -> None:
    table = stays((40, 40))
    table.loc[table["ward"] == "W1", "stay"] = 5.0
    made = fedlab.Federation.from_frame(table, site="ward", label="stay", task="regression")
    study = fedlab.compare(made, algorithms=["isolated", "fedavg"], seeds=2, **FAST)
    gone = study.table().query("where == 'everywhere' and metric == 'r2'")["reason"].iloc[0]
    assert "without W1" in gone and "one value" in gone


def test_settings_are_tuned_by_the_squared_error() -> None:
    study = fedlab.compare(wards(), algorithms=["fedavg"], seeds=2, tune={"lr": [0.001, 0.1, 0.2]}, **FAST)
    chosen = study.trials.groupby("seed").apply(lambda t: bool(t.loc[t["mse"].idxmin(), "chosen"]))
    assert chosen.all()


def test_the_last_look_has_intervals() -> None:
    locked = wards(seed=5).lock(0.3)  # of whom nobody has looked at a patient
    study = fedlab.compare(locked, algorithms=["isolated", "fedavg"], seeds=2, **FAST)
    found = study.final()
    row = found[(found["arm"] == "fedavg") & (found["where"] == "everywhere")].set_index("metric")
    assert row.index.tolist() == METRICS
    assert ((row["low"] < row["value"]) & (row["value"] < row["high"])).all()


def test_a_study_is_kept(study: Study, tmp_path: Path) -> None:
    study.save(tmp_path / "s")
    again = Study.load(tmp_path / "s", study.federation)
    assert again.primary == "mse"
    pd.testing.assert_frame_equal(again.table(), study.table())


def test_what_is_of_classes_is_refused(study: Study) -> None:
    run, federation = study.runs["fedavg"][0], study.federation
    asked = {
        "calibration": [run.calibration, run.calibration_summary, study.calibration, study.calibration_summary],
        "decisions": [lambda: run.decisions(threshold=0.2), lambda: study.decisions(threshold=0.2)],
        "DeLong": [lambda: study.delong("fedavg", "isolated")],
        "logit": [lambda: study.random_effects(), lambda: study.random_effects(metric="accuracy")],
        "kinds of difference": [lambda: fedlab.explain(federation, seeds=2, **FAST)],
        "r2, mae, rmse, mse": [lambda: fedlab.compare(federation, primary="auc", seeds=2, **FAST)],
        "LabelShift": [lambda: federation.shift(Shifts({"W0": [LabelShift(0.5)]}))],
        "ConceptShift": [lambda: federation.shift(Shifts({"W0": [ConceptShift(0.5)]}))],
        "no risk to act on": [lambda: fedlab.report(federation, threshold=0.2, progress=False)],
    }
    before = run.test_openings
    for what, asks in asked.items():
        for ask in asks:
            with pytest.raises(ValueError, match="a regression of 'stay'") as error:
                ask()
            assert what in str(error.value)
    assert run.test_openings == before


def test_a_metric_of_quantities_is_refused_for_classes() -> None:
    with pytest.raises(ValueError, match="a binary task of 2 classes has auc"):
        fedlab.compare(fedlab.load("heart_disease"), primary="mae", seeds=2, **FAST)


def test_planted_shifts_are_explained_by_the_squared_error() -> None:
    shifts = Shifts({"W0": [QuantityShift(0.8)]})
    found = fedlab.explain(wards(), shifts=shifts, seeds=2, **FAST)
    assert found.metric == "mse"
    assert found.table()["kind"].tolist() == ["quantity", "residual"]


def test_differences_between_hospitals_are_measured_in_the_agreed_scale() -> None:
    apart = stays((150, 150))
    apart.loc[apart["ward"] == "W1", "stay"] += 4
    alike, shifted = (
        fedlab.heterogeneity(
            fedlab.Federation.from_frame(t, site="ward", label="stay", task=fedlab.Regression("stay", 8, 2)),
            progress=False,
        ).table()
        for t in (stays((150, 150)), apart)
    )
    assert shifted["label"].min() > 2 * alike["label"].max()
    assert shifted["concept"].isna().all()


def test_more_data_are_worth_a_lower_error() -> None:
    curve = fedlab.learning_curve(wards(), seeds=2, sites=[], rows=[8, 64], **FAST)
    assert all(metric in curve._repr_html_() for metric in ("r2", "mae", "rmse"))
    assert figures.more_data(curve).layout.yaxis.title.text.startswith("R²")


# --------------------------------------------------------------------------- the page


def test_a_report_says_nothing_of_classes_that_there_are_not(made: dict[str, str]) -> None:
    text = page_text(made)
    for word in ("AUC", "log loss", "accuracy", "NaN", " nan", "Brier", "probabilit"):
        assert word not in text, text[max(0, text.index(word) - 80) : text.index(word) + 80]
    for word in ("R²", "MAE", "RMSE", "mean squared error", "how much better can they predict “stay”",
                 "Left out: calibration and decisions are of the risks", "A regression of 'stay'"):  # fmt: skip
        assert word in text
    assert "mean stay" in text and "sd stay" in text


def test_the_files_of_a_report_have_all_metrics(made: dict[str, str]) -> None:
    numbers = json.loads(made["json"])
    assert numbers["primary"] == "mse" and numbers["calibration"] == [] and numbers["decisions"] == []
    assert set(numbers["arms"]["fedavg"]["everywhere"]) == set(METRICS)
    assert "regression" in numbers["over_hospitals"]["reason"]
    scores = pd.read_csv(pd.io.common.StringIO(made["csv"]))
    assert set(scores["metric"]) == set(METRICS)


def test_few_patients_leave_no_score_and_no_mean(made: dict[str, str]) -> None:
    """A hospital of twelve has three test patients: neither their errors nor what would tell of them leaves it."""
    scores = pd.read_csv(pd.io.common.StringIO(made["csv"]))
    few = scores[scores["test"] == "W3"]
    assert len(few) and few["value"].isna().all() and (few["patients"].astype(str) == "<5").all()


# --------------------------------------------------------------------------- figures, panel, command line


def test_figures_are_drawn_of_a_quantity(study: Study) -> None:
    run = study.runs["fedavg"][0]
    assert figures.learning_curves(run).layout.yaxis.title.text.startswith("mean squared error")
    assert figures.learning_curves(run, "r2").layout.yaxis.title.text.startswith("R²")
    with pytest.raises(ValueError, match="computes mse and r2 after each round, not 'auc'"):
        figures.learning_curves(run, "auc")
    figures.seed_bands(study.runs["fedavg"])
    assert "R²" in figures.atlas_map(study.atlas(), federation=study.federation).layout.title.text
    figures.who_gains(study)
    with pytest.raises(ValueError, match="no metric 'auc'; known are r2, mae, rmse, mse"):
        figures.who_gains(study, "auc")
    with pytest.raises(ValueError, match="no metric 'auc'; known are r2, mae, rmse, mse"):
        study.verdict(also="auc")
    with pytest.raises(ValueError, match="auc"):
        study.pairs(metric="auc")
    figures.subgroup_scores(study.subgroups(by="sex"))
    shifted = study.federation.shift(Shifts({"W0": [QuantityShift(0.5)]}))
    drawn = figures.before_after(study.federation, shifted)
    assert "mean stay" in [note.text for note in drawn.layout.annotations]


def test_a_panel_trains_on_a_quantity() -> None:
    panel = RunPanel(wards((120, 80, 60, 12)))
    assert panel.controls.model.value == "linear" and "logistic" not in panel.controls.model.options
    assert [value for _, value in panel.metric.options] == ["mse", "r2"]
    panel.controls.numbers["rounds"].value = 3
    panel.start()
    panel.wait()
    assert len(panel.run.records) == 3 and "best mean squared error on valid" in panel.status.value
    assert "AUC" not in panel.table.value and "R²" in panel.table.value
    assert '"linear"' in panel.code
    assert "MAE" in results.on_test(panel.runs)
    panel.reset()
    assert panel.controls.model.value == "linear"


def test_the_studio_says_which_dials_are_of_classes() -> None:
    studio = ShiftStudio(wards())
    studio.controls.numbers["rounds"].value = 2
    studio.dials.turn("W1", quantity=0.4)
    studio.wait()
    assert len(studio.run.records) == 2
    studio.dials.turn("W1", label=0.4)
    assert "LabelShift" in studio.alert.value and "regression" in studio.alert.value


def test_the_command_line_reports_a_quantity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stays().to_csv("stays.csv", index=False)
    words = ["report", "stays.csv", "--site", "ward", "--label", "stay", "--seeds", "2", "--rounds", "2",
             "--algorithms", "isolated,fedavg"]  # fmt: skip
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code != 0 and "--task" in refused.output and "regression" in refused.output
    done = CliRunner().invoke(app, [*words, "--task", "regression"])
    assert done.exit_code == 0, done.output
    assert "R²" in done.output
    page = Path("report.html").read_text(encoding="utf-8")
    assert "--task regression" in page and "--primary mse" in page and "--model linear" in page
