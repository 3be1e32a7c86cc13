"""The registry of models, and the two layers that torch's own cannot stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

import fedlab
from fedlab.models import MODELS, BatchNorm, BatchNorm2d, Dropout, build, model_name
from fedlab.models.layers import forward_pass, uniform


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("outputs", [1, 4])
def test_a_registered_model_fits_the_task(name: str, outputs: int) -> None:
    assert build(name, 7, outputs)(torch.zeros(3, 7)).shape == (3, outputs)


def test_a_start_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = (build("mlp", 7, 1, seed=seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(state, torch.get_rng_state())


def test_a_factory_a_class_and_a_module_stand_in_for_a_name() -> None:
    assert isinstance(build(nn.Linear, 7, 1), nn.Linear)
    module = nn.Linear(7, 1)
    copy = build(module, 7, 1)
    assert copy is not module and torch.equal(copy.weight, module.weight)
    assert model_name(nn.Linear) == "Linear" and model_name(module) == "Linear" and model_name("mlp") == "mlp"
    with pytest.raises(ValueError, match="did you mean 'logistic'"):
        build("logistics", 7, 1)
    with pytest.raises(TypeError, match="gave a dict, not a torch.nn.Module"):
        build(lambda inputs, outputs: {}, 7, 1)


def test_batch_norm_equals_torchs_and_sees_no_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    ours, theirs = BatchNorm(4).double(), nn.BatchNorm1d(4).double()
    with forward_pass(mask=torch.tensor([1.0, 1, 1, 1, 0, 0])):
        out = ours(torch.cat([x[:4], torch.full((2, 4), 99.0, dtype=torch.float64)]))[:4]
    assert torch.allclose(out, theirs(x[:4]), atol=1e-12)
    assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-12)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-12)


def test_batch_norm_survives_a_batch_of_one() -> None:
    layer = BatchNorm(2)
    assert layer(torch.ones(1, 2)).tolist() == [[0.0, 0.0]] and layer.running_var.tolist() == [1.0, 1.0]


def test_dropout_drops_its_share_and_rests_in_evaluation() -> None:
    layer, x = Dropout(0.25), torch.ones(400, 50)
    out = layer(x)
    assert (out == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(ValueError, match="p is 1"):
        Dropout(1.0)


def test_nothing_of_a_forward_pass_outlives_it() -> None:
    """A key of stacked sites that stays behind breaks the next pass that is not stacked."""
    layer, x = Dropout(0.5), torch.ones(8, 4)
    alone = layer(x)

    def one_site(key: torch.Tensor) -> torch.Tensor:
        with forward_pass(key=key, step=3):
            return layer(x)

    stacked = vmap(one_site)(torch.tensor([1, 2]))
    assert not torch.equal(stacked[0], stacked[1])
    with pytest.raises(RuntimeError), forward_pass(key=torch.tensor(7)):
        raise RuntimeError
    assert torch.equal(layer(x), alone)


def test_a_number_by_itself_is_drawn_as_the_first_of_many() -> None:
    key, keys = torch.tensor(7), torch.tensor([7, 8])
    first = uniform(key, torch.Size([3]))[0]
    assert uniform(key, torch.Size([])).shape == () and uniform(key, torch.Size([])) == first
    assert uniform(keys, torch.Size([])).shape == (2,) and uniform(keys, torch.Size([]))[0] == first


def test_the_counter_is_uniform_and_its_keys_differ() -> None:
    a, b = (uniform(torch.tensor(key), torch.Size([100_000])) for key in (1, 2))
    assert a.mean().item() == pytest.approx(0.5, abs=0.005) and a.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 0.02
    assert 0 <= a.min() and a.max() < 1


# ---------------------------------------------------------------------- alone and stacked


class TwoDrops(nn.Module):
    """Drops twice: by two layers, or by one that is called twice."""

    def __init__(self, inputs: int, outputs: int, *, once: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(inputs, 8), nn.Linear(8, 8), nn.Linear(8, outputs)
        self.drop, self.again = Dropout(0.5), Dropout(0.5)
        self.once = once

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.first(x).relu())
        return self.head((self.drop if self.once else self.again)(self.second(x).relu()))


def one_drop(inputs: int, outputs: int) -> nn.Module:
    return TwoDrops(inputs, outputs, once=True)


def in_a_row(inputs: int, outputs: int) -> nn.Module:
    drop = Dropout(0.5)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), drop, nn.Linear(8, 8), drop, nn.Linear(8, outputs))


@pytest.mark.parametrize("factory", [TwoDrops, one_drop])
def test_two_places_drop_other_entries(factory: Any) -> None:
    model, seen = build(factory, 3, 1, seed=0).train(), []
    for layer in (model.drop, model.again):
        layer.register_forward_hook(lambda layer, given, out: seen.append(out == 0))
    nn.init.constant_(model.first.bias, 100.0)
    nn.init.constant_(model.second.bias, 1000.0)  # so that what is zero was dropped
    with forward_pass(key=torch.tensor(3)):
        model(torch.randn(50, 3))
    one, other = seen
    assert 0.4 < one.double().mean() < 0.6 and 0.4 < (one == other).double().mean() < 0.6


def trained(x: Tensor, factory: Any, *engines: str) -> list[fedlab.Run]:
    sites = {name: (x[i * 9 :], torch.arange(len(x) - i * 9) % 2) for i, name in enumerate("ABC")}
    fed = fedlab.Federation.from_tensors(sites, prepared=True)
    options = {"rounds": 2, "batch_size": 8, "dtype": "float64", "progress": False}
    return [fedlab.train(fed, factory, engine=engine, **options) for engine in engines]


MODES = ("sequential", "threads", "batched")


@pytest.mark.parametrize("factory", [TwoDrops, one_drop, in_a_row])
def test_sites_alone_and_stacked_drop_the_same(factory: Any) -> None:
    alone, *others = trained(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), factory, *MODES)
    for other in others:
        assert not any("cannot be stacked" in note for note in other.notes)
        assert all(torch.allclose(w, other.weights[name], rtol=1e-9) for name, w in alone.weights.items())


def test_batch_norm_of_pictures_sees_no_padding_alone_and_stacked() -> None:
    def cnn(inputs: int, outputs: int) -> nn.Module:
        norm = BatchNorm2d(4)
        return nn.Sequential(nn.Conv2d(inputs, 4, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, outputs))

    def torchs(inputs: int, outputs: int) -> nn.Module:
        norm = nn.BatchNorm2d(4)
        return nn.Sequential(nn.Conv2d(inputs, 4, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(64, outputs))

    x = torch.randn(60, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    alone, *others = trained(x, cnn, *MODES)  # the last batches are short ones, which a stack pads
    for other in (*others, *trained(x, torchs, MODES[0])):
        assert all(torch.allclose(w, other.weights[name], rtol=1e-9, atol=1e-12) for name, w in alone.weights.items())
    assert not torch.allclose(alone.weights["1.running_var"], torch.ones(4, dtype=torch.float64))
