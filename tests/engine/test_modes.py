"""One site at a time and all at once give the same numbers: for what ships, and for what the contract promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import fedlab
from fedlab.algorithms import Algorithm, Scaffold
from fedlab.engine import SGD, Adam, Run
from fedlab.federation import Federation
from fedlab.models import BatchNorm, Dropout
from tests.conftest import pairs, ragged


def both(fed: Federation, model: Any, alg: Algorithm | str, **options: Any) -> tuple[Run, Run]:
    options = {"rounds": 3, "batch_size": 16, "local_epochs": 2, "progress": False} | options
    return tuple(fedlab.train(fed, model, alg, engine=engine, **options) for engine in ("sequential", "batched"))  # type: ignore[return-value]


def difference(a: Run, b: Run) -> float:
    pairs = zip(tree_leaves((a.weights, a.models)), tree_leaves((b.weights, b.models)), strict=True)
    weights = max((x - y).abs().max().item() for x, y in pairs)
    return max(weights, float((a.history[["log_loss", "auc"]] - b.history[["log_loss", "auc"]]).abs().max().max()))


@pytest.mark.parametrize("name,model", pairs())
def test_modes_agree_on_ragged_sites(name: str, model: str, short: Federation) -> None:
    assert difference(*both(short, model, name, dtype="float64")) < 1e-9


@pytest.mark.parametrize("name,model", [pair for pair in pairs("mlp") if "mlp_norm" not in pair.values])
def test_modes_agree_in_float32_as_far_as_it_goes(name: str, model: str, short: Federation) -> None:
    """To a thousandth of the way that the weights go; that it is the same work is shown in float64.

    How far float32 is from itself depends on the processor. A step rounds to 6e-8 of a weight and there are 36, so each
    could be amplified 400-fold; other work, such as a row too many in a batch, is off by a hundredth. Not under
    BatchNorm: a last batch of a few rows (54 rows, batch 16) has a variance that amplifies more.
    """
    a, b = both(short, model, name)
    own = [pair for site in b.models for pair in zip(a.models[site], b.models[site], strict=True)]
    for one, other in [(a.weights, b.weights), *own]:
        start = {k: v for k, v in a.net.start().items() if k in one}
        went = max((one[k] - v).abs().max().item() for k, v in start.items())
        assert max((one[k] - other[k]).abs().max().item() for k in start) <= 1e-3 * went
        assert {one[k].dtype for k in start} == {torch.float32}


@pytest.mark.parametrize("optimizer,lr", [(SGD(momentum=0.9), 0.05), (Adam(), 0.005)])
@pytest.mark.parametrize("name", ["fedavg", "isolated", "scaffold", "centralized"])
def test_modes_agree_with_other_optimisers(name: str, optimizer: Any, lr: float, short: Federation) -> None:
    if name == "scaffold" and isinstance(optimizer, Adam):
        with pytest.raises(ValueError, match="scaffold counts how often each gradient acts.*not Adam"):
            fedlab.train(short, "mlp", name, optimizer=optimizer, lr=lr, progress=False)
        return
    assert difference(*both(short, "mlp", name, dtype="float64", optimizer=optimizer, lr=lr)) < 1e-9


@pytest.mark.parametrize("optimizer,lr", [(SGD(momentum=0.9), 0.05), (Adam(), 0.005)])
def test_our_optimisers_are_torchs(optimizer: Any, lr: float) -> None:
    one = ragged((80,), missing=False)
    ours = fedlab.train(
        one, "mlp", "isolated", rounds=3, optimizer=optimizer, lr=lr, dtype="float64", shuffle=False, evaluate=False,
        progress=False, batch_size=1000,
    ).models["site 0"][0]  # fmt: skip
    model = fedlab.models.build("mlp", 10, 1).double()
    adam = isinstance(optimizer, Adam)
    torchs = torch.optim.Adam(model.parameters(), lr) if adam else torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    train = one.sites[0].train
    x = fedlab.federation.prepare(train.x, fedlab.federation.fit(fedlab.federation.summarise(train.x)))
    for _ in range(3):  # isolated: the optimiser goes on over the rounds
        torchs.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], train.y.double()).backward()
        torchs.step()
    assert max((v - ours[k]).abs().max().item() for k, v in model.state_dict().items()) < 1e-9


# ---------------------------------------------------------------- layers


def normed(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8, bias=False), BatchNorm(8), nn.ReLU(), Dropout(0.3), nn.Linear(8, outputs))


def torchs_own(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, outputs))


def test_batch_norm_and_dropout_agree_and_move(uneven: Federation) -> None:
    a, b = both(uneven, normed, "fedavg", dtype="float64")
    assert difference(a, b) < 1e-9
    assert a.weights["1.running_mean"].abs().max() > 0


def test_torchs_own_layers_run_one_at_a_time_and_say_so(uneven: Federation) -> None:
    torch.manual_seed(0)
    a = fedlab.train(uneven, torchs_own, rounds=2, progress=False)
    torch.manual_seed(1)
    b = fedlab.train(uneven, torchs_own, rounds=2, progress=False)
    assert any("BatchNorm1d (fedlab.models.BatchNorm can)" in note for note in a.notes)
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    with pytest.raises(ValueError, match="engine='batched' cannot run torch's"):
        fedlab.train(uneven, torchs_own, engine="batched")


def test_a_model_that_cannot_be_stacked_falls_back_and_says_so(uneven: Federation) -> None:
    class Picky(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.layer = nn.Linear(inputs, outputs)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if bool((x.sum() > -1e9).item()) else self.layer(-x)

    run = fedlab.train(uneven, Picky, rounds=2, progress=False)
    assert any("one site at a time" in note for note in run.notes) and len(run.records) == 2


# ---------------------------------------------------------------- the contract, beyond what ships


class Sampled(Scaffold):
    def asks(self, round, sites, rng):
        return rng.choice(sites, 2, replace=False).tolist()


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9)])
def test_the_contract_carries_what_asks_only_some(optimizer: Any, short: Federation) -> None:
    assert difference(*both(short, "mlp", Sampled(), dtype="float64", optimizer=optimizer, lr=0.05)) < 1e-9


def test_what_does_not_travel_is_not_in_the_messages(uneven: Federation) -> None:
    run = fedlab.train(uneven, "mlp", "fedper", rounds=2, progress=False)
    sent = run.ledger.query("purpose == 'train'")["content"]
    assert sent.str.contains("body.0.weight").all() and not sent.str.contains("head").any()
    heads = [models[0]["head.weight"] for models in run.models.values()]
    assert not torch.equal(heads[0], heads[1])
