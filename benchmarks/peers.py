"""The same work as others would write it: a plain torch loop, and an app for Flower's simulation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.workloads import BATCH, LR, furthest, last_weights
from fedlab.federation import Federation
from fedlab.models import ModelLike, build

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.serverapp import Grid

LOSS = nn.BCEWithLogitsLoss()
SAME = 1e-9  # between weights, in float64: there is room for thousands of sums in other orders, and for nothing else


def datasets(federation: Federation, dtype: torch.dtype = torch.float32, *, part: str = "train") -> list[TensorDataset]:
    """The training rows of each site, or those of another part, in the order of the sites' names."""
    rows = [getattr(site, part) for site in sorted(federation.sites, key=lambda site: site.name)]
    return [TensorDataset(each.x.to(dtype), each.y.to(dtype)) for each in rows]


def columns(federation: Federation) -> int:
    """How many inputs a model has."""
    return federation.sites[0].rows.x.shape[1]


def train_site(model: nn.Module, rows: TensorDataset) -> None:
    """One local epoch, as a tutorial writes it."""
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    for x, y in DataLoader(rows, batch_size=BATCH, shuffle=False):
        optimiser.zero_grad()
        LOSS(model(x).squeeze(1), y).backward()
        optimiser.step()


class Plain:
    """FedAvg as a tutorial writes it: for each site an ``nn.Module``, a ``DataLoader`` and ``optim.SGD``."""

    def __init__(
        self, federation: Federation, model: ModelLike = "mlp", *, seed: int = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        self.sites, self.valid = datasets(federation, dtype), datasets(federation, dtype, part="valid")
        self.model = build(model, columns(federation), 1, seed=seed).to(dtype)

    def round(self) -> None:
        """Train every site from the server's model, then average."""
        start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        total = sum(len(site) for site in self.sites)
        merged = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
        for site in self.sites:
            self.model.load_state_dict(start)
            train_site(self.model, site)
            for name, tensor in self.model.state_dict().items():
                merged[name] += tensor * (len(site) / total)
        self.model.load_state_dict(merged)

    def round_and_scores(self) -> list[float]:
        """Train a round, then tell the new model's loss on each site's validation rows."""
        self.round()
        with torch.no_grad():
            return [float(LOSS(self.model(x).squeeze(1), y)) for x, y in (each.tensors for each in self.valid)]

    def weights(self, rounds: int) -> dict[str, Tensor]:
        """The weights after so many more rounds."""
        for _ in range(rounds):
            self.round()
        return self.model.state_dict()


def apart(federation: Federation, model: ModelLike, **settings: Any) -> float:
    """Largest difference of a weight between the engine and the plain loop after two rounds, in float64.

    Not in float32, in which all is timed: there the plain loop on two threads may be as far from itself on one
    (a CNN on AVX-512: 4e-5), so that no distance tells another order of sums from other work.
    """
    ours = last_weights(federation, 2, model, dtype="float64", **settings)
    return furthest(ours, Plain(federation, model, dtype=torch.float64).weights(2))


@dataclass
class Simulated:
    """What Flower's simulation of FedAvg gave: seconds of the whole and of each round, and the last weights."""

    whole: float = 0.0
    rounds: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)


def simulate(
    federation: Federation,
    rounds: int,
    model: ModelLike = "mlp",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Simulated:
    """Run FedAvg on Flower's simulation (Ray), one node a site, with Flower's own strategy."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    sites, client, server, found = datasets(federation, dtype), ClientApp(), ServerApp(), Simulated()
    inputs = columns(federation)
    start = build(model, inputs, 1, seed=seed).to(dtype)

    @client.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        rows, net = sites[int(context.node_config["partition-id"])], build(model, inputs, 1).to(dtype)
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        train_site(net, rows)
        said = {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord({"num-examples": len(rows)})}
        return Message(RecordDict(said), reply_to=message)

    class Timed(FedAvg):
        """Notes when each round is over."""

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            out = super().aggregate_train(server_round, replies)
            found.rounds.append(time.perf_counter())
            return out

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        everybody = dict(min_train_nodes=len(sites), min_available_nodes=len(sites))  # else those that are there first
        strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, **everybody)
        done = strategy.start(grid=grid, initial_arrays=ArrayRecord(start.state_dict()), num_rounds=rounds)
        found.weights = dict(done.arrays.to_torch_state_dict())

    began = time.perf_counter()
    run_simulation(
        server_app=server, client_app=client, num_supernodes=len(sites),
        backend_config={"init_args": {"logging_level": "error", "log_to_driver": False},
                        "client_resources": {"num_cpus": 1}},
    )  # fmt: skip
    found.whole = time.perf_counter() - began
    found.rounds = [b - a for a, b in zip(found.rounds, found.rounds[1:], strict=False)]
    return found
