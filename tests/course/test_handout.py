"""Handouts: notebooks that were run, as pages that load nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fedlab.course import handout as module
from fedlab.course.handout import handout, main

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbconvert", reason="the extra lab is not installed")

CELLS = [
    ("markdown", "# A title\n\nwith $w_t^i$ in it", []),
    ("code", "from fedlab.course import check, reveal\nfrom fedlab.figures import TEMPLATE", []),
    ("code", "import plotly.express as px\npx.line(x=[1, 2], y=[3, 4], title='the first figure')", []),
    ("code", "px.bar(x=[1, 2], y=[3, 4], title='the second figure')", []),
    ("code", 'answer = ...\ncheck("00.1", answer)', []),
    ("code", 'if reveal("00.1"):\n    answer = "Switzerland"\n    check("00.1", answer)', ["solution"]),
    ("code", "import fedlab\nfrom fedlab.workbench import RunPanel\nRunPanel(fedlab.load('heart_disease'))", []),
]  # fmt: skip


def written(folder: Path, cells: list[tuple[str, str, list[str]]]) -> Path:
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made = [make[kind](source, metadata={"tags": tags}) for kind, source, tags in cells]
    path = folder / "00_short.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a handout")
    return handout(written(folder, CELLS), folder / "out")


@pytest.mark.notebooks
def test_a_handout_loads_nothing_and_gives_nothing_away(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert page.name == "00_short.html" and not module.LOADS.search(text) and "//cdn" not in text.split("<main>")[0]
    assert "no answer yet" in text and "Switzerland" not in text and "the solution is in this cell" not in text
    assert text.count("DecompressionStream") == 1 and text.count("Plotly.newPlot(place") == 2
    assert "<msubsup><mi>w</mi><mi>t</mi><mi>i</mi></msubsup>" in text
    assert "open this notebook in JupyterLab" in text and "stderr" not in text.split("<main>")[1]


@pytest.mark.notebooks
def test_the_teachers_copy_has_the_solutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDLAB_SOLUTIONS", raising=False)
    text = handout(written(tmp_path, CELLS[1:6]), tmp_path, solutions=True).read_text(encoding="utf-8")
    assert "00.1: right." in text and "FEDLAB_SOLUTIONS" not in os.environ


@pytest.mark.notebooks
def test_a_cell_that_fails_is_named_and_the_others_are_written(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "bad").mkdir()
    bad = written(tmp_path / "bad", [("code", "1 / 0", [])])
    good = written(tmp_path, CELLS[:1])
    assert main([str(bad), str(tmp_path / "none.ipynb"), str(good), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "a cell failed" in said.err and "ZeroDivisionError" in said.err and "none.ipynb" in said.err
    assert said.out.strip() == str(tmp_path / "out" / "00_short.html") and Path(said.out.strip()).is_file()


def test_what_would_be_loaded_is_found() -> None:
    for tag in ('<script src="https://x.y/z.js">', "<img alt='' src='http://x'>", '<link rel=a href="//x.y/z.css">'):
        assert module.LOADS.search(tag)
    for tag in (
        '<a href="https://x.y">',
        '<img src="data:image/png;base64,AAAA">',
        "<script>const a = 'https://x';</script>",
    ):
        assert not module.LOADS.search(tag)


@pytest.mark.browser
def test_its_figures_are_drawn_without_network(page: Path) -> None:
    from tests.workbench.browser import ARGS, CHROMIUM

    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        context = browser.new_context()
        context.set_offline(True)
        tab = context.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        tab.goto(page.as_uri())
        tab.wait_for_function(
            "() => document.querySelectorAll('.js-plotly-plot .main-svg').length >= 2", timeout=60_000
        )
        titles = tab.locator(".js-plotly-plot .gtitle").all_text_contents()
        assert titles == ["the first figure", "the second figure"] and faults == []
        browser.close()
