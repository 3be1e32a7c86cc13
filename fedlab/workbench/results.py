"""The tables below the curve: scores on ``valid`` after a run, and on ``test`` once it is opened."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fedlab.engine import Run
from fedlab.figures.words import ARMS, FEW, few, number
from fedlab.workbench.style import table

RESAMPLES = 500
SHOWN = ("auc", "accuracy", "log_loss")


def on_valid(run: Run) -> str:
    """Return the table of the reported round: each site's round, log loss and AUC on ``valid``."""
    chosen = run.history[run.history["chosen"]].set_index("site")
    rows = []
    for site in run.federation.names:
        if site in chosen.index:
            row = chosen.loc[site]
            rows.append(
                [site, str(row["round"]), number(row["log_loss"], 3), number(row["auc"], 3), str(row["patients"])]
            )
        else:
            rows.append([site, "–", "–", "–", "–"])
    head = ["site", "reported round", "log loss", "AUC", "n"]
    notes = ["The round was chosen on these patients, so these scores are a little too good."]
    if chosen["auc"].isna().any():
        notes.append("–: an AUC needs patients of every class.")
    return table(head, rows, caption="Reported round on valid", notes=notes)


def on_test(run: Run) -> str:
    """Open ``test`` (counted by the run) and return its table with 95 % bootstrap intervals."""
    scores = run.report(resamples=RESAMPLES)
    wide = scores.set_index(["train", "test", "metric"])
    pairs = list(dict.fromkeys(zip(scores["train"], scores["test"], strict=True)))
    small = few(run.federation)
    rows = []
    for train, test in pairs:
        n = int(wide.loc[(train, test, "auc"), "patients"])
        cells = [_cell(wide.loc[(train, test, metric)]) for metric in SHOWN]
        rows.append([train, f"{test}{' †' if test in small else ''}", *cells, str(n)])
    notes = ["In brackets: 95 % bootstrap interval over the test patients."]
    if small:
        told = "; ".join(f"{site}: {what}" for site, what in small.items())
        notes.append(f"† Fewer than {FEW} in a class, so AUC is mostly luck: {told}.")
    head = ["model of", "tested at", "AUC", "accuracy", "log loss", "n"]
    name = ARMS.get(run.algorithm.name, run.algorithm.name)
    return table(head, rows, caption=f"Reported round of {name} on the test patients", notes=notes)


def _cell(row: pd.Series[Any]) -> str:
    if math.isnan(row["value"]):
        return "–"
    if math.isnan(row["low"]):
        return number(row["value"], 3)
    return f"{number(row['value'], 3)} [{number(row['low'])}, {number(row['high'])}]"


def openings(run: Run | None) -> str:
    """Say how often ``test`` was opened."""
    if run is None or not run.records:
        return "The test patients are locked until a run has ended."
    count = run.test_openings
    times = "not been opened" if count == 0 else f"been opened {count} time{'s' * (count != 1)}"
    why = "to look, then change the settings, is to choose on it"
    return f"The test of this run has {times}. Openings are counted: {why}."
