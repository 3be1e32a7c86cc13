"""The benchmark compares the same arms on both forms of the table, and names no difference that is none."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks import eicu
from data_recipes import phantom_ehr
from fedlab.federation import DocumentationShift, Shifts


def test_figures_are_those_of_the_two_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = phantom_ehr.load(hospitals=3, patients=80)
    written = clean.shift(Shifts({"Hospital 1": [DocumentationShift(1.0)]}, seed=0))
    monkeypatch.setattr(eicu.data_recipes, "load", lambda name, harmonised: clean if harmonised else written)
    found = {figure.name: figure for figure in eicu.measure(True)}
    assert len(found) == 10 and not any(figure.target for figure in found.values())
    before, after = (found[f"AUC, FedAvg, {word}"].value for word in ("units as written", "harmonised"))
    assert found["AUC, FedAvg, harmonised less as written"].value == pytest.approx(after - before)
    assert 0.5 < after < 1 and "over 2 seeds" in found["AUC, pooled, harmonised"].note


@pytest.mark.parametrize(
    ("values", "says"), [([0.1, 0.11, 0.1, 0.09], "a clear difference"), ([0.1, -0.1, 0.05, -0.04], "no clear")]
)
def test_a_difference_is_one_where_its_interval_leaves_zero_out(values: list[float], says: str) -> None:
    assert eicu.difference("d", pd.Series(values), 0.4).note.split("; ")[1].startswith(says)
