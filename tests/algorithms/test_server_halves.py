"""The server halves on tensors that one can check by hand, or against NumPy written naively."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms import (
    AFL,
    IFCA,
    RFA,
    Algorithm,
    Bulyan,
    Ensemble,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedDyn,
    FedExP,
    FedMedian,
    FedNova,
    FedYogi,
    Krum,
    MultiKrum,
    NormClipping,
    PFedMe,
    QFedAvg,
    Scaffold,
    TrimmedMean,
)
from fedlab.algorithms.afl import on_simplex
from fedlab.algorithms.fednova import reach
from fedlab.algorithms.fedopt import FedOpt
from tests.algorithms.references import Small, apart, ours, prepared, state

Array = NDArray[np.float64]
few = settings(max_examples=25, deadline=None)
numbers = st.floats(-100, 100, allow_subnormal=False)


def tables(sites: st.SearchStrategy[int] | int, width: int = 3) -> st.SearchStrategy[Array]:
    """What the sites sent, [sites, width]."""
    sites = st.just(sites) if isinstance(sites, int) else sites
    return sites.flatmap(lambda n: arrays(np.float64, (n, width), elements=numbers))


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64).copy())


def cut(flat: Tensor) -> dict[str, Tensor]:
    """Two tensors of a row of numbers, or of the rows of all sites: the first number, and the rest as a matrix."""
    return {"a": flat[..., :1], "b": flat[..., None, 1:]}


def glue(params: dict[str, Tensor]) -> Array:
    return np.concatenate([params["a"].reshape(-1).numpy(), params["b"].reshape(-1).numpy()])


class Server:
    """An algorithm's server half, asked with plain rows of numbers."""

    def __init__(self, alg: Algorithm, start: Any, sites: int) -> None:
        self.alg, self.params = alg, cut(tensor(start))
        self.state = alg.begin(self.params, sites, torch.Generator().manual_seed(0))

    def __call__(self, sent: Any, rows: Any = None, extra: Any = None, who: Any = None) -> Array:
        n = len(sent)
        rows = torch.ones(n, dtype=torch.float64) if rows is None else tensor(rows)
        who = torch.arange(n) if who is None else torch.tensor(who)
        extra = {k: tensor(v) if not isinstance(v, dict) else v for k, v in (extra or {}).items()}
        self.params, self.state = self.alg.combine(self.params, cut(tensor(sent)), extra, rows, self.state, who)
        return glue(self.params)


def once(alg: Algorithm, sent: Any, rows: Any = None, start: Any = None, **options: Any) -> Array:
    """One round from ``start``, by default zero."""
    return Server(alg, np.zeros(np.shape(sent)[1]) if start is None else start, len(sent))(sent, rows, **options)


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


# ---------------------------------------------------------------- fairness


def sent_by_qfedavg(q: float, start: float, ends: list[float], losses: list[float], lr: float) -> Any:
    alg, w = QFedAvg(q=q), {"w": torch.tensor(start, dtype=torch.float64)}
    each = [
        alg.finish(
            {"w": torch.tensor(end, dtype=torch.float64)},
            SimpleNamespace(lr=torch.tensor(lr, dtype=torch.float64), anchor=w, memory={},
                            risk=lambda params, loss=loss: torch.tensor(loss, dtype=torch.float64)),
        )
        for end, loss in zip(ends, losses, strict=True)
    ]  # fmt: skip
    uploads, extra = ({k: torch.stack([s[i][k] for s in each]) for k in each[0][i]} for i in (0, 1))
    new, _ = alg.combine(w, uploads, extra, torch.tensor([5.0, 95.0]), {}, torch.arange(2))
    return new["w"].item()


def test_qfedavg_at_0_is_the_uniform_mean() -> None:
    assert sent_by_qfedavg(0.0, 1.0, [3.0, 8.0], [0.2, 0.9], lr=0.1) == pytest.approx(5.5)


def test_qfedavg_at_1_by_hand() -> None:
    """L = 2, changes 2 (1 - 3) = -4 and 2 (1 - 0) = 2; Δ = F times them, h = their squares + 2 F."""
    numerator = 0.5 * -4 + 0.25 * 2
    denominator = (16 + 2 * 0.5) + (4 + 2 * 0.25)
    got = sent_by_qfedavg(1.0, 1.0, [3.0, 0.0], [0.5, 0.25], lr=0.5)
    assert got == pytest.approx(1 - numerator / denominator, abs=1e-8)


@few
@given(v=st.integers(1, 6).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(-5, 5))))
def test_afls_projection_is_that_of_bisection(v: Array) -> None:
    low, high = v.min() - 2, v.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(v - middle, 0).sum() > 1 else (low, middle)
    got = on_simplex(tensor(v)).numpy()
    np.testing.assert_allclose(got, np.maximum(v - low, 0), atol=1e-9)
    assert got.sum() == pytest.approx(1) and got.min() >= 0


def test_afl_averages_with_the_mixture_before_it_moves() -> None:
    server = Server(AFL(gamma=0.5), np.zeros(2), 2)
    np.testing.assert_allclose(server([[0, 0], [4, 8]], rows=[1, 99], extra={"loss": [0.1, 0.7]}), [2, 4])
    np.testing.assert_allclose(server.state["lambda"], [0.35, 0.65])
    np.testing.assert_allclose(server([[0, 0], [4, 8]], extra={"loss": [0.1, 0.1]}), [0.65 * 4, 0.65 * 8])


def test_afl_renormalises_the_mixture_of_those_that_answered() -> None:
    server = Server(AFL(gamma=1.0), np.zeros(2), 3)
    server.state = {"lambda": tensor([0.5, 0.3, 0.2])}
    got = server([[0, 0], [5, 10]], extra={"loss": [0.0, 0.3]}, who=[0, 2])
    np.testing.assert_allclose(got, [0.2 / 0.7 * 5, 0.2 / 0.7 * 10])
    np.testing.assert_allclose(server.state["lambda"], [0.4, 0.2, 0.4])
    server.state = {"lambda": tensor([1.0, 0.0, 0.0])}
    np.testing.assert_allclose(server([[2, 0], [4, 8]], extra={"loss": [0.0, 0.0]}, who=[1, 2]), [3, 4])


# ---------------------------------------------------------------- robustness


@few
@given(sent=tables(st.integers(1, 8)))
def test_fedmedian_is_numpys(sent: Array) -> None:
    np.testing.assert_allclose(once(FedMedian(), sent), np.median(sent, axis=0), atol=1e-12)


@few
@given(sent=tables(st.integers(5, 8)), trim=st.integers(0, 2))
def test_trimmedmean_sorts_and_trims(sent: Array, trim: int) -> None:
    want = np.sort(sent, axis=0)[trim : len(sent) - trim].mean(0)
    np.testing.assert_allclose(once(TrimmedMean(trim=trim), sent, np.arange(1, len(sent) + 1)), want, atol=1e-9)
    np.testing.assert_allclose(once(TrimmedMean(trim=0), sent), sent.mean(0), atol=1e-9)


def ranked(sent: Array, f: int, among: list[int]) -> list[int]:
    """Sites from the best to the worst score of Krum."""
    score = {}
    for i in among:
        away = sorted(float(((sent[i] - sent[j]) ** 2).sum()) for j in among if j != i)
        score[i] = sum(away[: max(len(among) - f - 2, 1)])
    return sorted(among, key=lambda i: (score[i], i))


def drawn(seed: int, sites: int, width: int = 4) -> Array:
    return np.random.default_rng(seed).normal(size=(sites, width))


@few
@given(seed=st.integers(0, 10_000), f=st.integers(0, 3), spare=st.integers(0, 3), m=st.integers(1, 4))
def test_krum_and_multikrum_are_the_naive_ones(seed: int, f: int, spare: int, m: int) -> None:
    sent = drawn(seed, 2 * f + 3 + spare)
    best = ranked(sent, f, list(range(len(sent))))
    np.testing.assert_array_equal(once(Krum(f=f), sent), sent[best[0]])
    np.testing.assert_allclose(once(MultiKrum(f=f, m=m), sent), sent[best[:m]].mean(0), atol=1e-12)
    keep = len(sent) - f - 2
    np.testing.assert_allclose(once(MultiKrum(f=f), sent), sent[best[:keep]].mean(0), atol=1e-12)


@few
@given(seed=st.integers(0, 10_000), f=st.integers(0, 2), spare=st.integers(0, 3))
def test_bulyan_is_the_naive_one(seed: int, f: int, spare: int) -> None:
    sent = drawn(seed, 4 * f + 3 + spare)
    left, chosen = list(range(len(sent))), []
    for _ in range(len(sent) - 2 * f):
        chosen.append(ranked(sent, f, left)[0])
        left.remove(chosen[-1])
    want = [
        np.mean(sorted(column, key=lambda v: abs(v - np.median(column)))[: len(chosen) - 2 * f])
        for column in sent[chosen].T
    ]
    np.testing.assert_allclose(once(Bulyan(f=f), sent), want, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    f=st.integers(1, 4),
    spare=st.integers(0, 2),
    colluding=st.booleans(),
    far=st.floats(50, 1e6),
    place=st.integers(0, 100),
)
def test_krum_picks_an_honest_site(seed: int, f: int, spare: int, colluding: bool, far: float, place: int) -> None:
    rng, n = np.random.default_rng(seed), 2 * f + 3 + spare
    honest = rng.uniform(-1, 1, size=(n - f, 3))
    away = rng.normal(size=(1 if colluding else f, 3))
    attackers = np.broadcast_to(far * away / np.linalg.norm(away, axis=1, keepdims=True), (f, 3))
    sent = np.roll(np.concatenate([honest, attackers]), place, axis=0)
    for alg in (Krum(f=f), Krum().bind(Small(), n), MultiKrum(f=f), MultiKrum(f=f, m=1)):
        assert np.abs(once(alg, sent)).max() <= 1


@few
@given(seed=st.integers(0, 10_000), sites=st.integers(4, 9), examples=st.booleans())
def test_at_rfas_point_the_pulls_cancel(seed: int, sites: int, examples: bool) -> None:
    sent, rows = drawn(seed, sites), np.random.default_rng(seed).integers(20, 40, sites).astype(float)
    z = once(RFA(weights="examples" if examples else "equal", iterations=10_000), sent, rows)
    alpha = rows / rows.sum() if examples else np.full(sites, 1 / sites)

    def total(at: Array) -> float:
        return float(alpha @ np.linalg.norm(at - sent, axis=1))

    apart = np.linalg.norm(z - sent, axis=1)
    if apart.min() > 1e-2:
        assert np.linalg.norm(alpha / apart @ (z - sent)) < 1e-6
    assert all(total(z) <= total(other) + 1e-6 for other in [*sent, alpha @ sent, *(z + drawn(seed + 1, 5) / 100)])


def test_rfa_hardly_feels_one_far_site() -> None:
    near = drawn(0, 6)
    sent = np.concatenate([near, [[1e6, -1e6, 1e6, 1e6]]])
    assert np.linalg.norm(once(RFA(), sent)) < 2 * 6 / 5 * np.linalg.norm(near, axis=1).max()
    assert np.linalg.norm(once(FedAvg(), sent)) > 1e5


@few
@given(sent=tables(3), norm=st.floats(0.1, 50))
def test_normclipping_lets_nobody_pull_further(sent: Array, norm: float) -> None:
    start, rows = np.array([5.0, -5.0, 1.0]), np.array([10.0, 20.0, 30.0])
    pull = sent - start
    clipped = pull / np.maximum(1, np.linalg.norm(pull, axis=1, keepdims=True) / norm)
    np.testing.assert_allclose(once(NormClipping(max_norm=norm), sent, rows, start), start + rows @ clipped / 60,
                               atol=1e-9)  # fmt: skip
    for alone in sent:
        assert np.linalg.norm(once(NormClipping(max_norm=norm), alone[None], None, start) - start) <= norm * (1 + 1e-9)
    mean = once(FedAvg(), sent, rows, start)
    np.testing.assert_allclose(once(NormClipping(max_norm=1e4), sent, rows, start), mean, atol=1e-9)
    np.testing.assert_array_equal(once(NormClipping(), np.stack([start] * 3), rows, start), start)


@pytest.mark.parametrize("alg", [Krum(f=1), MultiKrum(f=1), Bulyan(f=1), RFA(), NormClipping(), FedExP()], ids=str)
def test_a_tensor_of_one_number_and_no_axis_is_a_tensor(alg: Algorithm) -> None:
    """A learned temperature, say: stacked over the sites it has one axis."""
    sent = {"w": drawn(0, 7), "scale": drawn(1, 7)[:, 0]}
    flat = alg.combine({"w": torch.zeros(4).double(), "scale": torch.zeros(1).double()},
                       {"w": tensor(sent["w"]), "scale": tensor(sent["scale"])[:, None]}, {}, torch.ones(7).double(),
                       {}, torch.arange(7))[0]  # fmt: skip
    got = alg.combine({"w": torch.zeros(4).double(), "scale": torch.zeros(()).double()},
                      {"w": tensor(sent["w"]), "scale": tensor(sent["scale"])}, {}, torch.ones(7).double(),
                      {}, torch.arange(7))[0]  # fmt: skip
    assert got["scale"].shape == () and torch.equal(got["scale"], flat["scale"][0]) and torch.equal(got["w"], flat["w"])


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
    assert held["w"].tolist() == [[1, 2]] * 4
    extra = {"model": {"w": tensor([[5, 6], [7, 8]])}}
    params, new = alg.combine(start, {}, extra, tensor([1, 1]), held, torch.tensor([3, 1]))
    assert params is start and new["w"].tolist() == [[1, 2], [7, 8], [1, 2], [5, 6]]
    assert held["w"].tolist() == [[1, 2]] * 4, "what was held before is another round's"
    members = alg.personal(SimpleNamespace(extra=new))
    assert [m["w"].tolist() for m in members] == new["w"].tolist()


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
