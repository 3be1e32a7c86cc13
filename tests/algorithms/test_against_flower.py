"""Ours and Flower's own, from the same site results: equal, or apart by what is said where.

Both sit on the same round loop, so that only the server's arithmetic differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab.algorithms import (
    Algorithm,
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedYogi,
    FromFlower,
    Krum,
    MultiKrum,
    QFedAvg,
    TrimmedMean,
)  # fmt: skip
from fedlab.federation import Federation
from tests.conftest import ragged

flower = pytest.importorskip("flwr.serverapp.strategy", reason="pip install 'fedlab-workbench[ray]'")
SEVEN = (37, 100, 63, 80, 51, 44, 90)


def gap(fed: Federation, ours: Algorithm, theirs: Any, *, rounds: int = 3, model: str = "mlp", **options: Any) -> float:
    settings: dict[str, Any] = dict(rounds=rounds, batch_size=16, dtype="float64", evaluate=False, engine="sequential")
    *_, a = fedlab.stream(fed, model, ours, **settings | options)
    *_, b = fedlab.stream(fed, model, FromFlower(theirs), **settings | options)
    return max(float((a.weights[k] - b.weights[k]).abs().max()) for k in a.weights)


@pytest.mark.parametrize(
    "ours,theirs",
    [
        (FedAvg(), flower.FedAvg()),
        (FedAvgM(momentum=0.7, server_lr=0.5), flower.FedAvgM(server_momentum=0.7, server_learning_rate=0.5)),
        (FedMedian(), flower.FedMedian()),
        (TrimmedMean(trim=2), flower.FedTrimmedAvg(beta=2 / 7)),
        (Krum(f=2), flower.Krum(num_malicious_nodes=2)),
        (QFedAvg(q=0.5), flower.QFedAvg(client_learning_rate=0.1, q=0.5)),
    ],
)
def test_the_same(ours: Algorithm, theirs: Any) -> None:
    assert gap(ragged(SEVEN), ours, theirs) < 1e-9


@pytest.mark.parametrize(
    "ours,theirs",
    [
        (FedYogi(server_lr=0.05, tau=1e-9), flower.FedYogi(eta=0.05, eta_l=0.1, beta_1=0.9, beta_2=0.99, tau=1e-9)),
        (FedAdagrad(server_lr=0.05, tau=1e-9), flower.FedAdagrad(eta=0.05, eta_l=0.1, tau=1e-9)),
    ],
)
def test_the_same_but_for_where_the_second_moment_starts(ours: Algorithm, theirs: Any) -> None:
    """Flower starts v at 0, the paper at tau²: with a tiny tau there is next to no difference."""
    assert gap(ragged(SEVEN), ours, theirs, model="logistic") < 1e-5  # no unit rests: a change of 1e-9 would show tau


def test_fedadam_differs_by_flowers_bias_correction() -> None:
    """In round t Flower's rate is eta · sqrt(1 − b2^(t+1)) / (1 − b1^(t+1)): with that rate ours is the same."""
    fed, b1, b2, eta = ragged(SEVEN, missing=False), 0.9, 0.99, 0.05
    once: dict[str, Any] = dict(rounds=1, model="logistic")
    corrected = eta * np.sqrt(1 - b2**2) / (1 - b1**2)
    theirs = flower.FedAdam(eta=eta, beta_1=b1, beta_2=b2, tau=1e-9)
    assert gap(fed, FedAdam(server_lr=float(corrected), beta1=b1, beta2=b2, tau=1e-9), theirs, **once) < 1e-5
    assert gap(fed, FedAdam(server_lr=eta, beta1=b1, beta2=b2, tau=1e-9), theirs, **once) > 1e-3


def test_multi_krum_differs_by_the_weights_that_the_sites_claim() -> None:
    equal = ragged((60,) * 7)
    theirs = flower.MultiKrum(num_malicious_nodes=2, num_nodes_to_select=3)
    assert gap(equal, MultiKrum(f=2, m=3), theirs, rounds=1) < 1e-9
    assert gap(ragged(SEVEN), MultiKrum(f=2, m=3), theirs, rounds=1) > 1e-6


def test_bulyan_differs_by_choosing_one_by_one() -> None:
    """With no faulty site both take the mean of what is nearest to the median: all."""
    assert gap(ragged(SEVEN), Bulyan(f=0), flower.Bulyan(num_malicious_nodes=0), rounds=1) < 1e-9


def test_float32_distances_pick_other_sites() -> None:
    """Why Krum's distances are float64 differences: models far from zero and near to each other cancel."""
    rng = torch.Generator().manual_seed(0)
    apart = 0
    for _ in range(20):
        u = (10 + 1e-3 * torch.randn(7, 400, generator=rng)).float()
        best = int(fedlab.algorithms.krum.scores(fedlab.algorithms.krum.distances({"w": u}), 2).argmin())
        square = (u**2).sum(1)
        expanded = square[:, None] + square[None] - 2 * u @ u.T
        apart += best != int(fedlab.algorithms.krum.scores(expanded.double(), 2).argmin())
    assert apart >= 5
