"""Exercises of notebook 01, *Records differ*."""

from __future__ import annotations

import pandas as pd
import torch

from fedlab.course.cast import hospitals, raw
from fedlab.course.core import Exercise, letters, name, number
from fedlab.federation import fit, merge, summarise


def _written(column: str) -> pd.Series[float]:
    """All hospitals' cells of a column as numbers, by hospital."""
    return pd.concat({site: pd.to_numeric(table[column], errors="coerce") for site, table in raw().items()})


def _no_pressure() -> str:
    pressure = _written("trestbps")
    return str(pressure.index[pressure == 0][0][0])


def _spread_lost() -> float:
    at = hospitals().columns.index("thalach")
    summaries = [summarise(site.train.x) for site in hospitals().sites]
    each = torch.stack([fit(summary)["scale"][at] for summary in summaries])
    return float(fit(merge(summaries))["scale"][at] - each.mean())


EXERCISES = (
    Exercise(
        "01.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bcb",
            [
                "nobody lives with it, whatever the unit.",
                "look again at the two verdicts under the weights of cholesterol.",
                "a row without a name is still a row, and of means alone no spread can be made.",
            ],
        ),
        "Now for what one model could do with all of it: notebook 02.",
    ),
    Exercise(
        "01.1",
        "in which hospital does a patient have a blood pressure (trestbps) of 0?",
        "the name of a hospital",
        name(_no_pressure, lambda: hospitals().names, "keep the rows of `numbers` with trestbps == 0."),
        "One cell: no summary may show it, only the hospital itself can.",
    ),
    Exercise(
        "01.2",
        "the share of all patients with a cholesterol value, zeros counted as missing.",
        "a number between 0 and 1",
        number(lambda: float((_written("chol") > 0).mean()), "question marks are empty in `numbers`; zeros are not."),
        "Of the question marks alone one would have said that nearly everybody has one.",
    ),
    Exercise(
        "01.3",
        "how far the mean of the hospitals' standard deviations of thalach lies below that over all training rows.",
        "a number, in beats a minute",
        number(_spread_lost, "scale of the merged summaries, less the mean of the four scales."),
        "The hospitals' means differ too, and that is part of the spread: only merged summaries know.",
    ),
)
