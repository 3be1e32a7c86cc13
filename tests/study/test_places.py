"""Means over hospitals: the same hospitals for every arm and seed, and nothing certain for lack of a spread."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fedlab.metrics.scores import bounds
from fedlab.study import Study, compare, over_seeds
from tests.study.told import federation, told

ABSENT = "1 of the classes has no patient among these 10"
BROKEN = "the model predicts NaN"
EASY, HARD = 0.9, 0.5


def table(study: Study, where: str = "everywhere", **options: str) -> pd.DataFrame:
    got = study.table(**options)
    return got[got["where"] == where].set_index("arm")


def scores(arms: int = 2) -> dict[str, list[list[float]]]:
    """Every arm as good at A and B, and bad at C."""
    return {name: [[EASY + s / 100, EASY, HARD] for s in range(4)] for name in ("fedavg", "fedprox", "krum")[:arms]}


def test_a_site_that_a_split_has_no_score_of_is_left_out_of_every_mean() -> None:
    given = scores()
    for arm in given.values():
        arm[1][2] = math.nan
    study = told(given, reason=ABSENT)
    got = table(study)
    assert got["mean"].tolist() == pytest.approx([0.9075, 0.9075]), "A and B for all seeds"
    assert (got["reason"] == f"without C ({ABSENT})").all() and (got["seeds"] == 4).all()
    assert study.pairs().loc[0, "reason"].endswith(f"; without C ({ABSENT})") and study.pairs().loc[0, "seeds"] == 4
    assert f"Left out of the mean AUC over hospitals: C ({ABSENT})." in study.verdict()
    alone = table(study, "C")
    assert alone["seeds"].tolist() == [3, 3] and (alone["reason"] == "").all()


def test_an_arm_is_not_averaged_over_the_sites_it_does_well_at() -> None:
    given = scores()
    given["fedavg"][1][2] = math.nan
    study = told(given, reason=BROKEN)
    got = table(study, against="fedprox")
    assert got.loc["fedavg", "mean"] == pytest.approx(np.mean([[EASY + s / 100, EASY, HARD] for s in (0, 2, 3)]))
    assert got["seeds"].to_dict() == {"fedavg": 3, "fedprox": 4}
    row = study.pairs().loc[0]
    assert row["difference"] == 0 and row["seeds"] == 3


def test_an_own_model_that_is_missing_leaves_no_mean_at_home() -> None:
    study = told({"isolated": scores()["fedavg"], "fedavg": scores()["fedavg"]})
    rows = study.given
    study.given = rows[~((rows["arm"] == "isolated") & (rows["seed"] == 2) & (rows["test"] == "C"))]
    assert table(study, "home")["seeds"].to_dict() == {"isolated": 3, "fedavg": 4}


def test_where_no_site_would_be_left_the_seeds_go() -> None:
    given = scores()
    for arm in given.values():
        arm[0][0] = arm[1][1] = arm[1][2] = math.nan
    got = table(told(given, reason=ABSENT))
    assert got["seeds"].tolist() == [2, 2] and (got["reason"] == "").all()
    assert got["mean"].tolist() == pytest.approx([(2 * EASY + HARD) / 3 + 0.025 / 3] * 2)


def test_the_same_difference_on_every_seed_is_not_certain() -> None:
    given = {"fedavg": [[0.5 + s / 16] * 3 for s in range(4)], "fedprox": [[0.625 + s / 16] * 3 for s in range(4)]}
    study = told(given)
    row = table(study, against="fedavg").loc["fedprox"]
    assert row["difference"] == 0.125 and math.isnan(row["difference_low"]) and math.isnan(row["difference_high"])
    pair = study.pairs().loc[0]
    assert math.isnan(pair["low"]) and pair["winner"] == "" and "no spread" in pair["reason"]
    equal = table(study, against="fedavg").loc["fedavg"]
    assert equal[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_level_without_a_spread_has_no_interval(level: float) -> None:
    row = table(told({"fedavg": [[level] * 3] * 3})).loc["fedavg"]
    assert row["mean"] == level and row["sd"] == 0 and math.isnan(row["low"]) and math.isnan(row["high"])


def test_levels_end_where_the_metric_does_and_differences_do_not() -> None:
    study = told({"fedavg": [[1.0] * 3, [0.6] * 3, [1.0] * 3], "fedprox": [[0.0] * 3, [0.3] * 3, [0.0] * 3]})
    got = table(study, against="fedavg")
    assert got.loc["fedavg", "high"] == 1 and got.loc["fedprox", "low"] == 0
    assert got.loc["fedprox", "difference_low"] < -1
    loss = table(told({"fedavg": [[0.1] * 3, [9.0] * 3]}, metric="log_loss")).loc["fedavg"]
    assert loss["low"] == 0 and loss["high"] > 9
    assert over_seeds([0.1, 0.9], overlap=0, within=bounds("auc"))[2:] == (0, 1)


def test_a_constant_prediction_is_told_without_a_winner() -> None:
    """All weights stay zero: AUC .5 everywhere, one bin, nothing certain."""
    study = compare(federation(), "logistic", ["isolated", "fedavg"], seeds=3, rounds=1, lr=1e-300, progress=False)
    for runs in study.runs.values():
        for run in runs:
            run.weights = {name: value * 0 for name, value in run.weights.items()}
            run.models = {s: [{n: v * 0 for n, v in m.items()} for m in each] for s, each in run.models.items()}
    got = study.table().query("metric == 'auc'")
    assert (got["mean"] == 0.5).all() and got["low"].isna().all() and (got["difference"] == 0).all()
    assert study.calibration().query("patients > 0").groupby(["arm", "seed", "train", "test"]).size().eq(1).all()
    assert "there is no clear winner" in study.verdict() and study.pairs()["winner"].eq("").all()


def test_a_metric_that_no_site_can_have_stays_in_the_table() -> None:
    study = compare(federation(one_class="A").select("A"), "logistic", ["fedavg"], seeds=2, rounds=1, progress=False)
    got = study.table().query("metric == 'auc' and where == 'everywhere'")
    assert len(got) == 1 and got["mean"].isna().all() and got["seeds"].tolist() == [0]


def test_a_published_split_has_an_uncorrected_interval_and_says_so() -> None:
    study: Study = compare(federation(published=True), "mlp", ["isolated", "fedavg"], seeds=3, rounds=2, progress=False)
    assert study.overlap == 0
    row = study.pairs(metric="log_loss").loc[0]
    wide = study.report().query("metric == 'log_loss'").groupby(["arm", "seed"])["value"].mean().unstack("arm")
    want = over_seeds((wide["isolated"] - wide["fedavg"]).tolist(), overlap=0)
    assert row["low"] <= want.low and want.high <= row["high"]  # wider for the share of each class
    assert "starts and batch orders, not other patients" in study.verdict()
