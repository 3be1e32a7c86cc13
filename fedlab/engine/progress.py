"""A line of progress for anything that takes more than two seconds, which leaves nothing behind.

On a terminal it stands on standard error; below a notebook's cell it is an output of its own, taken away at the end.
A program that runs a notebook (nbconvert, nbclient) would store what nobody watches: there it is not drawn. Where
standard error goes to a file there are a few plain lines, each twice as late as the one before.
"""

from __future__ import annotations

import contextvars
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from fedlab.engine.notebook import kernel_shell, watched

QUIET = 2.0  # seconds before the line appears
TICK = 0.5
WIDTH = 90  # characters, below a cell


class Line:
    """How far a piece of work has come.

    Attributes
    ----------
    n, total : int
        How many are done, and of how many.
    """

    def __init__(self, total: int, what: str, unit: str) -> None:
        self.n, self.total, self.what, self.unit = 0, total, what, unit
        self.began = time.monotonic()

    def update(self, more: int = 1) -> None:
        """Say that so many more are done."""
        self.n += more

    def bar(self, doing: str, *, width: int, plain: bool = False) -> str:
        """Return it as a bar with the time left; ``plain`` is without one, for a log."""
        short = "{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}"
        return str(tqdm.format_meter(
            self.n, self.total, time.monotonic() - self.began, ncols=None if plain else width, prefix=self.what,
            unit=self.unit, postfix=doing, bar_format=short if plain else None,
        ))  # fmt: skip


class Place(Protocol):
    """Where a line is drawn."""

    def draw(self, line: Line, doing: str) -> None:
        """Draw it, in the place of what was drawn before."""

    def remove(self) -> None:
        """Leave the place as it was found."""


@contextmanager
def progress_line(total: int, what: str, unit: str, *, show: bool, doing: Callable[[], str] = str) -> Iterator[Line]:
    """Show how many of ``total`` are done and the time left, from two seconds on; at the end nothing of it is left.

    A line that moved only when something is finished would stand still through a long round, so it is drawn again every
    half second with what ``doing`` says.

    Examples
    --------
    >>> with progress_line(3, "fedavg", "round", show=False) as line:
    ...     line.update()
    """
    line, place = Line(total, what, unit), _place() if show else None
    if place is None:
        yield line
        return
    over, ended = threading.Event(), threading.Event()

    def draw() -> None:
        wait = QUIET
        try:
            while not over.wait(wait):
                place.draw(line, doing())
                wait = TICK
        finally:
            ended.set()

    # the context says which cell a notebook's output belongs to; the end is an event because an interrupted join lies
    threading.Thread(target=contextvars.copy_context().run, args=(draw,), daemon=True).start()
    try:
        yield line
    finally:
        over.set()
        ended.wait(10)
        place.remove()


def _place() -> Place | None:
    """Return where a line can be seen now, if anywhere."""
    shell = kernel_shell()
    if shell is not None:
        return Below(shell) if watched() and _sent(shell) is not None else None
    if sys.stderr is None:
        return None
    return Terminal(sys.stderr) if sys.stderr.isatty() else Log(sys.stderr)


# ---------------------------------------------------------------------- on standard error


class Terminal:
    """The last line of a terminal."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.longest = file, 0

    def draw(self, line: Line, doing: str) -> None:
        """Write over what stands there."""
        text = line.bar(doing, width=shutil.get_terminal_size().columns - 1)
        self.longest = max(self.longest, len(text))
        self._write(f"\r{text:<{self.longest}}")

    def remove(self) -> None:
        """Blank it."""
        if self.longest:
            self._write(f"\r{'':<{self.longest}}\r")

    def _write(self, text: str) -> None:
        encoding = self.file.encoding or "ascii"
        self.file.write(text.encode(encoding, "replace").decode(encoding))
        self.file.flush()


class Log:
    """A file: few lines, and those stay."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.due = file, 0.0

    def draw(self, line: Line, doing: str) -> None:
        """Write a line if as much time again has passed as before the last one."""
        elapsed = time.monotonic() - line.began
        if elapsed >= self.due:
            self.due = 2 * elapsed
            self.file.write(line.bar(doing, width=WIDTH, plain=True) + "\n")
            self.file.flush()

    def remove(self) -> None:
        """Nothing: a log is read afterwards."""


# ---------------------------------------------------------------------- below a notebook's cell


class _Cell:
    """What has been sent from the cell that runs, to tell whether there is more than lines of progress below it."""

    def __init__(self) -> None:
        self.before: int | None = None  # messages that the kernel had sent when the cell began
        self.own = 0  # of lines of progress, since then
        self.lines = 0  # that are drawn now

    def begin(self, *_: Any) -> None:
        """Count from here: called before a cell is run."""
        shell = kernel_shell()
        self.before, self.own = None if shell is None else _sent(shell), 0


_CELL = _Cell()


class Below:
    """An output of the cell that runs.

    A frontend can change an output but take only all of a cell's away. So it is taken away where there is nothing else;
    beside others it is emptied, which nobody sees.
    """

    def __init__(self, shell: Any) -> None:
        self.shell, self.publisher = shell, shell.display_pub
        self.id, self.drawn = secrets.token_hex(8), False

    def draw(self, line: Line, doing: str) -> None:
        """Show it, or change what is shown."""
        _CELL.lines += not self.drawn
        self._publish({"text/plain": line.bar(doing, width=WIDTH)})

    def remove(self) -> None:
        """Take it away."""
        if not self.drawn:
            return
        _CELL.lines -= 1
        sys.stdout.flush()
        sys.stderr.flush()
        if _CELL.lines == 0 and _CELL.before is not None and _sent(self.shell) == _CELL.before + _CELL.own:
            self.publisher.clear_output()
            _CELL.own += 1
        else:
            self._publish({})

    def _publish(self, data: dict[str, str]) -> None:
        self.publisher.publish(data, transient={"display_id": self.id}, update=self.drawn)
        self.drawn = True
        _CELL.own += 1


def _sent(shell: Any) -> int | None:
    """Return how many messages the kernel has sent; None where the output is captured by something else."""
    session = getattr(shell.display_pub, "session", None)
    return None if session is None else int(session.message_count)


if (_shell := kernel_shell()) is not None:
    _shell.events.register("pre_run_cell", _CELL.begin)
