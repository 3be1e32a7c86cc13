"""A line of progress for anything that takes more than two seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

QUIET = 2.0  # seconds before the line appears
TICK = 0.5


@contextmanager
def progress_line(total: int, what: str, unit: str, *, show: bool, doing: Callable[[], str] = str) -> Iterator[Any]:
    """Show how many of ``total`` are done and the time left, from two seconds on.

    A line that moved only when something is finished would stand still through a long round, so it is drawn again every
    half second with what ``doing`` says.

    Examples
    --------
    >>> with progress_line(3, "fedavg", "round", show=False) as line:
    ...     line.update()
    """
    with tqdm(total=total, desc=what, unit=unit, delay=QUIET, leave=False, disable=not show) as line:
        over = threading.Event()

        def draw() -> None:
            wait = QUIET
            while not over.wait(wait):
                line.set_postfix_str(doing())
                wait = TICK

        thread = threading.Thread(target=draw, daemon=True)
        if show:
            thread.start()
        try:
            yield line
        finally:
            over.set()
            if show:
                thread.join()
