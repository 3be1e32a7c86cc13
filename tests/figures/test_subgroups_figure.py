"""The figure of subgroups: what is drawn, what is too small, and what is said."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import subgroup_scores
from fedlab.study import Study

GROUPS = ["under 50", "50 to under 60", "60 and over"]


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    four = ["isolated", "centralized", "fedavg", "fedprox"]
    return fedlab.compare(hospitals, "logistic", four, seeds=3, rounds=3, progress=False)


@pytest.fixture(scope="module")
def table(study: Study) -> pd.DataFrame:
    return study.subgroups(by="age", bands=[50, 60])


def dots(figure: go.Figure) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.mode == "markers"]


def told(figure: go.Figure) -> str:
    return " ".join(str(a.text) for a in figure.layout.annotations).replace("<br>", " ")


def test_every_arm_has_its_dot_and_interval_in_every_group_that_has_a_score(table: pd.DataFrame) -> None:
    figure = subgroup_scores(table, "brier")
    home = table[((table["train"] == table["test"]) | (table["train"] == "all sites")) & (table["metric"] == "brier")]
    names = {"own model": "isolated", "pooled": "centralized", "FedAvg": "fedavg"}
    assert len(dots(figure)) == 4 * 3 and {trace.name for trace in dots(figure)} == set(names)
    sites = list(home["test"].unique())
    for k, trace in enumerate(dots(figure)):
        rows = home[(home["arm"] == names[trace.name]) & (home["test"] == sites[k // 3])].dropna(subset=["mean"])
        assert list(trace.x) == pytest.approx(rows["mean"].tolist())
        high = [x + up for x, up in zip(trace.x, trace.error_x.array, strict=True)]
        low = [x - down for x, down in zip(trace.x, trace.error_x.arrayminus, strict=True)]
        known = rows["low"].notna().tolist()
        for got, want in ((low, rows["low"]), (high, rows["high"])):
            assert [g for g, k in zip(got, known, strict=True) if k] == pytest.approx(want[known].tolist())
    assert len({(t.marker.color, t.marker.symbol) for t in dots(figure)}) == 3
    assert "Not drawn: FedProx." in told(figure) and all(f"<b>{site}</b>" in told(figure) for site in sites)


def test_labels_have_the_counts(table: pd.DataFrame) -> None:
    figure = subgroup_scores(table)
    n = table[table["test"] == "Cleveland"].groupby("group")["patients"].mean()
    assert list(figure.layout.yaxis.ticktext) == [f"{group}, n = {n[group]:.0f}" for group in GROUPS]


def test_a_group_that_is_too_small_keeps_its_place_and_says_why(table: pd.DataFrame) -> None:
    figure = subgroup_scores(table, arms=["fedavg"])
    silent = [trace for trace in figure.data if trace.mode == "text"]
    assert len(silent) == 4 and list(silent[2].y) == [0, 1, 2], "nobody is healthy in Switzerland"
    assert set(silent[2].text) == {"too few to say"} and "at least 10 needed" in silent[2].customdata[0]
    dot = dots(figure)[2]
    assert len(dot.x) == 0
    rows = table.query("arm == 'fedavg' and metric == 'auc'")
    none = int(rows["mean"].isna().sum())
    assert figure.layout.title.text.replace("<br>", " ").endswith(f"{none} of 12 have none")


def test_a_run_with_and_without_intervals(study: Study) -> None:
    run = study.runs["fedavg"][0]
    plain, drawn = subgroup_scores(run.subgroups(by="sex")), subgroup_scores(run.subgroups(by="sex", resamples=50))
    assert "no interval, so that nothing here is clear" in told(plain) and not plain.layout.showlegend
    assert "95 % interval over patients" in told(drawn) and max(dots(drawn)[0].error_x.array) > 0
    assert "no test of a difference between groups" in str(drawn.layout.title.subtitle.text).replace("<br>", " ")


def test_a_model_that_predicts_nothing_is_not_called_a_small_group(hospitals: Federation) -> None:
    run = fedlab.train(hospitals, rounds=1, progress=False)
    run.weights = {name: value * float("nan") for name, value in run.weights.items()}
    figure = subgroup_scores(run.subgroups(by="sex"), "brier")
    text = [each for trace in figure.data if trace.mode == "text" for each in trace.text]
    assert "no score" in text and "NaN" not in figure.to_json().replace("predicts NaN", "")


def test_what_is_not_there_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no metric 'mood'"):
        subgroup_scores(table, "mood")
    with pytest.raises(ValueError, match="no arm 'krum' in this table; its arms are isolated"):
        subgroup_scores(table, arms=["krum"])
    with pytest.raises(ValueError, match="at most 3"):
        subgroup_scores(table, arms=["isolated", "centralized", "fedavg", "fedprox"])
