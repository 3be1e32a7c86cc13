"""What every panel with a run in it does: read the widgets, train in one thread, draw, stop, and say the code."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from fedlab.engine import Plan, Run
from fedlab.engine.notebook import kernel_shell, watched
from fedlab.federation import Federation
from fedlab.study.words import listed
from fedlab.study.words import words as names
from fedlab.workbench import results, style, words
from fedlab.workbench.cell import replace_in_cell
from fedlab.workbench.chart import Chart
from fedlab.workbench.code import Choice, differences, show_code
from fedlab.workbench.controls import Controls
from fedlab.workbench.page import Page
from fedlab.workbench.worker import Worker, warm_up

UNWATCHED = "Here is a panel with buttons: open this notebook in JupyterLab to use it."
WRAP = {"flex_flow": "row wrap"}
WARM = 60.0  # seconds to wait for torch's first round to be over; what was not warm then trains all the same


class LivePanel(widgets.VBox):
    """A panel around one live training run; a subclass lays its parts out with :meth:`lay_out`.

    Parameters
    ----------
    federation : Federation, optional
        Default: choose among the recipes in the panel.
    several : bool
        Whether several seeds may train side by side.

    Attributes
    ----------
    run : Run or None
        The run that is shown, for the next cells; live while it trains. Of several seeds the first.
    runs : list of Run
        All that are shown, one a seed.
    """

    ready = "Ready: press Run."

    def __init__(self, federation: Federation | None, *, several: bool = True) -> None:
        self.runs: list[Run] = []
        self._lock = threading.RLock()  # to set a widget back calls its callbacks on this very thread
        self._worker: Worker | None = None
        self._ran: Choice | None = None
        self._metric, self._training = "", False
        self.alert = widgets.HTML()
        self.alert.add_class("fedlab-alert")
        self.controls = Controls(federation, self._say, several=several)
        self._make_buttons()
        self.status = widgets.HTML(style.live(self.ready))
        self.bar = widgets.IntProgress(value=0, min=0, max=1, layout={"width": "100%"})
        self.chart, self.stale = Chart(), widgets.HTML()
        self.table = widgets.HTML()
        self.controls.changed = self._mark

    def _make_buttons(self) -> None:
        self.run_button = button("Run", "Train with what is chosen above", self.start, style="primary", icon="play")
        self.stop_button = button("Stop", "End the run within one batch; its rounds are kept", self.stop, icon="stop")
        self.reset_button = button("Reset", "Stop, forget the run and set everything back", self.reset, icon="refresh")
        self.code_button = button("Show code", "The Python that gives the same numbers", self._toggle_code, icon="code")
        self.stop_button.disabled = True
        self.row = widgets.Box([self.run_button, self.stop_button, self.reset_button, self.code_button], layout=WRAP)
        self._make_code()
        self.metric = widgets.ToggleButtons(
            options=self._curves(), description="curve",
            tooltips=["on which the round is chosen", "how well it ranks, or predicts"],
            style={"description_width": "initial", "button_width": "auto"},
        )  # fmt: skip
        self._metric = self.metric.value
        self.metric.observe(lambda change: self._switch(change["new"]), names="value")
        self.controls.data.sites.observe(lambda change: self._follow_task(), names="children")

    def _curves(self) -> list[tuple[str, str]]:
        """Return what a run of these data computes after each round: the metric that chooses, and the headline."""
        task = self.controls.data.federation.task
        return [(names(metric).name, metric) for metric in (task.choosing, task.headline)]

    def _follow_task(self) -> None:
        if list(self.metric.options) != (there := self._curves()):
            self.metric.options = there

    def _make_code(self) -> None:
        """Make what opens below the row of buttons: the code, and a button that copies it."""
        self._code_name = name = f"fedlab-code-{secrets.token_hex(4)}"  # each panel's own
        self.page, self.code_view = Page(), widgets.HTML()
        self.copy_button = button("Copy", "Copy the code", lambda: self.page.copy(name, f"{name}-copy"), icon="copy")
        self.copy_button.add_class(f"{name}-copy")
        self.copy_button.layout.display, self.copy_button.layout.align_self = "none", "flex-start"
        self.code_box = widgets.VBox([self.code_view, self.copy_button, self.page.output])
        self.code_box.add_class(name)

    def lay_out(self, parts: Sequence[widgets.Widget]) -> None:
        """Put the parts one below the other; the last thing that a panel's making does."""
        css = widgets.HTML(style.CSS)
        css.add_class("fedlab-style")
        super().__init__([css, *parts])
        self.add_class("fedlab")
        warm_up()
        replace_in_cell(self)

    def _repr_mimebundle_(self, **asked: Any) -> dict[str, Any]:
        """Return what a notebook shows; where a program runs it and nobody can press a button, what would be here."""
        if kernel_shell() is not None and not watched():
            return {"text/html": style.paragraph(UNWATCHED), "text/plain": UNWATCHED}
        shown: dict[str, Any] = super()._repr_mimebundle_(**asked)
        return shown

    # ------------------------------------------------------------------ what one can do

    def choice(self) -> Choice:
        """Read all widgets; what cannot be had is an error whose text says what helps."""
        return self.controls.choice()

    @property
    def plans(self) -> list[Plan]:
        """What the widgets ask now, a plan a seed: to be saved, and run elsewhere (``fedlab run plan.json``)."""
        return self.choice().plans()

    def start(self) -> None:
        """Read all widgets and train in a thread; a run that still goes on is stopped first.

        What cannot be run is said in the panel, and what was there stays.
        """
        with self._lock:
            try:
                if self._worker is not None and not self._worker.stop():
                    raise ValueError("The run before is still ending: press Run again in a moment.")
                choice = self.choice()
                halt = threading.Event()
                events = choice.stream(halt)
            except Exception as error:
                self._say(words.sentence(error))
                return
            self._say("")
            self._busy(True)
            rounds = int(choice.settings["rounds"])
            self._worker = Worker(events, self, rounds=rounds, stop=halt, keep=lambda runs: self._keep(runs, choice))
            self._worker.start()

    def stop(self) -> None:
        """Ask the run to end; it does within one batch."""
        worker = self._worker
        if worker is not None:
            worker.halt.set()

    def reset(self) -> None:
        """Stop, forget the run and set every widget back."""
        with self._lock:
            if self._worker is not None and not self._worker.stop():
                self._say("The run is still ending: press Reset again in a moment.")
                return
            self._worker, self.runs, self._ran = None, [], None
            self.controls.reset()
            self.metric.value = self._curves()[0][1]
            self._say("")
            self.chart.clear()
            self.bar.value, self.bar.bar_style = 0, ""
            self.status.value = style.live(self.ready)
            self._forget()
            self._mark()
            self._busy(False)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the run has ended; a kernel interrupt stops it, and what does not end at once is said to run."""
        worker = self._worker
        if worker is None:
            return
        try:
            worker.wait(timeout)
        except KeyboardInterrupt:
            if not worker.stop():
                self._say("The run still goes on: it ends with the batch that it is in, and its rounds are kept.")

    @property
    def run(self) -> Run | None:
        """The run that is shown, or the first seed's."""
        return self.runs[0] if self.runs else None

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return self._training

    @property
    def code(self) -> str:
        """The Python that gives the same numbers: of the run that is shown, else of what is chosen."""
        if self._ran is None or self.run is None:
            return show_code(self.choice())
        return show_code(self._ran, None if self.busy else len(self.run.records))

    # ------------------------------------------------------------------ what the worker writes

    def begin(self, rounds: int) -> None:
        """Say that the first round is on its way."""
        warm_up().wait(WARM)
        self.bar.max, self.bar.value, self.bar.bar_style = rounds, 0, ""
        self.status.value = style.live(f"Round 1 of {rounds} is on its way.")

    def show(self, runs: list[Run], rounds: int, seconds: float, failed: dict[str, list[tuple[int, str]]]) -> None:
        """Draw the run so far."""
        done = max(len(run.records) for run in runs)
        self.bar.value = done
        self.status.value = style.live(f"{words.progress(done, rounds, seconds)} {words.failures(failed)}".strip())
        self._draw(runs, rounds)

    def end(self, runs: list[Run], rounds: int, seconds: float, *, stopped: bool, error: BaseException | None,
            failed: dict[str, list[tuple[int, str]]]) -> None:  # fmt: skip
        """Draw the last state and give the buttons back."""
        run = runs[0] if runs else None
        if error is None:
            told = f"{words.ending(runs, rounds, seconds, stopped=stopped)} {words.failures(failed)}"
        else:
            told = words.failure(error, run)
            self.bar.bar_style = "danger"
        try:
            if run is not None:
                self.bar.value = len(run.records)
                self._draw(runs, None)
                self.table.value = self._tell(runs)
        finally:  # whatever could not be drawn, the panel must not hang
            self.status.value = style.live(told.strip())
            self._busy(False)

    def _keep(self, runs: list[Run], choice: Choice) -> None:
        """From the first round on this is the panel's run."""
        self.runs, self._ran = runs, choice
        self._forget()
        self._mark()

    def _draw(self, runs: list[Run], rounds: int | None) -> None:
        self.chart.draw(runs, self._metric, rounds=rounds)

    def _tell(self, runs: list[Run]) -> str:
        return results.on_valid(runs)

    def _forget(self) -> None:
        """Empty what was said of the run before."""
        self.table.value = ""
        self._hide_code()

    # ------------------------------------------------------------------ small things

    def _busy(self, busy: bool) -> None:
        self._training = busy
        self.run_button.disabled, self.stop_button.disabled = busy, not busy

    def _say(self, text: str) -> None:
        self.alert.value = style.alarm(text)

    def _switch(self, metric: str) -> None:
        self._metric = metric  # the worker, if there is one, draws with it next time
        with self._lock:
            if self.run is not None and not self.busy:
                self._draw(self.runs, None)

    def _mark(self) -> None:
        """Mark what is drawn as old where something else is chosen by now."""
        said = self._what_is_old()
        self.stale.value = style.paragraph(said, "stale") if said else ""
        for part in self._drawn():
            if said:
                part.add_class("fedlab-old")
            else:
                part.remove_class("fedlab-old")

    def _drawn(self) -> list[widgets.Widget]:
        """Parts that show the run."""
        return [self.chart.box, self.table]

    def _what_is_old(self) -> str:
        if self._ran is None:
            return ""
        try:
            other = differences(self._ran, self.choice())
        except Exception:  # what is chosen cannot be had, which pressing Run would say
            return "What is drawn below is of the run before. What is chosen above cannot be run as it stands."
        if not other:
            return ""
        return f"Drawn below: {listed(other)}. Other settings are chosen above: press Run to see what they give."

    def _toggle_code(self) -> None:
        if self.code_view.value:
            self._hide_code()
            return
        try:
            of = "what is chosen above" if self._ran is None else f"the run that is shown ({self._ran.words})"
            self.code_view.value = style.code(self.code, f"The same numbers as {of}:")
        except Exception as error:
            self._say(words.sentence(error))
            return
        self.copy_button.layout.display = ""
        self.page.scroll_to(self._code_name)

    def _hide_code(self) -> None:
        self.code_view.value, self.copy_button.layout.display = "", "none"


def button(text: str, tooltip: str, press: Callable[[], None], *, style: str = "", icon: str = "") -> widgets.Button:
    """Return a button that does this when it is pressed."""
    made = widgets.Button(description=text, tooltip=tooltip, button_style=style, icon=icon, layout={"width": "auto"})
    made.on_click(lambda _: press())
    return made
