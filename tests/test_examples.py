"""Every example in a docstring runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import data_recipes
import fedlab


def modules() -> Iterator[str]:
    for package in (fedlab, data_recipes):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of(name: str) -> None:
    if name in ("fedlab.engine.flower", "fedlab.engine.simulation"):
        pytest.importorskip("flwr", reason="the extra ray is not installed")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
