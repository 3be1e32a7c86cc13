"""Exercises of notebook 02, *Central baseline*."""

from __future__ import annotations

import numpy as np

from fedlab.course.cast import raw, records
from fedlab.course.core import Exercise, letters, number
from fedlab.metrics.ranking import auc, rank


def _unique_after_rounding() -> float:
    rounded = records().assign(age=records()["age"] // 10)
    return float((~rounded.duplicated(["site", "age", "sex"], keep=False)).sum())


def _at_least_one() -> float:
    return float(1 - (1 - 0.02) ** (4 * 10))


def _auc_of_a_zero() -> float:
    zero = np.concatenate([table["chol"].isin(["0", "0.0"]).to_numpy() for table in raw().values()])
    ill = (records()["diagnosis"] == "ill").to_numpy()
    return float(auc(rank(ill, zero.astype(float), np.ones((1, len(ill)))))[0])


EXERCISES = (
    Exercise(
        "02.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "cab",
            [
                "Article 4(5): who could still attribute the rows?",
                "the hospitals keep their own records in both worlds.",
                "look at who has it, and why nobody measured it.",
            ],
        ),
        "On to notebook 03.",
    ),
    Exercise(
        "02.1",
        "how many patients are still unique in their hospital on decade of age and sex?",
        "a number",
        number(
            _unique_after_rounding,
            "replace age by age // 10, then count rows with no duplicate in ['site', 'age', 'sex'].",
            within=0.4,
        ),
        "Coarser columns protect, and cost the model detail.",
    ),
    Exercise(
        "02.2",
        "the probability that one hospital or more of four is breached in ten years, at 0.02 a year each.",
        "a probability",
        number(_at_least_one, "all four stay safe for ten years with probability (1 − 0.02) to the power 4 · 10."),
        "Many stores are breached more often, each time with less to lose.",
    ),
    Exercise(
        "02.3",
        "the AUC for illness of one fact: cholesterol was written as 0.",
        "a number",
        number(
            _auc_of_a_zero,
            "join the raw tables, score 1 where chol is '0' and 0 elsewhere, and rank the ill by it "
            "(sklearn.metrics.roc_auc_score).",
        ),
        "A model that takes this zero for a measurement learns which hospital wrote it.",
    ),
)
