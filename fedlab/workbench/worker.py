"""The one thread that trains and, while it lives, the only writer of the curve, the progress and the status."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from fedlab.engine import Event, Run, Spread, stream
from fedlab.federation import Federation

REDRAW = 0.4
"""Seconds between two drawings: at ten a second a Stop waits behind them for seconds."""


class Screen(Protocol):
    """What a worker writes to."""

    def begin(self, rounds: int) -> None:
        """Before the first round."""

    def show(self, runs: list[Run], rounds: int, seconds: float, failed: dict[str, list[tuple[int, str]]]) -> None:
        """After a round, at most every :data:`REDRAW` seconds."""

    def end(self, runs: list[Run], rounds: int, seconds: float, *, stopped: bool, error: BaseException | None,
            failed: dict[str, list[tuple[int, str]]]) -> None:  # fmt: skip
        """After the last round, always."""


class Worker(threading.Thread):
    """Goes through a stream of rounds and shows it.

    Parameters
    ----------
    events : iterator of Event or Spread
    screen : Screen
    rounds : int
    stop : threading.Event
        The one that the stream was given: set, it ends the run within one batch.
    keep : callable
        Told the runs (one, or one a seed) after their first round.

    Attributes
    ----------
    ended : threading.Event
        Set when the screen's end is written. Wait on this: in CPython 3.11 an interrupted ``Thread.join`` marks a
        thread that runs as stopped, so that ``is_alive`` says False from then on.
    """

    def __init__(
        self,
        events: Iterator[Event] | Iterator[Spread],
        screen: Screen,
        *,
        rounds: int,
        stop: threading.Event,
        keep: Callable[[list[Run]], None],
    ) -> None:
        super().__init__(name="fedlab-run", daemon=True)
        self.events, self.screen, self.rounds, self.halt, self.keep = events, screen, rounds, stop, keep
        self.runs: list[Run] = []
        self.failed: dict[str, list[tuple[int, str]]] = {}
        self.ended = threading.Event()
        _WORKERS.add(self)

    def run(self) -> None:
        """Train; whatever happens, the screen's end is written."""
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            try:
                self.screen.begin(self.rounds)
                self._train(started)
            except BaseException as problem:  # the panel says it, also a model's sys.exit(): a traceback would be lost
                error = problem
            self.screen.end(self.runs, self.rounds, time.perf_counter() - started, stopped=self.halt.is_set(),
                            error=error, failed=self.failed)  # fmt: skip
        finally:
            self.ended.set()

    def _train(self, started: float) -> None:
        drawn = 0.0
        for event in self.events:
            for site, what in event.errors.items():
                self.failed.setdefault(site, []).append((event.round, what))
            if not self.runs:
                self.runs = event.runs
                self.keep(event.runs)
            now = time.perf_counter()
            if now - drawn >= REDRAW and not self.halt.is_set():
                self.screen.show(event.runs, self.rounds, now - started, self.failed)
                drawn = time.perf_counter()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the run's end; return whether it has ended."""
        if self.ident is None:  # it never started
            return True
        if threading.current_thread() is not self and self.ended.wait(timeout):
            self.join()  # its last few instructions
        return self.ended.is_set()

    def stop(self, timeout: float | None = 10.0) -> bool:
        """Ask the run to end and wait; return whether it has."""
        self.halt.set()
        return self.wait(timeout)


_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End training before the interpreter takes torch from under it."""
    for worker in list(_WORKERS):
        worker.halt.set()
    for worker in list(_WORKERS):
        worker.stop(2.0)
    if _WARM is not None:
        _WARM.wait(5.0)


_WARM: threading.Event | None = None


def warm_up() -> threading.Event:
    """Run one tiny round in a thread, once a process: torch's first one takes seconds more than the others.

    Returns
    -------
    threading.Event
        Set when it is over.
    """
    global _WARM
    if _WARM is None:
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(12, 2, generator=generator), torch.arange(12) % 2
        tiny = Federation.from_tensors({"A": (x, y), "B": (x, y)}, prepared=False)
        # begun here: making a model borrows the global generator, which only this thread may do
        events = stream(tiny, "logistic", "fedavg", rounds=1)
        _WARM = over = threading.Event()

        def warm() -> None:
            try:
                list(events)
            finally:
                over.set()

        threading.Thread(target=warm, name="fedlab-warm-up", daemon=True).start()
    return _WARM
