"""Figures in an exported notebook: HTML beside plotly's own, and the library once."""

from __future__ import annotations

import base64
import gzip
import json
import re

import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly.offline import get_plotlyjs

from fedlab.figures import export
from fedlab.figures.export import Exported, draw_for_export, library


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Id of the cell that runs, and of this execution."""
    at = ["", ""]
    monkeypatch.setattr(export, "current_cell", lambda: tuple(at))
    return at


def brings(renderer: Exported) -> bool:
    html = renderer.to_mimebundle(go.Figure(go.Scatter(y=[1, 2])).to_dict())["text/html"]
    assert "Plotly.newPlot" in html and ("DecompressionStream" in html) == html.startswith(library())
    return html.startswith(library())


def test_the_first_figure_brings_the_library(cell: list[str]) -> None:
    renderer = Exported()
    assert [brings(renderer) for _ in range(3)] == [True, False, False]


def test_its_cell_brings_it_again_when_it_is_run_again(cell: list[str]) -> None:
    renderer = Exported()
    seen = []
    for cell[:] in (["a", "1"], ["a", "1"], ["b", "2"], ["a", "3"], ["a", "3"], ["b", "4"]):
        seen.append(brings(renderer))
    assert seen == [True, False, False, True, False, False]


def test_the_library_is_plotlys_own() -> None:
    packed = re.search(r'atob\("([^"]+)"\)', library())
    assert packed is not None and gzip.decompress(base64.b64decode(packed[1])).decode() == get_plotlyjs()


def test_no_name_ends_the_script() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    html = Exported().to_mimebundle(go.Figure(go.Scatter(y=[1], name=hostile)).to_dict())["text/html"]
    drawn = html.removeprefix(library())
    assert drawn.count("</script>") == 1 and "<img" not in drawn
    figure = re.search(r"const figure = (.*);\n", drawn)
    assert figure is not None and json.loads(figure[1])["data"][0]["name"] == hostile


def test_a_reader_who_chose_a_renderer_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pio.renderers.default
    monkeypatch.setattr(export, "kernel_shell", lambda: object())
    monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
    try:
        for chosen, then in (("json", "json"), ("plotly_mimetype", "plotly_mimetype+fedlab")):
            pio.renderers.default = chosen
            draw_for_export()
            assert pio.renderers.default == then
        pio.renderers.default = "plotly_mimetype"
        monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
        draw_for_export()
        assert pio.renderers.default == "plotly_mimetype"
    finally:
        pio.renderers.default = before
