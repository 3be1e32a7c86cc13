"""What the server holds from round to round: what a run that was stopped needs to go on with the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.exchange import Transport


@dataclass
class Held:
    """The server's side of a run, between two rounds.

    Attributes
    ----------
    params, state : dict of str to Tensor
        The model, preparation included; the algorithm's memory.
    clock : int
        Steps that every place of training takes in a round, or 0: each its own local epochs.
    best : dict of str to float
        The least log loss on ``valid`` so far: a site's own or, under ``""``, of all.
    longest : int
        Training rows of the largest place.
    silent : int
        Rounds in a row in which nobody answered.
    """

    params: Tensors = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)
    clock: int = 0
    best: dict[str, float] = field(default_factory=dict)
    longest: int = 0
    silent: int = 0

    def snapshot(self, transport: Transport) -> dict[str, Any]:
        """Return what is held here and at the sites.

        Raises
        ------
        TypeError
            If the transport cannot tell what the sites hold (Ray).
        """
        look = getattr(transport, "snapshot", None)
        if look is None:
            raise TypeError(f"{type(transport).__name__} cannot tell what the sites hold")
        return {f.name: getattr(self, f.name) for f in fields(Held)} | {"sites": look()}

    def restore(self, held: dict[str, Any], transport: Transport) -> None:
        """Take up what :meth:`snapshot` gave, here and at the sites."""
        for f in fields(Held):
            setattr(self, f.name, held[f.name])
        transport.restore(held["sites"])  # type: ignore[attr-defined]
