"""``fedlab run``: what a plan asks, trained and kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fedlab.engine import Plan, Run, TooFewSites
from fedlab.engine.train import carry_out as train_plan


def carry_out(file: Path, folder: Path | None) -> Iterator[str]:
    """Train, and say what came of it, line by line."""
    folder = folder or file.with_suffix("")
    if folder.resolve() == file.resolve():
        raise ValueError(f"the plan {file} has no ending, and its record would take its name: give -o FOLDER")
    plan = Plan.load(file)
    if (here := str(file.resolve().parent)) not in sys.path:
        sys.path.insert(0, here)  # as Python does for a script
    federation = plan.federation()
    yield f"{plan.algorithm.said} of {plan.model.name} on {federation.name}: {plan.rounds} rounds, seed {plan.seed}."
    try:
        run = train_plan(plan, federation, save=folder)
    except TooFewSites as error:
        if error.run is not None and error.run.records:
            yield from _told(error.run, folder)
        raise
    yield from _told(run, folder)


def _told(run: Run, folder: Path) -> Iterator[str]:
    if len(run.records) < run.settings.rounds:
        yield f"The {len(run.records)} of {run.settings.rounds} rounds that there were:"
    table = run.history[run.history["chosen"]][["site", "round", "log_loss", "auc", "patients"]]
    yield table.to_string(index=False, float_format="{:.3f}".format)
    yield from run.notes
    opened = (
        f"test was opened {run.test_openings} times, as the plan asks" if run.test_openings else "test stays unopened"
    )
    yield f"The record is {folder}. Scores on valid; {opened}: fedlab.Run.load({str(folder)!r}).report()."
