"""Plain loops to hold fedlab's runs against: torch's modules and optimisers, one site after the other, in float64."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.engine import Run
from fedlab.federation import Federation

Weights: TypeAlias = dict[str, Tensor]
BATCH, LR, ROUNDS, NEAR = 16, 0.1, 3, 1e-9


# ---------------------------------------------------------------- what is trained on what


def prepared(*sizes: int, seed: int = 0) -> Federation:
    """Sites of so many rows (37, 100, 263 by default), four shifted features, that the model eats as they are."""
    generator = torch.Generator().manual_seed(seed)
    sites = {}
    for i, n in enumerate(sizes or (37, 100, 263)):
        x = torch.randn(n, 4, generator=generator, dtype=torch.float64) * (1 + 0.2 * i) + 0.3 * i
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        sites[f"site {i}"] = (x, (x[:, 0] - x[:, i % 3 + 1] + 0.5 * noise > 0.2 * i).long())
    return Federation.from_tensors(sites, prepared=True)


class Small(nn.Module):
    """Body of six smooth units, head, and between them a norm layer of choice; always the same start."""

    def __init__(self, norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.body = nn.Sequential(nn.Linear(4, 6), nn.Identity() if norm is None else norm(6), nn.Tanh())
            self.head = nn.Linear(6, 1)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of a module on rows; 0 of none."""
    return binary_cross_entropy_with_logits(model(x)[:, 0], y) if len(y) else model(x).sum()


def state(model: nn.Module) -> Weights:
    return {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}


def load(model: nn.Module, weights: Weights) -> nn.Module:
    model.load_state_dict({**model.state_dict(), **weights})
    return model


def clone(model: nn.Module, weights: Weights) -> nn.Module:
    """A second module with these weights."""
    return load(copy.deepcopy(model), weights)


def pick(weights: Weights, layer: str, *, inside: bool = True) -> Weights:
    """The tensors of a layer, or all others."""
    return {k: v for k, v in weights.items() if k.startswith(layer) == inside}


# ---------------------------------------------------------------- the reference


@dataclass
class Place:
    """A site of the reference: its training rows, what it keeps, and how it is told to train."""

    x: Tensor
    y: Tensor
    epochs: int
    steps: int | None
    lr: float = LR
    memory: dict[str, Any] = field(default_factory=dict)
    _stream: Iterator[tuple[Tensor, Tensor]] | None = None

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def taken(self) -> int:
        """Steps of a round."""
        return self.steps or self.epochs * -(-self.n // BATCH)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Of one round, in the order of the rows; a fixed number of steps goes on where the last round left off."""
        epoch = [(self.x[i : i + BATCH], self.y[i : i + BATCH]) for i in range(0, self.n, BATCH)]
        if self.steps is None:
            return epoch * self.epochs
        self._stream = self._stream or itertools.cycle(epoch)
        return list(itertools.islice(self._stream, self.steps))


Local: TypeAlias = Callable[[nn.Module, Place], Weights]
Merge: TypeAlias = Callable[[Weights, list[Weights], list[Place]], Weights]


def weighted(before: Weights, uploads: list[Weights], places: list[Place]) -> Weights:
    """FedAvg's mean."""
    total = sum(place.n for place in places)
    return {k: sum(p.n / total * u[k] for p, u in zip(places, uploads, strict=True)) for k in uploads[0]}


def places_of(fed: Federation, *, epochs: int = 1, steps: int | None = None, lr: float = LR) -> list[Place]:
    return [Place(s.train.x, s.train.y.double(), epochs, steps, lr) for s in sorted(fed.sites, key=lambda s: s.name)]


def reference(
    fed: Federation,
    model: nn.Module,
    local: Local,
    *,
    merge: Merge = weighted,
    rounds: int = ROUNDS,
    epochs: int = 1,
    steps: int | None = None,
    lr: float = LR,
    rate: Callable[[int], float] = lambda t: 1.0,
) -> tuple[list[Weights], list[Place]]:
    """The server's weights after each round, and the sites at the end.

    ``local`` gets a module that holds the server's weights and returns what the site sends.
    """
    model = copy.deepcopy(model).double()
    places, weights, after = places_of(fed, epochs=epochs, steps=steps, lr=lr), state(model), []
    for t in range(rounds):
        uploads = []
        for place in places:
            place.lr = lr * rate(t)
            uploads.append(local(load(model, weights), place))
        weights = {**weights, **merge(weights, uploads, places)}
        after.append(weights)
    return after, places


Optimiser: TypeAlias = Callable[[nn.Module, float], torch.optim.Optimizer]


def plain(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr)


def rolling(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9)


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr)


def descend(
    optimiser: Optimiser = plain, penalty: Callable[[nn.Module], Tensor | float] = lambda m: 0.0, clip: float = math.inf
) -> Local:
    """A site that goes through its batches with torch's own optimiser."""

    def local(model: nn.Module, place: Place) -> Weights:
        steps = optimiser(model, place.lr)
        for x, y in place.batches():
            steps.zero_grad()
            (loss_of(model, x, y) + penalty(model)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            steps.step()
        return state(model)

    return local


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> Weights:
    """Gradient of the mean loss by name."""
    names, tensors = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss_of(model, x, y), tensors), strict=True))


# ---------------------------------------------------------------- fedlab's side


def ours(fed: Federation, model: Any, alg: Algorithm | str, **options: Any) -> tuple[list[Weights], Run]:
    """The server's weights after each round, and the run."""
    settings = dict(rounds=ROUNDS, lr=LR, batch_size=BATCH, shuffle=False, dtype="float64", evaluate=False)
    events = list(fedlab.stream(fed, model, alg, **(settings | options)))
    return [event.weights for event in events], events[-1].run


def apart(a: Weights, b: Weights) -> float:
    """Largest difference; the names must be the same."""
    assert a.keys() == b.keys()
    return max((a[k] - b[k]).abs().max().item() for k in a)


def assert_same(want: list[Weights], got: list[Weights], near: float = NEAR) -> None:
    """After each round, and something must have been learnt at all."""
    assert [apart(a, b) < near for a, b in zip(want, got, strict=True)] == [True] * len(want), [
        apart(a, b) for a, b in zip(want, got, strict=True)
    ]
    assert apart(got[0], got[-1]) > 1e-3


def personal(run: Run) -> list[Weights]:
    """What each site predicts with, in the order of their names."""
    assert all(len(models) == 1 for models in run.models.values())
    return [run.models[site][0] for site in sorted(run.federation.names)]


NORM = "body.1."
"""Where the names of the norm layer of :class:`Small` begin."""


def first_is_start(place: Place, name: str, model: nn.Module) -> Any:
    """What a site keeps under this name; before its first round the start."""
    return place.memory.setdefault(name, state(model))
