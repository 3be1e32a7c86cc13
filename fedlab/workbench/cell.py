"""Running a cell again makes a new panel: the runs of those that it replaces must end."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from fedlab.engine.notebook import current_cell


class Stoppable(Protocol):
    """A panel."""

    def stop(self) -> None:
        """End its run."""


_MADE: dict[str, tuple[str, weakref.WeakSet[Any]]] = {}  # cell to the execution that made its panels, and these


def replace_in_cell(panel: Stoppable) -> None:
    """Stop the panels that this cell made when it was run before, and remember this one.

    Panels made outside a notebook, or several by one execution, let each other be.
    """
    cell, execution = current_cell()
    if not cell:
        return
    before, panels = _MADE.get(cell, ("", weakref.WeakSet()))
    if before != execution:
        for old in list(panels):
            old.stop()
        panels = weakref.WeakSet()
    panels.add(panel)
    _MADE[cell] = execution, panels
