"""Parts of the model that stay at a site, against independent loops: what the paper's loop leaves there."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from fedlab.algorithms import (
    FedBN,
    FedPer,
    FedRep,
    LGFedAvg,
)
from fedlab.engine import SGD, Adam
from fedlab.federation import Federation
from fedlab.models import BatchNorm
from tests.algorithms.references import (
    NORM,
    Local,
    Place,
    Small,
    Weights,
    adam,
    apart,
    assert_same,
    descend,
    load,
    loss_of,
    ours,
    personal,
    pick,
    plain,
    reference,
    rolling,
    state,
)


def keeping(layer: str, local: Local, *, inside: bool = True) -> Local:
    """A site that keeps a layer (or all others) to itself from round to round, and sends the rest."""

    def train(model: nn.Module, place: Place) -> Weights:
        after = local(load(model, place.memory.get("own", {})), place)
        place.memory["own"] = pick(after, layer, inside=inside)
        return pick(after, layer, inside=not inside)

    return train


def assert_kept(want: list[Weights], places: list[Place], got: list[Weights], run: Any) -> None:
    """The server's weights after each round, and in the end what each site predicts with."""
    assert_same(want, got)
    for place, mine in zip(places, personal(run), strict=True):
        assert apart({**want[-1], **place.memory["own"]}, mine) < 1e-9
    one, two, _ = (place.memory["own"] for place in places)
    assert apart(one, two) > 1e-2
    down = run.ledger.query("purpose in ('train', 'evaluate')")["content"]
    kept, sent = set(places[0].memory["own"]), set(got[0]) - set(places[0].memory["own"])
    assert not any(f"{name} " in what for what in down for name in kept)
    assert all(any(f"model.{name} " in what for what in down) for name in sent)


def test_fedbn(engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(nn.BatchNorm1d), keeping(NORM, descend()))
    assert_kept(want, places, *ours(fed, Small(BatchNorm), FedBN(), engine=engine))


@pytest.mark.parametrize("norm,stackable", [(None, None), (nn.BatchNorm1d, BatchNorm)])
def test_fedper(norm: Any, stackable: Any, engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(norm), keeping("head", descend()))
    assert_kept(want, places, *ours(fed, Small(stackable), FedPer(), engine=engine))


def test_lgfedavg(engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(nn.BatchNorm1d), keeping("head", descend(), inside=False))
    assert_kept(want, places, *ours(fed, Small(BatchNorm), LGFedAvg(), engine=engine))


def in_turn(optimiser: Any, share: float, clip: float = math.inf) -> Local:
    """The head with the body held still, then the other way round, as requires_grad has it."""

    def local(model: nn.Module, place: Place) -> Weights:
        steps, batches = optimiser(model, place.lr), place.batches()
        for i, (x, y) in enumerate(batches):
            head_first = i < math.floor(share * len(batches))
            for name, tensor in model.named_parameters():
                tensor.requires_grad_(name.startswith("head") == head_first)
                tensor.grad = None
            loss_of(model, x, y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            steps.step()
        model.requires_grad_(True)
        return state(model)

    return local


@pytest.mark.parametrize(
    "optimizer,optimiser,lr",
    [(SGD(), plain, 0.1), (SGD(momentum=0.9), rolling, 0.05), (Adam(), adam, 0.01)],
    ids=["sgd", "momentum", "adam"],
)
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_fedrep(share: float, optimizer: Any, optimiser: Any, lr: float, engine: str, fed: Federation) -> None:
    options: dict[str, Any] = dict(optimizer=optimizer, lr=lr, local_epochs=2, engine=engine)
    want, places = reference(fed, Small(), keeping("head", in_turn(optimiser, share)), lr=lr, epochs=2)
    assert_kept(want, places, *ours(fed, Small(), FedRep(share=share), **options))


def test_fedrep_clips_what_moves(engine: str, fed: Federation) -> None:
    want, places = reference(fed, Small(), keeping("head", in_turn(plain, 0.5, clip=0.2)), epochs=2)
    assert_kept(want, places, *ours(fed, Small(), FedRep(), clip=0.2, local_epochs=2, engine=engine))
