"""The tables below the curve: scores on ``valid`` after a run, and on ``test`` once it is opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.metrics.cells import FEW, LEAST, written
from fedlab.study import Study
from fedlab.study.guessing import worse_than_guessing
from fedlab.study.prevalence import BEYOND
from fedlab.study.words import arm_name, few, listed, number, words
from fedlab.workbench.style import table

RESAMPLES = 500
ONE_SPLIT = "Of one split: a small change may be chance. Whether it is real is for fedlab.compare to say, over seeds."
TOO_GOOD = "The round was chosen on these patients, so these scores are a little too good."


def on_valid(runs: Sequence[Run], *, before: Run | None = None) -> str:
    """Return the table of the reported round: each site's round and its two scores on ``valid``.

    ``before`` is another run, whose scores stand beside those of a single one.
    """
    if len(runs) > 1:
        return _over_seeds(runs)
    small, names = few(runs[0].federation, "valid"), _names(runs[0].scored)
    shown = [_chosen(run) for run in (runs[0], *([] if before is None else [before]))]
    rows = []
    for site in runs[0].federation.names:
        cells = [_scored(chosen, site, runs[0].scored) for chosen in shown]
        where = shown[0].loc[site] if site in shown[0].index else None
        n = "–" if where is None else written(where["patients"] or math.nan)
        rows.append([site, "–" if where is None else str(where["round"]), *sum(cells, []), n + " †" * (site in small)])
    old = [] if before is None else [f"{name} before" for name in names]
    notes = [TOO_GOOD, ONE_SPLIT] if old else [TOO_GOOD]
    if runs[0].federation.task.classes and any(chosen[runs[0].scored[1]].isna().any() for chosen in shown):
        notes.append(f"–: an AUC leaves a hospital from {LEAST} patients of every class on, a log loss from {LEAST}.")
    notes += [*_guessing(runs), *_of_the_few(small, runs[0].federation)]
    head = ["site", "reported round", *names, *old, "n"]
    return table(head, rows, caption="Reported round on valid", notes=notes)


def _chosen(run: Run) -> pd.DataFrame:
    return run.history[run.history["chosen"]].set_index("site")


def _names(metrics: Sequence[str]) -> list[str]:
    return [words(metric).name for metric in metrics]


def _scored(chosen: pd.DataFrame, site: str, metrics: Sequence[str]) -> list[str]:
    if site not in chosen.index:
        return ["–", "–"]
    return [number(chosen.loc[site, metric], 3) for metric in metrics]


def _over_seeds(runs: Sequence[Run]) -> str:
    every = pd.concat([run.history[run.history["chosen"]].assign(run=i) for i, run in enumerate(runs)])
    rows, small = [], few(runs[0].federation, "valid")
    for site in runs[0].federation.names:
        own = every[every["site"] == site]
        cells = [f"{number(own[m].mean(), 3)} ± {number(own[m].std(), 3)}" for m in runs[0].scored]
        first, last = (own["round"].min(), own["round"].max()) if len(own) else ("–", "–")
        span = f"{first}" if first == last else f"{first} to {last}"
        n = f"{own['patients'].mean():.0f}" if len(own) else "–"
        rows.append([site, span, *(cells if len(own) else ["–", "–"]), n + " †" * (site in small)])
    notes = [f"Mean ± standard deviation over {len(runs)} seeds, each at its own reported round.", TOO_GOOD,
             *_guessing(runs), *_of_the_few(small, runs[0].federation)]  # fmt: skip
    head = ["site", "reported rounds", *_names(runs[0].scored), "n"]
    return table(head, rows, caption="Reported rounds on valid", notes=notes)


def _guessing(runs: Sequence[Run]) -> list[str]:
    """Name the sites at which the model is worse than one that knows no patient."""
    worse = [str(found) for found in worse_than_guessing(runs)]
    what = "shares" if runs[0].federation.task.classes else "mean"
    return [f"Worse than guessing, that is than saying each hospital's own {what} to all its patients: {listed(worse)}."
            ] if worse else []  # fmt: skip


def on_test(runs: Sequence[Run]) -> str:
    """Open ``test`` (counted by the runs) and return its table with 95 % intervals."""
    if len(runs) > 1:
        return _test_over_seeds(runs)
    run = runs[0]
    scores = run.report(resamples=RESAMPLES)
    wide = scores.set_index(["train", "test", "metric"])
    pairs = list(dict.fromkeys(zip(scores["train"], scores["test"], strict=True)))
    small = few(run.federation)
    rows = []
    for train, test in pairs:
        n = int(wide.loc[(train, test, run.federation.task.headline), "patients"])
        cells = [_cell(wide.loc[(train, test, metric)]) for metric in run.federation.task.main]
        rows.append([train, f"{test}{' †' if test in small else ''}", *cells, str(n)])
    notes = ["In brackets: 95 % interval over the test patients.", *_of_the_few(small, run.federation)]
    head = ["model of", "tested at", *_names(run.federation.task.main), "n"]
    name = arm_name(run.algorithm.name)
    return table(head, rows, caption=f"Reported round of {name} on the test patients", notes=notes)


def _test_over_seeds(runs: Sequence[Run]) -> str:
    """Each hospital's own patients, read by the model it would use; as ``fedlab.compare`` has it."""
    first, name = runs[0], runs[0].algorithm.name
    study = Study(first.federation, first.model_name, {name: list(runs)}, [run.settings.seed for run in runs])
    told = study.table().rename(columns={"mean": "value"}).set_index(["where", "metric"])
    small = few(first.federation)
    places = {site: f"{site}{' †' if site in small else ''}" for site in first.federation.names}
    places |= {"home": "all, counted alike"}
    rows = [
        [said, *(_cell(told.loc[(place, metric)]) for metric in first.federation.task.main)]
        for place, said in places.items()
    ]
    beyond = f"; of means over patients wider {BEYOND}" if first.federation.task.classes else ""
    notes = [f"Mean over {len(runs)} seeds [95 %, corrected for the patients that their splits share{beyond}].",
             *_of_the_few(small, first.federation)]  # fmt: skip
    head = ["tested at", *_names(first.federation.task.main)]
    return table(head, rows, caption=f"Reported rounds of {arm_name(name)} on the test patients", notes=notes)


def _of_the_few(small: dict[str, str], federation: Federation) -> list[str]:
    told = "; ".join(f"{site}: {what}" for site, what in small.items())
    whom, name = " in a class" * bool(federation.task.classes), words(federation.task.headline).name
    return [f"† Fewer than {FEW}{whom}, so {name} is mostly luck: {told}."] if small else []


def _cell(row: pd.Series[Any]) -> str:
    if math.isnan(row["value"]):
        return "–"
    if math.isnan(row["low"]):
        return number(row["value"], 3)
    return f"{number(row['value'], 3)} [{number(row['low'])}, {number(row['high'])}]"


def openings(run: Run | None) -> str:
    """Say how often ``test`` was opened."""
    if run is None or not run.records:
        return "The test patients stay unopened until a run has ended."
    count = run.test_openings
    times = "not been opened" if count == 0 else f"been opened {count} time{'s' * (count != 1)}"
    why = "to look, then change the settings, is to choose on it"
    return f"The test of this run has {times}. Openings are counted: {why}."
