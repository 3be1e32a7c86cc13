"""The live curve: an Output widget whose outputs are *set*.

State, not deltas: a page that is loaded again asks the kernel for the widgets' state and gets the whole picture (a
plotly ``FigureWidget`` comes back empty). Each drawing replaces the one before, so a slow browser falls behind by one
picture and not by hundreds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import ipywidgets as widgets

from fedlab.engine import Run
from fedlab.figures import learning_curves, seed_bands

MIME = "application/vnd.plotly.v1+json"
HEIGHT = "450px"
EMPTY = "The curves of the hospitals appear here, round by round."


class Chart:
    """The curve of one metric over the rounds.

    Examples
    --------
    >>> chart = Chart()
    >>> [sorted(output["data"]) for output in chart.output.outputs]
    [['text/html', 'text/plain']]
    """

    def __init__(self) -> None:
        self.output = widgets.Output(layout={"width": "100%", "min_height": HEIGHT})
        self.clear()

    def draw(self, runs: Sequence[Run], metric: str, *, rounds: int | None) -> None:
        """Show the run so far, or the spread of several; ``rounds`` is how far the axis goes."""
        several = len(runs) > 1
        drawn = seed_bands(runs, metric, rounds=rounds) if several else learning_curves(runs[0], metric, rounds=rounds)
        figure = json.loads(drawn.to_json())
        # not "responsive": JupyterLab resizes plots itself, and the two together shrink one to nothing after a reload
        bundle = {**figure, "config": {"displaylogo": False}}
        of = f" over {len(runs)} seeds" if several else ""
        words = f"Learning curves of {metric} on valid{of}, {len(runs[0].records)} rounds."
        self._set({MIME: bundle, "text/plain": words})

    def clear(self) -> None:
        """Show that there is nothing yet."""
        self._set({"text/html": f'<p class="fedlab-quiet">{EMPTY}</p>', "text/plain": EMPTY})

    def _set(self, data: dict[str, object]) -> None:
        self.output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
