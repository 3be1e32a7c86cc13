"""Fair and robust server halves against hand computations and naive NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedlab.algorithms import (
    AFL,
    RFA,
    Algorithm,
    Bulyan,
    FedAvg,
    FedExP,
    FedMedian,
    Krum,
    MultiKrum,
    NormClipping,
    QFedAvg,
    TrimmedMean,
)
from fedlab.algorithms.afl import on_simplex
from tests.algorithms.references import Small
from tests.algorithms.servers import Array, Server, few, once, tables, tensor

# ---------------------------------------------------------------- fairness


def sent_by_qfedavg(q: float, start: float, ends: list[float], losses: list[float], lr: float) -> Any:
    alg, w = QFedAvg(q=q), {"w": torch.tensor(start, dtype=torch.float64)}
    each = [
        alg.finish(
            {"w": torch.tensor(end, dtype=torch.float64)},
            SimpleNamespace(lr=torch.tensor(lr, dtype=torch.float64), anchor=w, memory={}, steps=torch.tensor(1.0),
                            momentum=None, risk=lambda params, loss=loss: torch.tensor(loss, dtype=torch.float64)),
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
