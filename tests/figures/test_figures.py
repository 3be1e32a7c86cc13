"""Figures of real small studies: what is drawn, marked and said; in grey, on light and on dark."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import fedlab
from fedlab.engine import Run
from fedlab.federation import Federation
from fedlab.figures import atlas_map, learning_curves, who_gains
from fedlab.figures.theme import CLEAR, COLOURS, DASHES, GREY, NAME, SYMBOLS, foot, head, style
from fedlab.metrics.scores import METRICS
from fedlab.study import Study
from tests.figures.drawn import contrast, luminance, notes_of

SITES = ["Cleveland", "Hungary", "Switzerland", "Long Beach"]


def title_of(figure: go.Figure) -> str:
    return figure.layout.title.text.replace("<br>", " ")


def named(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name and trace.mode != "lines")


# ---------------------------------------------------------------------- learning curves


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_a_curve_for_each_site_and_the_mean(run: Run, metric: str) -> None:
    figure = learning_curves(run, metric)
    assert [trace.name for trace in figure.data] == [*SITES, "mean by patients", "reported round"]
    history = run.history
    for trace in figure.data[:4]:
        rows = history[history["site"] == trace.name]
        told = [None if math.isnan(value) else pytest.approx(value, abs=1e-5) for value in rows[metric]]
        assert list(trace.x) == [1, 2, 3] and list(trace.y) == told
    first = history[(history["round"] == 1) & history[metric].notna()]  # of too few of a class no AUC leaves a site
    weighted = (first[metric] * first["patients"]).sum() / first["patients"].sum()
    assert figure.data[4].y[0] == pytest.approx(weighted, abs=1e-5)


def test_the_reported_round_is_marked_and_said(run: Run) -> None:
    figure = learning_curves(run)
    at = run.chosen["Cleveland"]
    assert set(figure.data[-1].x) == {at} and figure.data[-1].marker.symbol == "circle-open"
    assert f"Reported: round {at}" in notes_of(figure) and "FedAvg, logistic" in figure.layout.title.subtitle.text
    alone = fedlab.train(run.federation, "logistic", "isolated", rounds=3, progress=False)
    assert "for each hospital the round with its own best" in notes_of(learning_curves(alone))


def test_a_live_curve_grows_into_its_axis(hospitals: Federation) -> None:
    empty = learning_curves(fedlab.train(hospitals, rounds=1, progress=False).history.iloc[:0], rounds=9)
    assert "No round has finished" in notes_of(empty) and tuple(empty.layout.xaxis.range) == (0.5, 9.5)
    lengths = []
    for event in fedlab.stream(hospitals, rounds=3):
        figure = learning_curves(event.run, rounds=3)
        lengths.append(len(figure.data[0].x))
        assert tuple(figure.layout.xaxis.range) == (0.5, 3.5)
    assert lengths == [1, 2, 3]


def test_a_long_run_is_thinned_and_keeps_its_ends(hospitals: Federation) -> None:
    long = fedlab.train(hospitals.select("Hungary"), rounds=40, progress=False)
    figure = learning_curves(long, points=7)
    drawn = set(figure.data[0].x)
    assert {1, 40, long.chosen["Hungary"]} <= drawn and len(drawn) <= 8
    assert "Of 40 rounds about 7 are drawn" in notes_of(figure)
    assert [trace.name for trace in figure.data] == ["Hungary", "reported round"]  # a mean of one is that one


def test_a_score_that_cannot_be_computed_is_a_gap(lopsided: Federation) -> None:
    figure = learning_curves(fedlab.train(lopsided, rounds=2, progress=False), "auc")
    assert list(figure.data[1].y) == [None, None] and None not in figure.data[2].y
    assert "NaN" not in figure.to_json()


def test_other_metrics_are_refused_with_those_there_are(run: Run) -> None:
    with pytest.raises(ValueError, match="log_loss and auc"):
        learning_curves(run, "brier")


# ---------------------------------------------------------------------- who gains


def test_three_marks_a_site_at_their_means(study: Study) -> None:
    figure = who_gains(study)
    table = study.table().query("metric == 'log_loss'").set_index(["arm", "where"])["mean"]
    arms = {"isolated": "own model", "fedavg": "federated (FedAvg)", "centralized": "pooled (may not happen)"}
    for arm, name in arms.items():
        marks = named(figure, name)
        assert list(marks.x) == pytest.approx([table[arm, place] for place in [*SITES, "everywhere"]])
    assert len(named(who_gains(study, everywhere=False), "own model").x) == 4
    labels = figure.layout.yaxis.ticktext
    assert labels[2].startswith("Switzerland †") and all("n = " in label for label in labels[:4])


def test_its_title_is_what_was_found_and_its_notes_say_how(study: Study) -> None:
    assert title_of(who_gains(study)).startswith("Who gains at home by federating? log loss: ")
    figure = who_gains(study, "auc")
    assert title_of(figure).startswith("Who gains at home by federating? AUC: shown, not judged")
    notes = notes_of(figure)
    assert "2 seeds" in notes and "95 %" in notes and "Switzerland: " in notes and "mostly luck" in notes
    assert f"Test was opened {study.test_openings} time" in notes


@pytest.mark.parametrize("metric", list(METRICS))
def test_every_metric_can_be_drawn_and_no_interval_leaves_its_scale(study: Study, metric: str) -> None:
    figure = who_gains(study, metric)
    top = float("inf") if metric == "log_loss" else 1.0
    for trace in figure.data:
        assert all(x is None or 0 <= x <= top for x in trace.x), trace.name
    assert "nan" not in title_of(figure)


def test_one_seed_claims_nothing(hospitals: Federation) -> None:
    single = fedlab.compare(hospitals, seeds=1, rounds=2, progress=False)
    figure = who_gains(single)
    assert "log loss: not judged" in title_of(figure) and "One seed: no interval" in notes_of(figure)
    assert all(not trace.x for trace in figure.data if trace.mode == "lines" and trace.legendgroup)


def test_gains_without_a_score_or_without_pooling(lopsided: Federation) -> None:
    study = fedlab.compare(lopsided, algorithms=["isolated", "fedprox"], seeds=2, rounds=2, progress=False)
    figure = who_gains(study)
    assert [t.name for t in figure.data if t.showlegend] == ["own model", "federated (FedProx)"]
    assert "nan" not in title_of(figure).lower() and "NaN" not in figure.to_json()


def test_missing_arms_are_named(hospitals: Federation, study: Study) -> None:
    alone = fedlab.compare(hospitals, algorithms=["isolated"], seeds=1, rounds=1, progress=False)
    with pytest.raises(ValueError, match="no federated arm in this study; its arms are isolated"):
        who_gains(alone)
    shared = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=1, rounds=1, progress=False)
    with pytest.raises(ValueError, match="run compare with 'isolated'"):
        who_gains(shared)
    with pytest.raises(ValueError, match="no arm 'scaffold'"):
        who_gains(study, federated="scaffold")
    with pytest.raises(ValueError, match="no metric 'f1'"):
        who_gains(study, "f1")


def test_its_title_says_of_the_mean_what_the_study_says_and_of_no_hospital_anything(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, algorithms=["isolated", "fedavg"], seeds=4, rounds=8, progress=False)
    winner = study.pairs(where="home").loc[0, "winner"]
    word = {"": "no clear gain or loss", "fedavg": "a clear gain", "isolated": "a clear loss"}[winner]
    title = title_of(who_gains(study)).partition("At any hospital")[0]
    assert word in title and "mean over hospitals" in title and not any(site in title for site in hospitals.names)
    assert "shown, not judged (judged is log loss)" in title_of(who_gains(study, "auc"))


# ---------------------------------------------------------------------- grey, light and dark


def test_every_figure_has_the_theme_and_no_ground_of_its_own(run: Run, study: Study, atlas: pd.DataFrame) -> None:
    for figure in (learning_curves(run), who_gains(study), atlas_map(atlas)):
        layout = json.loads(figure.to_json())["layout"]
        template = layout["template"]["layout"]
        assert template["paper_bgcolor"] == template["plot_bgcolor"] == CLEAR and template["font"]["color"] == GREY
        assert "paper_bgcolor" not in layout and "plot_bgcolor" not in layout
        assert figure.layout.template.layout.colorway == COLOURS
    assert NAME == "fedlab"


def test_text_reads_on_white_and_on_black() -> None:
    for ground in ("#ffffff", "#111111"):
        assert contrast(luminance(GREY), luminance(ground)) >= 4.1
        assert min(contrast(luminance(colour), luminance(ground)) for colour in COLOURS) >= 3


def test_colour_never_tells_alone(run: Run, study: Study) -> None:
    curves = learning_curves(run).data[:4]
    assert len({t.line.dash for t in curves}) == len({t.marker.symbol for t in curves}) == 4
    arms = [t for t in who_gains(study).data if t.showlegend]
    assert len({t.marker.symbol for t in arms}) == len({t.marker.color for t in arms}) == 3
    looks = [style(i) for i in range(30)]
    assert len({(look.colour, look.dash, look.symbol) for look in looks}) == 30
    assert len(DASHES) == len(SYMBOLS) != len(COLOURS)


def test_long_titles_and_notes_wrap_and_get_their_room() -> None:
    bare = head(go.Figure(), "short")
    long = head(go.Figure(), "a long finding " * 12, "and its setting " * 12)
    assert long.layout.margin.t > bare.layout.margin.t
    assert max(len(line) for line in long.layout.title.text.split("<br>")) <= 72
    noted = foot(go.Figure(), ["note " * 60, ""])
    assert noted.layout.margin.b > 50 and foot(go.Figure(), [""]).layout.margin.b is None


def test_a_run_behind_is_faint_and_first(run: Run) -> None:
    figure = learning_curves(run, behind=run)
    behind, ahead = figure.data[:4], figure.data[4:8]
    assert [trace.name for trace in ahead] == SITES and all(trace.opacity < 0.5 for trace in behind)
    assert all(old.y == new.y and not old.showlegend for old, new in zip(behind, ahead, strict=True))
    assert "Faint: the run before, 3 rounds" in notes_of(figure)


def test_the_mean_of_a_learning_curve_is_the_one_that_chooses(hospitals: Federation) -> None:
    for by, name in (("patients", "mean by patients"), ("hospitals", "mean over hospitals")):
        run = fedlab.train(hospitals, rounds=3, choose=by, progress=False)
        drawn = {trace.name: trace.y for trace in learning_curves(run).data}[name]
        assert run.chosen["Hungary"] == 1 + int(np.argmin(drawn))
        if by == "hospitals":
            assert list(drawn) == pytest.approx(run.history.groupby("round")["log_loss"].mean().tolist(), abs=1e-4)
