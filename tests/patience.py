"""Waiting in tests: a limit on silence, not on time. A busy machine is slow; what hangs is still."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

STILL = 300.0
"""Seconds without a sign of life: a process says something with every step, which takes seconds on a quiet machine."""


def until(true: Callable[[], object], *, moves: Callable[[], object] = lambda: None, still: float = STILL) -> None:
    """Wait for something that another thread or process does, for as long as ``moves`` gives something else."""
    seen, since = moves(), time.monotonic()
    while not true():
        now = moves()
        if now != seen:
            seen, since = now, time.monotonic()
        assert time.monotonic() - since < still, f"nothing has happened for {still:.0f} s: {seen}"
        time.sleep(0.005)


def patiently(
    command: Iterable[str], *, still: float = STILL, heard: Callable[[str], None] = lambda line: None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, for as long as it says something; ``heard`` is given its lines as they come."""
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options
    )
    said: queue.Queue[tuple[int, bytes]] = queue.Queue()

    def listen(number: int, pipe: Any) -> None:
        while chunk := os.read(pipe.fileno(), 65536):
            said.put((number, chunk))
        said.put((number, b""))

    for number, pipe in enumerate((process.stdout, process.stderr)):
        threading.Thread(target=listen, args=(number, pipe), daemon=True).start()
    told, begun, open_pipes = [b"", b""], b"", 2
    try:
        while open_pipes:
            number, chunk = said.get(timeout=still)
            told[number] += chunk
            open_pipes -= not chunk
            if number == 0:
                *lines, begun = (begun + chunk).split(b"\n")
                for line in lines:
                    heard(line.decode(errors="replace"))
        code = process.wait(still)
    except (queue.Empty, subprocess.TimeoutExpired):
        raise AssertionError(f"it has said nothing for {still:.0f} s. {_end(told)}") from None
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    out, err = (part.decode(errors="replace") for part in told)
    return subprocess.CompletedProcess(process.args, code, out, err)


def _end(told: list[bytes]) -> str:
    return "\n".join(part.decode(errors="replace")[-3000:] for part in told)
