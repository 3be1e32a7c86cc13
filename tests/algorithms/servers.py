"""A server half, asked with plain rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms import (
    Algorithm,
)

Array = NDArray[np.float64]
few = settings(max_examples=25, deadline=None)
numbers = st.floats(-100, 100, allow_subnormal=False)


def tables(sites: st.SearchStrategy[int] | int, width: int = 3) -> st.SearchStrategy[Array]:
    """What the sites sent, [sites, width]."""
    sites = st.just(sites) if isinstance(sites, int) else sites
    return sites.flatmap(lambda n: arrays(np.float64, (n, width), elements=numbers))


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64).copy())


def cut(flat: Tensor) -> dict[str, Tensor]:
    """Two tensors of a row of numbers, or of the rows of all sites: the first number, and the rest as a matrix."""
    return {"a": flat[..., :1], "b": flat[..., None, 1:]}


def glue(params: dict[str, Tensor]) -> Array:
    return np.concatenate([params["a"].reshape(-1).numpy(), params["b"].reshape(-1).numpy()])


class Server:
    """An algorithm's server half, asked with plain rows of numbers."""

    def __init__(self, alg: Algorithm, start: Any, sites: int) -> None:
        self.alg, self.params = alg, cut(tensor(start))
        self.state = alg.begin(self.params, sites, torch.Generator().manual_seed(0))

    def __call__(self, sent: Any, rows: Any = None, extra: Any = None, who: Any = None) -> Array:
        n = len(sent)
        rows = torch.ones(n, dtype=torch.float64) if rows is None else tensor(rows)
        who = torch.arange(n) if who is None else torch.tensor(who)
        extra = {k: tensor(v) if not isinstance(v, dict) else v for k, v in (extra or {}).items()}
        self.params, self.state = self.alg.combine(self.params, cut(tensor(sent)), extra, rows, self.state, who)
        return glue(self.params)


def once(alg: Algorithm, sent: Any, rows: Any = None, start: Any = None, **options: Any) -> Array:
    """One round from ``start``, by default zero."""
    return Server(alg, np.zeros(np.shape(sent)[1]) if start is None else start, len(sent))(sent, rows, **options)
