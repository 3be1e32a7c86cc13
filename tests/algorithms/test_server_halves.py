"""The server halves on tensors that one can check by hand, or against NumPy written naively."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedlab.algorithms import (
    IFCA,
    Algorithm,
    Ensemble,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedDyn,
    FedExP,
    FedNova,
    FedYogi,
    PFedMe,
    Scaffold,
)
from fedlab.algorithms.fednova import reach
from fedlab.algorithms.fedopt import FedOpt
from tests.algorithms.references import Small, apart, ours, prepared, state
from tests.algorithms.servers import Array, Server, cut, few, glue, once, tables, tensor

# ---------------------------------------------------------------- FedAvg and server optimisers


@few
@given(sent=tables(4), rows=arrays(np.float64, 4, elements=st.integers(1, 500)))
def test_fedavg_weighs_by_examples_or_all_alike(sent: Array, rows: Array) -> None:
    np.testing.assert_allclose(once(FedAvg(), sent, rows), np.average(sent, axis=0, weights=rows), atol=1e-9)
    np.testing.assert_allclose(once(FedAvg(weights="equal"), sent, rows), sent.mean(0), atol=1e-9)


@few
@given(rounds=st.lists(tables(3), min_size=1, max_size=4), rows=arrays(np.float64, 3, elements=st.integers(1, 500)))
def test_fedavgm_without_momentum_is_fedavg(rounds: list[Array], rows: Array) -> None:
    server = Server(FedAvgM(momentum=0), np.ones(3), 3)
    for sent in rounds:
        np.testing.assert_allclose(server(sent, rows), np.average(sent, axis=0, weights=rows), atol=1e-9)


@few
@given(rounds=st.lists(tables(3), min_size=2, max_size=4), beta=st.floats(0, 1), lr=st.floats(0.1, 2))
def test_fedavgm_rolls_on(rounds: list[Array], beta: float, lr: float) -> None:
    server, w, v = Server(FedAvgM(momentum=beta, server_lr=lr), np.ones(3), 3), np.ones(3), np.zeros(3)
    for sent in rounds:
        v = beta * v + (w - sent.mean(0))
        w = w - lr * v
        np.testing.assert_allclose(server(sent), w, atol=1e-8)


SECOND: dict[type[FedOpt], Any] = {
    FedAdagrad: lambda v, d: v + d**2,
    FedAdam: lambda v, d: 0.9 * v + 0.1 * d**2,
    FedYogi: lambda v, d: v - 0.1 * d**2 * np.sign(v - d**2),
}


@pytest.mark.parametrize("cls", SECOND)
def test_adaptive_servers_by_hand(cls: type[FedOpt]) -> None:
    """Three rounds; v starts at tau² and nothing is corrected for its bias."""
    options = {} if cls is FedAdagrad else {"beta2": 0.9}
    server = Server(cls(server_lr=0.5, beta1=0.6, tau=0.3, **options), [1.0, -2.0, 0.5], 2)
    assert all((v == 0.3**2).all() for v in server.state["v"].values())
    w, m, v, rows = np.array([1.0, -2.0, 0.5]), np.zeros(3), np.full(3, 0.3**2), np.array([30.0, 10.0])
    for step in range(3):
        sent = np.array([[1.1, -2.5, 0.5], [0.2, -1.0, 0.7]]) + 0.3 * step
        delta = rows @ sent / 40 - w
        m, v = 0.6 * m + 0.4 * delta, SECOND[cls](v, delta)
        w = w + 0.5 * m / (np.sqrt(v) + 0.3)
        np.testing.assert_allclose(server(sent, rows), w, atol=1e-12)


@pytest.mark.parametrize("alg", [FedAdagrad(), FedAdam(), FedYogi(), FedAvgM(), FedExP(), Scaffold(server_lr=0.5)])
def test_running_statistics_are_averaged_and_not_stepped(alg: Algorithm) -> None:
    fed = prepared()
    (got,), _ = ours(fed, "mlp_norm", alg, rounds=1)
    (mean,), _ = ours(fed, "mlp_norm", FedAvg(), rounds=1)
    (alike,), _ = ours(fed, "mlp_norm", FedAvg(weights="equal"), rounds=1)
    moving = [k for k in got if "running" in k]
    assert len(moving) == 2 and all(torch.equal(got[k], mean[k]) for k in moving)
    if not isinstance(alg, (FedAvgM, FedExP)):
        assert min((got["head.weight"] - other["head.weight"]).abs().max() for other in (mean, alike)) > 1e-4
    after, _ = ours(fed, "mlp_norm", alg, rounds=4)
    assert (after[-1]["body.1.running_var"] > 0).all()


@few
@given(sent=tables(st.integers(1, 5)), eps=st.floats(1e-6, 1))
def test_fedexps_formula_and_it_never_steps_shorter_than_fedavg(sent: Array, eps: float) -> None:
    start, rows = np.array([1.0, 2.0, -3.0]), np.arange(1.0, len(sent) + 1)
    for alg, p in (
        (FedExP(eps=eps), rows / rows.sum()),
        (FedExP(eps=eps, weights="equal"), np.full(len(sent), 1 / len(sent))),
    ):
        apart = start - sent
        mean = p @ apart
        rate = max(1.0, p @ (apart**2).sum(1) / (2 * ((mean**2).sum() + eps)))
        got = once(alg, sent, rows, start)
        np.testing.assert_allclose(got, start - rate * mean, rtol=1e-6, atol=1e-8)
        assert np.linalg.norm(got - start) >= np.linalg.norm(mean) * (1 - 1e-9)


# ---------------------------------------------------------------- FedNova, FedDyn, Scaffold


@few
@given(steps=st.integers(1, 60), rho=st.floats(0, 0.99))
def test_fednovas_momentum_formula_is_the_recursion(steps: int, rho: float) -> None:
    velocity = moved = 0.0
    for _ in range(steps):
        velocity = rho * velocity + 1
        moved += velocity
    assert reach(torch.tensor(float(steps), dtype=torch.float64), rho).item() == pytest.approx(moved, rel=1e-9)


def test_fednova_with_the_same_steps_everywhere_is_fedavg() -> None:
    fed = prepared(60, 60, 60)
    nova, _ = ours(fed, Small(), FedNova())
    mean, _ = ours(fed, Small(), FedAvg())
    assert apart(nova[-1], mean[-1]) < 1e-12


def test_fednova_of_ragged_sites_by_hand() -> None:
    """One site takes 1 step and moves by 1, one takes 3 and moves by 9: per step 1 and 3."""
    alg, w = FedNova(), {"w": torch.tensor(10.0)}
    sent = [
        alg.finish(
            {"w": w["w"] - far}, SimpleNamespace(steps=torch.tensor(float(s)), momentum=0.0, anchor=w, memory={})
        )
        for far, s in ((1.0, 1), (9.0, 3))
    ]
    uploads = {"w": torch.stack([upload["w"] for upload, _, _ in sent])}
    assert uploads["w"].tolist() == [1.0, 3.0]
    extra = {"a": torch.stack([extra["a"] for _, extra, _ in sent])}
    new, _ = alg.combine(w, uploads, extra, torch.tensor([30.0, 10.0]), {}, torch.arange(2))
    assert new["w"].item() == 10 - (0.75 * 1 + 0.25 * 3) * (0.75 * 1 + 0.25 * 3)


@few
@given(rounds=st.lists(tables(st.integers(1, 4)), min_size=1, max_size=3), alpha=st.floats(0.1, 2))
def test_feddyns_server_counts_the_sites_that_are_silent_too(rounds: list[Array], alpha: float) -> None:
    server, w, h = Server(FedDyn(alpha=alpha), np.ones(3), 4), np.ones(3), np.zeros(3)
    for sent in rounds:
        h = h - alpha / 4 * (sent - w).sum(0)
        w = sent.mean(0) - h / alpha
        np.testing.assert_allclose(server(sent, np.arange(1, len(sent) + 1)), w, rtol=1e-9, atol=1e-8)
        np.testing.assert_allclose(glue(server.state["h"]), h, atol=1e-8)


@few
@given(rounds=st.lists(tables(st.integers(1, 4)), min_size=1, max_size=3), lr=st.floats(0.1, 2))
def test_scaffolds_control_variate_moves_by_the_share_that_answered(rounds: list[Array], lr: float) -> None:
    server, x, c = Server(Scaffold(server_lr=lr), np.ones(3), 4), np.ones(3), np.zeros(3)
    for sent in rounds:
        change = sent[:, ::-1] / 7
        x, c = x + lr * (sent - x).mean(0), c + change.sum(0) / 4
        params, rows = cut(tensor(sent)), torch.ones(len(sent), dtype=torch.float64)
        server.params, server.state = server.alg.combine(
            server.params, params, cut(tensor(change)), rows, server.state, torch.arange(len(sent))
        )
        np.testing.assert_allclose(glue(server.params), x, atol=1e-8)
        np.testing.assert_allclose(glue(server.alg.broadcast(server.state)), c, atol=1e-8)


# ---------------------------------------------------------------- personal models


def test_ifca_averages_each_cluster_and_leaves_one_that_nobody_chose() -> None:
    alg, rows = IFCA(k=3), tensor([10, 30, 60])
    held = {"a": tensor([1, 2, 3]), "b": tensor([[[1, 1]], [[2, 2]], [[3, 3]]])}
    cluster = tensor([[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    model = {"a": tensor([4, 8, 9]), "b": tensor([[[0, 4]], [[4, 8]], [[5, 6]]])}
    params, new = alg.combine({"a": tensor(0)}, {}, {"cluster": cluster, "model": model}, rows, held, torch.arange(3))
    assert params == {}
    assert new["a"].tolist() == [7, 2, 9]
    assert new["b"].tolist() == [[[3, 7]], [[2, 2]], [[5, 6]]]


@few
@given(sent=tables(3), beta=st.floats(0.1, 2))
def test_pfedme_moves_by_beta_to_the_mean(sent: Array, beta: float) -> None:
    start, rows = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 70.0])
    want = (1 - beta) * start + beta * (rows @ sent / 100)
    np.testing.assert_allclose(once(PFedMe(beta=beta), sent, rows, start), want, atol=1e-9)


def test_the_ensemble_puts_each_model_in_the_place_of_its_site() -> None:
    alg, start = Ensemble(), {"w": tensor([1, 2])}
    held = alg.begin(start, 4, torch.Generator())
    assert held["w"].isnan().all(), "who never answers has no vote"
    extra = {"model": {"w": tensor([[5, 6], [7, 8]])}}
    params, new = alg.combine(start, {}, extra, tensor([1, 1]), held, torch.tensor([3, 1]))
    assert params is start and new["w"][[1, 3]].tolist() == [[7, 8], [5, 6]] and new["w"][[0, 2]].isnan().all()
    assert held["w"].isnan().all(), "what was held before is another round's"
    members = alg.personal(SimpleNamespace(extra=new))
    assert torch.equal(torch.stack([m["w"] for m in members]).nan_to_num(), new["w"].nan_to_num())


def test_ifcas_models_start_apart_and_their_statistics_together() -> None:
    start = {
        "w": torch.zeros(4000, dtype=torch.float64),
        "norm.running_var": torch.ones(3),
        "prepare.fill": tensor([1]),
    }
    models = IFCA(k=3, spread=0.2).begin(start, 5, torch.Generator().manual_seed(0))
    assert set(models) == {"w", "norm.running_var"} and torch.equal(models["norm.running_var"], torch.ones(3, 3))
    assert torch.allclose(models["w"].std(1), tensor([0.2] * 3), atol=0.02) and (models["w"][0] != models["w"][1]).all()
    assert len(state(Small())) == 4
