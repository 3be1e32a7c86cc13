"""Panels that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedlab.federation import Federation
from fedlab.workbench import RunPanel
from fedlab.workbench.live import LivePanel
from tests.patience import STILL
from tests.workbench.browser import lab, page

__all__ = ["lab", "page"]  # fixtures


@pytest.fixture
def make() -> Iterator[Callable[..., LivePanel]]:
    """Make panels; whatever a test leaves running ends with it."""
    made: list[LivePanel] = []

    def panel(federation: Federation | None = None, *, kind: type[LivePanel] = RunPanel, **settings: Any) -> LivePanel:
        made.append(kind(federation))
        for name, value in settings.items():
            made[-1].controls.numbers[name].value = value
        return made[-1]

    yield panel
    for one in made:
        one.stop()
        one.wait(STILL)
        assert not one.busy
