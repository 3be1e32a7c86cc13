"""``fedlab report``: check what is asked for, train, read the gap, write it whole."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.cli.environment import versions
from fedlab.cli.fetch import need
from fedlab.cli.wrong import Wrong
from fedlab.federation import Federation
from fedlab.models import build
from fedlab.report.door import outgoing
from fedlab.report.files import writable, write_all
from fedlab.report.gap import Gap, lead
from fedlab.report.numbers import as_csv, as_json, settings
from fedlab.report.page import About, page
from fedlab.report.short import in_short
from fedlab.study import at_holdout, compare, learning_curve, unseen_sites
from fedlab.study.compare import name_arms

RESAMPLES = 500


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for, checked before anything is trained."""

    recipe: str
    arms: dict[str, Algorithm]
    seeds: int
    rounds: int
    model: str
    holdout: str | None
    link: float
    output: Path
    json: Path | None
    csv: Path | None

    @classmethod
    def check(cls, *, recipe: str, algorithms: Sequence[str], model: str, **rest: Any) -> Order:
        """Refuse, in one sentence, what cannot be meant."""
        import data_recipes

        need(recipe, list(data_recipes.recipes()))
        try:
            arms = name_arms([name.strip() for name in algorithms])
            build(model, 1, 1)
        except ValueError as error:
            raise Wrong(f"{error}.") from None
        order = cls(recipe=recipe, arms=arms, model=model, **rest)
        places: dict[Path, str] = {}
        for option, file in (("--output", order.output), ("--json", order.json), ("--csv", order.csv)):
            if file is None:
                continue
            if why := writable(file):
                raise Wrong(why)
            first = places.setdefault(file.resolve(), option)
            if first != option:
                raise Wrong(f"{first} and {option} are both {file}: give them different names.")
        return order


def carry_out(order: Order) -> Iterator[str]:
    """Do it; yields the lines to print."""
    import data_recipes

    began = time.perf_counter()
    recipe = data_recipes.recipes()[order.recipe]
    gap = outgoing(measure(data_recipes.load(order.recipe), order))
    seconds = time.perf_counter() - began
    about = About(
        recipe.TITLE, recipe.CITATION, recipe.LICENCE, made_of(gap, order, seconds), not recipe.SITE_KEY, order.link
    )
    files = {}  # the numbers first: they are small, and a full disk may still have room for them
    if order.csv is not None:
        files[order.csv] = as_csv(gap)
    if order.json is not None:
        files[order.json] = as_json(gap, order.link, {"versions": versions(), "seconds": seconds})
    files[order.output] = page(gap, about)
    yield from (f"{what} {said}" for what, said in in_short(gap))
    write_all(files)
    yield f"Wrote {' and '.join(map(str, reversed(files)))} in {time.perf_counter() - began:.0f} s."


# --------------------------------------------------------------------------- training


def measure(federation: Federation, order: Order) -> Gap:
    """Train all arms, then the federated one without each hospital in turn and on less data; open ``test``."""
    held = None
    if order.holdout is not None:
        try:
            federation, held = federation.holdout(order.holdout)
        except (KeyError, ValueError) as error:
            raise Wrong(f"--holdout: {error.args[0]}.") from None
    study = compare(federation, order.model, list(order.arms.values()), seeds=order.seeds, rounds=order.rounds)
    if set(order.arms) - {*study.arms, *study.failed["arm"]}:
        raise KeyboardInterrupt  # `compare` keeps finished arms when it is interrupted; a report keeps none
    arms = {name: order.arms[name] for name in study.arms}  # one that failed on all seeds has no result
    leading = lead(arms)
    again: dict[str, Any] = {"seeds": study.seeds, "rounds": order.rounds}
    unseen, curve = pd.DataFrame(), None
    if leading is not None and arms[leading].one_model:
        arm = arms[leading]
        if len(federation.sites) > 1:
            unseen = unseen_sites(federation, order.model, arm, resamples=RESAMPLES, **again).assign(arm=leading)
        curve = learning_curve(federation, order.model, {leading: arm}, **again)
        if curve.notes and "interrupted" in curve.notes[-1]:
            raise KeyboardInterrupt
    there = pd.DataFrame() if held is None else at_holdout(study, held, RESAMPLES)
    gap = Gap(study, unseen, there, curve, RESAMPLES)
    _ = gap.opened, gap.calibration, study.report()  # all that is opened, so that the report can say how often it was
    return gap


# --------------------------------------------------------------------------- what is written


def made_of(gap: Gap, order: Order, seconds: float) -> dict[str, str]:
    """Return what one needs to make the report again."""
    asked = f"fedlab report {order.recipe} --algorithms {','.join(alg.name for alg in order.arms.values())}"
    asked += f" --seeds {order.seeds} --rounds {order.rounds} --model {order.model} --link {order.link:g}"
    asked += f' --holdout "{order.holdout}"' if order.holdout else ""
    beside = ", and once by each model of an unseen hospital" * (not gap.unseen.empty)
    beside += ", and once by each model that learnt from less data" * (gap.curve is not None)
    return {
        "command": asked,
        "algorithms": "; ".join(map(str, order.arms.values())),
        "settings": ", ".join(f"{name} {value}" for name, value in settings(gap).items()),
        "seeds": f"{', '.join(map(str, gap.study.seeds))} (each a split, a start and a batch order)",
        "round reported": "the best log loss on the validation patients; the test patients were locked until then",
        "test opened": f"{gap.study.test_openings} time{'s' * (gap.study.test_openings != 1)} by this study{beside}",
        "data fingerprint": gap.study.federation.fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": f"{seconds:.0f} s for training and reading; finished {time.strftime('%Y-%m-%d %H:%M %Z')}",
    }
