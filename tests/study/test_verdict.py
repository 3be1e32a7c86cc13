"""What a study says: by the primary metric who is better, where, and of what it is a mean; the rest shown."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.study import compare
from fedlab.study.contrasts import amount, shown
from tests.study.told import SITES, Told, federation, jitter, steady, told

WINS = re.compile(r"\b(clearly|beats?|gains|loses|wins)\b")


def travelling(home: float = 0.0, away: float = 0.0, *, seeds: int = 10, metric: str = "auc") -> Told:
    """FedAvg against own models that are worth .7 at home and .6 elsewhere: so much better than each."""
    rows = []
    for seed in range(seeds):
        for a, test in enumerate(SITES):
            for train in SITES:
                value = (0.7 if train == test else 0.6) + jitter(0, seed, a)
                rows.append(("isolated", seed, train, test, value))
            rows.append(("fedavg", seed, EVERY_SITE, test, 0.7 + home + away + jitter(1, seed, a)))
    study = Told(federation(), "logistic", {"isolated": [], "fedavg": []}, list(range(seeds)), primary=metric)
    table = pd.DataFrame(rows, columns=["arm", "seed", "train", "test", "value"])
    study.given = table.assign(metric=metric, low=np.nan, high=np.nan, patients=40, fewest=20, reason="")
    return study


def first(text: str) -> str:
    return text.partition("\n\n")[0]


def test_one_seed_says_nothing(hospitals: Federation) -> None:
    one = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    assert one.verdict() == (
        "With one seed, differences across seeds cannot be judged: compare with several, seeds=10."
    )
    assert one.verdict(also="auc") == one.verdict()


# ---------------------------------------------------------------------- the plain sentence


def test_the_first_sentence_has_no_number_and_no_jargon() -> None:
    text = told(steady((0, 0.05, 0))).verdict()
    assert first(text) == (
        "By AUC (how well the risks rank the patients), FedAvg is clearly better than the hospitals’ own models."
    )
    assert text.count("Holm") == text.count("Nadeau") == 1 and "does not mean equal." in text
    assert "Holm" not in told(steady((0, 0.05, 0))).verdict(method=False)


def test_a_gain_everywhere_that_is_a_loss_at_home_is_said_as_one() -> None:
    text = travelling(home=-0.03).verdict()
    assert first(text) == (
        "By AUC (how well the risks rank the patients), everywhere FedAvg is clearly better than the hospitals’ own "
        "models; at home FedAvg is clearly worse than the hospitals’ own models."
    )
    assert re.search(r"everywhere \+0\.04 AUC \[[^]]+\], clearly better; at home −0\.03 \[[^]]+\], clearly worse, "
                     r"the other way", text)  # fmt: skip


def test_a_home_mean_that_is_unclear_and_points_the_other_way_is_said_too() -> None:
    study = travelling(home=-0.0005)
    assert study.pairs(where="home").loc[0, "winner"] == ""
    assert first(study.verdict()).endswith(
        "at home nothing is clearly better or worse than the hospitals’ own models (the mean difference of FedAvg "
        "points the other way there)."
    )
    assert ", the other way" in study.verdict()
    assert "the other way" not in travelling(home=0.03).verdict()


def test_no_clear_winner_is_said_with_what_could_have_been_seen() -> None:
    study = told(steady((0, 0, 0), (0, 0, 0), (0, 0, 0)))
    text = study.verdict(method=False)
    assert first(text) == "By AUC (how well the risks rank the patients) there is no clear winner."
    assert not WINS.search(text)
    seen = study.pairs()["detectable"]
    for value in seen[:3]:
        assert f"no clear winner ({amount(value)} could have been seen)" in text
    assert travelling(away=-0.0667).verdict().count("could have been seen)") >= 1


def test_the_first_sentence_tells_a_loss_the_right_way_round() -> None:
    text = told(steady((0, 0.05, 0)), metric="log_loss").verdict()
    assert first(text) == (
        "By log loss (how accurate the stated risks are, lower is better), FedAvg is clearly worse than the hospitals’ "
        "own models."
    )
    assert "+0.02 log loss [0.01" in text and ", clearly worse" in text


def test_arms_without_the_hospitals_own_are_paired() -> None:
    study = told({"fedavg": [[0.7 + jitter(0, s, 0)] * 3 for s in range(10)],
                  "scaffold": [[0.8 + jitter(1, s, 0)] * 3 for s in range(10)]})  # fmt: skip
    assert first(study.verdict()).endswith(", SCAFFOLD is clearly better than FedAvg.")
    assert "FedAvg against SCAFFOLD: everywhere and at home −0.10 AUC [" in study.verdict()


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


def test_many_arms_without_a_winner_are_told_together() -> None:
    study = told({name: [[0.7 + jitter(a, s, k) for k in range(3)] for s in range(10)]
                  for a, name in enumerate(["isolated", "fedavg", "fedprox", "scaffold", "krum", "rfa"])})  # fmt: skip
    text = study.verdict()
    assert "Among FedAvg, FedProx, SCAFFOLD, Krum and RFA: no clear winner, everywhere or at home (0.0" in text
    assert "study.pairs() has each" in text


def test_the_same_for_what_matters_and_a_winner_too_small_to_matter() -> None:
    same = told(steady((0, 0, 0)), smallest=0.02).verdict()
    assert "the same for what matters (within ±0.02)" in same and "two one-sided tests at 2.5 % each" in same
    assert first(same).endswith("there is no clear winner; the two are the same for what matters.")
    small = told(steady((0.01, 0.01, 0.01)), smallest=0.05).verdict()
    assert "clearly better, by less than matters (0.05)" in small and "(by less than matters)" in first(small)
    assert "what matters" not in told(steady((0, 0, 0))).verdict()


# ---------------------------------------------------------------------- the estimand, and what stands beside


def test_what_everywhere_is_a_mean_of_is_counted(hospitals: Federation) -> None:
    study = compare(hospitals, algorithms=["isolated", "fedavg", "centralized"], seeds=2, rounds=2, progress=False)
    text = study.verdict(also=["auc"])
    assert "12 of 16 pairs away from home; FedAvg and the pooled model, shared by all, are tested at each" in text
    assert "At home: each hospital’s own patients, scored by the model it would use, mean of four hospitals" in text
    assert text.count("at home without Switzerland") == 3 + 2  # each pair of the primary metric, two of the other
    shared = compare(hospitals, algorithms=["fedavg", "centralized"], seeds=2, rounds=2, progress=False)
    assert "Everywhere and at home are the same here" in shared.verdict()


def test_every_number_is_that_of_the_tables(hospitals: Federation) -> None:
    study = compare(hospitals, algorithms=["isolated", "fedavg"], seeds=3, rounds=6, progress=False)
    text = study.verdict(also=["accuracy"])
    for metric in ("log_loss", "accuracy"):
        for where in ("everywhere", "home", "home, large sites"):
            row = study.pairs(metric=metric, where=where).loc[0]
            turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
            assert shown(turned, metric if where == "everywhere" else "") in text


def test_a_hospital_by_itself_is_shown_and_nobody_is_named() -> None:
    text = told(steady((0, 0.05, 0))).verdict()
    line = next(part for part in text.split("\n\n") if part.startswith("Each hospital"))
    assert "by itself, shown and not judged: FedAvg against the hospitals’ own models at A " in line
    assert re.search(r"at B \+0\.05 \[0\.0\d, 0\.0\d\]", line) and not WINS.search(line)


def test_other_metrics_are_shown_and_nobody_is_named(hospitals: Federation) -> None:
    study = compare(hospitals, algorithms=["isolated", "fedavg"], seeds=3, rounds=6, progress=False)
    parts = study.verdict(also=("auc", "accuracy", "log_loss")).split("\n\n")
    beside = [part for part in parts if part.startswith(("By AUC", "By accuracy"))]
    assert len(beside) == 2 and sum(part.startswith("By ") for part in parts) == 3
    for part in beside:
        assert ", shown and not judged. FedAvg against" in part and "at home" in part and not WINS.search(part)
    assert study.verdict(also="auc") == study.verdict(also=("auc",))


def test_what_the_study_does_not_have_is_refused(hospitals: Federation) -> None:
    study = told(steady((0, 0, 0)))
    with pytest.raises(ValueError, match="no arm 'krum'"):
        study.verdict(against="krum")
    with pytest.raises(ValueError, match="no metric 'mood'"):
        study.verdict(also="mood")
    with pytest.raises(TypeError):
        study.verdict(metric="auc")  # type: ignore[call-arg]
    single = compare(hospitals, "logistic", ["fedavg"], seeds=2, rounds=1, progress=False)
    with pytest.raises(ValueError, match="one arm, fedavg"):
        single.verdict()


def test_a_published_split_says_what_its_seeds_are() -> None:
    assert "starts and batch orders, not other patients" in told(steady((0.01, 0, 0.01)), published=True).verdict()
    assert "published" not in told(steady((0.01, 0, 0.01))).verdict()


def test_halves_are_told_from_ten_seeds_on() -> None:
    text = told(steady((0.05, 0.05, 0.05))).verdict()
    assert "In 100 % of 126 ways to halve the seeds, the same arm is best everywhere in both halves." in text
    assert "Both halves find the same clear winner: FedAvg over the hospitals’ own models in 100 %" in text
    assert "halve" not in told(steady((0.05, 0.05, 0.05), seeds=9)).verdict()


# ---------------------------------------------------------------------- over all that a verdict says

METRICS = ("log_loss", "auc", "accuracy")
OVERLAP = 10 / 24  # of the federation of three sites that a told study has


def drawn(rng: np.random.Generator, shift: float, times: int, seeds: int = 10) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Own models and a shared one by three metrics, ``[times, metrics, arms, seeds, train, test]``.

    Splits overlap as Nadeau & Bengio take them to: what two seeds have in common does not go away with more of them.
    """
    rho = OVERLAP / (1 + OVERLAP)
    common = math.sqrt(rho) * rng.normal(size=(times, 3, 2, 1, 3, 3))
    own = math.sqrt(1 - rho) * rng.normal(size=(times, 3, 2, seeds, 3, 3))
    values: np.ndarray[Any, np.dtype[np.float64]] = 0.7 + 0.02 * (common + own)
    values[:, :, 1] = values[:, :, 1, :, :1]  # one model for all
    values[:, 0, 1] -= shift
    values[:, 1:, 1] += shift
    return values


def study_of(values: np.ndarray[Any, np.dtype[np.float64]]) -> Told:
    """One draw as a study, judged by log loss."""
    seeds = values.shape[2]
    frames = [
        pd.DataFrame({"arm": arm, "seed": range(seeds), "train": train, "test": test, "metric": metric,
                      "value": values[m, k, :, a, b]})
        for m, metric in enumerate(METRICS)
        for k, (arm, trains) in enumerate({"isolated": SITES, "fedavg": (EVERY_SITE,)}.items())
        for a, train in enumerate(trains)
        for b, test in enumerate(SITES)
    ]  # fmt: skip
    study = Told(federation(), "logistic", {"isolated": [], "fedavg": []}, list(range(seeds)))
    study.given = pd.concat(frames, ignore_index=True).assign(
        low=np.nan, high=np.nan, patients=40, fewest=20, reason=""
    )
    return study


def least_p(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Holm's smaller p of the two questions, everywhere and at home: ``[times, metrics]``."""
    everywhere = (values[:, :, 0] - values[:, :, 1]).mean((-2, -1))
    home = np.diagonal(values[:, :, 0] - values[:, :, 1], axis1=-2, axis2=-1).mean(-1)
    apart = np.stack([everywhere, home])
    seeds = apart.shape[-1]
    error = apart.std(-1, ddof=1) * math.sqrt(1 / seeds + OVERLAP)
    p = 2 * stats.t.sf(np.abs(apart.mean(-1)) / error, seeds - 1)
    return np.minimum(1, 2 * p.min(0))


def test_the_verdict_names_a_winner_where_its_family_has_one_and_by_nothing_else() -> None:
    """Draws with a false winner by each metric: only that of the primary one is named."""
    values = drawn(np.random.default_rng(0), 0.0, 3000)
    p = least_p(values)
    found = {m: np.flatnonzero((p[:, m] < 0.05) & (np.delete(p, m, 1) > 0.2).all(1))[:2] for m in range(3)}
    for m, rows in found.items():
        for row in rows:
            study = study_of(values[row])
            assert study.overlap == pytest.approx(OVERLAP)
            text = study.verdict(also=METRICS, method=False)
            assert bool(WINS.search(text.partition("Of 126 ways")[0])) == (m == 0)
            named = [study.pairs(metric=metric, where=where)["winner"][0]
                     for metric in METRICS for where in ("everywhere", "home", "A")]  # fmt: skip
            assert any(named) == (m == 0)
            assert study.pairs()["p_holm"].min() >= p[row, 0] - 1e-9


@pytest.mark.slow
def test_a_false_winner_is_rare_over_all_that_is_said_and_a_true_one_is_found() -> None:
    rng, times = np.random.default_rng(1), 4000
    equal, better = (np.concatenate([least_p(drawn(rng, shift, 500)) for _ in range(times // 500)])
                     for shift in (0.0, 0.03))  # fmt: skip
    margin = 2.33 * math.sqrt(0.05 * 0.95 / times)
    assert (equal[:, 0] < 0.05).mean() <= 0.05 + margin
    assert (equal < 0.05).any(1).mean() > 0.08, "three metrics, each by itself, name a false winner more often"
    assert (better[:, 0] < 0.05).mean() > 0.8
