"""What every benchmark prints and writes: one figure a row, and where and when it was measured."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedlab.report.versions import versions

QUIET = 0.5  # cores that others may keep busy beside a timing
LIKE = 0.15  # how far two timings of the same work may be apart


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    ``target`` is empty where there is none, and ``holds`` then ``None``; so it is where the figure could not be judged,
    for the reason in ``unjudged``.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    holds: bool | None = None
    note: str = ""
    unjudged: str = ""


def at_most(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should stay below a limit."""
    return Figure(name, value, unit, f"< {limit:g} {unit}".strip(), value < limit, note)


def at_least(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should reach a limit."""
    return Figure(name, value, unit, f"≥ {limit:g} {unit}".strip(), value >= limit, note)


def timing(figure: Figure, *, load: float, same: list[float] | None = None) -> Figure:
    """Judge a timing only where the machine was quiet; else say that it was not, and why.

    Parameters
    ----------
    figure : Figure
    load : float
        What others used before it was measured, as :func:`load` tells it.
    same : list of float, optional
        Seconds that one piece of work took, again and again: two of them in a row are a pair.
    """
    apart = max((max(a, b) / min(a, b) - 1 for a, b in zip(same or [], (same or [])[1:], strict=False)), default=0.0)
    if load >= QUIET:
        why = f"others keep {load:.1f} cores busy (quiet is under {QUIET:g})"
    elif apart > LIKE:
        why = f"the same work took up to {100 * apart:.0f} % longer a moment later (quiet is {100 * LIKE:.0f} %)"
    else:
        return figure
    return replace(figure, holds=None, unjudged=why)


def load(seconds: float = 1.0) -> float:
    """Cores that others keep busy while this process sleeps; where the system does not count them, its load average."""
    before, own = _busy(), os.times()
    began = time.perf_counter()
    time.sleep(seconds)
    after, now = _busy(), os.times()
    if before is None or after is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    mine = sum(now[:4]) - sum(own[:4])  # with what this process has waited for
    return max(0.0, (after - before - mine) / (time.perf_counter() - began))


def _busy() -> float | None:
    """Seconds that all cores have been busy, since the machine was started."""
    told = Path("/proc/stat")
    if not told.exists():
        return None
    user, nice, system, _, _, *rest = map(int, told.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")  # interrupts; what other machines took


def main(
    name: str,
    about: str,
    measure: Callable[..., Iterator[Figure]],
    argv: list[str] | None = None,
    *,
    seeded: bool = False,
) -> None:
    """Parse the line, measure, print the table, write the file. A missed target is shown, it is no failure.

    ``measure`` is called with whether to be quick, and where it is ``seeded`` with a seed, for cases of one's own.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    if seeded:
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the cases; another one draws others")
    asked = parser.parse_args(argv)
    if asked.json is not None and not asked.json.resolve().parent.is_dir():
        parser.error(f"there is no folder {asked.json.parent}: make it first, or choose another place")
    began = time.perf_counter()
    found = list(measure(asked.quick, asked.seed) if seeded else measure(asked.quick))
    seconds = time.perf_counter() - began
    Console().print(_table(about, found))
    print(f"{seconds:.0f} s on {_machine()}")
    if asked.json is not None:
        content = {
            "benchmark": name,
            "quick": asked.quick,
            **({"seed": asked.seed} if seeded else {}),
            "figures": [asdict(figure) | {"value": _finite(figure.value)} for figure in found],
            "versions": versions(),
            "machine": _machine(),
            "seconds": seconds,
        }
        part = asked.json.with_name(f".{asked.json.name}.part")
        part.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, asked.json)


def _table(about: str, found: list[Figure]) -> Table:
    table = Table(title=about, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("what", "value", "unit", "target", "holds", "note"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for figure in found:
        holds = "not judged" if figure.unjudged else {True: "yes", False: "no", None: ""}[figure.holds]
        note = "; ".join(filter(None, (figure.note, figure.unjudged)))
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, figure.target, holds, note)
    return table


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
