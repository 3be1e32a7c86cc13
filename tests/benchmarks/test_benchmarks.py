"""The workloads do what they say; how long they take is no test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import engine, figures, peers, spine, wide, workloads
from fedlab.federation import Federation


def test_a_site_has_exactly_the_rows_that_are_asked_for() -> None:
    few = workloads.many_sites(3, 20)
    assert [len(site.split.train) for site in few.sites] == [20] * 3
    assert workloads.round_time(few, 2) > 0


def test_ratio_is_of_pairs() -> None:
    assert workloads.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == 3.0


def test_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(quick: bool) -> Iterator[figures.Figure]:
        yield figures.at_most("a run", 0.25, "s", 0.5)
        yield figures.Figure("a ratio", float("nan"), "×")

    file = tmp_path / "out.json"
    figures.main("trial", "A trial", measure, ["--quick", "--json", str(file)])
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["figures"][0] == {
        "name": "a run", "value": 0.25, "unit": "s", "target": "< 0.5 s", "holds": True, "note": ""
    }  # fmt: skip
    assert told["figures"][1]["value"] is None and told["quick"] is True
    assert {"python", "fedlab", "torch"} <= set(told["versions"]) and told["seconds"] >= 0
    assert "a run" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_seed_reaches_the_cases_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(quick: bool, seed: int) -> Iterator[figures.Figure]:
        yield figures.Figure("the seed", seed, "")

    figures.main("trial", "A trial", measure, ["--seed", "7", "--json", str(tmp_path / "f.json")], seeded=True)
    told = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert told["seed"] == 7 == told["figures"][0]["value"] and "the seed" in capsys.readouterr().out


def test_refuses_a_missing_folder_before_it_measures(tmp_path: Path) -> None:
    def measure(quick: bool) -> Iterator[figures.Figure]:
        raise AssertionError("measured")
        yield

    with pytest.raises(SystemExit) as ended:
        figures.main("trial", "A trial", measure, ["--json", str(tmp_path / "none" / "out.json")])
    assert ended.value.code == 2


SAME_WORK = [
    ("mlp", workloads.many_sites(5, 30)),
    (workloads.cnn, workloads.pictures(2, 20)),
    (workloads.BagTransformer, workloads.bags(2, 20)),
]


@pytest.mark.parametrize("model,data", SAME_WORK)
@pytest.mark.parametrize("how", ["auto", "sequential", "threads"])
def test_the_plain_loop_and_the_engine_do_the_same_work(model: Any, data: Federation, how: str) -> None:
    ours = workloads.last_weights(data, 2, model, engine=how)
    assert workloads.furthest(ours, peers.Plain(data, model).weights(2)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [spine, engine, wide])
def test_a_benchmark_writes_its_figures(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures.main("trial", benchmark.ABOUT, benchmark.measure, ["--quick", "--json", str(tmp_path / "f.json")])
    content = json.loads((tmp_path / "f.json").read_text())
    assert {"name", "value", "unit", "target", "holds"} <= set(content["figures"][0])
    assert content["versions"]["torch"] and content["seconds"] > 0
    assert content["figures"][0]["name"].split()[0] in capsys.readouterr().out
