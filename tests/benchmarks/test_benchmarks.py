"""The workloads do what they say; how long they take is no test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import engine, figures, peers, readme, spine, wide, workloads
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
        "name": "a run", "value": 0.25, "unit": "s", "target": "< 0.5 s", "holds": True, "note": "",
        "unjudged": "",
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
    assert peers.apart(data, model, engine=how) < peers.SAME


def test_other_work_is_found() -> None:
    """A step more, and a rate that differs in its seventh digit: what float32 could not tell from rounding."""
    data = workloads.many_sites(3, 20)
    for other in ({"lr": peers.LR * (1 + 1e-7)}, {"local_epochs": 2}):
        assert peers.apart(data, "mlp", **other) > peers.SAME


# ---------------------------------------------------------------------- a timing is judged where the machine is quiet


def fast(**load: Any) -> figures.Figure:
    return figures.timing(figures.at_least("a ratio", 30, "×", 20, "30 / 1 ms"), **load)


def test_a_timing_on_a_quiet_machine_is_judged() -> None:
    assert fast(load=0.2, same=[1.0, 1.1, 1.0]).holds is True and fast(load=0.0).unjudged == ""


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"load": 1.8}, "others keep 1.8 cores busy"),
        ({"load": 0.0, "same": [1.0, 1.0, 1.3, 1.3]}, "up to 30 % longer a moment later"),
        ({"load": 0.0, "same": [1.3, 1.0]}, "up to 30 % longer a moment later"),
    ],
)
def test_elsewhere_the_row_and_the_file_say_why_it_is_not(
    load: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = fast(**load)
    assert told.holds is None and told.value == 30 and told.note == "30 / 1 ms" and says in told.unjudged
    figures.main("trial", "A trial", lambda quick: iter([told]), ["--json", str(tmp_path / "f.json")])
    content = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert says in content["figures"][0]["unjudged"]
    assert "not judged" in " ".join(capsys.readouterr().out.split())
    row = next(line for line in readme.table(content).splitlines() if line.startswith("| a ratio"))
    assert "| not judged | 30 / 1 ms; " in row and says in row


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system does not count what its cores do")
def test_what_others_use_is_seen_and_what_is_used_here_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        assert figures.load(2.0) > figures.QUIET
    finally:
        for process in busy:
            process.kill()
            process.wait()
    clock, mine = iter([100.0, 103.0]), iter([(1.0, 0.0, 0.0, 0.0, 0.0), (2.0, 0.5, 0.5, 0.0, 9.0)])
    monkeypatch.setattr(figures, "_busy", lambda: next(clock))
    monkeypatch.setattr(os, "times", lambda: next(mine))
    assert 0 < figures.load(0.1) <= 1 / 0.1, "of three busy seconds two were its own"


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [spine, engine, wide])
def test_a_benchmark_writes_its_figures(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures.main("trial", benchmark.ABOUT, benchmark.measure, ["--quick", "--json", str(tmp_path / "f.json")])
    content = json.loads((tmp_path / "f.json").read_text())
    assert {"name", "value", "unit", "target", "holds"} <= set(content["figures"][0])
    assert content["versions"]["torch"] and content["seconds"] > 0
    assert content["figures"][0]["name"].split()[0] in capsys.readouterr().out
