"""``fedlab run``: what a plan asks, trained and kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fedlab.engine import Plan, Run, TooFewSites
from fedlab.engine.train import begin, carry_kept


def carry_out(file: Path, folder: Path | None) -> Iterator[str]:
    """Train, and say what came of it, line by line."""
    plan = Plan.load(file)
    if folder is None and not file.suffix:
        raise ValueError(f"the plan {file} has no ending, and its record would take its name: give -o FOLDER")
    folder = folder or file.with_suffix("")
    if (here := str(file.resolve().parent)) not in sys.path:
        sys.path.insert(0, here)  # as Python does for a script
    run = begin(plan, plan.federation())  # what cannot be carried out is said before anything is
    what = f"{plan.algorithm.said} of {plan.model.name} on {run.federation.name}"
    yield f"{what}: {plan.rounds} rounds, seed {plan.seed}."
    try:
        carry_kept(run, save=folder)
    except TooFewSites:
        if run.records:
            yield from _told(run, folder)
        raise
    yield from _told(run, folder)


def _told(run: Run, folder: Path) -> Iterator[str]:
    if len(run.records) < run.settings.rounds:
        yield f"The {len(run.records)} of {run.settings.rounds} rounds that there were:"
    history = run.history
    table = history[history["chosen"].astype(bool)][["site", "round", *run.scored, "patients"]]
    if len(table):
        yield table.to_string(index=False, float_format="{:.3f}".format)
    else:
        yield "No round was scored on valid (evaluate=False): the last one is reported."
    yield from run.notes
    opened = (
        f"test was opened {run.test_openings} times, as the plan asks" if run.test_openings else "test stays unopened"
    )
    yield f"The record is {folder}. Scores on valid; {opened}: fedlab.Run.load({str(folder)!r}).report()."
