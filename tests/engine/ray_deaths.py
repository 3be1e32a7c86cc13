"""Run in a process of its own by ``test_ray_deaths.py``: runs on Ray in which something dies, told as JSON.

``ray_deaths.py WHAT WHEN``. What: ``raylet``, ``gcs_server`` or ``ray::ClientApp`` is killed; ``itself``: a site kills
its process in round 2; ``stop``, ``interrupt``: the run is stopped or interrupted. When: as soon as the run's words on
what it does hold ``WHEN``, after round ``WHEN``, or ``mid``: while the sites are at work in round 2.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.engine import Run
from tests.conftest import ragged
from tests.patience import until

ROUNDS = 6


@dataclass(frozen=True)
class Slow(Algorithm):
    """Training that takes long enough to die in: rounds 2 and 4 last, at every site; or at one, round 2 is deadly."""

    deadly: bool = False

    def finish(self, vars, at):
        if at.round in (2, 4):
            time.sleep(3)
            if at.round == 2 and self.deadly and float(at.n) == 60:
                os.kill(os.getpid(), signal.SIGKILL)
        return vars, {}, at.memory


def processes() -> Iterator[tuple[int, int, int, str, str]]:
    """Every process: its number, its parent's, its group, its state and its name."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, parent, group = rest.split()[:3]
        yield int(folder.name), int(parent), int(group), state, head.partition("(")[2]


def below(top: int) -> list[tuple[int, int, str]]:
    """The living processes that this one has started, and those that they have: number, group and name."""
    found, known = [], {top}
    every = list(processes())
    while True:
        new = [row for row in every if row[1] in known and row[0] not in known]
        if not new:
            return found
        known |= {row[0] for row in new}
        found += [(number, group, name) for number, _, group, state, name in new if state != "Z"]


def main(what: str, when: str) -> None:
    stop, done, groups = threading.Event(), threading.Event(), set[int]()

    def act() -> None:
        if done.is_set():
            return
        mine = below(os.getppid() if "RAY_ADDRESS" in os.environ else os.getpid())  # who started the cluster is above
        groups.update(group for _, group, _ in mine)
        kill = what not in ("stop", "interrupt", "itself")
        doomed = [number for number, _, name in mine if name.startswith(what[:15])] if kill else [os.getpid()]
        if not doomed:
            return
        done.set()
        print("ACTED", flush=True)
        if what == "stop":
            stop.set()
        elif what != "itself":
            os.kill(doomed[0], signal.SIGKILL if kill else signal.SIGINT)

    def tell(self: Run, doing: str) -> None:
        if doing != self.doing:
            print(doing, flush=True)
        self.doing = doing
        if when in doing and not when.isdigit():
            act()

    Run.tell = tell
    told: dict[str, object] = {"error": "", "sentence": ""}
    run: Run | None = None
    began = time.monotonic()
    try:
        for event in fedlab.stream(
            ragged(), "logistic", Slow(what == "itself"), rounds=ROUNDS, engine="ray", stop=stop
        ):
            run = event.run
            print(f"round {event.round}", event.errors, flush=True)
            if when == str(event.round):
                act()
            elif when == "mid" and event.round == 1:
                threading.Timer(1.0, act).start()
    except (Exception, KeyboardInterrupt) as error:
        told |= {"error": type(error).__name__, "sentence": str(error)}
        run = getattr(error, "run", None) or run
    told |= {"acted": done.is_set(), "seconds": time.monotonic() - began}
    told["rounds"] = len(run.records) if run else 0
    told["errors"] = run.errors.values.tolist() if run else []
    told["notes"] = run.notes if run else []
    told["model"] = run is not None and bool(run.records) and run.model() is not None
    groups -= {os.getpgid(0)}

    def left() -> list[str]:
        return [name for _, _, group, state, name in processes() if group in groups and state != "Z"]

    with suppress(AssertionError):  # a process that is killed takes its time to go
        until(lambda: not left(), moves=left, still=60)
    told["left"] = left()
    print("RESULT", json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
