"""The waterfall shows every part, the residual by its name, and what was looked for in vain."""

from __future__ import annotations

import pytest

import fedlab
from fedlab.federation import Federation, LabelShift, QuantityShift, Shifts
from fedlab.figures import explained
from fedlab.study import Explanation
from tests.figures.drawn import notes_of


@pytest.fixture(scope="module")
def explanation(hospitals: Federation) -> Explanation:
    alike = hospitals.partition(fedlab.federation.IID(), sites=4)
    shifts = Shifts({"site 1": [LabelShift(0.9)], "site 2": [QuantityShift(0.2)]})
    return fedlab.explain(alike, shifts=shifts, seeds=3, rounds=3, progress=False)


def test_bars_are_the_table_and_end_at_the_whole(explanation: Explanation) -> None:
    figure = explained(explanation)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    parts = [bar.x[0] for bar in bars]
    assert parts[:-1] == pytest.approx(explanation.table()["part"].tolist())
    assert bars[-2].base[0] + parts[-2] == pytest.approx(explanation.gap.mean) == pytest.approx(parts[-1])
    assert figure.layout.yaxis.ticktext[-2:] == ("not explained", "the whole fall")


def test_the_title_names_what_the_verdict_names(explanation: Explanation) -> None:
    named = [explanation.first] if explanation.first else list(explanation.together)
    title = explained(explanation).layout.title.text
    assert all(kind in title for kind in named)
    assert bool(named) != ("No kind of difference has a clear part" in title)


def test_what_was_not_found_is_named(hospitals: Federation) -> None:
    alike = hospitals.partition(fedlab.federation.IID(), sites=3)
    figure = explained(fedlab.explain(alike, seeds=2, rounds=2, progress=False))
    assert "Not found, or without effect: acquisition, practice" in notes_of(figure)
