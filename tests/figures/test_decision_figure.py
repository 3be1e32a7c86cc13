"""The decision curve: what is drawn, and that only the named threshold has an interval."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import decision_curve
from tests.figures.drawn import notes_of


@pytest.fixture(scope="module")
def table(hospitals: Federation) -> pd.DataFrame:
    return fedlab.train(hospitals, "logistic", "fedavg", rounds=4, progress=False).decisions(threshold=0.22)


def named(figure: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.name == name]


def test_the_curve_both_defaults_and_the_interval_at_the_named_threshold(table: pd.DataFrame) -> None:
    figure = decision_curve(table)
    assert len(named(figure, "the model")) == len(named(figure, "treat all")) == len(named(figure, "treat nobody")) == 2
    rows = table.query("test == 'Cleveland' and measure == 'net_benefit'")
    curve = named(figure, "the model")[0]
    assert list(curve.x) == rows["threshold"].tolist() and list(curve.y) == pytest.approx(rows["value"].tolist())
    ends = [(x, up) for x, up in zip(curve.x, curve.error_y.array, strict=True) if up is not None]
    row = rows[rows["named"]].iloc[0]
    assert ends == [(0.22, pytest.approx(row["high"] - row["value"]))]
    said = figure.layout.title.text.replace("<br>", " ")
    mean = table.query("measure == 'net_benefit' and named")["value"].mean()
    assert "at a risk of 22 %" in said and f"{mean:+.3f}" in said
    notes = notes_of(figure)
    assert "No curve at Switzerland and Long Beach: fewer than 20 patients of a class" in notes
    assert "No other threshold is to be chosen" in notes


def test_a_study_has_its_arms_and_too_few_patients_leave_an_empty_figure(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=2, rounds=2, progress=False)
    figure = decision_curve(study.decisions(threshold=0.2))
    assert len(named(figure, "own model")) == len(named(figure, "FedAvg")) == 2
    assert "over 2 seeds" in notes_of(figure) and "NaN" not in figure.to_json()
    few = fedlab.train(hospitals.select("Switzerland"), rounds=1, progress=False).decisions(threshold=0.2)
    assert "no hospital has twenty test patients" in decision_curve(few).layout.title.text.replace("<br>", " ")
    with pytest.raises(ValueError, match="no arm 'krum'"):
        decision_curve(study.decisions(threshold=0.2), arms=["krum"])
