"""A plan: the same run from its file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fedlab
from fedlab import Plan
from fedlab.engine.train import begin, carry_out
from fedlab.federation import Federation


def test_from_its_file_the_same_run(hospitals: Federation, tmp_path: Path) -> None:
    plan = Plan.of(hospitals.select("Cleveland", "Hungary").resplit(3), "mlp", "fedprox", rounds=2)
    again = Plan.load(plan.save(tmp_path / "plan.json"))
    assert again == plan and again.data_here is None
    a, b = (carry_out(each, progress=False).history.drop(columns="seconds") for each in (plan, again))
    assert a.equals(b)


def test_a_server_begins_without_a_row(hospitals: Federation) -> None:
    run = begin(Plan.from_json(Plan.of(hospitals, "logistic", "trimmedmean").to_json()))
    assert run.algorithm.name == "trimmedmean" and not run.has_rows
    with pytest.raises(ValueError, match="each hospital holds its own"):
        run.report()


@pytest.mark.parametrize(
    "change,says",
    [
        ({"format": 2}, "has format 2"),
        ({"sites": ["A"]}, "changed after it was written"),
        ({"odd": 1}, "changed after"),
    ],
)
def test_what_was_edited_is_refused(change: dict[str, Any], says: str, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=says):
        Plan.from_json(json.dumps(json.loads(Plan.of(hospitals).to_json()) | change))


def test_a_lambda_trains_and_is_not_written(uneven: Federation) -> None:
    run = fedlab.train(uneven, "logistic", rounds=1, schedule=lambda round, rounds: 1.0, progress=False)
    with pytest.raises(ValueError, match="schedule: a lambda.*write it as a function"):
        run.plan.to_json()
