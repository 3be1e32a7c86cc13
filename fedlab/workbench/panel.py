"""The run panel: choose, press Run, watch, stop, and take the run along."""

from __future__ import annotations

import ipywidgets as widgets

from fedlab.federation import Federation
from fedlab.workbench import results, style, words
from fedlab.workbench.live import WRAP, LivePanel, button


class RunPanel(LivePanel):
    """A live training run in a notebook.

    Parameters
    ----------
    federation : Federation, optional
        Default: choose among the recipes in the panel.

    Attributes
    ----------
    run : Run or None
        The run that is shown, for the next cells; live while it trains. Of several seeds the first.
    runs : list of Run
        All that are shown, one a seed.

    Examples
    --------
    >>> panel = RunPanel()
    >>> panel.controls.numbers["rounds"].value = 3
    >>> panel.start()
    >>> panel.wait()
    >>> len(panel.run.records)
    3
    """

    def __init__(self, federation: Federation | None = None) -> None:
        super().__init__(federation)
        self.test_button = button(
            "Open the test", "Score the reported round on the test patients; openings are counted", self.open_test,
            icon="unlock",
        )  # fmt: skip
        self.test_button.disabled = True
        self.test_table, self.openings = widgets.HTML(), widgets.HTML(style.paragraph(results.openings(None), "quiet"))
        self.lay_out(
            [self.controls.box, self.row, self.code_box, self.alert, self.status, self.bar, self.metric, self.stale,
             self.chart.box, self.table, widgets.Box([self.test_button, self.openings], layout=WRAP), self.test_table]
        )  # fmt: skip

    def open_test(self) -> None:
        """Score the reported round on ``test``; the run counts it."""
        with self._lock:
            if self.run is None or self.busy:
                self._say("There is no finished run to test: press Run first.")
                return
            try:
                self.test_table.value = results.on_test(self.runs)
            except Exception as error:
                self._say(words.sentence(error))
            self.openings.value = style.paragraph(results.openings(self.run), "quiet")

    def _drawn(self) -> list[widgets.Widget]:
        return [*super()._drawn(), self.test_table]

    def _forget(self) -> None:
        super()._forget()
        self.test_table.value = ""

    def _busy(self, busy: bool) -> None:
        super()._busy(busy)
        self.test_button.disabled = busy or self.run is None
        self.openings.value = style.paragraph(results.openings(None if busy else self.run), "quiet")
