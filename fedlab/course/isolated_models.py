"""Exercises of notebook 03, *Isolated models*."""

from __future__ import annotations

from functools import cache

import pandas as pd
import torch
import torch.nn.functional as F

from fedlab.course.cast import hospitals
from fedlab.course.core import Exercise, letters, name, number
from fedlab.engine import Run, train


@cache
def _run() -> Run:
    return train(hospitals(), "logistic", "isolated", progress=False)


@cache
def _scores() -> pd.DataFrame:
    return _run().report()


def _worst_traveller() -> str:
    away = _scores().query("metric == 'log_loss' and train != test")
    return str(away.groupby("train")["value"].mean().idxmax())


def _pairs_above_a_coin() -> float:
    away = _scores().query("metric == 'log_loss' and train != test")
    return float((away["value"] > torch.tensor(2.0).log().item()).sum())


def _corrected() -> float:
    def log_odds(site: str) -> float:
        share = hospitals()[site].train.y.double().mean()
        return float(torch.logit(share))

    patients = hospitals()["Hungary"].test
    with torch.no_grad():
        logits = _run().model("Switzerland")(patients.x)[:, 0].double()
    shifted = logits + log_odds("Hungary") - log_odds("Switzerland")
    return float(F.binary_cross_entropy_with_logits(shifted, patients.y.double()))


EXERCISES = (
    Exercise(
        "03.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bac",
            [
                "AUC asks for the order of the risks alone.",
                "count the healthy patients in its test rows.",
                "in the table of home and elsewhere, what is clearly worse away from home: the order, or the risks?",
            ],
        ),
        "Now for the way out: notebook 04.",
    ),
    Exercise(
        "03.1",
        "whose model has the highest mean log loss at the other hospitals (one run, default settings)?",
        "the name of a hospital",
        name(
            _worst_traveller,
            lambda: hospitals().names,
            "keep the rows of the report with metric 'log_loss' and train != test, and group them by train.",
        ),
        "Its patients are the least like the others': nearly all of them are ill.",
    ),
    Exercise(
        "03.2",
        "how many of the twelve pairs (trained here, tested elsewhere) have a log loss above that of a coin?",
        "a number",
        number(_pairs_above_a_coin, "a coin says 0.5 to everybody and has log loss ln 2.", within=0.4),
        "A confident wrong answer costs more than no answer.",
    ),
    Exercise(
        "03.3",
        "the log loss at Hungary of Switzerland's model after its log-odds are moved to Hungary's prevalence.",
        "a number",
        number(
            _corrected,
            "add logit(share ill in Hungary's training rows) − logit(share ill in Switzerland's) to the logits.",
        ),
        "One number repaired much of the calibration, and left the AUC exactly as it was. It does not always work: "
        "try Long Beach's model at Cleveland.",
    ),
)
