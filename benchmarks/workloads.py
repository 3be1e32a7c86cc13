"""What is timed: small functions that tests and other benchmarks can import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fedlab
from fedlab.engine import Event
from fedlab.federation import Federation, Split
from fedlab.models import ModelLike

FEATURES, BATCH, LR = 13, 16, 0.1
FEW = 2  # validation and test rows each: a site must have some


def many_sites(sites: int, rows: int, *, seed: int = 0) -> Federation:
    """A federation of ``sites`` with exactly ``rows`` training rows each: 13 features, two classes, prepared."""
    slope = torch.randn(FEATURES, generator=torch.Generator().manual_seed(seed))
    return _federation(sites, rows, (FEATURES,), lambda x: x @ slope, seed=seed + 1)


def pictures(sites: int = 4, rows: int = 300, *, pixels: int = 28, valid: int = FEW, seed: int = 0) -> Federation:
    """Sites of colour pictures, brighter in class 1."""
    return _federation(sites, rows, (3, pixels, pixels), lambda x: x.mean((1, 2, 3)) * 50, valid=valid, seed=seed)


def bags(sites: int = 6, rows: int = 50, *, instances: int = 64, width: int = 128, seed: int = 0) -> Federation:
    """Sites of bags of feature vectors, as tiles of a slide."""
    return _federation(sites, rows, (instances, width), lambda x: x[:, :8].mean((1, 2)) * 30, seed=seed)


def _federation(
    sites: int, rows: int, shape: tuple[int, ...], slope: Callable[[Tensor], Tensor], *, seed: int, valid: int = FEW
) -> Federation:
    rng, every = torch.Generator().manual_seed(seed), rows + valid + FEW
    numbers = np.arange(every)
    split = Split(numbers[:rows], numbers[rows : rows + valid], numbers[rows + valid :])
    data: dict[str, tuple[Tensor, Tensor]] = {}
    for k in range(sites):
        x = torch.randn(every, *shape, generator=rng)
        data[f"site {k:04d}"] = x, (slope(x) + torch.randn(every, generator=rng) > 0).long()
    return Federation.from_tensors(data, splits=dict.fromkeys(data, split), prepared=True)


def cnn(inputs: int, outputs: int) -> nn.Module:
    """Three blocks of convolution, GroupNorm, ReLU and pooling, then a linear layer."""
    blocks: list[nn.Module] = []
    for ins, outs in ((3, 16), (16, 32), (32, 64)):
        blocks += [nn.Conv2d(ins, outs, 3, padding=1), nn.GroupNorm(4, outs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, outputs))


class BagTransformer(nn.Module):
    """One layer of self-attention over the instances of a bag, then their mean."""

    def __init__(self, inputs: int, outputs: int, *, width: int = 128, inside: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(width, inside)
        self.mix = nn.TransformerEncoderLayer(inside, 4, 2 * inside, dropout=0.0, batch_first=True)
        self.head = nn.Linear(inside, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [bags, outputs] of bags [bags, instances, width]."""
        out: Tensor = self.head(self.mix(self.embed(x)).mean(1))
        return out


def events(federation: Federation, rounds: int, model: ModelLike = "mlp", **settings: Any) -> Iterator[Event]:
    """FedAvg, batch 16, rows in their order, without evaluation."""
    options: dict[str, Any] = dict(batch_size=BATCH, lr=LR, shuffle=False, evaluate=False) | settings
    return fedlab.stream(federation, model, "fedavg", rounds=rounds, **options)


def round_time(federation: Federation, rounds: int, model: ModelLike = "mlp", **settings: Any) -> float:
    """Median seconds of a round after the first, which also prepares."""
    times, running = [], events(federation, rounds + 1, model, **settings)
    next(running)
    for _ in range(rounds):
        times.append(timed(lambda: next(running)))
    for _ in running:
        pass
    return median(times)


def last_weights(federation: Federation, rounds: int, model: ModelLike = "mlp", **settings: Any) -> dict[str, Tensor]:
    """The server's tensors after so many rounds."""
    *_, last = events(federation, rounds, model, **settings)
    return last.weights


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference between two models, tensor by tensor."""
    return max(float((one[name] - tensor).abs().max()) for name, tensor in other.items())


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the pairs' ratios."""
    return median(s / f for s, f in zip(slow, fast, strict=True))
