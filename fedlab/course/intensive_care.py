"""Exercises of notebook 13, *Intensive care*."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from data_recipes import phantom_ehr
from fedlab.course.core import Exercise, letters, number
from fedlab.engine import train
from fedlab.federation import Federation
from fedlab.metrics.ranking import auc, rank


@cache
def units() -> Federation:
    """Return forty generated units of 35 patients."""
    return phantom_ehr.load(hospitals=40, patients=35)


def _without_a_death() -> float:
    return float(sum(int(site.test.y.sum()) == 0 for site in units().sites))


def _enough() -> float:
    return float(np.ceil(np.log(0.05) / np.log(0.9)))


@cache
def _auc_over_all() -> float:
    model = train(units(), "logistic", "fedavg", progress=False).model()
    tests = [site.test for site in units().sites]
    with torch.no_grad():
        risks = model(torch.cat([test.x for test in tests]))[:, 0].double().numpy()
    died = torch.cat([test.y for test in tests]).numpy() == 1
    return float(auc(rank(died, risks, np.ones((1, len(died)))))[0])


EXERCISES = (
    Exercise(
        "13.0",
        "the self-check: one letter a question, e.g. 'abc'.",
        "three letters",
        letters(
            "bca",
            [
                "which of the two needs one patient of each class?",
                "what would a forecaster state who knows nothing but the mean?",
                "a range that no patient can leave needs one look at the cell, where it is.",
            ],
        ),
        "On to your own hospitals.",
    ),
    Exercise(
        "13.1",
        "how many of the forty units have no death among their test patients?",
        "a number",
        number(_without_a_death, "for each site, sum test.y and count the zeros.", within=0.4),
        "At each of them an AUC is not low: it does not exist.",
    ),
    Exercise(
        "13.2",
        "how many test patients make a death among them 95 % sure, if one in ten dies?",
        "a number",
        number(_enough, "all n survive with probability 0.9 to the power n; that must be at most 0.05.", within=0.4),
        "And one death is not yet an interval that anybody can use.",
    ),
    Exercise(
        "13.3",
        "the AUC of one federated run over the test patients of all units together.",
        "a number",
        number(_auc_over_all, "put the test patients of all sites in one list, and rank them by run.model()."),
        "It compares patients of different units too: a model that knows the unit's mortality gains by it.",
    ),
)
