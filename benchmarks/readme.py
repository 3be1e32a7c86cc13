"""The README's tables of measurements, from the files of the last run: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
NAMES = ("engine", "published", "harmoniser", "explainer", "wide")


def table(content: dict[str, Any]) -> str:
    """Return a run's figures as a Markdown table, and below it where and when it was."""
    rows = [f"| {f['name']} | {_number(f['value'])} {f['unit']} | {f['target']} | {_holds(f)} | {_note(f)} |"
            for f in content["figures"]]  # fmt: skip
    versions = ", ".join(f"{k} {v}" for k, v in content["versions"].items() if k in ("python", "torch", "flwr", "ray"))
    where = f"{content['machine']}, {versions}; {content['seconds']:.0f} s"
    quick = " --quick" * content["quick"]
    seed = f" --seed {content['seed']}" if content.get("seed") else ""
    told = f"*`python -m benchmarks.{content['benchmark']}{quick}{seed}`, {where}.*"
    return "\n".join(["| what | measured | target | holds | note |", "|---|---|---|---|---|", *rows, "", told])


HOLDS = {True: "yes", False: "**no**", None: ""}


def _holds(figure: dict[str, Any]) -> str:
    return "not judged" if figure.get("unjudged") else HOLDS[figure["holds"]]


def _note(figure: dict[str, Any]) -> str:
    return "; ".join(filter(None, (figure["note"], figure.get("unjudged"))))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def written(text: str) -> str:
    """Return the README with its tables made anew."""
    for name in NAMES:
        file = HERE / "results" / f"{name}.json"
        made = table(json.loads(file.read_text(encoding="utf-8")))
        mark = re.compile(rf"(<!-- {name}: written by benchmarks.readme -->\n).*?(<!-- end -->)", re.S)
        if not mark.search(text):
            raise SystemExit(f"README.md has no place for the table of {name}")
        text = mark.sub(lambda found, made=made: f"{found[1]}\n{made}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
