"""Figures in an exported notebook: beside what JupyterLab draws stands HTML that needs no network.

JupyterLab draws plotly's own MIME type and never looks at the HTML; ``jupyter nbconvert --to html`` and JupyterLab's
*Save and Export* know only the HTML. The library that it needs (2 MB packed) is in the first figure of a notebook.
"""

from __future__ import annotations

import base64
import gzip
import os
import secrets
from functools import cache
from typing import Any

import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer
from plotly.offline import get_plotlyjs

from fedlab.engine.notebook import current_cell, kernel_shell

NAME = "fedlab"
LACKING = "This figure needs a library that the first figure of the notebook brings: run all cells, then export again."
# `define`, `module` and `exports` are hidden from the library: where a page has its own loader it would go there
LIBRARY = """<script>
window.fedlabPlotly = (async () => {
  const packed = Uint8Array.from(atob("%s"), sign => sign.charCodeAt(0));
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  new Function("define", "module", "exports", await new Response(plain).text())();
})();
</script>"""
FIGURE = """<div id="%(id)s" style="height: %(height)spx"></div>
<script>
(() => {
  const draw = async () => {
    const place = document.getElementById("%(id)s");
    await window.fedlabPlotly;
    if (!window.Plotly) { place.textContent = "%(lacking)s"; return; }
    const figure = %(figure)s;
    Plotly.newPlot(place, figure.data, figure.layout, {displaylogo: false, responsive: true});
  };
  if (document.readyState === "complete") draw(); else window.addEventListener("load", draw);
})();
</script>"""


class Exported(MimetypeRenderer):  # type: ignore[misc]
    """Draws a figure as HTML; the first one brings the library, and so does the same cell when it is run again."""

    def __init__(self) -> None:
        self.holder: tuple[str, str] | None = None  # the cell whose output has the library, and its execution

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
        """Return the HTML."""
        cell, execution = current_cell()
        again = self.holder is not None and self.holder[0] == cell and self.holder[1] != execution
        first = self.holder is None or again
        if first:
            self.holder = cell, execution
        return {"text/html": (library() if first else "") + drawing(fig_dict)}

    def __copy__(self) -> Exported:
        return self  # plotly asks copies, and who holds the library must be remembered


def drawing(fig_dict: dict[str, Any]) -> str:
    """Return the HTML of a figure, without the library."""
    height = fig_dict.get("layout", {}).get("height") or 450
    figure = pio.to_json(fig_dict, validate=False, pretty=False)  # plotly writes "<" so that no script ends in it
    return FIGURE % {"id": f"figure-{secrets.token_hex(6)}", "height": f"{height:g}", "figure": figure,
                     "lacking": LACKING}  # fmt: skip


@cache
def library() -> str:
    """Return the script that unpacks plotly.js."""
    return LIBRARY % base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def draw_for_export() -> None:
    """Let figures carry HTML too, in a notebook whose reader has not chosen otherwise."""
    pio.renderers[NAME] = Exported()
    if (
        kernel_shell() is not None
        and pio.renderers.default == "plotly_mimetype"
        and not os.environ.get("PLOTLY_RENDERER")
    ):
        pio.renderers.default = f"plotly_mimetype+{NAME}"
