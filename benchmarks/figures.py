"""What every benchmark prints and writes: one figure a row, and where and when it was measured."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedlab.report.versions import versions


@dataclass(frozen=True)
class Figure:
    """One measured figure; ``target`` is empty where there is none, and ``holds`` then ``None``."""

    name: str
    value: float
    unit: str
    target: str = ""
    holds: bool | None = None
    note: str = ""


def at_most(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should stay below a limit."""
    return Figure(name, value, unit, f"< {limit:g} {unit}".strip(), value < limit, note)


def at_least(name: str, value: float, unit: str, limit: float, note: str = "") -> Figure:
    """A figure that should reach a limit."""
    return Figure(name, value, unit, f"≥ {limit:g} {unit}".strip(), value >= limit, note)


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
        holds = {True: "yes", False: "no", None: ""}[figure.holds]
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, figure.target, holds, figure.note)
    return table


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
