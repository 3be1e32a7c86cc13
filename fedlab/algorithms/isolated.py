"""Each hospital learns from its own patients alone: what there is without a federation.

Nothing travels. On the clock of the others: as many gradient steps a round as the largest site takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlab.algorithms.base import Algorithm, Sums


@dataclass(frozen=True, kw_only=True)
class Isolated(Algorithm):
    """Isolated learning: every tensor stays at its site, its preprocessing and its choice of the round too."""

    restart: ClassVar[bool] = False
    clocked: ClassVar[bool] = True
    alone: ClassVar[bool] = True
    one_model: ClassVar[bool] = False

    @property
    def sums(self) -> Sums:
        """Nothing travels: there is no sum."""
        return None

    def shared(self, name: str) -> bool:
        """Nothing travels."""
        return False
