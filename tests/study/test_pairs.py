"""Pairs of arms and the verdict: no winner whose interval holds zero, or that Holm does not keep."""

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
from tests.study.told import federation, jitter, steady, told


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    return compare(hospitals, "logistic", ["isolated", "fedavg", "scaffold"], seeds=3, rounds=3, progress=False)


@pytest.mark.parametrize("where", ["everywhere", "home", "Hungary"])
def test_pairs_are_the_corrected_t_of_the_report(study: Study, where: str) -> None:
    table = study.pairs(metric="log_loss", where=where)
    assert table[["one", "other"]].agg(" ".join, axis=1).tolist() == [
        *("isolated fedavg", "isolated scaffold", "fedavg scaffold")
    ]
    scores = study.report().query("metric == 'log_loss'")
    if where != "everywhere":
        scores = scores[(scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE)]
    if where == "Hungary":
        scores = scores[scores["test"] == where]
    means = scores.groupby(["arm", "seed"])["value"].mean()
    for row in table.to_dict("records"):
        want = corrected_t((means[row["one"]] - means[row["other"]]).tolist(), overlap=study.overlap)
        got = tuple(row[name] for name in ("difference", "low", "high", "p", "seeds"))
        assert got == pytest.approx((want.difference, want.low, want.high, want.p, 3))
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"].tolist()).tolist())


def test_pairs_agree_with_the_table(study: Study) -> None:
    row = study.pairs().iloc[0]
    table = study.table(against="fedavg").set_index(["arm", "where", "metric"]).loc[("isolated", "everywhere", "auc")]
    assert row["difference"] == pytest.approx(table["difference"])
    assert (row["low"], row["high"]) == pytest.approx((table["difference_low"], table["difference_high"]))


def test_one_seed_is_not_judged(hospitals: Federation) -> None:
    one = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    row = one.pairs().iloc[0]
    assert np.isfinite(row["difference"]) and row["seeds"] == 1 and row["winner"] == ""
    assert row[["low", "high", "p", "p_holm"]].isna().all() and "cannot be judged" in row["reason"]
    assert one.verdict() == (
        "With one seed, differences across seeds cannot be judged: compare with several, seeds=10."
    )


def test_who_gains_is_named_with_its_interval_and_the_rest_is_not() -> None:
    text = told(steady((0, 0.05, 0))).verdict()
    assert re.search(r"at home: B gains \(\+0\.05 AUC \[0\.0\d, 0\.0\d\]\); no clear winner at the two others\.", text)
    assert "Over all hospitals: FedAvg beats the hospitals’ own models (+0.02 AUC [0.0" in text


def test_no_clear_winner_is_said() -> None:
    text = told(steady((0, 0, 0), (0, 0, 0), (0, 0, 0))).verdict()
    assert "no clear winner at the three hospitals, nor among FedAvg, FedProx and SCAFFOLD." in text
    assert "Over all hospitals: no clear winner in the three other pairs of arms." in text
    assert not re.search(r"\b(beats?|gains|loses)\b", text)


def test_the_same_numbers_of_a_loss_are_a_harm() -> None:
    study = told(steady((0, 0.05, 0)), metric="log_loss")
    assert study.pairs(metric="log_loss").loc[0, "winner"] == "isolated"
    text = study.verdict(metric="log_loss")
    assert "B loses (+0.05 log loss [" in text and "the hospitals’ own models beat FedAvg (−0.02 log loss [−" in text


def test_every_gain_is_told_of_its_arm() -> None:
    text = told(steady((0, 0.05, 0), (0, -0.05, 0.05))).verdict()
    assert re.search(r"B gains with FedAvg \([^)]*\); B loses with FedProx \([^)]*\); C gains with FedProx", text)
    assert "no clear winner at the one other" in text
    assert "among" not in text or "FedAvg, FedProx" in text


def test_holm_decides_among_several() -> None:
    study = told({name: [[0.7 + shift + jitter(a, s, 0, 0.03)] * 3 for s in range(10)]
                  for a, (name, shift) in enumerate({"fedavg": 0.0, "fedprox": 0.0, "scaffold": 0.055, "krum": 0.0,
                                                     "rfa": 0.0}.items())})  # fmt: skip
    table = study.pairs()
    clear = (table["low"] > 0) | (table["high"] < 0)
    assert clear.any() and (table["p_holm"] >= 0.05).all(), "an interval leaves zero out that Holm does not keep"
    assert (table["winner"] == "").all()
    assert study.verdict().startswith("No clear winner among FedAvg, FedProx, SCAFFOLD, Krum and RFA.")


@given(st.lists(st.lists(st.integers(-3, 4), min_size=12, max_size=12), min_size=2, max_size=4))
@settings(deadline=None, max_examples=40)
def test_nothing_is_called_real_whose_interval_holds_zero(values: list[list[int]]) -> None:
    names = ("isolated", "fedavg", "fedprox", "scaffold")
    study = told({
        name: np.reshape(numbers, (4, 3)).astype(float).tolist() for name, numbers in zip(names, values, strict=False)
    })  # fmt: skip
    table, text = study.pairs(), study.verdict()
    named = table[table["winner"] != ""]
    assert ((named["low"] > 0) | (named["high"] < 0)).all() and (named["p_holm"] < 0.05).all()
    assert bool(re.search(r"\bbeats?\b", text)) == (len(named) > 0)
    for low, high in re.findall(r"\[(−?\d\.\d+), (−?\d\.\d+)\]", text):
        low, high = (float(end.replace("−", "-")) for end in (low, high))
        assert low > 0 or high < 0


def test_equal_arms_have_no_winner() -> None:
    same = [[0.7, 0.8, 0.9], [0.6, 0.7, 0.8]]
    study = told({"fedavg": same, "fedprox": same})
    assert study.pairs().loc[0, ["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]
    assert study.verdict().startswith("No clear winner between FedAvg and FedProx.")


def test_a_published_split_is_not_corrected_and_says_what_its_seeds_are() -> None:
    scores = steady((0.01, 0.0, 0.01), seeds=5)
    study = told(scores, published=True)
    means = {arm: np.mean(values, axis=1) for arm, values in scores.items()}
    assert study.pairs().loc[0, "p"] == pytest.approx(stats.ttest_rel(means["isolated"], means["fedavg"]).pvalue)
    assert "starts and batch orders, not other patients" in study.verdict()
    assert "published" not in told(scores).verdict()


def test_a_site_of_one_class_is_not_judged_and_says_why() -> None:
    fed = federation(one_class="C")
    study = compare(fed, "logistic", ["isolated", "fedavg"], seeds=2, rounds=1, progress=False)
    row = study.pairs(where="C").iloc[0]
    assert row["seeds"] == 0 and math.isnan(row["difference"]) and math.isnan(row["p_holm"])
    assert row["reason"].startswith("auc cannot be computed at C: 1 of the classes has no patient")
    assert "C is not judged (auc cannot be computed at C" in study.verdict()


def test_a_seed_that_an_arm_has_no_score_of_is_counted_out() -> None:
    scores = steady((0.05, 0.05, 0.05), (0.05, 0.05, 0.05), seeds=5)
    scores["fedprox"][2] = [math.nan] * 3
    study = told(scores)
    assert study.pairs()["seeds"].tolist() == [5, 4, 4]
    assert "Some pairs have a score on 4 seeds only." in study.verdict()


def test_what_the_study_does_not_have_is_refused(study: Study, hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="no metric 'mood'; there are auc"):
        study.pairs(metric="mood")
    with pytest.raises(ValueError, match="no where 'Zurich'; there are everywhere, home"):
        study.pairs(where="Zurich")
    with pytest.raises(ValueError, match="no arm 'krum'"):
        study.verdict(against="krum")
    single = compare(hospitals, "logistic", ["fedavg"], seeds=2, rounds=1, progress=False)
    with pytest.raises(ValueError, match="one arm, fedavg"):
        single.verdict()


# ---------------------------------------------------------------------- the plain sentence before the numbers


def first_of(text: str) -> str:
    return text.partition(". ")[0] + "."


def test_the_first_sentence_has_no_number_and_no_jargon() -> None:
    text = told(steady((0, 0.05, 0))).verdict()
    assert first_of(text) == (
        "By AUC (how well the risks rank the patients), over all hospitals FedAvg is clearly better than the "
        "hospitals’ own models; at home B is clearly better off."
    )
    assert text.count("Holm") == text.count("Nadeau") == 1 and "does not mean equal.)" in text
    assert "Holm" not in told(steady((0, 0.05, 0))).verdict(method=False)


def test_the_first_sentence_says_that_there_is_no_clear_winner() -> None:
    text = told(steady((0, 0, 0), (0, 0, 0))).verdict()
    assert first_of(text) == (
        "By AUC (how well the risks rank the patients) there is no clear winner, over all hospitals or at any of them."
    )


def test_the_first_sentence_tells_a_loss_the_right_way_round() -> None:
    text = told(steady((0, 0.05, 0)), metric="log_loss").verdict(metric="log_loss")
    assert first_of(text) == (
        "By log loss (how true the risks are, lower is better), over all hospitals FedAvg is clearly worse than the "
        "hospitals’ own models; at home B is clearly worse off."
    )


def test_the_first_sentence_of_several_arms() -> None:
    text = told(steady((0, 0.05, 0), (0, -0.05, 0.05))).verdict()
    assert "at home B and C are clearly better off with at least one of them, and B is clearly worse off" in text
    shared = told({"fedavg": [[0.7 + jitter(0, s, 0)] * 3 for s in range(10)],
                   "scaffold": [[0.8 + jitter(1, s, 0)] * 3 for s in range(10)]})  # fmt: skip
    assert first_of(shared.verdict()).endswith("over all hospitals SCAFFOLD is clearly better than FedAvg.")


def test_where_the_others_differ_but_none_from_the_reference() -> None:
    shifts = {"isolated": 0.0, "fedavg": 0.012, "scaffold": -0.012}
    scores = {
        name: [[0.7 + shift + jitter(a, s, k, 0.03 if a == 0 else 0.002) for k in range(3)] for s in range(10)]
        for a, (name, shift) in enumerate(shifts.items())
    }
    study = told(scores)
    winners = study.pairs().set_index(["one", "other"])["winner"]
    assert winners["fedavg", "scaffold"] == "fedavg" and (winners.drop(("fedavg", "scaffold")) == "").all()
    assert "nothing is clearly better or worse than the hospitals’ own models, but the others differ" in study.verdict()


def test_several_metrics_have_their_paragraphs_and_the_method_once(study: Study) -> None:
    *each, how = study.verdict(metric=["auc", "log_loss"]).split("\n\n")
    assert each == [study.verdict(metric=m, method=False) for m in ("auc", "log_loss")]
    assert how.startswith("(95 % intervals over 3 seeds") and study.verdict() == f"{each[0]} {how}"
