"""Survival as a task of somebody's own: Cox's model in forty lines, as a test of the seam and not yet as a product."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import getsource
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import fedlab
from fedlab.federation import Federation
from fedlab.metrics.quick import padded
from fedlab.metrics.scores import Score
from fedlab.tasks import Task

QUICK = {"rounds": 3, "batch_size": 16, "lr": 0.05, "dtype": "float64", "progress": False}


def lost(out: Any, y: Any, weight: Any) -> Any:
    """Minus Breslow's partial log likelihood per event: rows of weight 0 are at risk nowhere."""
    time, event = y[..., 0], y[..., 1] * weight
    at_risk = torch.where((time[None] >= time[:, None]) & (weight[None] > 0), out.reshape(1, -1), -torch.inf)
    return (event * (torch.logsumexp(at_risk, 1).nan_to_num(neginf=0) - out.reshape(-1))).sum() / event.sum().clamp(1)


def concordance(y: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's c: of the pairs of whom one had the event first, the share in whom that one's risk is higher."""
    first = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
    won = (risk[:, None] > risk[None]) + 0.5 * (risk[:, None] == risk[None])
    return float((won * first).sum() / first.sum()) if first.any() else float("nan")


@dataclass(frozen=True)
class Cox(Task):
    """Cox (1972): the log hazard is linear, and the times' distribution stays free."""

    dtype, width, model, main = torch.float64, 2, "linear", ("c_index",)
    choosing, headline, guessed = "partial_loss", "c_index", 0.5
    kind, outputs, columns, about = "survival", 1, ("log hazard",), "a time to an event"
    metrics: ClassVar = {"c_index": None, "partial_loss": None}

    def check_values(self, y: Tensor) -> None:
        if not bool((y[:, 0] > 0).all()) or not bool(((y[:, 1] == 0) | (y[:, 1] == 1)).all()):
            raise ValueError("give a time above 0 and an event, 0 or 1, for each row")

    def stratum(self, y: np.ndarray) -> np.ndarray:
        return y[:, 1].astype(np.int64)

    def counts(self, who: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.array([len(np.unique(who))])

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        raise TypeError("a Cox loss is of a batch, and no row has one by itself")

    def batch_loss(self, out: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return lost(out, y, weight)

    def predict(self, out: Tensor) -> Tensor:
        return out.reshape(len(out), 1)

    def voted(self, p: Tensor) -> Tensor:
        return p

    def padded(self, labels: Any) -> np.ndarray:
        return np.stack([padded([y[:, k] for y in labels], np.nan) for k in range(2)], axis=-1)

    def both(self, y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
        there = ~np.isnan(y[:, 0])
        y, risk = torch.tensor(y[there]), torch.tensor(p[there, 0])
        return float(lost(risk, y, torch.ones(len(y)))), concordance(y.numpy(), risk.numpy())

    def quick_scores(self, y: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
        told = np.array([self.both(*each) for each in zip(y, p, strict=True)])
        return {"partial_loss": told[:, 0], "c_index": told[:, 1], "n": (~np.isnan(y[..., 0])).sum(1).astype(float)}

    def many_scores(self, y: np.ndarray, p: np.ndarray, **how: Any) -> list[dict[str, Score]]:
        return [dict(zip(("partial_loss", "c_index"), map(Score, self.both(y, each)), strict=True)) for each in p]

    def guess(self, train: np.ndarray, valid: np.ndarray) -> float:
        return self.both(valid, np.zeros((len(valid), 1)))[0]

    def describe(self, y: np.ndarray) -> dict[str, float]:
        return {"events": float(y[:, 1].mean())}


EFFECT = np.array([1.0, -0.7, 0.0, 0.4])


def clinics(n: int = 80) -> Federation:
    """Three clinics of patients whose hazard is ``exp(EFFECT @ x)``; a third are lost to follow-up."""
    draw, sites = np.random.default_rng(0), {}
    for name in "ABC":
        x = draw.standard_normal((n, 4))
        time, censored = draw.exponential(np.exp(-x @ EFFECT)), draw.exponential(2.0, n)
        y = np.stack([np.minimum(time, censored), time <= censored], axis=1)
        sites[name] = (torch.tensor(x), torch.tensor(y))
    return Federation.from_tensors(sites, task=Cox())


def linear(inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def test_it_is_forty_lines() -> None:
    lines = [line.strip() for code in (lost, Cox) for line in getsource(code).splitlines()]
    assert len([line for line in lines if line and not line.startswith('"""')]) <= 40


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "ditto", "fednova", "qfedavg", "ifca", "isolated"])
def test_clinics_alone_and_stacked_train_the_same(algorithm: str) -> None:
    one, other = (fedlab.train(clinics(), linear, algorithm, engine=engine, **QUICK)
                  for engine in ("sequential", "batched"))  # fmt: skip
    assert not any("stacked" in note for note in other.notes)
    for site in "ABC":
        mine, theirs = one.model(site).state_dict(), other.model(site).state_dict()
        assert all(torch.allclose(mine[name], theirs[name], rtol=1e-12, atol=1e-14) for name in mine)


def test_pooled_training_comes_to_the_estimate_of_coxs_partial_likelihood() -> None:
    run = fedlab.train(
        clinics(), linear, "centralized", **QUICK | {"rounds": 400, "batch_size": 1000, "lr": 0.5}, evaluate=False
    )
    rows = [site.train for site in clinics().sites]
    x, y = (torch.cat([getattr(part, name) for part in rows]).numpy() for name in "xy")

    def partial(beta: np.ndarray) -> float:
        eta, order = x @ beta, np.argsort(-y[:, 0])
        return -((eta - np.logaddexp.accumulate(eta[order])[np.argsort(order)]) * y[:, 1]).sum()

    best = minimize(partial, np.zeros(4), method="BFGS").x
    assert run.weights["weight"].numpy().ravel() == pytest.approx(best, abs=1e-4)


def test_the_round_is_chosen_by_the_partial_loss_and_the_report_has_the_c_index() -> None:
    run = fedlab.train(clinics(), linear, "fedavg", **QUICK)
    assert run.history.columns[2:4].tolist() == ["partial_loss", "c_index"]
    report = run.report().query("metric == 'c_index'").set_index("test")
    assert 0.6 < report.value.mean() < 1
    site = clinics()["A"]
    risk = run.model("A")(site.test.x).detach().numpy().ravel()
    assert report.value["A"] == pytest.approx(concordance(site.test.y.numpy(), risk))


def test_the_parts_of_a_split_have_their_share_of_the_events() -> None:
    for site in clinics().sites:
        share = site.rows.y[:, 1].mean()
        for part in (site.train, site.valid, site.test):
            assert abs(float(part.y[:, 1].mean() - share)) < 1.01 / len(part.y)


@pytest.mark.parametrize(
    ("odd", "match"),
    [
        (torch.ones(9), r"'A' has labels of shape \[9\]: give 2 numbers a row, \[n, 2\]"),
        (torch.zeros(9, 2), "A.*time above 0"),
        (torch.full((9, 2), torch.nan), "'A' has no label in 9 rows of y"),
    ],
)
def test_a_time_that_is_none_is_refused(odd: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Federation.from_tensors({"A": (torch.zeros(9, 2), odd)}, task=Cox())
