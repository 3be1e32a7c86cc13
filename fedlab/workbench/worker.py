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
        _WORKERS.add(self)

    def run(self) -> None:
        """Train; whatever happens, the screen's end is written."""
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            self.screen.begin(self.rounds)
            self._train(started)
        except Exception as problem:  # the panel says it; a traceback in a thread would be lost
            error = problem
        self.screen.end(self.runs, self.rounds, time.perf_counter() - started, stopped=self.halt.is_set(),
                        error=error, failed=self.failed)  # fmt: skip

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

    def stop(self, timeout: float | None = 10.0) -> bool:
        """Ask the run to end and wait; tell whether it has."""
        self.halt.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout)
        return not self.is_alive()


_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End training before the interpreter takes torch from under it."""
    for worker in list(_WORKERS):
        worker.halt.set()
    for worker in list(_WORKERS):
        worker.stop(2.0)
    if _WARMING is not None:
        _WARMING.join(5.0)


_WARMING: threading.Thread | None = None


def warm_up() -> threading.Thread:
    """Run one tiny round in a thread, once a process: torch's first one takes seconds more than the others."""
    global _WARMING
    if _WARMING is None:
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(12, 2, generator=generator), torch.arange(12) % 2
        tiny = Federation.from_tensors({"A": (x, y), "B": (x, y)}, prepared=False)
        # begun here: making a model borrows the global generator, which only this thread may do
        events = stream(tiny, "logistic", "fedavg", rounds=1)
        _WARMING = threading.Thread(target=lambda: list(events), name="fedlab-warm-up", daemon=True)
        _WARMING.start()
    return _WARMING
