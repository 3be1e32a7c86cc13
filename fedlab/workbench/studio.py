"""The shift studio: turn a dial, see what it does to the hospitals, and what it costs the model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import ipywidgets as widgets

from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.figures import before_after
from fedlab.workbench import results, style, words
from fedlab.workbench.chart import Picture
from fedlab.workbench.code import Choice, shifted
from fedlab.workbench.controls import LOOK
from fedlab.workbench.dials import Dials
from fedlab.workbench.live import WRAP, LivePanel

REST = 0.6
"""Seconds for which no dial moves before a run starts."""


class ShiftStudio(LivePanel):
    """Dials for the differences between hospitals, and a federated run that follows them.

    A dial redraws the hospitals (patients of ``train`` and ``valid``) at once and stops the run that goes on; when all
    dials rest, a new one starts, with the last whole one drawn faintly behind.

    Parameters
    ----------
    federation : Federation, optional
        Default: choose among the recipes in the panel.

    Attributes
    ----------
    dials : Dials
        ``dials.turn("Hungary", label=0.4)`` turns one from code.
    run, before : Run or None
        The run that is shown, and the one behind it.

    Examples
    --------
    >>> studio = ShiftStudio()
    >>> studio.controls.numbers["rounds"].value = 3
    >>> studio.dials.turn("Hungary", label=0.4)
    >>> studio.wait()
    >>> len(studio.run.records)
    3
    """

    ready = "Ready: turn a dial, or press Run for the hospitals as they are."

    def __init__(self, federation: Federation | None = None) -> None:
        super().__init__(federation, several=False)
        self.before: Run | None = None
        self._behind = ""
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self.dials = Dials(self._turned)
        self.feature = widgets.Dropdown(description="histogram of", **LOOK)
        self.picture = Picture("The hospitals appear here.", height="430px")
        self.said = widgets.HTML()
        self._follow_sites()
        self.controls.data.sites.observe(lambda change: self._follow_sites(), names="children")
        for watched in (self.feature, self.dials.site):
            watched.observe(lambda change: self.redraw(), names="value")
        drawn = widgets.VBox([self.feature, self.picture.box], layout={"flex": "2 1 420px", "min_width": "0"})
        settings = widgets.Accordion([self.controls.box], titles=("Data, model and training",), selected_index=None)
        self.lay_out(
            [widgets.Box([self.dials.box, drawn], layout=WRAP), self.alert, settings, self.row, self.code_box,
             self.status, self.bar, self.metric, self.stale, self.chart.box, self.said, self.table]
        )  # fmt: skip

    # ------------------------------------------------------------------ what one can do

    def choice(self) -> Choice:
        """Read all widgets and dials."""
        chosen = self.controls.choice()
        return replace(chosen, shifts=self.dials.shifts(chosen.sites, seed=int(chosen.settings["seed"])))

    def redraw(self) -> bool:
        """Draw the hospitals with the dials as they are; what cannot be had is said, and the picture stays."""
        self._mark()
        try:
            choice = self.choice()
            site, feature = self.dials.site.value, self.feature.value
            figure = before_after(choice.clean, choice.federation, site=site, feature=feature)
        except Exception as error:
            self._say(words.sentence(error))
            return False
        self._say("")
        of = "" if feature is None else f", and {feature} at {site}"
        self.picture.show(figure, f"Classes, patients and missing cells of each site before and after the shift{of}.")
        return True

    def start(self) -> None:
        """Draw what the dials say and train on it; what cannot be had is said in the panel."""
        self._rest(False)
        if self.redraw():
            super().start()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the run has ended; dials that were turned a moment ago count as being at rest."""
        if self._due:
            self.start()
        super().wait(timeout)

    def reset(self) -> None:
        """Stop, forget both runs, and set every dial and widget back."""
        self._rest(False)
        self.dials.reset()
        self.before, self._behind = None, ""
        super().reset()
        if self.run is None:
            self.redraw()

    # ------------------------------------------------------------------ what follows what

    def _turned(self) -> None:
        self.stop()
        self._rest(self.redraw())

    def _rest(self, then_run: bool) -> None:
        """Begin to wait for the dials' rest anew, or give up waiting."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, then_run
        if then_run:
            with suppress(RuntimeError):  # a script has no loop: there wait() starts what is due
                self._timer = asyncio.get_running_loop().call_later(REST, self.start)

    def _follow_sites(self) -> None:
        """Other data: other dials, other features."""
        data = self.controls.data
        for tick in data.ticks.values():
            tick.observe(lambda change: self._follow_ticks(), names="value")
        names = [feature.name for feature in data.federation.features]
        self.feature.options, self.feature.value = names, next(iter(names), None)
        self.feature.layout.display = None if names else "none"
        self._follow_ticks()

    def _follow_ticks(self) -> None:
        self.dials.offer(self.controls.data.ticked())
        self.redraw()

    # ------------------------------------------------------------------ the run behind

    def _keep(self, runs: list[Run], choice: Choice) -> None:
        last, ran = self.run, self._ran
        if last is not None and ran is not None:
            if ran.whole is not choice.whole:  # other data have nothing to be compared with
                self.before, self._behind = None, ""
            elif self.before is None or len(last.records) == ran.settings["rounds"]:
                self.before, self._behind = last, _dialled(ran)
        super()._keep(runs, choice)
        behind = "" if self.before is None else f" Faintly behind: {self._behind}."
        self.said.value = style.paragraph(f"Drawn: {_dialled(choice)}.{behind}", "quiet")

    def _draw(self, runs: list[Run], rounds: int | None) -> None:
        self.chart.draw(runs, self._metric, rounds=rounds, behind=self.before)

    def _tell(self, runs: list[Run]) -> str:
        return results.on_valid(runs, before=self.before)

    def _forget(self) -> None:
        super()._forget()
        self.said.value = ""


def _dialled(choice: Choice) -> str:
    return "the hospitals as they are" if choice.shifts is None else shifted(choice.shifts)
