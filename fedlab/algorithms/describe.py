"""What an algorithm sends and keeps, found by walking through its two halves without any data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from fedlab.algorithms.base import Algorithm, At, Batch
from fedlab.algorithms.payload import declared, leaves
from fedlab.algorithms.tensors import Tensors, learned, moves, statistic, tensors_of, trained
from fedlab.models.trial import try_model

COLUMNS = ("where", "what", "arrays", "bytes", "content")
ZERO = torch.zeros(())
NOTHING = Batch(ZERO[None], ZERO[None], ZERO[None])


@dataclass
class _Nowhere:
    """A site without rows: every loss is zero. What an algorithm sends does not hang on the numbers."""

    anchor: Tensors
    extra: Tensors
    memory: Tensors
    lr: Tensor = ZERO + 1
    base_lr: Tensor = ZERO + 1
    steps: Tensor = ZERO + 1
    n: Tensor = ZERO + 1
    key: Tensor = torch.zeros((), dtype=torch.int64)
    round: int = 1
    rounds: int = 1
    step: int = 0
    momentum: float | None = 0.0
    batch: Batch = NOTHING
    rows: Batch = NOTHING

    def loss(self, params: Tensors, part: tuple[int, int] | None = None, into: Tensors | None = None) -> Tensor:
        return ZERO

    def gradient(self, params: Tensors, part: tuple[int, int] | None = None, risk: bool = False) -> Tensors:
        return {k: torch.zeros_like(v) for k, v in trained(params).items()}

    def risk(self, params: Tensors) -> Tensor:
        return ZERO

    def features(self, params: Tensors) -> Tensor:
        return ZERO[None, None]

    def noise(self, shape: Sequence[int], salt: int = 0) -> Tensor:
        return torch.zeros(tuple(shape))


def describe(alg: Algorithm, model: nn.Module, *, sites: int, inputs: int) -> pd.DataFrame:
    """Return one row for each thing that is sent or kept; see :meth:`Algorithm.describe`."""
    alg = alg.bind(model, sites)
    still = any(not (statistic(k) or moves(v)) for k, v in tensors_of(model).items())
    params = learned(model, try_model(model, torch.zeros(2, inputs)).moved if still else ())
    state = alg.begin(params, sites, torch.Generator().manual_seed(0))
    shared = {k: v for k, v in params.items() if alg.shared(k)}
    extra, memory = alg.broadcast(state), alg.remember(params)
    at: At = _Nowhere({**params}, extra, memory)
    upload, besides, memory = alg.finish(alg.start(at), at)
    rows = torch.zeros((), dtype=torch.float64)
    own = {k: v for k, v in params.items() if not alg.shared(k)}
    told: list[tuple[str, str, Tensors]] = [
        ("to a site", "model", shared),
        ("to a site", "besides", extra),
        ("from a site", "model", {k: v for k, v in upload.items() if k in shared}),
        ("from a site", "besides", {**besides, "rows": rows}),
        ("at a site", "own tensors", own),
        ("at a site", "memory", memory),
        ("at the server", "memory", state),
    ]
    table = [(where, what, sum(isinstance(v, Tensor) for v in leaves(held)), *declared(held))
             for where, what, held in told]  # fmt: skip
    return pd.DataFrame(table, columns=list(COLUMNS))
