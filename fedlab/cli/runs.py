"""``fedlab runs`` and ``fedlab compare``: what is kept in a folder, and two runs side by side.

Only the records are read: no data, no training, and ``test`` stays as closed as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedlab.cli.wrong import Wrong
from fedlab.engine.record import RUN, Packed, read
from fedlab.metrics.known import KNOWN
from fedlab.storage import read as read_folder
from fedlab.study.record import MAIN, STUDY
from fedlab.study.words import words

DEEP = 3  # folders below the one that is asked for


@dataclass(frozen=True)
class Row:
    """A record in a line; ``fault`` says why it cannot be read."""

    where: str
    what: str = ""
    algorithm: str = ""
    data: str = ""
    rounds: str = ""
    when: str = ""
    opened: str = ""
    fault: str = ""


# --------------------------------------------------------------------------- fedlab runs


def list_records(folder: Path) -> int:
    """Print the records below a folder; return how many cannot be read."""
    if not folder.is_dir():
        raise Wrong(f"there is no folder {folder}.")
    rows = [row for path in _records(folder, DEEP) if (row := _row(path, folder)) is not None]
    console = Console()
    if not rows:
        console.print(f"No records in {escape(str(folder))}: run.save(FOLDER) and compare(…, save=FOLDER) make them.")
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("record", "what", "algorithm", "data", "rounds", "saved", "test opened"):
        table.add_column(column, overflow="fold", justify="right" if column in ("rounds", "test opened") else "left")
    for row in rows:
        told = (row.where, row.what, row.algorithm, row.data, row.rounds, row.when, row.opened)
        table.add_row(*map(escape, told), style="red" if row.fault else None)
    console.print(table)
    for row in rows:
        if row.fault:
            console.print(f"[red]{escape(row.fault)}[/]", soft_wrap=True)
    return sum(bool(row.fault) for row in rows)


def _records(folder: Path, deep: int) -> Iterator[Path]:
    """Yield the folders of records below one, and those that cannot be looked into."""
    try:
        inside = sorted(folder.iterdir())
        if any(path.name in (RUN, STUDY) for path in inside):
            yield folder
        elif deep:
            for path in inside:
                if path.is_dir() and (not path.name.startswith(".") or _left(path)):
                    yield from _records(path, deep - 1)
    except OSError:
        yield folder


def _left(path: Path) -> bool:
    """Return whether an older fedlab, killed between two renamings, left a record under this name."""
    own = path.name.removeprefix(".").removesuffix(".old")
    return path.name == f".{own}.old" and not path.with_name(own).exists()


def _row(path: Path, top: Path) -> Row | None:
    """Return a record in a line, whatever is the matter with it; ``None`` if its first save has not ended."""
    where = str(path.relative_to(top)) if path != top else path.name or str(path)
    try:
        return _study(path, where) if (path / STUDY).is_file() else _run(path, where)
    except FileNotFoundError:
        return None
    except Exception as error:  # one odd record hides no other
        why = str(error) if str(path) in str(error) else f"{path}: {type(error).__name__}: {error}"
        return Row(where, "damaged", fault=why)


def _run(path: Path, where: str) -> Row:
    about = read(path).about
    algorithm, model = about["algorithm"]["said"], about["model"]["name"]
    done = f"{about['rounds']} of {about['settings']['rounds']}"
    opened = _times(about["test_openings"])
    return Row(where, f"run, {model}", algorithm, about["data"]["name"], done, _when(about), opened)


def _study(path: Path, where: str) -> Row:
    about = read_folder(path, STUDY, MAIN).body
    kept = about["study"]
    plan = kept.get("asked", kept.get("plan")) or {}
    asked = plan.get("arms", about["arms"])
    what = f"study, {kept['model_name']}, {len(kept['seeds'])} seeds"
    missing = len(asked) - len(about["arms"])
    arms = ", ".join(about["arms"]) + (f" ({missing} of {len(asked)} arms missing)" if missing > 0 else "")
    rounds = str(plan.get("settings", {}).get("rounds", ""))
    return Row(where, what, arms, about["data"]["name"], rounds, _when(about), _times(kept["test_openings"]))


def _when(about: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(about["saved"]).astimezone().strftime("%Y-%m-%d %H:%M")


def _times(number: int) -> str:
    return {0: "no", 1: "once"}.get(number, f"{number} times")


# --------------------------------------------------------------------------- fedlab compare


def side_by_side(first: Path, second: Path) -> None:
    """Print in what two runs differ, and what they are worth."""
    both = [_checked(path) for path in (first, second)]
    names = ["A", "B"]
    console = Console()
    for name, path, packed in zip(names, (first, second), both, strict=True):
        about = packed.about
        told = f"{about['algorithm']['said']}, {about['model']['name']}, {about['data']['name']}, {_when(about)}"
        console.print(f"{name}  {escape(str(path))}: {escape(told)}", soft_wrap=True)
    console.print(_differing(*(_settings(packed.about) for packed in both)))
    console.print(_valid(both))
    opened = [_opened(packed) for packed in both]
    if all(table is not None for table in opened):
        console.print(_test([table for table in opened if table is not None]))
    else:
        closed = [name for name, table in zip(names, opened, strict=True) if table is None]
        console.print(f"No test scores side by side: test was never opened by {' and '.join(closed)} (run.report()).")
    console.print("Two runs are one seed each and say nothing about small differences: fedlab.compare has ten.")


def _checked(path: Path) -> Packed:
    if (path / STUDY).is_file():
        raise Wrong(f"{path} is a study: give two runs. Its own table: fedlab.Study.load({str(path)!r}).table().")
    return read(path)


def _settings(about: Mapping[str, Any]) -> dict[str, str]:
    settings = {**about["settings"], **about["settings"]["unsaid"]}
    flat = {name: value for name, value in settings.items() if name != "unsaid"}
    data = about["data"]
    told: dict[str, Any] = {"algorithm": about["algorithm"]["said"], "model": about["model"]["name"]}
    told |= {"data": data["name"], "sites": ", ".join(data["sites"]), "data and split": data["fingerprint"][:12]}
    told |= flat | about["versions"] | {"rounds done": about["rounds"]}
    return {name: _word(value) for name, value in told.items()}


def _word(value: Any) -> str:
    if isinstance(value, dict) and "is" in value:
        return f"{value['is']}({', '.join(f'{k}={v}' for k, v in value.items() if k != 'is')})"
    return str(value)


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> Table | str:
    apart = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    if not apart:
        return "Data, algorithm, settings and versions are the same."
    table = _table("What differs", "", "A", "B")
    for name in apart:
        table.add_row(escape(name), escape(a.get(name, "–")), escape(b.get(name, "–")))
    return table


def _valid(both: list[Packed]) -> Table:
    scores = [_reported(packed) for packed in both]
    there = dict.fromkeys(name for each in scores for got in each.values() for name in got if name != "n")
    metrics = [*there][::-1]  # the headline first
    heads = (f"{n}: {words(metric).name}" for n in "AB" for metric in metrics)
    table = _table("On valid, at the reported round", "site", *heads)
    for site in dict.fromkeys(site for each in scores for site in each):
        cells = [_number(each.get(site, {}).get(metric)) for each in scores for metric in metrics]
        table.add_row(escape(site), *cells)
    return table


def _reported(packed: Packed) -> dict[str, dict[str, float]]:
    valid = {record["round"]: record["valid"] for record in packed.past["records"]}
    return {site: valid[round].get(site, {}) for site, round in packed.about["chosen"].items() if round in valid}


def _opened(packed: Packed) -> pd.DataFrame | None:
    """Return the first stored report of a run on its own sites."""
    reports = packed.state["run"].get("_reports", {})
    return next((table for asked, table in reports.items() if isinstance(asked[0], int) and not asked[1]), None)


def _test(tables: list[pd.DataFrame]) -> Table:
    """The mean over sites of each metric, a site's own patients scored by its own model or by the one of all."""
    out = _table("On test, mean over sites, each scored by its own model", "metric", "A", "B")
    each = [t[(t["train"] == t["test"]) | ~t["train"].isin(t["test"])] for t in tables]
    means = [own.groupby("metric")["value"].mean() for own in each]
    for metric in [name for name in KNOWN if any(name in mean for mean in means)]:
        out.add_row(metric, *(_number(mean.get(metric)) for mean in means))
    return out


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
