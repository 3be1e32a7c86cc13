"""One site a thread: for what cannot be stacked, with the same numbers as one at a time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.engine import Adam, local
from fedlab.federation import Federation
from tests.engine.test_modes import difference, torchs_own


def images(sizes: tuple[int, ...] = (36, 40, 51)) -> Federation:
    """Sites of small pictures, brighter where ill; each has the five valid patients without which a run notes more."""
    generator = torch.Generator().manual_seed(0)
    sites = {}
    for i, n in enumerate(sizes):
        y = torch.arange(n) % 2
        sites[f"site {i}"] = torch.randn(n, 1, 8, 8, generator=generator) + y[:, None, None, None], y
    return Federation.from_tensors(sites, prepared=True)


def cnn(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, outputs)
    )  # fmt: skip


class Attention(nn.Module):
    """Each of the eight columns is a token."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, 0]
        return self.head(self.look(tokens, tokens, tokens, need_weights=False)[0].mean(1))


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CORES", 2)


def train(model: Any, alg: Algorithm | str = "fedavg", **options: Any) -> fedlab.Run:
    return fedlab.train(images(), model, alg, **({"rounds": 3, "batch_size": 8, "progress": False} | options))


@pytest.mark.parametrize("model", [cnn, Attention])
@pytest.mark.parametrize("name", ["fedavg", "scaffold", "ditto", "isolated", "krum", "ifca"])
def test_threads_give_what_one_at_a_time_gives(name: str, model: Any, two_cores: None) -> None:
    a = train(model, name, engine="sequential", dtype="float64")
    b = train(model, name, engine="threads", dtype="float64")
    assert difference(a, b) == 0.0
    assert not b.notes


def test_adam_too(two_cores: None) -> None:
    options: dict[str, Any] = dict(optimizer=Adam(), lr=0.01, dtype="float64")
    assert difference(*(train(cnn, engine=engine, **options) for engine in ("sequential", "threads"))) < 1e-9


@pytest.mark.parametrize("name", ["fedavg", "ditto"])
def test_convolutions_can_be_stacked(name: str) -> None:
    a, b = (train(cnn, name, engine=engine, dtype="float64") for engine in ("sequential", "batched"))
    assert difference(a, b) < 1e-9


@pytest.mark.parametrize("model,why", [(cnn, "convolutions are slower"), (Attention, "MultiheadAttention")])
def test_auto_takes_threads_and_says_why(model: Any, why: str, two_cores: None) -> None:
    (note,) = train(model, device="cpu").notes
    assert note.startswith("one site a thread") and why in note


def test_one_core_has_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CORES", 1)
    assert train(cnn, device="cpu").notes == ["one site at a time: convolutions are slower stacked"]


def test_what_draws_from_the_global_generator_runs_one_at_a_time(uneven: Federation, two_cores: None) -> None:
    run = fedlab.train(uneven, torchs_own, rounds=2, progress=False)
    assert run.notes[0].startswith("one site at a time")
    with pytest.raises(ValueError, match="global generator.*fedlab.models.Dropout does not"):
        fedlab.train(uneven, torchs_own, engine="threads", progress=False)


def test_a_drawing_function_is_found_without_a_layer(uneven: Federation, two_cores: None) -> None:
    class Hidden(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.dropout(x, 0.2, self.training))

    with pytest.raises(ValueError, match="global generator"):
        fedlab.train(uneven, Hidden, engine="threads", progress=False)


def test_the_threads_end_with_the_run_and_the_threads_of_torch_stay(two_cores: None, two_threads: None) -> None:
    before, torchs = threading.active_count(), torch.get_num_threads()
    train(cnn, engine="threads")
    assert threading.active_count() == before and torch.get_num_threads() == torchs


def test_stop_is_heard_in_every_thread(two_cores: None) -> None:
    stop = threading.Event()
    seen = []
    for event in fedlab.stream(images(), cnn, rounds=50, engine="threads", stop=stop):
        seen.append(event.round)
        if event.round == 2:
            stop.set()
    assert seen == [1, 2]


def test_a_site_that_fails_in_a_thread_is_left_out(two_cores: None) -> None:
    class Breaks(Algorithm):
        def finish(self, vars, at):
            if float(at.n) == max(len(site.train) for site in images().sites):
                raise LookupError("patient 4711 is odd")
            return vars, {}, at.memory

    run = train(cnn, Breaks(), engine="threads")
    assert set(run.errors["error"]) == {"LookupError"} and set(run.errors["site"]) == {"site 2"}
