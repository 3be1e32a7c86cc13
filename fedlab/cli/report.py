"""``fedlab report``: check what is asked for, load the recipe or the table, measure, write it whole."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedlab.cli.fetch import need
from fedlab.cli.table import Table
from fedlab.cli.wrong import Wrong
from fedlab.federation import Federation
from fedlab.report.files import writable
from fedlab.report.measured import Asked
from fedlab.report.page import About
from fedlab.report.report import NOT_STATED, make


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for, checked before anything is trained."""

    data: str | Table
    asked: Asked
    link: float
    output: Path
    json: Path | None
    csv: Path | None

    @classmethod
    def check(cls, *, recipe: str, table: Table | None, link: float, output: Path, json: Path | None, csv: Path | None,
              algorithms: Sequence[str], **rest: Any) -> Order:  # fmt: skip
        """Refuse, in one sentence, what cannot be meant."""
        import data_recipes

        if table is None:
            need(recipe, list(data_recipes.recipes()))
        try:
            asked = Asked.check(algorithms=algorithms, **rest)
        except ValueError as error:
            raise Wrong(f"{error}.") from None
        places: dict[Path, str] = {}
        for option, file in (("--output", output), ("--json", json), ("--csv", csv)):
            if file is None:
                continue
            if why := writable(file):
                raise Wrong(why)
            first = places.setdefault(file.resolve(), option)
            if first != option:
                raise Wrong(f"{first} and {option} are both {file}: give them different names.")
        return cls(data=table or recipe, asked=asked, link=link, output=output, json=json, csv=csv)


def carry_out(order: Order) -> Iterator[str]:
    """Do it; yields the lines to print."""
    began = time.perf_counter()
    federation, about = load(order)
    try:
        order = replace(order, asked=order.asked.suit(federation))
    except ValueError as error:
        raise Wrong(f"--{error}.") from None
    if order.asked.holdout is not None:
        try:
            federation.holdout(order.asked.holdout)
        except (KeyError, ValueError) as error:
            raise Wrong(f"--holdout: {error.args[0]}.") from None
    made = make(federation, order.asked, about, command=command(order))
    yield str(made)
    written = made.save(order.output, json=order.json, csv=order.csv)
    yield f"Wrote {' and '.join(map(str, written))} in {time.perf_counter() - began:.0f} s."


def load(order: Order) -> tuple[Federation, About]:
    """Load the data, and what there is to say of them."""
    import data_recipes

    if isinstance(order.data, Table):
        federation = order.data.load()
        licence = federation.licence or NOT_STATED
        return federation, About(federation.name, federation.source, licence, {}, link=order.link)
    recipe = data_recipes.recipes()[order.data]
    about = About(recipe.TITLE, recipe.CITATION, recipe.LICENCE, {}, not recipe.SITE_KEY, order.link)
    return data_recipes.load(order.data), about


def command(order: Order) -> str:
    """Return the line that makes the report again."""
    asked = order.asked
    words = ["fedlab", "report", *(order.data.words() if isinstance(order.data, Table) else [order.data])]
    words += ["--algorithms", ",".join(alg.name for alg in asked.arms.values()), "--seeds", str(asked.seeds)]
    words += ["--primary", str(asked.primary)]
    words += ["--smallest", f"{asked.smallest:g}"] if asked.smallest is not None else []
    words += ["--rounds", str(asked.rounds), "--model", str(asked.model), "--link", f"{order.link:g}"]
    words += ["--holdout", asked.holdout] if asked.holdout else []
    words += [] if asked.threshold is None else ["--threshold", f"{asked.threshold:g}"]
    return shlex.join(words)
