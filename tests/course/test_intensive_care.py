"""The exercises of notebook 13: the right answer by another way, and wrong ones with a hint."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import fedlab
from fedlab.course.intensive_care import units
from tests.course.answered import gets_a_hint, is_right


def over_all() -> float:
    run = fedlab.train(units(), "logistic", "fedavg", progress=False)
    sites = run.federation.sites
    tables = [pd.DataFrame({"risk": run.model()(s.test.x)[:, 0].detach(), "died": s.test.y}) for s in sites]
    every = pd.concat(tables)
    return float(roc_auc_score(every["died"], every["risk"]))


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("13.0", lambda: "BCA"),
        ("13.1", lambda: sum(len(site.test.y.unique()) == 1 for site in units().sites)),
        ("13.2", lambda: 29),  # 0.9 ** 28 is 0.052, 0.9 ** 29 is 0.047
        ("13.3", over_all),
    ],
)
def test_right(exercise_id: str, answer: Any) -> None:
    is_right(exercise_id, answer())


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("13.0", "bcb", "question 3: a range that no patient can leave"),
        ("13.1", 40, "40 is too high: for each site"),
        ("13.2", 28, "28 is too low: all n survive"),
        ("13.3", 0.5, "0.5 is too low: put the test patients"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    gets_a_hint(exercise_id, answer, hint)
