"""What an installed package of somebody else's might bring by entry points."""

from __future__ import annotations

from fedlab.algorithms import FedAvg

NoAlgorithm = dict


class Mine(FedAvg):
    """Somebody's own."""
