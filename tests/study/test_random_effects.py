"""What an arm is worth at a hospital not yet seen: the estimates of the sites, and what is pooled of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlab
from fedlab.engine.repeated import Look, repeated, repeated_difference
from fedlab.federation import Federation
from fedlab.metrics.delong import Z, delong
from fedlab.study import Study
from fedlab.study.random_effects import on_logit

QUIET: dict[str, Any] = dict(rounds=2, progress=False)


def clinics(hospitals: int = 4, n: int = 200, *, sign: float = 1.0, rows_each: int = 1) -> Federation:
    """Hospitals of one feature that tells the ill, with ``rows_each`` equal rows a patient."""
    generator = torch.Generator().manual_seed(hospitals)
    sites, groups = {}, {}
    for k in range(hospitals):
        x = torch.randn(n, 1, generator=generator, dtype=torch.float64)
        y = (sign * x[:, 0] + torch.randn(n, generator=generator, dtype=torch.float64) > 0).long()
        sites[f"h{k}"] = (x.repeat_interleave(rows_each, 0), y.repeat_interleave(rows_each))
        groups[f"h{k}"] = np.repeat(np.arange(n) + 1000 * k, rows_each)
    return Federation.from_tensors(sites, prepared=True, groups=groups if rows_each > 1 else None)


def compared(federation: Federation, arms: Any = ("isolated", "fedavg"), seeds: Any = 2, **options: Any) -> Study:
    return fedlab.compare(federation, algorithms=arms, seeds=seeds, **(QUIET | options))


@pytest.fixture(scope="module")
def study() -> Study:
    return compared(clinics())


def looks(study: Study, arm: str, site: str, seeds: int) -> list[Look]:
    return [
        Look(run.federation[site], run.net, run._models(None if run.algorithm.one_model else site))
        for run in study.runs[arm][:seeds]
    ]


def risk(look: Look) -> tuple[np.ndarray, np.ndarray]:
    rows = look.site.test
    return rows.y.numpy(), look.net.each_probabilities([look.members], rows.x).numpy()[0, :, 1]


def by_hand(y: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """DeLong's AUC and its variance, from all pairs of patients."""
    won = np.sign(np.subtract.outer(score[y == 1], score[y == 0])) / 2 + 0.5
    ill, well = won.shape
    return won.mean(), won.mean(1).var(ddof=1) / ill + won.mean(0).var(ddof=1) / well


# ---------------------------------------------------------------- at a site


def test_with_one_seed_it_is_delongs_variance(study: Study) -> None:
    for arm in study.arms:
        one = looks(study, arm, "h1", 1)
        found = repeated(one, metric="auc")
        assert (found.value, found.variance) == pytest.approx(by_hand(*risk(one[0])))
    mine, theirs = (looks(study, arm, "h1", 1) for arm in study.arms)
    y, a = risk(mine[0])
    wanted = delong(y, a, risk(theirs[0])[1])
    found = repeated_difference(mine, theirs, metric="auc")
    assert (found.value, Z * math.sqrt(found.variance)) == pytest.approx(
        (wanted.difference, (wanted.high - wanted.low) / 2)
    )


def test_a_share_has_the_variance_of_a_share(study: Study) -> None:
    one = looks(study, "fedavg", "h0", 1)
    y, p = risk(one[0])
    wanted = {
        "accuracy": (p >= 0.5) == y,
        "sensitivity": p[y == 1] >= 0.5,
        "specificity": p[y == 0] < 0.5,
    }
    for metric, right in wanted.items():
        found = repeated(one, metric=metric)
        assert found.value == pytest.approx(right.mean()) and found.behind == (len(right),)
        assert found.variance == pytest.approx(right.var(ddof=1) / len(right))
    low = repeated(one, metric="sensitivity", threshold=0.01).value
    assert low > repeated(one, metric="sensitivity", threshold=0.99).value


def test_the_same_patients_in_every_seed_are_no_more_patients() -> None:
    """One split for all seeds, one model: two looks say what one says."""
    one = looks(compared(clinics()), "fedavg", "h0", 1)
    for metric in ("auc", "accuracy", "specificity"):
        a, b = repeated(one, metric=metric), repeated(one * 3, metric=metric)
        assert (a.value, a.variance) == pytest.approx((b.value, b.variance)) and a.behind == b.behind


def test_several_rows_of_a_patient_are_one_patient() -> None:
    look = looks(compared(clinics(rows_each=3), ["fedavg"], seeds=1), "fedavg", "h0", 1)
    rows, found = look[0].site.test, repeated(look, metric="auc")
    assert len(rows) == 3 * sum(found.behind) == 3 * len(rows.patients.first)
    value, as_if_others = by_hand(*risk(look[0]))
    assert found.value == pytest.approx(value) and found.variance == pytest.approx(3 * as_if_others, rel=0.05)


def identity(inputs: int, outputs: int) -> nn.Module:
    """A model that is not learnt: its risk is the feature."""
    model = nn.Linear(inputs, outputs)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    return model


@pytest.mark.slow
def test_the_variance_over_seeds_is_that_of_new_patients() -> None:
    """A fixed score, other patients in every repetition: the variance that is told is the one that there is."""
    rng, told, seen, single = np.random.default_rng(0), [], [], []
    for _ in range(120):
        y = rng.integers(0, 2, 120)
        x = rng.normal(size=(120, 1)) + y[:, None]
        fed = Federation.from_tensors({"h": (torch.tensor(x), torch.tensor(y))}, prepared=True)
        net = fedlab.train(fed, identity, rounds=1, lr=1e-12, progress=False, evaluate=False, dtype="float64")
        each = [Look(fed.resplit(seed)["h"], net.net, net.weights) for seed in range(6)]
        each = [look._replace(members=net._models(None)) for look in each]
        found = repeated(each, metric="auc")
        told.append(found.variance)
        seen.append(found.value)
        single.append(by_hand(*risk(each[0]))[1])
    assert np.mean(told) == pytest.approx(np.var(seen, ddof=1), rel=0.4)  # the sd of a variance of 120 is .13 of it
    assert np.mean(told) < 0.6 * np.mean(single), "six splits test more patients than one"


# ---------------------------------------------------------------- over hospitals


def test_it_is_pooled_from_what_the_sites_say(study: Study) -> None:
    from fedlab.study.meta import pool

    table = study.random_effects().set_index("arm")
    for arm in study.arms:
        found = [repeated(looks(study, arm, name, 2), metric="auc") for name in study.federation.names]
        y = [math.log(each.value / (1 - each.value)) for each in found]
        v = [each.variance / (each.value * (1 - each.value)) ** 2 for each in found]
        wanted = pool(y, v)
        got = table.loc[arm]
        assert got["hospitals"] == 4 and got["tau"] == pytest.approx(wanted.tau) and got["seeds"] == 2
        for name in ("mean", "low", "high", "next_low", "next_high"):
            assert got[name] == pytest.approx(1 / (1 + math.exp(-getattr(wanted, name))))


def test_a_difference_is_the_other_way_round_from_the_other_side(study: Study) -> None:
    one = study.random_effects(against="isolated").set_index("arm").loc["fedavg"]
    other = study.random_effects(against="fedavg").set_index("arm").loc["isolated"]
    assert one["mean"] == pytest.approx(-other["mean"], abs=1e-9)
    assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]), abs=1e-6)


def test_two_arms_that_are_the_same_do_not_differ() -> None:
    study = compared(clinics(), {"one": "fedavg", "same": "fedavg"})
    row = study.random_effects(against="one").iloc[0]
    assert row["arm"] == "same" and row[["mean", "low", "high", "tau"]].tolist() == [0, 0, 0, 0]


def test_it_opens_the_test_once_and_a_question_that_is_refused_does_not() -> None:
    study = compared(clinics())
    for _ in range(2):
        study.random_effects()
    assert study.test_openings == 1 and {r.test_openings for runs in study.runs.values() for r in runs} == {1}
    for wrong in ({"metric": "log_loss"}, {"threshold": 1.0}, {"against": "nobody"}):
        with pytest.raises(ValueError):
            study.random_effects(**wrong)
    assert study.test_openings == 1


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"metric": "log_loss"}, "metric is 'log_loss': pooled on the logit scale are shares .*auc, accuracy"),
        ({"metric": "ece"}, "metric is 'ece'"),
        ({"metric": "sensitivity", "threshold": 0}, "threshold is 0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"against": "ditto"}, "there is no arm 'ditto'"),
    ],
)
def test_what_cannot_be_asked(study: Study, options: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        study.random_effects(**options)


def test_two_hospitals_are_refused_with_what_to_do(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="2 of 2 hospitals .*from 3 on: use more seeds"):
        compared(clinics(2)).random_effects()
    few = compared(hospitals, seeds=1)
    with pytest.raises(ValueError, match=r"2 of 4 hospitals \(Cleveland, Hungary\)"):
        few.random_effects()
    assert few.test_openings == 0


def test_a_hospital_of_too_few_is_left_out_and_named(hospitals: Federation) -> None:
    table = compared(hospitals, seeds=5).random_effects()
    assert (table["hospitals"] == 3).all()
    assert (table["reason"] == "without Switzerland (fewer than 20 test patients of a class)").all()
    assert (compared(hospitals, seeds=1).random_effects(metric="accuracy")["hospitals"] == 4).all()


def test_perfect_separation_has_a_mean_below_one_and_says_no_certainty() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = {}
    for k in range(3):
        y = torch.arange(240) % 2
        sites[f"h{k}"] = ((y + 0.1 * torch.rand(240, generator=generator))[:, None].double() - 0.5, y)
    study = compared(Federation.from_tensors(sites, prepared=True), rounds=6)
    assert study.report().query("metric == 'auc'")["value"].eq(1).all(), "the case is not there"
    for row in study.random_effects().to_dict("records"):
        assert 0.5 < row["low"] < row["mean"] < row["high"] < 1 and row["next_low"] <= row["low"]
    for row in study.random_effects(metric="accuracy").to_dict("records"):
        assert row["low"] < row["mean"] < row["high"] < 1


def test_the_rule_for_one_is_a_pair_that_is_tied() -> None:
    """20 and 20 patients, one pair of whom is a tie: DeLong's variance of it, and the rule's."""
    y = np.repeat([0, 1], 20)
    score = np.r_[np.arange(20.0), np.arange(20.0) + 19]
    value, variance = by_hand(y, score)
    from fedlab.engine.repeated import Estimate

    assert value == 1 - 1 / 800
    wanted = math.log(value / (1 - value)), variance / (value * (1 - value)) ** 2
    assert on_logit(Estimate(1.0, 0.0, (20, 20))) == pytest.approx(wanted)
    assert on_logit(Estimate(value, variance, (20, 20))) == pytest.approx(wanted)
    assert on_logit(Estimate(0.0, 0.0, (20, 20)))[0] == pytest.approx(-wanted[0])


def test_a_model_that_predicts_nan_is_named() -> None:
    study = compared(clinics(), ["fedavg"], lr=0.1)
    for run in study.runs["fedavg"]:
        run.weights = {name: torch.full_like(value, math.nan) for name, value in run.weights.items()}
    row = study.random_effects().iloc[0]
    assert math.isnan(row["mean"]) and row["reason"].startswith("0 hospitals, and 3 are needed; without h0 (")
    assert "NaN" in row["reason"]


def test_it_is_kept_with_the_study(study: Study, tmp_path: Any) -> None:
    table = study.random_effects()
    again = Study.load(study.save(tmp_path / "study"), study.federation)
    opened = again.test_openings
    assert again.random_effects().equals(table) and again.test_openings == opened


@pytest.mark.slow
def test_the_mean_auc_over_hospitals_is_covered() -> None:
    """Binormal scores, 40 ill and 80 well, hospitals of AUC about .8: logit and DeLong's variance as they are used."""
    from fedlab.engine.repeated import Estimate
    from fedlab.study.meta import pool

    rng, shift, held = np.random.default_rng(5), 1.2, []
    true = rng.normal(shift, 0.35, 200_000)
    middle = np.log(_auc(true) / (1 - _auc(true))).mean()
    for _ in range(150):
        points = []
        for own in rng.normal(shift, 0.35, 8):
            y = np.repeat([0, 1], [80, 40])
            points.append(on_logit(Estimate(*by_hand(y, rng.normal(size=120) + own * y), (40, 80))))
        found = pool(*zip(*points, strict=True))
        held.append(found.low <= middle <= found.high)
    assert np.mean(held) >= 0.95 - 2.6 * math.sqrt(0.95 * 0.05 / 150)


def _auc(apart: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return norm.cdf(apart / math.sqrt(2))
