"""What a run is asked to do, with one table of defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fedlab.engine.optimisers import SGD, Optimizer

ENGINES = ("auto", "sequential", "batched", "ray")
DTYPES = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run; the field defaults *are* fedlab's defaults.

    Parameters
    ----------
    rounds : int
        Rounds of training, at least 1.
    local_epochs : int
        Passes over its own rows that a site makes in a round.
    batch_size : int
        Rows in a mini-batch; a site's last one may be smaller.
    lr : float
        Step size of the site's optimiser, more than 0.
    seed : int
        Of the start and the batch order (the split has its own: ``federation.resplit(seed)``).
    min_sites : int
        A round stands if at least so many sites answered.
    engine : {"auto", "sequential", "batched", "ray"}
        How to work through the sites: one at a time, all at once, or on Flower's simulation. ``auto`` chooses between
        the first two.
    optimizer : Optimizer
        What the sites step with: ``SGD(momentum=…)`` or ``Adam()``.
    dtype : {"float32", "float64"}
    shuffle : bool
        Draw the batch order from (seed, round, site); ``False`` keeps the rows' order.
    evaluate : bool
        Compute log loss and AUC on ``valid`` after each round and report the best round; ``False`` reports the last.
    """

    rounds: int = 30
    local_epochs: int = 1
    batch_size: int = 32
    lr: float = 0.1
    seed: int = 0
    min_sites: int = 1
    engine: str = "auto"
    optimizer: Optimizer = field(default_factory=SGD)
    dtype: str = "float32"
    shuffle: bool = True
    evaluate: bool = True

    def __post_init__(self) -> None:
        for name in ("rounds", "local_epochs", "batch_size", "min_sites"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}: it must be a whole number of at least 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}: it must be a whole number of at least 0")
        if not (isinstance(self.lr, (int, float)) and math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is {self.lr!r}: the learning rate must be a finite number above 0, e.g. 0.1")
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")
