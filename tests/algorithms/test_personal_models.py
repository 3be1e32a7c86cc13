"""Personal models beside the shared one, against independent loops: what the paper's loop leaves at a site."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from fedlab.algorithms import (
    APFL,
    IFCA,
    Ditto,
    FedAvg,
    FedPer,
    FedRep,
    FineTuned,
    PerFedAvg,
    PFedMe,
)
from fedlab.engine import SGD
from fedlab.engine.schedules import cosine
from fedlab.federation import Federation
from fedlab.models import BatchNorm
from tests.algorithms.references import (
    LR,
    ROUNDS,
    Local,
    Place,
    Small,
    Weights,
    apart,
    assert_same,
    clone,
    descend,
    first_is_start,
    gradients,
    load,
    loss_of,
    ours,
    personal,
    places_of,
    plain,
    prepared,
    reference,
    rolling,
    state,
    weighted,
)


@pytest.mark.parametrize("norm,stackable", [(None, None), (nn.BatchNorm1d, BatchNorm)])
@pytest.mark.parametrize("optimizer,optimiser", [(SGD(), plain), (SGD(momentum=0.9), rolling)])
def test_ditto(norm: Any, stackable: Any, optimizer: Any, optimiser: Any, engine: str, fed: Federation) -> None:
    lam = 0.7

    def local(model: nn.Module, place: Place) -> Weights:
        w, own = state(model), clone(model, first_is_start(place, "v", model))
        near = descend(
            optimiser, penalty=lambda m: lam / 2 * sum(((p - w[k]) ** 2).sum() for k, p in m.named_parameters())
        )
        place.memory["v"] = near(own, place)
        return descend(optimiser)(model, place)

    want, places = reference(fed, Small(norm), local, lr=0.05)
    got, run = ours(fed, Small(stackable), Ditto(lam=lam), optimizer=optimizer, lr=0.05, engine=engine)
    assert_same(want, got)
    assert max(apart(p.memory["v"], mine) for p, mine in zip(places, personal(run), strict=True)) < 1e-9


def test_ditto_without_its_tie_is_isolated(engine: str) -> None:
    fed = prepared(60, 60, 60)
    _, ditto = ours(fed, Small(), Ditto(lam=0), engine=engine)
    _, alone = ours(fed, Small(), "isolated", engine=engine)
    assert max(apart(a, b) for a, b in zip(personal(ditto), personal(alone), strict=True)) < 1e-12


def apfl_by_hand(alpha: float) -> Local:
    """v -= lr a g(mix), w -= lr g(w), a -= lr <v - w, g(mix)>, then back into [0, 1]; the path of a is kept."""

    def local(model: nn.Module, place: Place) -> Weights:
        v, path = first_is_start(place, "v", model), place.memory.setdefault("path", [alpha])
        w, a, blend = state(model), path[-1], copy.deepcopy(model)
        for x, y in place.batches():
            g = gradients(load(blend, {k: a * v[k] + (1 - a) * w[k] for k in w}), x, y)
            slope = sum(((v[k] - w[k]) * g[k]).sum().item() for k in w)
            h = gradients(load(model, w), x, y)
            v, w = {k: v[k] - place.lr * a * g[k] for k in w}, {k: w[k] - place.lr * h[k] for k in w}
            a = min(max(a - place.lr * slope, 0.0), 1.0)
            path.append(a)
        place.memory |= {"v": v, "mix": {k: a * v[k] + (1 - a) * w[k] for k in w}}
        return w

    return local


@pytest.mark.parametrize("alpha", [0.6, 0.7, 0.9])
def test_apfl(alpha: float, engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(), apfl_by_hand(alpha), epochs=2)
    got, run = ours(fed, Small(), APFL(alpha=alpha), local_epochs=2, engine=engine)
    assert_same(want, got)
    assert all(0 < min(p.memory["path"]) and max(p.memory["path"]) < 1 for p in places), "the bounds are another test"
    assert max(apart(p.memory["mix"], mine) for p, mine in zip(places, personal(run), strict=True)) < 1e-9


def test_apfls_share_is_held_between_0_and_1_in_every_step(engine: str) -> None:
    fed = prepared(40, 60, 90, seed=1)
    options: dict[str, Any] = dict(lr=2.0, rounds=6)  # so large that the share does reach its ends
    want, places = reference(fed, Small(), apfl_by_hand(0.5), **options)
    paths = [p.memory["path"] for p in places]
    assert any(a in (0.0, 1.0) and 0 < b < 1 for path in paths for a, b in zip(path, path[1:], strict=False))
    _, run = ours(fed, Small(), APFL(alpha=0.5), **options, engine=engine)
    assert max(apart(p.memory["mix"], mine) for p, mine in zip(places, personal(run), strict=True)) < 1e-9


@pytest.mark.parametrize("order", [1, 2])
def test_perfedavg(order: int, engine: str, fed: Federation) -> None:
    alpha = 0.3

    def local(model: nn.Module, place: Place) -> Weights:
        w = state(model)
        for x, y in place.batches():
            at = {k: v.clone().requires_grad_() for k, v in w.items()}

            def gradient(params: Weights, part: int, on: Weights, x: Tensor = x, y: Tensor = y) -> tuple[Tensor, ...]:
                out = functional_call(model, params, (x[part::2],))[:, 0]
                loss = binary_cross_entropy_with_logits(out, y[part::2])
                return torch.autograd.grad(loss, list(on.values()), create_graph=order == 2)

            inner = gradient(at, 0, at)
            if order == 1:
                inner = tuple(g.detach() for g in inner)
            stepped = {k: v - alpha * g for (k, v), g in zip(at.items(), inner, strict=True)}
            outer = gradient(stepped, 1, at)
            w = {k: v - place.lr * g.detach() for (k, v), g in zip(w.items(), outer, strict=True)}
        return w

    want, places = reference(fed, Small(), local)
    got, run = ours(fed, Small(), PerFedAvg(alpha=alpha, order=order), engine=engine)
    assert_same(want, got)
    model = clone(Small().double(), want[-1])
    for place, mine in zip(places, personal(run), strict=True):
        g = gradients(model, place.x, place.y)
        assert apart({k: want[-1][k] - alpha * g[k] for k in g}, mine) < 1e-9


def test_pfedme(engine: str, fed: Federation) -> None:
    lam, inner, rate, beta = 4.0, 3, 0.06, 0.8

    def local(model: nn.Module, place: Place) -> Weights:
        w = state(model)
        for x, y in place.batches():
            theta = dict(w)
            for _ in range(inner):
                g = gradients(load(model, theta), x, y)
                theta = {k: t - rate * (g[k] + lam * (t - w[k])) for k, t in theta.items()}
            w = {k: v - place.lr * lam * (v - theta[k]) for k, v in w.items()}
        place.memory["theta"] = theta
        return w

    def merge(before: Weights, uploads: list[Weights], places: list[Place]) -> Weights:
        mean = weighted(before, uploads, places)
        return {k: (1 - beta) * w + beta * mean[k] for k, w in before.items()}

    want, places = reference(fed, Small(), local, merge=merge)
    got, run = ours(fed, Small(), PFedMe(lam=lam, inner=inner, rate=rate, beta=beta), engine=engine)
    assert_same(want, got)
    assert max(apart(p.memory["theta"], mine) for p, mine in zip(places, personal(run), strict=True)) < 1e-9


def test_ifca(engine: str) -> None:
    fed, alg, start = prepared(37, 100, 63, 80), IFCA(k=3, spread=1.0), state(Small(nn.BatchNorm1d).double())
    places, model = places_of(fed), Small(nn.BatchNorm1d).double()
    stacked = alg.begin(start, 4, torch.Generator().manual_seed(0))
    clusters = [{k: v[j] for k, v in stacked.items()} for j in range(3)]

    def suits(place: Place) -> int:
        losses = [loss_of(load(model, w).eval(), place.x, place.y).item() for w in clusters]
        model.train()
        return losses.index(min(losses))

    seen = set()
    for rounds in (1, 2, 3):
        chosen = [suits(place) for place in places]
        uploads = [descend()(load(model, clusters[j]), place) for j, place in zip(chosen, places, strict=True)]
        for j in set(chosen):
            mine = [i for i, c in enumerate(chosen) if c == j]
            clusters[j] = weighted({}, [uploads[i] for i in mine], [places[i] for i in mine])
        _, run = ours(fed, Small(BatchNorm), alg, rounds=rounds, engine=engine)
        best = [suits(place) for place in places]
        assert max(apart(clusters[j], mine) for j, mine in zip(best, personal(run), strict=True)) < 1e-9
        seen |= set(chosen)
    assert len(seen) > 1, "the sites must part"


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_finetuned(steps: int, engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(nn.BatchNorm1d), descend(), rate=lambda t: cosine(t + 1, ROUNDS))
    got, run = ours(fed, Small(BatchNorm), FineTuned(steps=steps), schedule="cosine", engine=engine)
    assert_same(want, got)
    for place, mine in zip(places, personal(run), strict=True):
        model = clone(Small(nn.BatchNorm1d).double(), want[-1]).eval()
        for _ in range(steps):
            g = gradients(model, place.x, place.y)
            load(model, {k: state(model)[k] - LR * g[k] for k in g})  # the base rate: the schedule ends at zero
        assert apart(state(model), mine) < 1e-9


def test_finetuned_by_no_step_predicts_as_fedavg(engine: str, fed: Federation) -> None:
    _, tuned = ours(fed, Small(), FineTuned(steps=0), engine=engine)
    _, shared = ours(fed, Small(), FedAvg(), engine=engine)
    for site in fed.sites:
        assert torch.allclose(tuned.model(site.name)(site.test.x), shared.model()(site.test.x), atol=1e-12)


def test_a_personal_part_is_the_sites_own(engine: str, fed: Federation) -> None:
    """Two sites of the same rows end with the same model, another one does not."""
    one, two = fed["site 0"], fed["site 1"]
    rows = {name: (s.rows.x, s.rows.y) for name, s in (("a", one), ("b", two), ("c", two))}
    twins = Federation.from_tensors(rows, splits={"a": one.split, "b": two.split, "c": two.split})
    for alg in (FedPer(), FedRep(), Ditto(), APFL(), PFedMe(), PerFedAvg(), FineTuned()):
        a, b, c = personal(ours(twins, Small(), alg, engine=engine)[1])
        assert apart(b, c) < 1e-12 and apart(a, b) > 1e-4, alg
