"""The small awkward federation that algorithms are tried on, and how two runs are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlab.algorithms import Algorithm
from fedlab.engine import Run, train
from fedlab.engine.trees import tree_leaves
from fedlab.federation import Federation
from fedlab.models import ModelLike

SIZES = (17, 29, 40, 23, 34)
ROUNDS = 3
CLOSE = 1e-9
OPTIONS: dict[str, Any] = dict(rounds=ROUNDS, batch_size=8, lr=0.05, dtype="float64", progress=False, patience=None)


def trial_federation() -> Federation:
    """Five sites of different sizes, scales and shares of the ill, with missing values and short last batches."""
    rng = torch.Generator().manual_seed(7)
    sites = {}
    for i, n in enumerate(SIZES):
        x = torch.randn(n, 4, generator=rng, dtype=torch.float64) * (1 + 0.2 * i) + i
        y = (x[:, 0] - i + 0.5 * torch.randn(n, generator=rng, dtype=torch.float64) > 0.2 * i - 0.4).long()
        x[:: 5 + i, i % 4] = float("nan")
        sites[f"site {i}"] = x, y
    return Federation.from_tensors(sites, prepared=False)


@dataclass
class Trial:
    """An algorithm and a model for it."""

    alg: Algorithm
    model: ModelLike

    def run(self, alg: Algorithm | None = None, federation: Federation | None = None, **options: Any) -> Run:
        """Train on the trial federation, by default one site at a time."""
        options = {"engine": "sequential"} | OPTIONS | options
        return train(federation or trial_federation(), self.model, alg or self.alg, **options)

    @cached_property
    def plain(self) -> Run:
        """The run that others are compared with."""
        return self.run()

    @property
    def pools(self) -> bool:
        """Whether the rows of several sites move into one place."""
        return any(len(group) > 1 for group in self.alg.arrange(trial_federation().sites))

    def variant(self, **methods: Callable[..., Any]) -> Algorithm:
        """Return the algorithm with some methods replaced."""
        twin = copy.copy(self.alg)
        object.__setattr__(twin, "__class__", type(type(twin).__name__, (type(twin),), methods))
        return twin


def outcome(run: Run) -> dict[str, Tensor]:
    """Everything that a run found, by name: the server's tensors, the sites' own models, the history."""
    told = {f"weights {k}": v for k, v in run.weights.items()}
    for site, models in run.models.items():
        told |= {f"{site}'s model {i} {k}": v for i, model in enumerate(models) for k, v in model.items()}
    history = run.history.sort_values(["round", "site"])
    return told | {f"history {k}": torch.tensor(history[k].to_numpy()) for k in ("log_loss", "auc")}


def apart(a: Run, b: Run) -> tuple[float, str]:
    """Return the largest difference of two runs, and where it is."""
    one, other = outcome(a), outcome(b)
    if one.keys() != other.keys():
        return float("inf"), ", ".join(sorted(one.keys() ^ other.keys())[:3])
    gaps = {k: _gap(v, other[k]) for k, v in one.items()}
    most = max(gaps.values())
    weights = {k: gap for k, gap in gaps.items() if gap > 0 and not k.startswith("history")}
    return most, max(weights or gaps, key=(weights or gaps).__getitem__)  # a score jumps, and says little


def _gap(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (a.isnan() & b.isnan())
    return float(torch.where(same, 0.0, (a - b).abs().nan_to_num(nan=float("inf"))).max()) if a.numel() else 0.0


def is_tensors(tree: Any) -> bool:
    """Tell whether a nest holds tensors alone, so that it can be saved and sent."""
    if isinstance(tree, dict):
        return all(isinstance(k, str) and is_tensors(v) for k, v in tree.items())
    return isinstance(tree, Tensor)


def copied(tree: Any) -> Any:
    """Return a nest of tensors as it comes back from a file."""
    if isinstance(tree, dict):
        return {k: copied(v) for k, v in tree.items()}
    return torch.from_numpy(np.array(tree.detach().numpy()))


def finite(run: Run) -> bool:
    """Tell whether all numbers of the models are finite."""
    return all(bool(leaf.isfinite().all()) for leaf in tree_leaves([run.weights, *run.models.values()]))
