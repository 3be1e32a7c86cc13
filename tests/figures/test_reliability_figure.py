"""The reliability figure: what is drawn, marked and said."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import reliability_curves
from fedlab.figures.theme import NAME


@pytest.fixture(scope="module")
def table(hospitals: Federation) -> pd.DataFrame:
    return fedlab.train(hospitals, "logistic", "fedavg", rounds=5, progress=False).calibration(bins=5)


@pytest.fixture(scope="module")
def arms(hospitals: Federation) -> pd.DataFrame:
    four = ["isolated", "centralized", "fedavg", "fedprox"]
    return fedlab.compare(hospitals, "logistic", four, seeds=2, rounds=3, progress=False).calibration()


def points(figure: go.Figure) -> list[go.Scatter]:
    return [t for t in figure.data if t.type == "scatter" and t.name]


def counts(figure: go.Figure) -> list[go.Bar]:
    return [t for t in figure.data if t.type == "bar"]


def said(figure: go.Figure) -> str:
    return " ".join(str(a.text) for a in figure.layout.annotations).replace("<br>", " ")


def test_every_hospital_has_its_bins_its_counts_and_the_diagonal(table: pd.DataFrame) -> None:
    figure = reliability_curves(table)
    there = table[table["patients"] > 0]
    assert len(points(figure)) == len(counts(figure)) == 4 and figure.layout.template.layout.colorway
    for trace, bars, (site, rows) in zip(
        points(figure), counts(figure), there.groupby("test", sort=False), strict=True
    ):
        assert list(trace.x) == pytest.approx(rows["predicted"].tolist())
        assert list(trace.y) == pytest.approx(rows["observed"].tolist())
        assert list(bars.y) == rows["patients"].tolist() and list(bars.text) == [str(n) for n in rows["patients"]]
        low = [y - down for y, down in zip(trace.y, trace.error_y.arrayminus, strict=True)]
        # a patient with two rows is worth a little less than one in the table, and one in the figure
        assert low == pytest.approx(rows["observed_low"].tolist(), abs=1e-2)
        assert f"{site}</b>, n = {rows['patients'].sum()}" in said(figure)
    lines = [t for t in figure.data if t.type == "scatter" and not t.name]
    assert [(list(t.x), list(t.y)) for t in lines] == [([0, 1], [0, 1])] * 4
    assert NAME == "fedlab" and not figure.layout.showlegend


def test_a_bin_of_few_patients_is_drawn_open_and_said(table: pd.DataFrame) -> None:
    figure = reliability_curves(table)
    marks = [symbol.endswith("-open") for trace in points(figure) for symbol in trace.marker.symbol]
    assert marks == table[table["patients"] > 0]["uncertain"].tolist() and set(marks) == {True, False}
    assert "Open marks: fewer than ten patients" in said(figure)


def test_its_title_is_the_error_of_the_study(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=2, rounds=3, progress=False)
    each = study.calibration().query("(train == test or train == 'all sites') and bin == 1").groupby("arm")
    error, chance = (each[name].mean() for name in ("error", "error_by_chance"))
    figure = reliability_curves(study.calibration(), federation=hospitals)
    title = figure.layout.title.text.replace("<br>", " ")
    assert title.endswith(
        f"own model {error['isolated']:.2f} ({chance['isolated']:.2f} by chance), "
        f"FedAvg {error['fedavg']:.2f} ({chance['fedavg']:.2f} by chance)"
    )
    assert "predicted probability of ill" in str(figure.layout) and figure.layout.showlegend
    assert "2 seeds (splits) put together" in said(figure)


def test_at_most_three_arms_and_the_others_are_named(arms: pd.DataFrame) -> None:
    figure = reliability_curves(arms)
    assert [t.name for t in points(figure) if t.showlegend] == ["own model", "pooled", "FedAvg"]
    assert len({(t.line.dash, t.marker.color) for t in points(figure)}) == 3
    assert "Not drawn: FedProx." in said(figure)
    chosen = reliability_curves(arms, arms=["fedprox", "isolated"])
    assert [t.name for t in points(chosen) if t.showlegend] == ["FedProx", "own model"]
    with pytest.raises(ValueError, match="at most 3"):
        reliability_curves(arms, arms=["isolated", "centralized", "fedavg", "fedprox"])
    with pytest.raises(ValueError, match="no arm 'krum' in this table; its arms are isolated"):
        reliability_curves(arms, arms=["krum"])


def test_seeds_are_put_together_by_patients(arms: pd.DataFrame) -> None:
    trace = next(t for t in points(reliability_curves(arms, arms=["fedavg"])) if t.xaxis == "x")
    rows = arms.query("arm == 'fedavg' and test == 'Cleveland' and bin == 1 and patients > 0")
    share = (rows["observed"] * rows["patients"]).sum() / rows["patients"].sum()
    assert trace.y[0] == pytest.approx(share)


def test_one_hospital_three_and_one_that_predicts_nothing(hospitals: Federation) -> None:
    for names in (["Hungary"], ["Cleveland", "Hungary", "Switzerland"]):
        run = fedlab.train(hospitals.select(*names), rounds=2, progress=False)
        assert len(points(reliability_curves(run.calibration()))) == len(names)
    run.weights = {name: value * float("nan") for name, value in run.weights.items()}
    run._reports.clear()
    figure = reliability_curves(run.calibration())
    assert "the model predicts NaN" in said(figure) and "NaN" not in figure.to_json().replace("predicts NaN", "")
    assert figure.layout.title.text.replace("<br>", " ").endswith("Calibration error: –")
