"""The benchmarks run and write their figures; how fast they are is not a test's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import spine
from benchmarks.figures import main
from benchmarks.workloads import agree, many_sites


def test_the_plain_loop_and_the_engine_do_the_same_work() -> None:
    assert agree(many_sites(5, 30), rounds=2) < 1e-5


@pytest.mark.slow
def test_the_spine_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main("spine", spine.ABOUT, spine.measure, ["--quick", "--json", str(tmp_path / "f.json")])
    content = json.loads((tmp_path / "f.json").read_text())
    assert {"name", "value", "unit", "target", "holds"} <= set(content["figures"][0])
    assert content["versions"]["torch"] and content["seconds"] > 0
    assert "all at once" in capsys.readouterr().out
