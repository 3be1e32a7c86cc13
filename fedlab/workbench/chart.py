"""Figures in a panel: an Output widget whose outputs are *set*.

State, not deltas: a page that is loaded again asks the kernel for the widgets' state and gets the whole picture (a
plotly ``FigureWidget`` comes back empty). Each drawing replaces the one before, so a slow browser falls behind by one
picture and not by hundreds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import ipywidgets as widgets
import plotly.graph_objects as go

from fedlab.engine import Run
from fedlab.figures import learning_curves, seed_bands
from fedlab.figures.theme import take_notes
from fedlab.study.words import words
from fedlab.workbench.style import paragraph

MIME = "application/vnd.plotly.v1+json"
HEIGHT = "425px"
EMPTY = "The curves of the hospitals appear here, round by round."


class Picture:
    """A place for one figure.

    Parameters
    ----------
    empty : str
        What stands there as long as there is none.
    height : str
        Kept free for it, so that nothing below jumps.

    Attributes
    ----------
    box : VBox
        Of the figure and what is to be said of it: as text of the page it wraps, however narrow the panel is.

    Examples
    --------
    >>> picture = Picture("Nothing to see yet.", height="300px")
    >>> [sorted(output["data"]) for output in picture.output.outputs]
    [['text/html', 'text/plain']]
    """

    def __init__(self, empty: str, *, height: str) -> None:
        self.empty, self.notes = empty, widgets.HTML()
        self.output = widgets.Output(layout={"width": "100%", "min_height": height})
        self.box = widgets.VBox([self.output, self.notes])
        self.clear()

    def show(self, figure: go.Figure, words: str) -> None:
        """Show a figure; ``words`` are for who cannot see it."""
        self.notes.value = "".join(paragraph(note, "quiet") for note in take_notes(figure))
        # not "responsive": JupyterLab resizes plots itself, and the two together shrink one to nothing after a reload
        bundle = {**json.loads(figure.to_json()), "config": {"displaylogo": False}}
        self._set({MIME: bundle, "text/plain": words})

    def clear(self) -> None:
        """Show that there is nothing yet."""
        self.notes.value = ""
        self._set({"text/html": f'<p class="fedlab-quiet">{self.empty}</p>', "text/plain": self.empty})

    def _set(self, data: dict[str, object]) -> None:
        self.output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)


class Chart(Picture):
    """The live curve of one metric over the rounds."""

    def __init__(self) -> None:
        super().__init__(EMPTY, height=HEIGHT)

    def draw(self, runs: Sequence[Run], metric: str, *, rounds: int | None, behind: Run | None = None) -> None:
        """Show the run so far, or the spread of several.

        ``rounds`` is how far the axis goes, ``behind`` a run to draw faintly behind a single one.
        """
        if len(runs) > 1:
            figure = seed_bands(runs, metric, rounds=rounds)
        else:
            figure = learning_curves(runs[0], metric, rounds=rounds, behind=behind)
        what = words(metric)
        figure.update_layout(legend=dict(orientation="h", x=0, y=-0.2, yanchor="top"), title_font_size=14)
        figure.update_yaxes(title_text=what.name + ("" if what.higher else " (lower is better)"))
        of = f" over {len(runs)} seeds" if len(runs) > 1 else ""
        faint = "" if behind is None else "; the run before faintly behind"
        self.show(figure, f"Learning curves of {metric} on valid{of}, {len(runs[0].records)} rounds{faint}.")
