"""``fedlab report``: check what is asked for, train, read the gap, write it whole."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.cli.environment import versions
from fedlab.cli.fetch import need
from fedlab.cli.gap import Gap, lead
from fedlab.cli.page import About, page
from fedlab.cli.short import in_short
from fedlab.cli.verdict import Finding, verdict
from fedlab.cli.wrong import Wrong
from fedlab.federation import Federation
from fedlab.models import build
from fedlab.study import compare, unseen_sites
from fedlab.study.compare import name_arms

RESAMPLES = 500


@dataclass(frozen=True)
class Order:
    """What is asked for, checked before anything is trained."""

    recipe: str
    arms: dict[str, Algorithm]
    seeds: int
    rounds: int
    model: str
    output: Path
    json: Path | None

    @classmethod
    def check(
        cls,
        recipe: str,
        algorithms: Sequence[str],
        seeds: int,
        rounds: int,
        model: str,
        output: Path,
        json: Path | None,
    ) -> Order:
        """Refuse, in one sentence, what cannot be meant."""
        import data_recipes

        need(recipe, list(data_recipes.recipes()))
        try:
            arms = name_arms([name.strip() for name in algorithms])
            build(model, 1, 1)
        except ValueError as error:
            raise Wrong(f"{error}.") from None
        for file in filter(None, (output, json)):
            writable(file)
        if json is not None and json.resolve() == output.resolve():
            raise Wrong(f"--output and --json are both {output}: give them different names.")
        return cls(recipe, arms, seeds, rounds, model, output, json)


def carry_out(order: Order) -> Iterator[str]:
    """Do it; yields the lines to print."""
    import data_recipes

    began = time.perf_counter()
    recipe = data_recipes.recipes()[order.recipe]
    federation = data_recipes.load(order.recipe)
    gap = measure(federation, order)
    findings = verdict(gap)
    content = as_dict(gap, findings)  # before the page, which shows how often test was opened until then
    seconds = time.perf_counter() - began
    facts = made_of(gap, order, seconds)
    simulated = not recipe.SITE_KEY
    written = page(gap, findings, About(recipe.TITLE, recipe.CITATION, recipe.LICENCE, facts, simulated))
    write(order.output, written)
    if order.json is not None:
        write(
            order.json,
            json.dumps(clean(content | {"seconds": seconds}), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        )
    yield from (f"{what} {said}" for what, said in in_short(gap))
    files = " and ".join(str(file) for file in (order.output, order.json) if file)
    yield f"Wrote {files} in {time.perf_counter() - began:.0f} s."


# --------------------------------------------------------------------------- training


def measure(federation: Federation, order: Order) -> Gap:
    """Train all arms, then the federated one without each hospital in turn."""
    study = compare(federation, order.model, list(order.arms.values()), seeds=order.seeds, rounds=order.rounds)
    if len(study.arms) < len(order.arms):  # `compare` keeps finished arms when it is interrupted; a report keeps none
        raise KeyboardInterrupt
    leading = lead(order.arms)
    unseen = pd.DataFrame()
    if leading is not None and order.arms[leading].one_model and len(federation.sites) > 1:
        unseen = unseen_sites(
            federation, order.model, order.arms[leading], seeds=study.seeds, resamples=RESAMPLES, rounds=order.rounds
        ).assign(arm=leading)
    return Gap(study, unseen, RESAMPLES)


# --------------------------------------------------------------------------- what is written


def made_of(gap: Gap, order: Order, seconds: float) -> dict[str, str]:
    """Return what one needs to make the report again."""
    asked = f"fedlab report {order.recipe} --algorithms {','.join(alg.name for alg in order.arms.values())}"
    asked += f" --seeds {order.seeds} --rounds {order.rounds} --model {order.model}"
    return {
        "command": asked,
        "algorithms": "; ".join(map(str, order.arms.values())),
        "settings": ", ".join(f"{name} {value}" for name, value in settings(gap).items()),
        "seeds": f"{', '.join(map(str, gap.study.seeds))} (each a split, a start and a batch order)",
        "round reported": "the best log loss on the validation patients; the test patients were locked until then",
        "test opened": f"{gap.study.test_openings} time{'s' * (gap.study.test_openings != 1)} by this study"
        + ("" if gap.unseen.empty else ", and once by each model of an unseen hospital"),
        "data fingerprint": gap.study.federation.fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": f"{seconds:.0f} s for training and reading; finished {time.strftime('%Y-%m-%d %H:%M %Z')}",
    }


def settings(gap: Gap) -> dict[str, str]:
    """Return the settings that all runs share."""
    first = next(iter(gap.study.runs.values()))[0].settings
    return {name: str(value) for name, value in vars(first).items() if name != "seed"}


def as_dict(gap: Gap, findings: list[Finding]) -> dict[str, Any]:
    """Return every number of the report, in the form that the README's tables are made from."""
    atlas: dict[str, Any] = {}
    for row in gap.atlas.to_dict("records"):
        place = atlas.setdefault(row["arm"], {}).setdefault(row["train"], {}).setdefault(row["test"], {})
        kept = ("sd", "low", "high", "patients", "fewest", "seeds")
        place[row["metric"]] = {"mean": row["value"]} | {key: row[key] for key in kept}
    return {
        "arms": gap.study.as_dict(),
        "atlas": atlas,
        "seeds": list(gap.study.seeds),
        "versions": versions(),
        "federation": gap.study.federation.name,
        "model": gap.study.model_name,
        "federated": gap.federated,
        "settings": settings(gap),
        "cost": gap.study.cost().to_dict("index"),
        "fingerprint": gap.study.federation.fingerprint,
        "test_openings": gap.study.test_openings,
        "in_short": dict(in_short(gap)),
        "verdict": {heading: said for heading, said in findings},
        "intervals": {
            "arms": "95 %, corrected resampled t over seeds",
            "atlas": f"95 %, bootstrap over one split's test patients ({gap.resamples} resamples), averaged over seeds",
        },
    }


def clean(content: Any) -> Any:
    """Return what strict JSON can hold: ``nan`` and infinity become null, numpy's numbers plain ones.

    Examples
    --------
    >>> clean({"a": [float("nan"), 1]})
    {'a': [None, 1]}
    """
    if isinstance(content, dict):
        return {str(key): clean(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [clean(value) for value in content]
    if hasattr(content, "item"):
        content = content.item()
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content


def writable(file: Path) -> None:
    """Refuse a file that could not be written at the end, before the work."""
    if file.is_dir():
        raise Wrong(f"{file} is a folder: name a file.")
    if not file.parent.is_dir():
        raise Wrong(f"there is no folder {file.parent}: make it first, or choose another place.")
    probe = _beside(file)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Wrong(f"{file} cannot be written ({error.strerror}): choose another place.") from None


def write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = _beside(file)
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
