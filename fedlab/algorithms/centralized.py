"""All rows in one place: what a federation is measured against, and may not have.

The rows themselves move, so this runs inside one process only. As many gradient steps a round as the largest site takes
in a federated one, over batches of the pooled rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fedlab.algorithms.base import Algorithm, Sums


@dataclass(frozen=True, kw_only=True)
class Centralized(Algorithm):
    """Pooled learning: one place that holds the rows of all sites."""

    restart: ClassVar[bool] = False
    clocked: ClassVar[bool] = True

    @property
    def sums(self) -> Sums:
        """The rows themselves travel."""
        return None

    def arrange(self, sites: Sequence[Any]) -> list[list[Any]]:
        """One place of training with everybody's rows."""
        return [list(sites)]
