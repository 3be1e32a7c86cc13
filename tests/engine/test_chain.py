"""Chains of layers, which all sites pass at once without vmap, give what one site at a time gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import FedAvg
from fedlab.engine.chain import Chain
from fedlab.engine.plan import planned
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.models import MLP, BatchNorm, Dropout
from tests.engine.test_modes import both, difference

Factory = Callable[[int, int], nn.Module]


def chained(model: Factory | str, fed: Federation) -> bool:
    return Chain.of(begin(planned(fed, model, "fedavg", {})).net) is not None


def of_all_layers(inputs: int, outputs: int) -> nn.Module:
    wide, same = 8, nn.Tanh()
    activations = [nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Sigmoid()]
    between = [layer for act in activations for layer in (act, nn.Linear(wide, wide))]
    return nn.Sequential(
        nn.Linear(inputs, wide, bias=False), BatchNorm(wide), same, Dropout(0.2),
        nn.Sequential(*between, nn.Identity()), same, nn.Linear(wide, outputs),
    )  # fmt: skip


class Twice(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Squared(MLP):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x) ** 2


def with_hook(inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs)
    layer.register_forward_hook(lambda layer, given, out: 3 * out)
    return layer


def with_own_forward(inputs: int, outputs: int) -> nn.Module:
    layer = nn.Linear(inputs, outputs)
    layer.forward = lambda x: nn.functional.linear(x, layer.weight, layer.bias) * 3  # type: ignore[method-assign]
    return layer


def with_frozen_layer(inputs: int, outputs: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(4, outputs))
    model[0].requires_grad_(False)
    return model


def with_weight_norm(inputs: int, outputs: int) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(inputs, outputs))


NO_CHAINS = [
    lambda i, o: Twice(nn.Linear(i, o)), Squared, with_hook, with_own_forward, with_frozen_layer, with_weight_norm,
    lambda i, o: nn.Sequential(nn.Linear(i, 4), nn.LayerNorm(4), nn.Linear(4, o)),
]  # fmt: skip


@pytest.mark.parametrize("model", ["logistic", "mlp", "mlp_norm", of_all_layers])
def test_a_chain_gives_what_one_site_at_a_time_gives(model: Factory | str, uneven: Federation) -> None:
    assert chained(model, uneven)
    assert difference(*both(uneven, model, "fedavg", dtype="float64")) < 1e-9


@pytest.mark.parametrize("model", ["logistic", "mlp", "mlp_norm"])
def test_a_chain_gives_what_vmap_gives(model: str, uneven: Federation) -> None:
    """Not to the bit, which depends on the processor: a product with a sum in it may round once or twice."""

    class Own(FedAvg):  # an objective of one's own is carried by vmap
        def objective(self, vars, at):  # type: ignore[no-untyped-def]
            return at.loss(vars)

    options = dict(rounds=3, batch_size=16, engine="batched", progress=False, dtype="float64")
    assert difference(*(fedlab.train(uneven, model, alg, **options) for alg in (FedAvg(), Own()))) < 1e-9  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap has no rule for weight_norm
@pytest.mark.parametrize("model", NO_CHAINS)
def test_what_is_no_plain_chain_is_not_taken_for_one(model: Factory, uneven: Federation) -> None:
    assert not chained(model, uneven)
    assert difference(*both(uneven, model, "fedavg", dtype="float64")) < 1e-9


def test_a_chain_of_several_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = {name: (torch.randn(n, 4, generator=generator), torch.arange(n) % 3) for name, n in (("A", 40), ("B", 71))}
    assert difference(*both(Federation.from_tensors(sites), of_all_layers, "fedavg", dtype="float64")) < 1e-9
