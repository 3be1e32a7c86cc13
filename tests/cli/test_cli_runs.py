"""`fedlab runs` and `fedlab compare`: what the records of a folder say, without data or training."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import fedlab
from fedlab.cli import app
from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.study import compare
from fedlab.study.words import number


def call(*line: str) -> Result:
    return CliRunner().invoke(app, list(line), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, hospitals: Federation) -> tuple[Path, Run, Run]:
    """Two runs, one of them opened, and a study, in folders with awkward names."""
    folder = tmp_path_factory.mktemp("results [of] ä")
    first = fedlab.train(hospitals, "logistic", "fedavg", rounds=2, progress=False)
    second = fedlab.train(hospitals, "mlp", "isolated", rounds=3, lr=0.2, progress=False)
    first.report()
    first.save(folder / "first [bold]")
    second.save(folder / "deep" / "second")
    compare(hospitals, "logistic", ["fedavg", "scaffold"], seeds=2, rounds=1, progress=False, save=folder / "study")
    return folder, first, second


def lines(result: Result) -> dict[str, list[str]]:
    """Cells of each line, by the first."""
    split = [re.split(r" {2,}", line.strip()) for line in result.output.splitlines()]
    return {cells[0]: cells[1:] for cells in split if cells}


def test_runs_lists_what_is_there(results: tuple[Path, Run, Run]) -> None:
    result = call("runs", str(results[0]))
    assert result.exit_code == 0, result.output
    got = lines(result)
    assert got["first [bold]"][:4] == ["run, logistic", "FedAvg()", "heart_disease", "2 of 2"]
    assert got["first [bold]"][-1] == "once" and got["deep/second"][-1] == "no"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d", got["first [bold]"][4])
    assert got["study"][:4] == ["study, logistic, 2 seeds", "fedavg, scaffold", "heart_disease", "1"]
    assert not [name for name in got if "arms" in name]


def test_runs_says_what_is_not_whole(results: tuple[Path, Run, Run], tmp_path: Path) -> None:
    results[2].save(tmp_path / "whole")
    broken = results[2].save(tmp_path / "broken") / "run.json"
    broken.write_bytes(broken.read_bytes()[:100])
    result = call("runs", str(tmp_path))
    assert result.exit_code == 1
    assert lines(result)["broken"] == ["damaged"] and lines(result)["whole"][0] == "run, mlp"
    assert "run.json: it is no JSON" in result.output and "1 of these records cannot be read" in result.output


def test_runs_reads_every_file(results: tuple[Path, Run, Run], tmp_path: Path) -> None:
    shutil.copytree(results[0], tmp_path / "copy")
    for cut in ("deep/second/weights.safetensors", "study/arms/01/weights.safetensors"):
        file = tmp_path / "copy" / cut
        file.write_bytes(file.read_bytes()[:-1])
    result = call("runs", str(tmp_path / "copy"))
    got = lines(result)
    assert result.exit_code == 1 and got["deep/second"] == got["study"] == ["damaged"]
    assert got["first [bold]"][-1] == "once"
    assert result.output.count("weights.safetensors: its sum differs") == 2


def test_runs_says_how_many_arms_are_missing(hospitals: Federation, tmp_path: Path) -> None:
    study = compare(hospitals, algorithms=["fedavg", "scaffold"], seeds=1, rounds=1, progress=False)
    del study.runs["scaffold"]
    study.save(tmp_path / "stopped")
    assert "fedavg (1 of 2 arms missing)" in lines(call("runs", str(tmp_path)))["stopped"]


def test_runs_of_nothing(tmp_path: Path) -> None:
    empty = call("runs", str(tmp_path))
    assert empty.exit_code == 0 and "No records in" in empty.output and "run.save(FOLDER)" in empty.output
    missing = call("runs", str(tmp_path / "no"))
    assert missing.exit_code == 2 and "there is no folder" in missing.output


def test_runs_of_a_record_itself(results: tuple[Path, Run, Run]) -> None:
    assert "first [bold]" in lines(call("runs", str(results[0] / "first [bold]")))


def test_compare_shows_what_differs_and_the_scores(results: tuple[Path, Run, Run]) -> None:
    folder, first, second = results
    result = call("compare", str(folder / "first [bold]"), str(folder / "deep" / "second"))
    assert result.exit_code == 0, result.output
    got = lines(result)
    assert got["algorithm"] == ["FedAvg()", "Isolated()"] and got["model"] == ["logistic", "mlp"]
    assert got["lr"] == ["0.1", "0.2"] and got["rounds"] == ["2", "3"] and "batch_size" not in got
    for site in first.federation.names:
        tables = [run.history[run.history["chosen"]].set_index("site") for run in (first, second)]
        chosen = [table.loc[site] for table in tables]
        assert got[site] == [number(row[metric], 3) for row in chosen for metric in ("auc", "log_loss")]
    assert "test was never opened by B" in result.output and "accuracy" not in got


def test_compare_shows_test_scores_where_both_were_opened(
    results: tuple[Path, Run, Run], hospitals: Federation, tmp_path: Path
) -> None:
    other = fedlab.train(hospitals, "logistic", "isolated", rounds=2, progress=False)
    scores = other.report()
    other.save(tmp_path / "other")
    got = lines(call("compare", str(results[0] / "first [bold]"), str(tmp_path / "other")))
    own = scores[scores["train"] == scores["test"]]
    for metric in ("auc", "log_loss"):
        mean = [table.loc[table["metric"] == metric, "value"].mean() for table in (results[1].report(), own)]
        assert got[metric] == [f"{value:.3f}" for value in mean]


def test_compare_of_the_same_run(results: tuple[Path, Run, Run]) -> None:
    path = str(results[0] / "first [bold]")
    assert "Data, algorithm, settings and versions are the same." in call("compare", path, path).output


def test_compare_refuses_what_is_no_run(results: tuple[Path, Run, Run], tmp_path: Path) -> None:
    folder = results[0]
    study = call("compare", str(folder / "study"), str(folder / "first [bold]"))
    assert study.exit_code == 2 and "is a study: give two runs" in study.output
    missing = call("compare", str(folder / "first [bold]"), str(tmp_path / "none"))
    assert missing.exit_code == 1 and "there is no record" in missing.output
    damaged = results[2].save(tmp_path / "damaged")
    (damaged / "weights.safetensors").unlink()
    told = call("compare", str(damaged), str(folder / "first [bold]"))
    assert told.exit_code == 1 and "weights.safetensors: it is missing" in told.output
