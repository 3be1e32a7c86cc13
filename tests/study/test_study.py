"""Comparisons: paired seeds, one clock, the held-out test, and intervals that are not too narrow."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

import fedlab
from fedlab.federation import METRICS, Federation
from fedlab.study import Study, compare, over_seeds, unseen_sites
from fedlab.study.prevalence import prevalence


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    return compare(hospitals, "logistic", ["isolated", "centralized", "fedavg"], seeds=3, rounds=8, progress=False)


def test_arms_are_paired_on_splits_starts_and_clock(study: Study, hospitals: Federation) -> None:
    assert study.arms == ("isolated", "centralized", "fedavg") and study.seeds == [0, 1, 2]
    for k, seed in enumerate(study.seeds):
        runs = [runs[k] for runs in study.runs.values()]
        assert {run.federation.fingerprint for run in runs} == {hospitals.resplit(seed).fingerprint}
        assert {run.settings.seed for run in runs} == {seed}
        assert len({run.steps_per_round for run in runs}) == 1
    cost = study.cost()
    assert cost["steps"].nunique() == 1 and cost.loc["centralized", "examples"] < cost.loc["fedavg", "examples"]


def test_test_stays_closed_until_the_report(hospitals: Federation) -> None:
    fresh = compare(hospitals, "logistic", ["fedavg"], seeds=1, rounds=1, progress=False)
    assert fresh.test_openings == 0 and fresh.runs["fedavg"][0].test_openings == 0
    first = fresh.report()
    assert fresh.report().equals(first) and fresh.test_openings == 1


def test_everywhere_and_home_are_what_they_say(study: Study) -> None:
    scores, table = study.report(), study.table().set_index(["arm", "where", "metric"])
    auc = scores[(scores["metric"] == "auc") & (scores["arm"] == "isolated")]
    pairs = auc.groupby("seed")["value"].mean()
    assert len(auc) == 3 * 16
    assert table.loc[("isolated", "everywhere", "auc"), "mean"] == pytest.approx(pairs.mean())
    own = auc[auc["train"] == auc["test"]].groupby("seed")["value"].mean()
    assert table.loc[("isolated", "home", "auc"), "mean"] == pytest.approx(own.mean())
    shared = table.loc[("fedavg", "everywhere", "auc"), "mean"]
    assert shared == table.loc[("fedavg", "home", "auc"), "mean"]
    large = auc[(auc["train"] == auc["test"]) & (auc["test"] != "Switzerland")].groupby("seed")["value"].mean()
    assert table.loc[("isolated", "home, large sites", "auc"), "mean"] == pytest.approx(large.mean())


def test_differences_are_paired_by_seed(study: Study) -> None:
    table = study.table().set_index(["arm", "where", "metric"])
    scores = study.report().query("metric == 'log_loss' and test == 'Hungary'")
    own = scores.query("arm == 'isolated' and train == 'Hungary'").set_index("seed")["value"]
    fed = scores.query("arm == 'fedavg'").set_index("seed")["value"]
    got = table.loc[("fedavg", "Hungary", "log_loss")]
    spare = prevalence(study).of("log_loss", "Hungary", "fedavg", less="isolated")
    want = over_seeds((fed - own).tolist(), overlap=study.overlap, prevalence=spare)
    assert (got["difference"], got["difference_low"], got["difference_high"]) == pytest.approx((want[0], *want[2:]))
    assert table.loc[("isolated", "Hungary", "log_loss"), "difference"] == 0


def test_the_corrected_interval_is_nadeau_and_bengios() -> None:
    values = [0.02, 0.05, -0.01, 0.04, 0.03]
    got = over_seeds(values, overlap=25 / 60)
    sd = np.std(values, ddof=1)
    half = stats.t.ppf(0.975, 4) * sd * math.sqrt(1 / 5 + 25 / 60)
    assert got == pytest.approx((np.mean(values), sd, np.mean(values) - half, np.mean(values) + half))
    plain = over_seeds(values, overlap=0)
    assert plain[2:] == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), stats.sem(values)))


def test_one_seed_has_no_interval_and_nan_is_left_out() -> None:
    assert math.isnan(over_seeds([0.5], overlap=0.4).low)
    assert over_seeds([0.5, math.nan, 0.7], overlap=0).mean == pytest.approx(0.6)
    assert math.isnan(over_seeds([math.nan], overlap=0).mean)


def test_a_published_split_needs_no_correction() -> None:
    n = 40
    rows = np.arange(n)
    split = fedlab.Split(rows[:24], rows[24:30], rows[30:])
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    fed = Federation.from_tensors({"A": (x, (x[:, 0] > 0).long())}, splits={"A": split})
    assert compare(fed, "mlp", ["fedavg"], seeds=2, rounds=1, progress=False).overlap == 0


def test_as_dict_is_the_stated_form(study: Study) -> None:
    arms = json.loads(json.dumps(study.as_dict(), allow_nan=False))
    assert set(arms) == {"isolated", "centralized", "fedavg"}
    for arm in arms.values():
        assert set(arm) == {"everywhere", "home", "home_large", "sites"}
        assert list(arm["sites"]) == ["Cleveland", "Hungary", "Switzerland", "Long Beach"]
        for metrics in (arm["everywhere"], arm["home"], *arm["sites"].values()):
            assert set(metrics) == set(METRICS)
            assert {"mean", "sd", "low", "high"} <= set(metrics["auc"])


def test_the_atlas_has_every_pair_intervals_and_unseen_sites(hospitals: Federation) -> None:
    got = fedlab.atlas(hospitals, "logistic", seeds=1, resamples=60, rounds=4, progress=False)
    auc = got[got["metric"] == "auc"]
    assert len(auc[auc["arm"] == "isolated"]) == 16
    unseen = auc[auc["train"].str.startswith("all but")]
    assert unseen["train"].tolist() == [f"all but {name}" for name in unseen["test"]] and len(unseen) == 4
    inside, few = auc[auc["fewest"] >= 20], auc[auc["fewest"] < 20]
    assert few["low"].isna().all() and few["reason"].str.contains("fewer than 20").all() and len(few)
    assert ((inside["low"] < inside["value"]) & (inside["value"] < inside["high"])).all()


def test_a_model_per_site_has_nothing_for_a_newcomer(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="isolated leaves no model"):
        unseen_sites(hospitals, "logistic", "isolated", seeds=[0])


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"algorithms": []}, "no algorithm to compare"),
        ({"algorithms": ["fedavg", "fedavg"]}, "named twice"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": [1, 1]}, "different seeds"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(options: dict, sentence: str, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare(hospitals, **options)


def test_two_settings_of_one_algorithm_are_told_apart(hospitals: Federation) -> None:
    arms = [fedlab.algorithms.FedProx(mu=0.1), fedlab.algorithms.FedProx(mu=1.0), "fedavg"]
    got = compare(hospitals, "logistic", arms, seeds=1, rounds=1, progress=False)
    assert got.arms == ("FedProx(mu=0.1)", "FedProx(mu=1.0)", "fedavg")


def test_an_interrupt_keeps_the_finished_algorithms(hospitals: Federation) -> None:
    class Interrupted(fedlab.algorithms.FedAvg):
        def begin(self, params, sites, rng):
            raise KeyboardInterrupt

    got = compare(hospitals, "logistic", ["isolated", Interrupted()], seeds=5, rounds=1, progress=False)
    assert got.arms == ("isolated",) and got.seeds == [0, 1, 2, 3, 4] and len(got.runs["isolated"]) == 5
    with pytest.raises(KeyboardInterrupt):
        compare(hospitals, "logistic", [Interrupted()], seeds=5, rounds=1, progress=False)


@pytest.mark.slow
def test_the_story_of_the_four_hospitals(hospitals: Federation) -> None:
    """What the course says: ten seeds, logistic, defaults."""
    study = compare(hospitals, "logistic", ["isolated", "centralized", "fedavg"], seeds=10, progress=False)
    table = study.table().set_index(["arm", "where", "metric"])["mean"]
    isolated, pooled, fed = (table[(arm, "everywhere", "auc")] for arm in study.arms)
    assert min(pooled, fed) >= isolated + 0.03 and abs(pooled - fed) <= 0.02
    atlas = study.atlas().query("metric == 'auc'").set_index(["arm", "train", "test"])["value"]
    assert atlas["isolated", "Switzerland", "Cleveland"] <= atlas["isolated", "Cleveland", "Cleveland"] - 0.05
    unseen = unseen_sites(hospitals, "logistic", "fedavg", seeds=range(10), progress=False).query("metric == 'auc'")
    lost = [
        atlas["fedavg", "all sites", row["test"]] - row["value"]
        for row in unseen.groupby("test", as_index=False)["value"].mean().to_dict("records")
    ]
    assert np.mean(lost) <= 0.03 and max(lost) <= 0.05, lost


def test_differences_to_any_arm_are_paired(uneven: Federation) -> None:
    study = compare(uneven, "logistic", ["isolated", "fedavg", "fedprox"], seeds=3, rounds=3, progress=False)
    mine, theirs = study.table(), study.table(against="fedavg")
    by = {
        name: table.query("where == 'home' and metric == 'log_loss'").set_index("arm")["difference"]
        for name, table in (("isolated", mine), ("fedavg", theirs))
    }
    assert by["isolated"]["fedavg"] == pytest.approx(-by["fedavg"]["isolated"]) and by["fedavg"]["fedavg"] == 0
    with pytest.raises(ValueError, match="no arm 'krum'.*isolated, fedavg, fedprox"):
        study.table(against="krum")
