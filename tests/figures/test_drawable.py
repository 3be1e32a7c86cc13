"""A figure of the wrong thing says what it is drawn of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import fedlab
from fedlab import figures
from fedlab.federation import Federation

DRAWN: list[Callable[..., Any]] = [
    figures.who_gains, figures.differences, figures.explained, figures.heterogeneity, figures.more_data,
    figures.seed_bands, figures.learning_curves, figures.atlas_map, figures.decision_curve, figures.reliability_curves,
    figures.subgroup_scores,
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_what_it_is_not_drawn_of_is_refused_with_what_it_is(draw: Callable[..., Any], hospitals: Federation) -> None:
    run = fedlab.train(hospitals, rounds=1, progress=False)
    odd: list[Any] = [None, 3, "a run", hospitals, [], pd.DataFrame({"odd": [1]})]
    odd += [] if draw is figures.learning_curves else [run]
    for thing in odd:
        if draw is figures.learning_curves and isinstance(thing, pd.DataFrame):
            continue
        with pytest.raises(TypeError, match="this figure is drawn of"):
            draw(thing)
