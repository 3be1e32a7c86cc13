"""The commands as a user types them: what they print, write, refuse, and how they end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

import data_recipes
from data_recipes.files import DataFile
from fedlab.cli import doctor, environment
from fedlab.federation import METRICS
from tests.cli.called import call

SITES = ["Cleveland", "Hungary", "Switzerland", "Long Beach"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, Result]:
    """Two seeds, two rounds: every part of the report, little training."""
    folder = tmp_path_factory.mktemp("report with ä space")
    page, numbers = folder / "report.html", folder / "numbers.json"
    line = ["heart_disease", "--seeds", "2", "--rounds", "2", "-o", str(page), "--json", str(numbers)]
    result = call("report", *line, "--algorithms", "isolated,centralized,fedavg,fedprox")
    assert result.exit_code == 0, result.output
    return page, json.loads(numbers.read_text()), result


def test_help_names_the_commands_and_gives_examples() -> None:
    assert all(word in call("--help").output for word in ("doctor", "fetch", "report"))
    for command in ("doctor", "fetch", "report"):
        assert f"fedlab {command}" in call(command, "--help").output.split("Example")[1]


# ---------------------------------------------------------------- report


def test_the_json_has_the_stated_form(short: tuple[Path, dict, Result]) -> None:
    numbers = short[1]
    assert list(numbers["arms"]) == ["isolated", "centralized", "fedavg", "fedprox"]
    for arm in numbers["arms"].values():
        assert list(arm["sites"]) == SITES
        for place in (arm["everywhere"], arm["home"], arm["home_large"], *arm["sites"].values()):
            assert set(place) == set(METRICS) and {"mean", "sd", "low", "high"} <= set(place["auc"])
    own = numbers["atlas"]["isolated"]
    assert all(set(own[train]) == set(SITES) for train in SITES)
    assert set(numbers["atlas"]["fedavg"]) == {"all sites", *(f"all but {site}" for site in SITES)}
    assert numbers["seeds"] == [0, 1] and numbers["versions"]["torch"] and len(numbers["fingerprint"]) == 64


def test_the_numbers_are_those_of_compare(short: tuple[Path, dict, Result]) -> None:
    import fedlab

    study = fedlab.compare(fedlab.load("heart_disease"), "logistic", ["fedavg"], seeds=2, rounds=2, progress=False)
    mine = study.table().set_index(["where", "metric"])["mean"]
    told = short[1]["arms"]["fedavg"]
    assert told["everywhere"]["log_loss"]["mean"] == mine["everywhere", "log_loss"]
    assert told["sites"]["Hungary"]["auc"]["mean"] == mine["Hungary", "auc"]
    large = [mine[site, "auc"] for site in SITES if site != "Switzerland"]  # two healthy test patients: no headline
    assert told["everywhere"]["auc"]["mean"] == pytest.approx(sum(large) / 3, abs=1e-12)


def test_the_page_is_one_file_with_all_parts(short: tuple[Path, dict, Result]) -> None:
    text = short[0].read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:|#)", text)
    assert "10.24432/C52P4X" in text and "CC BY 4.0" in text and short[1]["fingerprint"] in text
    for part in ("The sites", "The gap", "Who gains at home", "Train here, test there", "Would more data help", "Cost"):
        assert part in text
    assert text.count("Plotly.newPlot(") >= 3 and text.count("plotly.js v") <= 2
    assert "@media print" in text and "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower().split()


@pytest.mark.parametrize(
    "line,sentence",
    [
        (["hart_disease"], "no recipe 'hart_disease'.*did you mean 'heart_disease'"),
        (["heart_disease", "--algorithms", "fedavgg"], "no algorithm 'fedavgg'"),
        (["heart_disease", "--algorithms", "fedavg,fedavg"], "named twice"),
        (["heart_disease", "--model", "cnn"], "no model 'cnn'"),
        (["heart_disease", "--seeds", "0"], "0 is not in the range"),
        (["heart_disease", "-o", "/no/such/folder/x.html"], "no folder"),
        (["heart_disease", "-o", "x.html", "--json", "x.html"], "different names"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_code_two(
    line: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("report", *line)
    assert result.exit_code == 2 and re.search(sentence, " ".join(result.output.split()))
    assert "Traceback" not in result.output and not list(tmp_path.iterdir())


def test_an_interrupt_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedlab.report.measured.compare", interrupted)
    result = call("report", "heart_disease", "-o", str(tmp_path / "r.html"))
    assert result.exit_code == 130 and "no report was written" in result.output and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_report_of_the_four_hospitals(tmp_path: Path) -> None:
    numbers = tmp_path / "n.json"
    result = call("report", "heart_disease", "--seeds", "10", "-o", str(tmp_path / "r.html"), "--json", str(numbers))
    assert result.exit_code == 0, result.output
    content = json.loads(numbers.read_text())
    isolated, pooled, fed = (
        content["arms"][arm]["everywhere"]["auc"]["mean"] for arm in ("isolated", "centralized", "fedavg")
    )
    assert min(pooled, fed) >= isolated + 0.03 and abs(pooled - fed) <= 0.02
    own = content["atlas"]["isolated"]
    assert own["Switzerland"]["Cleveland"]["auc"]["mean"] <= own["Cleveland"]["Cleveland"]["auc"]["mean"] - 0.05
    shared = content["atlas"]["fedavg"]
    told = [site for site in SITES if site != "Switzerland"]  # of two healthy test patients no AUC leaves
    assert shared["all sites"]["Switzerland"]["auc"]["mean"] is None
    lost = [shared["all sites"][site]["auc"]["mean"] - shared[f"all but {site}"][site]["auc"]["mean"] for site in told]
    assert sum(lost) / len(lost) <= 0.03


# ---------------------------------------------------------------- doctor and fetch


def warned() -> str:
    return " ".join(f"{f.what}: {f.said}" for f in environment.findings() if f.state == "warning")


def test_the_doctor_sees_another_package_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "fedlab-1.3.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: fedlab\nVersion: 1.3.0\n")
    (other / "RECORD").write_text("fedlab/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert re.search(r"import fedlab: also installed by fedlab, someone else's: .*pip uninstall fedlab", warned())
    monkeypatch.setattr(doctor, "ROUNDS", 1)
    result = call("doctor")
    assert result.exit_code == 0 and "warning" in result.output


def test_the_doctor_sees_a_kernel_of_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jupyter_client", reason="JupyterLab is not installed")
    spec = tmp_path / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = ["/opt/other/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert "kernel: `Python 3` in JupyterLab is /opt/other/bin/python, another environment" in warned()


def test_fetch_names_what_needs_nothing_and_refuses_the_unknown() -> None:
    result = call("fetch", "breast_cancer")
    assert result.exit_code == 0 and "nothing to fetch" in result.output
    result = call("fetch", "brest_cancer")
    assert result.exit_code == 2 and "did you mean 'breast_cancer'" in result.output


def test_one_failed_download_does_not_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "mirror" / "heart_disease" / "good.data"
    good.parent.mkdir(parents=True)
    good.write_text("1,2\n")
    monkeypatch.setenv("FEDLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDLAB_MIRROR", str(tmp_path / "mirror"))
    recipe = data_recipes.recipes()["heart_disease"]
    dead = DataFile("dead.data", "http://127.0.0.1:9/dead.data", {"sha256:00": "official"}, 4)
    monkeypatch.setattr(recipe, "FILES", [dead, DataFile("good.data", "http://127.0.0.1:9/g", None, 4)])
    result = call("fetch", "heart_disease")
    assert result.exit_code == 1
    assert "could not be fetched: heart_disease/dead.data" in result.output and "good.data" in result.output
    assert [p.name for p in (tmp_path / "cache/heart_disease").glob("*.data")] == ["good.data"]
