"""Learning curves over data: less to learn from, the same patients to be tested on, and everything at the end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fedlab.algorithms import FedAvg
from fedlab.federation import Federation
from fedlab.figures import more_data
from fedlab.study import LearningCurve, compare, learning_curve, over_seeds
from fedlab.study.learning import taking_part

FEW = {"seeds": 3, "rounds": 4, "progress": False}


@pytest.fixture(scope="module")
def curve(hospitals: Federation) -> LearningCurve:
    return learning_curve(hospitals, rows=[16, 64, 500], sites=[1, 3, 4], **FEW)


def plain(scores: pd.DataFrame) -> pd.DataFrame:
    keys = ["arm", "seed", "test", "metric"]
    return scores.set_index(keys)[["value", "patients"]].sort_index()


# ---------------------------------------------------------------------- the points


@pytest.mark.parametrize("by,x", [("rows", 500), ("sites", 4)])
def test_with_all_data_it_is_the_comparison_to_the_bit(
    curve: LearningCurve, hospitals: Federation, by: str, x: int
) -> None:
    study = compare(hospitals, "logistic", ["centralized", "fedavg"], **FEW)
    end = curve.scores[(curve.scores["by"] == by) & (curve.scores["x"] == x)]
    pd.testing.assert_frame_equal(plain(end), plain(study.report()), check_exact=True)
    mine = curve.table("auc").query("by == @by and x == @x and where == 'everywhere'").set_index("arm")
    theirs = study.table().query("metric == 'auc' and where == 'everywhere'").set_index("arm")
    for column in ("mean", "sd", "low", "high"):
        assert mine[column].to_dict() == pytest.approx(theirs[column].to_dict())


def test_every_point_is_tested_on_the_same_patients(curve: LearningCurve, hospitals: Federation) -> None:
    told = curve.scores.groupby(["seed", "test", "metric", "arm"])["patients"]
    assert (told.nunique() == 1).all() and (told.size() == 6).all()
    for part in (hospitals.thinned(16, seed=1), hospitals.select("Hungary", "Cleveland")):
        for site in part.sites:
            for name in ("valid", "test"):
                assert np.array_equal(site.split.parts()[name], hospitals[site.name].split.parts()[name])


def test_the_table_says_what_was_learnt_from(curve: LearningCurve, hospitals: Federation) -> None:
    scores = curve.scores.drop_duplicates(["by", "x", "arm", "seed"]).set_index(["by", "x"]).sort_index()
    for rows in (16, 64):  # whole patients, two of whom have two rows: so many on average
        parts = [hospitals.resplit(seed).thinned(rows, seed=seed) for seed in range(3)]
        drawn = {seed: sum(len(site.split.train) for site in part.sites) for seed, part in enumerate(parts)}
        told = scores.loc[("rows", rows)].groupby("seed")["rows"].unique()
        assert {seed: each.tolist() for seed, each in told.items()} == {seed: [n] for seed, n in drawn.items()}
    everything = {sum(len(site.split.train) for site in hospitals.resplit(k).sites) for k in range(3)}
    assert set(scores.loc[("rows", 500), "rows"]) == set(scores.loc[("sites", 4), "rows"]) == everything
    assert set(scores.loc[("sites", 3), "hospitals"]) == {3}
    assert len(set(scores["steps"])) == 1  # the clock is the same at every point
    assert scores.loc[("rows", 16), "rounds"].eq(4).all()
    part = curve.scores.query("by == 'sites' and x == 1").groupby("seed")
    assert (part["took_part"].mean() == 0.25).all()


@pytest.mark.parametrize("patients,sites", [(12, 2), (900, 12)])
def test_points_of_its_own_go_from_little_to_all(patients: int, sites: int) -> None:
    x = torch.randn(patients, 2, generator=torch.Generator().manual_seed(0))
    made = Federation.from_tensors({f"s{i}": (x, (x[:, 0] > 0).long()) for i in range(sites)})
    got = learning_curve(made, algorithms=["fedavg"], seeds=2, rounds=1, progress=False)
    rows, joined = ([x for by, x in got.points if by == kind] for kind in ("rows", "sites"))
    assert rows[-1] == max(len(site.split.train) for site in made.sites) and joined[-1] == sites
    assert rows == sorted(set(rows)) and len(rows) <= 8 and joined[0] == 1 and len(joined) <= 8
    assert "rows" in got._repr_html_()


def test_local_steps_are_left_as_they_are(hospitals: Federation) -> None:
    got = learning_curve(hospitals, rows=[8, 182], sites=[1], local_steps=2, **FEW).scores
    assert set(got["rounds"]) == {4} and set(got["steps"]) == {8}


def test_the_same_seed_the_same_bits(curve: LearningCurve, hospitals: Federation) -> None:
    again = learning_curve(hospitals, rows=[64, 16], sites=[3], **FEW)
    assert again.points == [("rows", 16), ("rows", 64), ("sites", 3)]
    keys = ["by", "x", "arm", "seed", "test", "metric"]
    mine, theirs = (c.scores.set_index(keys)["value"] for c in (again, curve))
    pd.testing.assert_series_equal(mine, theirs.loc[mine.index], check_exact=True)


def test_hospitals_join_in_another_order_with_each_seed_and_one_after_the_other(hospitals: Federation) -> None:
    names = hospitals.names
    orders = set()
    for seed in range(10):
        parts = [set(taking_part(names, k, seed=seed)) for k in range(5)]
        assert all(len(part) == k for k, part in enumerate(parts))
        assert all(less < more for less, more in zip(parts, parts[1:], strict=False))
        assert taking_part(names[::-1], 2, seed=seed) == taking_part(names, 2, seed=seed)[::-1]
        orders.add(tuple(frozenset(part) for part in parts))
    assert len(orders) > 5


# ---------------------------------------------------------------------- what it says


def test_intervals_are_over_seeds_and_differences_are_paired(curve: LearningCurve, hospitals: Federation) -> None:
    scores = curve.scores.query("by == 'rows' and arm == 'fedavg' and metric == 'log_loss'")
    each = scores.groupby(["x", "seed"])["value"].mean().unstack("x")
    row = (
        curve.table("log_loss").query("by == 'rows' and arm == 'fedavg' and where == 'everywhere' and x == 64").iloc[0]
    )
    want = over_seeds(each[64].tolist(), overlap=curve.overlap)
    assert [row["mean"], row["sd"], row["low"], row["high"]] == pytest.approx(list(want))
    mean, _, low, high = over_seeds((each[64] - each[16]).tolist(), overlap=curve.overlap)
    got = [row["difference"], row["difference_low"], row["difference_high"]]
    assert got == pytest.approx([mean, low, high])
    test, train = (sum(len(site.split.parts()[k]) for site in hospitals.sites) for k in ("test", "train"))
    assert curve.overlap == pytest.approx(test / train)


def test_places_are_what_they_say(curve: LearningCurve) -> None:
    table = curve.table("accuracy").query("arm == 'centralized' and by == 'sites'").set_index(["where", "x"])["mean"]
    scores = curve.scores.query("metric == 'accuracy' and arm == 'centralized' and by == 'sites' and x == 3")
    away = scores[~scores["took_part"]].groupby("seed")["value"].mean().mean()
    assert table["took no part", 3] == pytest.approx(away) and ("took no part", 4) not in table.index
    large = scores[scores["test"] != "Switzerland"].groupby("seed")["value"].mean().mean()
    assert table["large sites", 3] == pytest.approx(large)
    assert "took part" not in set(curve.table("auc").query("by == 'rows'")["where"])


def test_a_model_of_ones_own_is_tested_everywhere_too(hospitals: Federation) -> None:
    got = learning_curve(hospitals, algorithms=["isolated"], rows=[], sites=[2], **FEW).scores
    assert (got.query("metric == 'auc'").groupby("seed").size() == 2 * 4).all()


def test_one_seed_has_no_interval(hospitals: Federation) -> None:
    single = learning_curve(hospitals, rows=[16, 64], sites=[], seeds=1, rounds=2, progress=False)
    assert single.table("auc")[["low", "high", "difference_low"]].isna().all().all()
    figure = more_data(single)
    assert "One seed" in figure.layout.annotations[-1].text and "NaN" not in figure.to_json()


def test_a_site_without_a_class_among_its_rows_is_counted(hospitals: Federation) -> None:
    got = learning_curve(hospitals, algorithms=["fedavg"], rows=[6, 500], sites=[], **FEW)
    lacking = got.table("auc").query("where == 'everywhere'").set_index("x")["lacking"]
    drawn = [hospitals.resplit(seed).thinned(6, seed=seed) for seed in range(FEW["seeds"])]
    counted = [sum(len(site.train.y.unique()) < 2 for site in each.sites) for each in drawn]
    assert lacking[6] == pytest.approx(np.mean(counted)) and lacking[6] > 0 and lacking[500] == 0


def test_too_few_rows_to_tell_a_mean_are_said(hospitals: Federation) -> None:
    got = learning_curve(hospitals, algorithms=["fedavg"], rows=[1, 500], sites=[], **FEW)
    assert set(got.table("auc")["x"]) == {500}
    assert got.failures["reason"].str.contains("no site has 5 training patients with a value in any column").all()


@pytest.mark.slow
def test_the_story_of_the_four_hospitals(hospitals: Federation) -> None:
    """Ten seeds, defaults: with four hospitals rather than one, log loss falls, and depends less on which one it was.

    How far depends on the one that was drawn, so that ten draws of it leave the fall itself open.
    """
    table = learning_curve(hospitals, rows=[], sites=[1, 4], progress=False).table("log_loss")
    one, four = (table.query("where == 'everywhere' and x == @x").set_index("arm") for x in (1, 4))
    assert (four["difference"] < -0.1).all() and (four["sd"] < one["sd"] / 3).all(), table
    assert (four["difference_high"] > 0).all(), "if this is clear, say so"


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"rows": [0]}, r"rows is \[0\]: .*at least 1"),
        ({"rows": [8, 8]}, "different training rows"),
        ({"rows": [8.5]}, "at least 1"),
        ({"rows": 8}, "give a list"),
        ({"sites": [5]}, "numbers of hospitals, 1 to 4"),
        ({"sites": [0]}, "1 to 4"),
        ({"rows": [], "sites": []}, "no point to compute"),
        ({"seeds": 0}, "at least 1"),
        ({"algorithms": []}, "no algorithm"),
        ({"lr": -1}, "learning rate"),
    ],
)
def test_a_curve_that_makes_no_sense_is_refused(options: dict[str, Any], sentence: str, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        learning_curve(hospitals, **options)


def test_wrong_names_are_refused(hospitals: Federation, curve: LearningCurve) -> None:
    with pytest.raises(TypeError, match="use seeds="):
        learning_curve(hospitals, seed=1)
    with pytest.raises(TypeError, match="no setting 'epochs'"):
        learning_curve(hospitals, epochs=1)
    with pytest.raises(ValueError, match="no metric 'f1'"):
        curve.table("f1")
    for rows in (0, True, 1.5):
        with pytest.raises(ValueError, match="rows is"):
            hospitals.thinned(rows, seed=0)  # type: ignore[arg-type]


def test_one_hospital_has_no_curve_over_hospitals(hospitals: Federation) -> None:
    got = learning_curve(hospitals.select("Hungary"), rows=[16], **FEW)
    assert got.points == [("rows", 16)] and "Hungary is the only hospital" in got.notes[0]


def test_what_an_algorithm_refuses_is_said_and_the_rest_stands(hospitals: Federation) -> None:
    class Sociable(FedAvg):
        def bind(self, model: Any, sites: int) -> Any:
            if sites < 2:
                raise ValueError("Sociable needs two sites")
            return super().bind(model, sites)

    arms = {"fedavg": "fedavg", "sociable": Sociable()}
    got = learning_curve(hospitals, algorithms=arms, rows=[], sites=[1, 4], **FEW)
    assert got.failures.values.tolist() == [["sites", 1, "sociable", "Sociable needs two sites"]]
    assert set(got.scores.query("x == 4")["arm"]) == {"fedavg", "sociable"} and "1 could not be computed" in repr(got)
    notes = more_data(got).layout.annotations[-1].text.replace("<br>", " ")
    assert "Not computed: sociable at 1 hospital (Sociable needs two sites)" in notes
    with pytest.raises(ValueError, match="no point could be computed: min_sites is 2, but"):
        learning_curve(hospitals, rows=[], sites=[1], min_sites=2, **FEW)


def test_a_stop_keeps_the_finished_points(hospitals: Federation) -> None:
    class Stopped(FedAvg):
        def begin(self, params: Any, sites: int, rng: Any) -> Any:
            if sites == 3:
                raise KeyboardInterrupt
            return super().begin(params, sites, rng)

    options: dict[str, Any] = {"algorithms": ["centralized", Stopped()], "rows": [], **FEW}
    got = learning_curve(hospitals, sites=[2, 3, 4], **options)
    assert got.points == [("sites", 2)] and set(got.scores["x"]) == {2} and "1 of 3 points" in got.notes[0]
    with pytest.raises(KeyboardInterrupt):
        learning_curve(hospitals, sites=[3, 4], **options)


# ---------------------------------------------------------------------- the figure


def test_a_line_and_a_band_for_each_arm_in_each_panel(curve: LearningCurve) -> None:
    figure = more_data(curve, "log_loss")
    lines = [t for t in figure.data if t.fill is None]
    assert [(t.name, t.showlegend) for t in lines] == [
        ("pooled", True), ("FedAvg", True), ("pooled", False), ("FedAvg", False)
    ]  # fmt: skip
    table = curve.table("log_loss").query("where == 'everywhere' and arm == 'fedavg' and by == 'sites'")
    assert list(lines[3].x) == [1, 3, 4] and list(lines[3].y) == pytest.approx(table["mean"].tolist(), abs=1e-5)
    band = next(t for t in figure.data if t.fill and t.name == "FedAvg, band" and t.xaxis == "x2")
    assert list(band.y) == pytest.approx([*table["high"], *table["low"][::-1]], abs=1e-5)
    assert [figure.layout.xaxis.type, figure.layout.xaxis2.type] == ["log", None]
    assert figure.layout.xaxis.ticktext[-1] == "500<br>(all)"
    assert len({t.line.dash for t in lines}) == len({t.marker.symbol[0] for t in lines}) == 2


def test_a_clear_difference_is_a_filled_mark(curve: LearningCurve) -> None:
    table = curve.table("log_loss").query("where == 'everywhere' and arm == 'centralized' and by == 'rows'")
    clear = ((table["difference_low"] > 0) | (table["difference_high"] < 0)).tolist()
    marks = more_data(curve, "log_loss").data[1].marker.symbol
    assert [not mark.endswith("-open") for mark in marks] == clear


def test_what_is_mostly_luck_is_not_in_the_mean(curve: LearningCurve) -> None:
    figure = more_data(curve)
    assert "Switzerland" in figure.layout.annotations[-1].text and "not in these means" in " ".join(
        figure.layout.annotations[-1].text.split("<br>")
    )
    mean = curve.table("auc").query("where == 'large sites' and arm == 'centralized' and by == 'rows'")["mean"]
    assert list(figure.data[1].y) == pytest.approx(mean.tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="no place 'Boston'; it has everywhere"):
        more_data(curve, where="Boston")
    title = more_data(curve, where="took no part").layout.title
    assert "took no part" in title.subtitle.text.replace("<br>", " ") and "3 (" in title.text.replace("<br>", " ")
    assert not math.isnan(sum(more_data(curve, where="Hungary").data[1].y))
