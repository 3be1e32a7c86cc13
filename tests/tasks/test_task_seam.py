"""A third task is one subclass: what no task says is nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import fedlab
from fedlab.federation import Federation, Regression
from tests.tasks.wards_of_stay import stays

QUICK = {"rounds": 3, "progress": False, "dtype": "float64"}


@dataclass(frozen=True)
class Robust(Regression):
    """A quantity whose batch loss is no mean over rows: the square root of their mean squared error."""

    choosing: ClassVar[str] = "mae"

    def batch_loss(self, out: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return (super().batch_loss(out, y, weight) + 1e-6).sqrt()

    def quick_scores(self, y, p):  # type: ignore[no-untyped-def]
        found = super().quick_scores(y, p)
        there = ~np.isnan(y)
        lost = np.where(there, np.abs(p[:, :, 0] - np.where(there, y, 0)), 0).sum(1) / there.sum(1)
        return {"mae": lost, "r2": found["r2"], "n": found["n"]}


def robust() -> Federation:
    return Federation.from_frame(stays(), site="ward", label="stay", task=Robust("stay", center=8, scale=2))


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_a_loss_of_a_batch_is_the_same_alone_and_stacked(model: str) -> None:
    one, other = (fedlab.train(robust(), model, engine=engine, **QUICK) for engine in ("sequential", "batched"))
    for name, tensor in one.weights.items():
        assert torch.allclose(tensor, other.weights[name], rtol=1e-9, atol=1e-12)
    by_rows = fedlab.train(
        Federation.from_frame(stays(), site="ward", label="stay", task=Regression("stay", center=8, scale=2)),
        model, engine="batched", **QUICK,
    )  # fmt: skip
    assert any(not torch.allclose(one.weights[name], by_rows.weights[name]) for name in one.weights)


def test_the_choice_the_history_and_the_study_follow_the_task() -> None:
    run = fedlab.train(robust(), **QUICK)
    assert run.history.columns[2:4].tolist() == ["mae", "r2"]
    study = fedlab.compare(robust(), algorithms=["isolated", "fedavg"], seeds=2, rounds=3, progress=False)
    assert study.primary == "mae" and study.verdict().startswith("By MAE (how far predictions are off, lower is")
