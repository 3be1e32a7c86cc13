"""``fedlab.report``: the report of any federation, from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab.federation import Federation
from fedlab.report.report import Report

QUICK: dict[str, Any] = dict(algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False)


@pytest.fixture(scope="module")
def mine() -> Federation:
    noise, y = torch.Generator().manual_seed(0), torch.arange(60) % 2
    sites = {name: (torch.randn(60, 3, generator=noise) + y[:, None], y) for name in ("Nord", "Süd")}
    return Federation.from_tensors(sites, prepared=False, name="two wards")


@pytest.fixture(scope="module")
def made(mine: Federation) -> Report:
    return fedlab.report(mine, **QUICK)


def test_a_report_of_ones_own_data(made: Report, tmp_path: Path) -> None:
    assert "two wards: the gap report" in made.html and "Licence: not stated." in made.html
    assert "fedlab.report(federation, algorithms=[&#x27;isolated&#x27;, &#x27;fedavg&#x27;], seeds=2" in made.html
    assert str(made).startswith("Own models, at other hospitals against home:")
    assert (
        "the gap report in short" in made._repr_html_()
        and repr(made) == "<Report two wards: isolated, fedavg, 2 seeds>"
    )
    places = [tmp_path / name for name in ("r.html", "n.json", "s.csv")]
    assert made.save(places[0], json=places[1], csv=places[2]) == places
    assert (
        places[0].read_text(encoding="utf-8") == made.html and json.loads(places[1].read_text())["model"] == "logistic"
    )
    assert places[2].read_text() == made.csv
    assert made.save() == []


def test_a_path_is_written(mine: Federation, tmp_path: Path) -> None:
    fedlab.report(mine, tmp_path / "r.html", title="My wards", **QUICK)
    assert "<title>My wards: gap report</title>" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"path": "no/such/folder/r.html"}, "there is no folder"),
        ({"path": "r.html", "csv": "r.html"}, "not different files"),
        ({"algorithms": ["fedavgg"]}, "did you mean 'fedavg'"),
        ({"model": "mpl"}, "did you mean 'mlp'"),
        ({"holdout": "West"}, "no site 'West'"),
    ],
)
def test_what_cannot_be_had_is_refused_before_training(
    mine: Federation, asked: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fedlab.report.measured.compare", never)
    with pytest.raises(ValueError, match=said):
        fedlab.report(mine, **QUICK | asked)
    assert list(tmp_path.iterdir()) == []


def test_it_is_there_however_it_is_imported_and_costs_nothing_before() -> None:
    code = """
import sys, fedlab
assert "plotly" not in sys.modules and "fedlab.report" not in sys.modules or "fedlab.report.gap" not in sys.modules
assert callable(fedlab.report) and "report" in fedlab.__all__
from fedlab import report
import fedlab.report.gap
assert callable(fedlab.report) and fedlab.report is report and fedlab.report.gap.Gap
assert "plotly" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'reprot'"):
        fedlab.reprot  # noqa: B018


def test_a_report_says_that_nothing_was_opened_before_it_where_that_is_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the test patients more than once by itself, and counts only what others have."""
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "state"))
    hospitals = fedlab.load("heart_disease")
    texts = []
    for k in range(2):
        fedlab.report(hospitals, seeds=2, rounds=2, progress=False).save(tmp_path / f"{k}.html")
        texts.append((tmp_path / f"{k}.html").read_text("utf-8"))
    assert "had not been opened before this study" in texts[0]
    assert "had not been opened" not in texts[1] and "times before this study" in texts[1]
