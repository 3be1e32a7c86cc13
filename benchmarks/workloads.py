"""What is timed: small functions that tests and other benchmarks can import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fedlab
from fedlab.engine import Event
from fedlab.federation import Federation, Split
from fedlab.models import build

FEATURES, BATCH, LR = 13, 16, 0.1
SPARE = 4  # validation and test rows, two each: a site must have some


def many_sites(sites: int, rows: int, *, seed: int = 0) -> Federation:
    """A federation of ``sites`` with exactly ``rows`` training rows each: 13 features, two classes, prepared."""
    rng = torch.Generator().manual_seed(seed)
    slope = torch.randn(FEATURES, generator=rng)
    numbers = np.arange(rows + SPARE)
    split = Split(numbers[:rows], numbers[rows : rows + SPARE // 2], numbers[rows + SPARE // 2 :])
    data: dict[str, tuple[Tensor, Tensor]] = {}
    for k in range(sites):
        x = torch.randn(rows + SPARE, FEATURES, generator=rng)
        noise = torch.randn(rows + SPARE, generator=rng)
        data[f"site {k:04d}"] = x, (x @ slope + noise > 0).long()
    return Federation.from_tensors(data, splits=dict.fromkeys(data, split), prepared=True)


def events(federation: Federation, rounds: int, *, engine: str = "auto", shuffle: bool = True) -> Iterator[Event]:
    """FedAvg of the MLP 13-32-1, batch 16, without evaluation."""
    return fedlab.stream(
        federation,
        "mlp",
        "fedavg",
        rounds=rounds,
        batch_size=BATCH,
        lr=LR,
        engine=engine,
        shuffle=shuffle,
        evaluate=False,
    )


def round_times(federation: Federation, rounds: int, *, engine: str = "auto", shuffle: bool = True) -> list[float]:
    """Seconds of each round after the first, which also prepares."""
    times, running = [], events(federation, rounds + 1, engine=engine, shuffle=shuffle)
    next(running)
    for _ in range(rounds):
        began = time.perf_counter()
        next(running)
        times.append(time.perf_counter() - began)
    running.close()
    return times


class Plain:
    """FedAvg as a tutorial writes it: for each site an ``nn.Module``, a ``DataLoader`` and ``optim.SGD``."""

    def __init__(self, federation: Federation, *, seed: int = 0) -> None:
        self.sites = [
            TensorDataset(s.train.x, s.train.y.float()) for s in sorted(federation.sites, key=lambda s: s.name)
        ]
        self.model = build("mlp", FEATURES, 1, seed=seed)
        self.loss = torch.nn.BCEWithLogitsLoss()

    def round(self) -> None:
        start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        total = sum(len(site) for site in self.sites)
        merged = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
        for site in self.sites:
            self.model.load_state_dict(start)
            optimiser = torch.optim.SGD(self.model.parameters(), lr=LR)
            for x, y in DataLoader(site, batch_size=BATCH, shuffle=False):
                optimiser.zero_grad()
                self.loss(self.model(x).squeeze(1), y).backward()
                optimiser.step()
            for name, tensor in self.model.state_dict().items():
                merged[name] += tensor * (len(site) / total)
        self.model.load_state_dict(merged)


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference between two models, tensor by tensor."""
    return max(float((one[name] - tensor).abs().max()) for name, tensor in other.items())


def agree(federation: Federation, rounds: int = 3) -> float:
    """Train both ways in the same batch order and return how far apart the weights are."""
    plain = Plain(federation)
    for _ in range(rounds):
        plain.round()
    *_, last = events(federation, rounds, shuffle=False)
    return furthest(last.weights, plain.model.state_dict())


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
