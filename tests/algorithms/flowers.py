"""How the tests of Flower's strategies train and compare."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.federation import Federation


def weights(fed: Federation, alg: str | Algorithm, **options: Any) -> dict[str, Tensor]:
    """The server's tensors after the last round."""
    *_, event = fedlab.stream(fed, options.pop("model", "mlp"), alg, **({"evaluate": False, "rounds": 3} | options))
    return event.weights


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape for k in a)
    return max((a[k] - b[k]).abs().max().item() for k in a)
