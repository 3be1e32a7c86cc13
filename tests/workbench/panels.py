"""What the tests of the panel share: waiting, reading the chart, comparing runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from fedlab.engine import Plan, Run
from fedlab.engine.train import carry_out
from fedlab.workbench import RunPanel
from fedlab.workbench.chart import MIME
from fedlab.workbench.live import LivePanel
from tests.patience import STILL, until

LONG = 1_000_000  # rounds that nobody waits for


def finished(panel: RunPanel) -> Run:
    panel.start()
    panel.wait(STILL)
    assert not panel.busy and panel.run is not None, (panel.alert.value, panel.status.value)
    return panel.run


def running(panel: RunPanel) -> Run:
    """Start, and return the run once it has a round."""
    panel.start()
    until(lambda: panel.run is not None and len(panel.run.records) > 0)
    assert panel.busy and panel.run is not None
    return panel.run


def chart_of(panel: RunPanel) -> dict[str, Any]:
    (output,) = panel.chart.output.outputs
    return output["data"].get(MIME, {})


def points(panel: RunPanel) -> int:
    """How many rounds the first hospital's curve has."""
    return len(chart_of(panel)["data"][0]["x"]) if chart_of(panel) else 0


def same(one: Run, other: Run) -> bool:
    """Whether two runs have the same weights, to the bit, and the same history."""
    columns = ["round", "site", "log_loss", "auc", "chosen"]
    return (
        one.weights.keys() == other.weights.keys()
        and all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights)
        and one.history[columns].equals(other.history[columns])
    )


def executed(code: str, **names: Any) -> Run:
    exec(code, names)
    run: Run = names["run"]
    return run


def frame(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, n)
    where = np.array(["Köln", "O'Hare", "Århus"])[np.arange(n) % 3]
    ill = np.where(age + rng.normal(0, 5, n) > 60, "yes", "no")
    return pd.DataFrame({"clinic": where, "age": age, "pulse": rng.normal(70, 8, n), "ill": ill})


def carried(panel: LivePanel) -> list[Run]:
    """Carry out, as `fedlab run` would, the plans that a panel gives, written down and read again."""
    return [carry_out(Plan.from_json(plan.to_json()), progress=False) for plan in panel.plans]
