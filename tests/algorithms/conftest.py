"""The federation and the two ways to train that the tests of the algorithms share."""

from __future__ import annotations

import pytest

from fedlab.federation import Federation
from tests.algorithms.references import prepared


@pytest.fixture(params=["sequential", "batched"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fed() -> Federation:
    """22, 60 and 158 training rows."""
    return prepared()
