"""Pairs of arms: one family is judged, by the prespecified metric; all else is shown, and has no winner."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.study import Study, compare, corrected_t, holm
from fedlab.study.paired import detectable
from fedlab.study.pairs import gains
from fedlab.study.prevalence import prevalence
from tests.study.told import federation, jitter, steady, told


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    return compare(hospitals, "logistic", ["isolated", "fedavg", "scaffold"], seeds=3, rounds=3, progress=False)


@pytest.mark.parametrize("where", ["everywhere", "home", "home, large sites", "Hungary"])
def test_pairs_are_the_corrected_t_of_the_report(study: Study, where: str) -> None:
    table = study.pairs(where=where)
    assert table[["one", "other"]].agg(" ".join, axis=1).tolist() == [
        *("isolated fedavg", "isolated scaffold", "fedavg scaffold")
    ]
    scores = study.report().query("metric == 'log_loss'")
    if where != "everywhere":
        scores = scores[(scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE)]
    if where == "Hungary":
        scores = scores[scores["test"] == where]
    if "large" in where:
        scores = scores[scores["test"] != "Switzerland"]
    means = scores.groupby(["arm", "seed"])["value"].mean()
    for row in table.to_dict("records"):
        spare = prevalence(study).of("log_loss", where, row["one"], less=row["other"])
        apart = (means[row["one"]] - means[row["other"]]).tolist()
        want = corrected_t(apart, overlap=study.overlap, prevalence=spare)
        got = tuple(row[name] for name in ("difference", "low", "high", "p", "detectable", "seeds"))
        assert got == pytest.approx((want.difference, want.low, want.high, want.p, want.detectable, 3))


def test_one_holm_over_all_that_is_judged_where_one_question_counts_once(study: Study) -> None:
    """Two arms of one model each are worth the same everywhere and at home: that is one question, not two."""
    everywhere, home = (study.pairs(where=where) for where in ("everywhere", "home"))
    family = [*everywhere["p"], *home["p"][:2]]
    assert everywhere["p"][2] == pytest.approx(home["p"][2])
    adjusted = holm(family).tolist()
    assert everywhere["p_holm"].tolist() == pytest.approx(adjusted[:3])
    assert home["p_holm"].tolist() == pytest.approx([*adjusted[3:], adjusted[2]])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"metric": "auc"}, "the primary metric is log_loss"),
        ({"metric": "auc", "where": "home"}, "the primary metric is log_loss"),
        ({"where": "home, large sites"}, "judged are everywhere and home"),
        ({"where": "Hungary"}, "judged are everywhere and home"),
    ],
)
def test_what_is_not_in_the_family_is_shown_and_names_nobody(study: Study, asked: dict[str, str], why: str) -> None:
    table = study.pairs(**asked)
    assert table[["difference", "low", "high", "p", "detectable"]].notna().all(axis=None)
    assert table["p_holm"].isna().all() and (table["winner"] == "").all() and not table["same"].any()
    assert table["reason"].str.endswith(f"shown, not judged: {why}").all()


def test_the_gains_of_single_hospitals_are_shown(study: Study) -> None:
    table = gains(study, metric="log_loss", against="isolated")
    assert table["p_holm"].isna().all() and (table["winner"] == "").all()
    assert table["reason"].str.contains("shown, not judged: single hospitals are in no family").all()


def test_pairs_agree_with_the_table(study: Study) -> None:
    row = study.pairs().iloc[0]
    table = study.table(against="fedavg").set_index(["arm", "where", "metric"])
    row_ = table.loc[("isolated", "everywhere", "log_loss")]
    assert row["difference"] == pytest.approx(row_["difference"])
    assert (row["low"], row["high"]) == pytest.approx((row_["difference_low"], row_["difference_high"]))


def test_one_seed_is_not_judged(hospitals: Federation) -> None:
    one = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    row = one.pairs().iloc[0]
    assert np.isfinite(row["difference"]) and row["seeds"] == 1 and row["winner"] == ""
    assert row[["low", "high", "p", "p_holm", "detectable"]].isna().all() and "cannot be judged" in row["reason"]


def test_two_seeds_are_judged_and_seldom_see_anything() -> None:
    row = told(steady((0, 0.01, 0), seeds=2)).pairs().iloc[0]
    assert np.isfinite(row["p"]) and row["winner"] == "" and row["detectable"] > abs(row["difference"])


def test_two_hospitals_are_judged_like_four(hospitals: Federation) -> None:
    two = compare(hospitals.select("Cleveland", "Hungary"), algorithms=["isolated", "fedavg"], seeds=3, rounds=2,
                  progress=False)  # fmt: skip
    assert two.pairs()["p_holm"].notna().all() and "2 of 4 pairs away from home" in two.verdict()


def test_the_same_numbers_of_a_loss_are_a_harm() -> None:
    assert told(steady((0, 0.05, 0)), metric="log_loss").pairs().loc[0, "winner"] == "isolated"
    assert told(steady((0, 0.05, 0)), metric="auc").pairs().loc[0, "winner"] == "fedavg"


def test_holm_decides_among_several() -> None:
    study = told({name: [[0.7 + shift + jitter(a, s, 0, 0.03)] * 3 for s in range(10)]
                  for a, (name, shift) in enumerate({"fedavg": 0.0, "fedprox": 0.0, "scaffold": 0.055, "krum": 0.0,
                                                     "rfa": 0.0}.items())})  # fmt: skip
    table = study.pairs()
    clear = (table["low"] > 0) | (table["high"] < 0)
    assert clear.any() and (table["p_holm"] >= 0.05).all(), "an interval leaves zero out that Holm does not keep"
    assert (table["winner"] == "").all()
    assert "there is no clear winner." in study.verdict()


@given(st.lists(st.lists(st.integers(-3, 4), min_size=12, max_size=12), min_size=2, max_size=4))
@settings(deadline=None, max_examples=40)
def test_nothing_is_called_real_whose_interval_holds_zero(values: list[list[int]]) -> None:
    names = ("isolated", "fedavg", "fedprox", "scaffold")
    study = told({
        name: np.reshape(numbers, (4, 3)).astype(float).tolist() for name, numbers in zip(names, values, strict=False)
    })  # fmt: skip
    table, text = study.pairs(), study.verdict(method=False)
    named = table[table["winner"] != ""]
    assert ((named["low"] > 0) | (named["high"] < 0)).all() and (named["p_holm"] < 0.05).all()
    assert bool(re.search(r"\bclearly (better|worse) than\b", text)) == (len(named) > 0)
    for low, high, said in re.findall(r"\[(−?\d\.\d+), (−?\d\.\d+)\], (clearly better|clearly worse)", text):
        low, high = (float(end.replace("−", "-")) for end in (low, high))
        assert low > 0 or high < 0, said


def test_equal_arms_have_no_winner() -> None:
    same = [[0.7, 0.8, 0.9], [0.6, 0.7, 0.8]]
    row = told({"fedavg": same, "fedprox": same}, smallest=0.01).pairs().loc[0]
    assert row[["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1] and row["same"]
    assert math.isnan(row["detectable"]) and "do not differ for any seed" in row["reason"]


def test_a_published_split_is_not_corrected() -> None:
    scores = steady((0.01, 0.0, 0.01), seeds=5)
    study = told(scores, published=True)
    means = {arm: np.mean(values, axis=1) for arm, values in scores.items()}
    assert study.pairs().loc[0, "p"] == pytest.approx(stats.ttest_rel(means["isolated"], means["fedavg"]).pvalue)


def test_a_site_of_one_class_is_not_judged_and_says_why() -> None:
    fed = federation(one_class="C")
    study = compare(fed, algorithms=["isolated", "fedavg"], seeds=2, primary="auc", rounds=1, progress=False)
    row = study.pairs(where="C").iloc[0]
    assert row["seeds"] == 0 and math.isnan(row["difference"]) and math.isnan(row["p_holm"])
    assert row["reason"].startswith("auc cannot be computed at C: 1 of the classes has no patient")
    text = study.verdict()
    assert "C has none (auc cannot be computed at C" in text
    assert "Left out of the mean AUC over hospitals: C (1 of the classes has no patient among these 10)." in text


def test_a_seed_that_an_arm_has_no_score_of_is_counted_out() -> None:
    scores = steady((0.05, 0.05, 0.05), (0.05, 0.05, 0.05), seeds=5)
    scores["fedprox"][2] = [math.nan] * 3
    study = told(scores)
    assert study.pairs()["seeds"].tolist() == [5, 4, 4]
    assert "Some pairs have scores on only 4 seeds." in study.verdict()


def test_what_the_study_does_not_have_is_refused(study: Study, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="no metric 'mood'; known are auc"):
        study.pairs(metric="mood")
    with pytest.raises(ValueError, match="no where 'Zurich'; there are 'everywhere', 'home'"):
        study.pairs(where="Zurich")
    single = compare(hospitals, "logistic", ["fedavg"], seeds=2, rounds=1, progress=False)
    with pytest.raises(ValueError, match="one arm, fedavg"):
        single.pairs()


# ---------------------------------------------------------------------- the same, for what matters


@pytest.mark.parametrize(
    ("gain", "smallest", "same", "winner"),
    [
        (0.0, 0.02, True, ""),
        (0.0, None, False, ""),
        (0.0, 0.0001, False, ""),
        (0.01, 0.05, True, "fedavg"),
        (0.05, 0.02, False, "fedavg"),
    ],
)
def test_the_same_is_where_the_whole_interval_lies_within_what_matters(
    gain: float, smallest: float | None, same: bool, winner: str
) -> None:
    row = told(steady((gain, gain, gain)), smallest=smallest).pairs().loc[0]
    assert (row["same"], row["winner"]) == (same, winner)
    assert smallest is None or same == (-smallest < row["low"] and row["high"] < smallest)


def test_the_smallest_difference_that_could_have_been_seen_is_that_of_the_test() -> None:
    """By simulation: a true difference of that size is found in four studies of five."""
    rng, overlap, seeds = np.random.default_rng(0), 25 / 60, 10
    rho = overlap / (1 + overlap)  # of the splits, by Nadeau & Bengio
    sd = 0.02 * math.sqrt(1 - rho)  # what one study sees of a spread of .02
    size = detectable(sd, seeds=seeds, overlap=overlap)
    common, own = rng.normal(size=(4000, 1)), rng.normal(size=(4000, seeds))
    apart = size + 0.02 * (math.sqrt(rho) * common + math.sqrt(1 - rho) * own)
    error = apart.std(axis=1, ddof=1) * math.sqrt(1 / seeds + overlap)
    power = (apart.mean(axis=1) / error > stats.t.ppf(0.975, seeds - 1)).mean()
    assert 0.76 < power < 0.84
