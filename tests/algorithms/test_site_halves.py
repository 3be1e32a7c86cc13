"""The site halves against independent loops: the same weights after every round, one site at a time and stacked."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, cross_entropy

from fedlab.algorithms import (
    Cyclic,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedSGD,
    Moon,
    QFedAvg,
)
from fedlab.engine import SGD, Adam
from fedlab.federation import Federation
from fedlab.models import BatchNorm
from tests.algorithms.references import (
    ROUNDS,
    Place,
    Small,
    Weights,
    adam,
    apart,
    assert_same,
    clone,
    descend,
    first_is_start,
    loss_of,
    ours,
    places_of,
    plain,
    reference,
    rolling,
    state,
    weighted,
)

# ---------------------------------------------------------------- FedAvg and the settings of a site's optimiser


@pytest.mark.parametrize("norm,stackable", [(None, None), (nn.BatchNorm1d, BatchNorm)])
def test_fedavg(norm: Any, stackable: Any, engine: str, fed: Federation) -> None:
    want, _ = reference(fed, Small(norm), descend(), epochs=2)
    got, _ = ours(fed, Small(stackable), FedAvg(), local_epochs=2, engine=engine)
    assert_same(want, got)


@pytest.mark.parametrize(
    "optimizer,optimiser,lr",
    [
        (SGD(momentum=0.9), rolling, 0.05),
        (SGD(weight_decay=0.3), lambda m, lr: torch.optim.SGD(m.parameters(), lr, weight_decay=0.3), 0.1),
        (
            SGD(momentum=0.5, weight_decay=0.1),
            lambda m, lr: torch.optim.SGD(m.parameters(), lr, momentum=0.5, weight_decay=0.1),
            0.1,
        ),
        (Adam(), adam, 0.01),
        (Adam(weight_decay=0.3), lambda m, lr: torch.optim.Adam(m.parameters(), lr, weight_decay=0.3), 0.01),
    ],
    ids=["momentum", "decay", "momentum and decay", "adam", "adam and decay"],
)
def test_fedavg_with_torchs_optimisers(optimizer: Any, optimiser: Any, lr: float, engine: str, fed: Federation) -> None:
    want, _ = reference(fed, Small(), descend(optimiser), lr=lr)
    got, _ = ours(fed, Small(), FedAvg(), optimizer=optimizer, lr=lr, engine=engine)
    assert_same(want, got)


def test_clip_is_torchs(engine: str, fed: Federation) -> None:
    want, _ = reference(fed, Small(), descend(clip=0.2))
    got, _ = ours(fed, Small(), FedAvg(), clip=0.2, engine=engine)
    assert_same(want, got)
    assert apart(want[-1], reference(fed, Small(), descend())[0][-1]) > 1e-3, "the limit must have been reached"


@pytest.mark.parametrize("schedule,rate", [
    ("cosine", lambda t: (1 + math.cos(math.pi * t / ROUNDS)) / 2),
    ("linear", lambda t: 1 - t / ROUNDS),
    (lambda round, rounds: 1 / round, lambda t: 1 / (t + 1)),
])  # fmt: skip
def test_a_schedule_scales_the_rate_of_each_round(schedule: Any, rate: Any, engine: str, fed: Federation) -> None:
    want, _ = reference(fed, Small(), descend(), rate=rate)
    got, _ = ours(fed, Small(), FedAvg(), schedule=schedule, engine=engine)
    assert_same(want, got)


@pytest.mark.parametrize("steps", [1, 5, 13])
def test_local_steps_go_on_where_the_last_round_left_off(steps: int, engine: str, fed: Federation) -> None:
    want, _ = reference(fed, Small(), descend(), steps=steps)
    got, run = ours(fed, Small(), FedAvg(), local_steps=steps, engine=engine)
    assert_same(want, got)
    assert run.steps_per_round == steps


# ---------------------------------------------------------------- one shared model


@pytest.mark.parametrize("mu", [0.0, 0.1, 2.0])
def test_fedprox(mu: float, engine: str, fed: Federation) -> None:
    def local(model: nn.Module, place: Place) -> Weights:
        w = state(model)
        return descend(penalty=lambda m: mu / 2 * sum(((p - w[k]) ** 2).sum() for k, p in m.named_parameters()))(
            model, place
        )

    want, _ = reference(fed, Small(nn.BatchNorm1d), local)
    got, _ = ours(fed, Small(BatchNorm), FedProx(mu=mu), engine=engine)
    assert_same(want, got)


def counted(steps: int, rho: float) -> float:
    """How often the gradients act in so many steps with momentum: run it on gradients of one."""
    velocity = moved = 0.0
    for _ in range(steps):
        velocity = rho * velocity + 1
        moved += velocity
    return moved


@pytest.mark.parametrize("optimiser,rho,lr", [(plain, 0.0, 0.1), (rolling, 0.9, 0.02)])
def test_fednova(optimiser: Any, rho: float, lr: float, engine: str, fed: Federation) -> None:
    def nova(before: Weights, uploads: list[Weights], places: list[Place]) -> Weights:
        total = sum(place.n for place in places)
        p, a = [place.n / total for place in places], [counted(place.taken, rho) for place in places]
        tau = sum(s * r for s, r in zip(p, a, strict=True))
        mean = weighted(before, uploads, places)
        return {
            k: mean[k] if "running" in k
            else w - tau * sum(s * (w - u[k]) / r for s, r, u in zip(p, a, uploads, strict=True))
            for k, w in before.items()
        }  # fmt: skip

    want, _ = reference(fed, Small(nn.BatchNorm1d), descend(optimiser), merge=nova, epochs=2, lr=lr)
    options: dict[str, Any] = dict(optimizer=SGD(momentum=rho), local_epochs=2, lr=lr, engine=engine)
    got, _ = ours(fed, Small(BatchNorm), FedNova(), **options)
    assert_same(want, got)
    assert apart(got[-1], ours(fed, Small(BatchNorm), FedAvg(), **options)[0][-1]) > 1e-3


def test_feddyn(engine: str, fed: Federation) -> None:
    alpha, h = 0.3, {}

    def local(model: nn.Module, place: Place) -> Weights:
        w = state(model)
        g = place.memory.setdefault("g", {k: torch.zeros_like(v) for k, v in w.items()})
        u = descend(
            penalty=lambda m: sum(
                alpha / 2 * ((p - w[k]) ** 2).sum() - (g[k] * p).sum() for k, p in m.named_parameters()
            )
        )(model, place)
        place.memory["g"] = {k: g[k] - alpha * (u[k] - w[k]) for k in g}
        return u

    def merge(before: Weights, uploads: list[Weights], places: list[Place]) -> Weights:
        for k, w in before.items():
            h[k] = h.get(k, torch.zeros_like(w)) - alpha / len(uploads) * sum(u[k] - w for u in uploads)
        return {k: sum(u[k] for u in uploads) / len(uploads) - h[k] / alpha for k in before}

    want, _ = reference(fed, Small(), local, merge=merge)
    got, _ = ours(fed, Small(), FedDyn(alpha=alpha), engine=engine)
    assert_same(want, got)


@pytest.mark.parametrize("norm,stackable", [(None, None), (nn.BatchNorm1d, BatchNorm)])
def test_moon_in_the_papers_form_of_a_cross_entropy(norm: Any, stackable: Any, engine: str, fed: Federation) -> None:
    mu, tau = 1.5, 0.5

    def local(model: nn.Module, place: Place) -> Weights:
        received, last = copy.deepcopy(model), clone(model, first_is_start(place, "last", model))
        steps = plain(model, place.lr)
        for x, y in place.batches():
            z, shared, own = model.features(x), received.features(x).detach(), last.features(x).detach()
            alike = torch.stack([cosine_similarity(z, shared, -1), cosine_similarity(z, own, -1)], 1) / tau
            first = torch.zeros(len(y), dtype=torch.long)
            steps.zero_grad()
            loss = binary_cross_entropy_with_logits(model.head(z)[:, 0], y) + mu * cross_entropy(alike, first)
            loss.backward()
            steps.step()
        place.memory["last"] = state(model)
        return state(model)

    want, _ = reference(fed, Small(norm), local)
    got, _ = ours(fed, Small(stackable), Moon(mu=mu, tau=tau), engine=engine)
    assert_same(want, got)


def test_moon_without_its_term_is_fedavg(engine: str, fed: Federation) -> None:
    got, _ = ours(fed, Small(), Moon(mu=0), engine=engine)
    assert_same(ours(fed, Small(), FedAvg(), engine=engine)[0], got)


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 2.0])
def test_qfedavg(q: float, engine: str, fed: Federation) -> None:
    def local(model: nn.Module, place: Place) -> Weights:
        w, loss = state(model), loss_of(model, place.x, place.y).item()
        u = descend()(model, place)
        change = {k: (w[k] - u[k]) / place.lr for k in w}
        length = sum((d**2).sum().item() for d in change.values())
        place.memory["h"] = q * loss ** (q - 1) * length + loss**q / place.lr
        return {k: loss**q * d for k, d in change.items()}

    def merge(before: Weights, uploads: list[Weights], places: list[Place]) -> Weights:
        total = sum(place.memory["h"] for place in places)
        return {k: w - sum(u[k] for u in uploads) / total for k, w in before.items()}

    want, _ = reference(fed, Small(), local, merge=merge)
    got, _ = ours(fed, Small(), QFedAvg(q=q), engine=engine)
    assert_same(want, got)


@pytest.mark.parametrize("optimizer,optimiser,lr", [(SGD(), plain, 0.5), (Adam(), adam, 0.01)])
def test_fedsgd_takes_one_step_of_all_rows(
    optimizer: Any, optimiser: Any, lr: float, engine: str, fed: Federation
) -> None:
    def local(model: nn.Module, place: Place) -> Weights:
        steps = optimiser(model, place.lr)
        steps.zero_grad()
        loss_of(model, place.x, place.y).backward()
        steps.step()
        return state(model)

    want, _ = reference(fed, Small(), local, lr=lr)
    got, run = ours(fed, Small(), FedSGD(), optimizer=optimizer, lr=lr, local_epochs=7, engine=engine)
    assert_same(want, got)
    assert run.steps_per_round == 1


def test_fedsgd_is_gradient_descent_on_the_pooled_rows(engine: str, fed: Federation) -> None:
    x, y = (torch.cat([getattr(place, part) for place in places_of(fed)]) for part in "xy")
    model, want = Small().double(), []
    for _ in range(ROUNDS):
        steps = plain(model, 0.5)
        steps.zero_grad()
        loss_of(model, x, y).backward()
        steps.step()
        want.append(state(model))
    assert_same(want, ours(fed, Small(), FedSGD(), lr=0.5, engine=engine)[0])


def test_cyclic_passes_one_model_on(engine: str, fed: Federation) -> None:
    places, model, want = places_of(fed), Small(nn.BatchNorm1d).double(), []
    for t in range(5):
        want.append(descend()(model, places[t % 3]))
    assert_same(want, ours(fed, Small(BatchNorm), Cyclic(), rounds=5, engine=engine)[0])
