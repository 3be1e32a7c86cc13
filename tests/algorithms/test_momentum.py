"""Formulas that read gradients off the distance walked: right for momentum too, refused where none is derived."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fedlab
from fedlab.algorithms import Algorithm, FedAvg, FineTuned, QFedAvg, Scaffold
from fedlab.algorithms.fednova import reach
from fedlab.engine import SGD, Adam
from fedlab.federation import Federation, Site
from fedlab.testing import check_algorithm
from tests.conftest import ragged

G, LR, STEPS = torch.tensor([0.5, -2.0], dtype=torch.float64), 0.1, 7


def walked(rho: float, along: torch.Tensor) -> SimpleNamespace:
    """A site that has taken so many steps of torch's SGD along one gradient."""
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.SGD([w], LR, momentum=rho)
    for _ in range(STEPS):
        w.grad = along.clone()
        steps.step()
    zero = {"w": torch.zeros(2, dtype=torch.float64)}
    return SimpleNamespace(
        vars={"w": w.detach()}, anchor=zero, memory=dict(zero), extra=dict(zero), momentum=rho,
        lr=torch.tensor(LR, dtype=torch.float64), steps=torch.tensor(float(STEPS), dtype=torch.float64),
        risk=lambda params: torch.tensor(2.0, dtype=torch.float64),
    )  # fmt: skip


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_scaffolds_control_variate_is_the_mean_gradient(rho: float) -> None:
    at = walked(rho, G)
    _, sent, kept = Scaffold().finish(at.vars, at)
    assert torch.allclose(kept["w"], G, atol=1e-12) and torch.allclose(sent["w"], G, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_qfedavgs_change_is_the_sum_of_the_gradients(rho: float) -> None:
    at = walked(rho, G)
    sent, besides, _ = QFedAvg(q=1.0).finish(at.vars, at)
    assert torch.allclose(sent["w"], 2.0 * STEPS * G, atol=1e-8)
    rate = LR * float(reach(at.steps, rho)) / STEPS
    assert besides["h"].item() == pytest.approx((STEPS * G).square().sum().item() + 2.0 / rate)


def test_without_momentum_nothing_has_changed() -> None:
    """To the bit: the golden values are of plain SGD."""
    at = walked(0.0, G)
    sent, _, _ = QFedAvg().finish(at.vars, at)
    scale = 1 / at.lr
    assert torch.equal(sent["w"], (at.risk({}) + 1e-10) * (scale * (at.anchor["w"] - at.vars["w"])))


@pytest.mark.parametrize("alg", ["scaffold", "qfedavg", "fednova"])
def test_what_cannot_be_derived_is_refused(alg: str) -> None:
    with pytest.raises(ValueError, match="known for SGD alone: use optimizer=SGD"):
        fedlab.train(ragged((30, 40)), "logistic", alg, optimizer=Adam(), progress=False)


def losses(federation: Federation, alg: str | Algorithm, **options: Any) -> list[float]:
    run = fedlab.train(federation, "logistic", alg, rounds=40, local_epochs=5, progress=False, **options)
    return run.history.groupby("round")["log_loss"].mean().tolist()


def test_scaffold_with_momentum_learns_as_fedavg_does() -> None:
    """It ended at 17 where FedAvg ended at .4."""
    fed = fedlab.load("heart_disease")
    ours, theirs = (losses(fed, alg, lr=0.01, optimizer=SGD(momentum=0.9)) for alg in ("scaffold", "fedavg"))
    assert ours[-1] < ours[0] and abs(ours[-1] - theirs[-1]) < 0.1


class Unscaled(Scaffold):
    """The paper's formula, whatever the optimiser."""

    def finish(self, vars: Any, at: Any) -> Any:
        far = at.steps * at.lr
        new = {k: own - at.extra[k] + (at.anchor[k] - vars[k]) / far for k, own in at.memory.items()}
        return vars, {k: new[k] - own for k, own in at.memory.items()}, new


@pytest.mark.slow
def test_the_check_finds_a_formula_of_plain_sgd() -> None:
    found = check_algorithm(Unscaled(), engines=(), on_fail="report").set_index("property")
    assert found["holds"].drop("momentum at the sites").all()
    assert "holds for plain SGD alone" in found.loc["momentum at the sites", "says"]


# ---------------------------------------------------------------- fine-tuning and schedules


def adapted(run: fedlab.Run, site: Site, *, steps: int, lr: float) -> dict[str, torch.Tensor]:
    """The shared model after so many steps of gradient descent on all training rows of a site."""
    x, y = run.net.ready(run.weights, site.train.x), site.train.y
    v = dict(run.weights)
    for _ in range(steps):
        moving = {k: v[k].clone().requires_grad_() for k in ("weight", "bias")}
        loss = run.net.task.loss(run.net({**v, **moving}, x, train=False), y).mean()
        gradient = torch.autograd.grad(loss, list(moving.values()))
        v |= {k: (w - lr * g).detach() for (k, w), g in zip(moving.items(), gradient, strict=True)}
    return v


COSINE: dict[str, Any] = dict(rounds=6, lr=0.3, schedule="cosine", evaluate=False, dtype="float64", progress=False)


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_fine_tuning_adapts_at_the_rate_before_the_schedule(engine: str) -> None:
    """Under cosine the last round's rate is nearly zero; the hospital's own steps are not."""
    fed = ragged((30, 40, 50))
    run = fedlab.train(fed, "logistic", FineTuned(steps=4), engine=engine, **COSINE)
    shared = fedlab.train(fed, "logistic", FedAvg(), engine=engine, **COSINE)
    assert all(torch.equal(run.weights[k], v) for k, v in shared.weights.items())
    for site in fed.sites:
        v = adapted(run, site, steps=4, lr=0.3)
        assert all(torch.allclose(run.models[site.name][0][k], v[k], atol=1e-12) for k in ("weight", "bias"))


def test_a_newcomer_adapts_as_the_others_do() -> None:
    rest, late = ragged((30, 40, 50)).holdout("site 1")
    run = fedlab.train(rest, "logistic", FineTuned(steps=4), **COSINE)
    v = adapted(run, late, steps=4, lr=0.3)
    with torch.no_grad():
        out = run.net(v, run.net.ready(v, late.test.x), train=False)
        loss = run.net.task.loss(out, late.test.y).mean().item()
    assert run.newcomer(late).query("metric == 'log_loss'")["value"].item() == pytest.approx(loss, abs=1e-9)
