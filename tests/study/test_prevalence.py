"""Intervals over seeds of means over patients: splits keep the share of each class, and it is not known that well."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq

from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.metrics.cells import LEAST
from fedlab.metrics.scores import METRICS, OVER_PATIENTS, class_means
from fedlab.study import Study, compare, corrected_t, over_seeds
from fedlab.study.paired import detectable
from fedlab.study.prevalence import Counts, Prevalence, between, counted, patients_tested, prevalence
from fedlab.study.splits import over_splits

SEEDS = range(6)


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    return compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=4, rounds=2, progress=False)


# ---------------------------------------------------------------- by hand


def test_the_variance_is_that_between_classes_over_the_patients() -> None:
    """Accuracy of who calls nobody ill where three in ten are: a share of 70 in 100."""
    at = Counts(["A"], np.array([[0.7, 0.3]]), np.array([[70, 30]]), [100], np.array([100.0]))
    assert between(np.array([[1.0, 0.0]]), at) == pytest.approx(0.7 * 0.3 / 100)
    assert between(np.array([[0.4, 0.4]]), at) == pytest.approx(0, abs=1e-18)
    two = Counts(["A", "B"], np.array([[0.7, 0.3], [0.5, 0.5]]), np.array([[70, 30], [20, 20]]), [100, 40],
                 np.array([100.0, 40.0]))  # fmt: skip
    parts = np.array([[1.0, 0.0], [0.2, 1.0]]) / 2
    assert between(parts, two) == pytest.approx((0.7 * 0.3 / 100 + 0.64 * 0.25 / 40) / 4)
    nothing = Prevalence(two, {("a", "home", "accuracy"): parts})
    assert nothing.of("auc", "home", "a") == nothing.of("accuracy", "home", "b") == 0
    assert nothing.of("accuracy", "home", "a", less="a") == 0


def test_interval_p_and_what_could_be_seen_have_one_error() -> None:
    values, overlap, spare = [0.02, 0.05, -0.01, 0.04, 0.03], 25 / 60, 0.03**2
    error = math.sqrt(np.var(values, ddof=1) * (1 / 5 + overlap) + spare)
    found, plain = corrected_t(values, overlap=overlap, prevalence=spare), over_seeds(values, overlap=overlap)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), error))
    assert found.p == pytest.approx(2 * stats.t.sf(np.mean(values) / error, 4))
    assert found.detectable == pytest.approx(error * stats.t.ppf([0.975, 0.8], 4).sum())
    assert detectable(found.sd, seeds=5, overlap=overlap, prevalence=spare) == found.detectable
    assert over_seeds(values, overlap=overlap, prevalence=spare)[2:] == pytest.approx((found.low, found.high))
    assert found.low < plain.low and plain.high < found.high


def test_without_a_spread_nothing_is_told_of_a_difference_but_that_of_two_alike() -> None:
    assert math.isnan(corrected_t([0.1] * 3, overlap=0.4, prevalence=0.01).p)
    assert corrected_t([0.0] * 3, overlap=0.4, prevalence=0.0)[2:5] == (0, 0, 1)


def test_class_means_add_up_to_the_metric() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(3, size=50), rng.dirichlet(np.ones(3), size=(2, 50))
    p[1, 3] = np.nan
    share = np.bincount(y) / 50
    for name, means in class_means(y, p).items():
        assert means.shape == (2, 3) and np.isnan(means[1]).all()
        assert means[0] @ share == pytest.approx(METRICS[name](y, p[0], np.ones((1, 50)))[0])
    assert np.isnan(class_means(np.zeros(4, dtype=int), np.full((1, 4, 2), 0.5))["brier"][0, 1])


# ---------------------------------------------------------------- of a study


def test_patients_of_several_seeds_count_once(study: Study) -> None:
    ever = {name: set() for name in study.federation.names}
    for run in study.runs["fedavg"]:
        for site in run.federation.sites:
            ever[site.name] |= set(site.split.test.tolist())
    found = patients_tested(study)
    assert found == {name: len({study.federation[name].rows.group[k] for k in rows}) for name, rows in ever.items()}


@pytest.mark.parametrize("where", ["everywhere", "everywhere, large sites", "home", "home, large sites", "Hungary"])
@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "brier"])
def test_a_place_is_the_mean_of_its_class_means(study: Study, where: str, metric: str) -> None:
    """Worked out again from the rows of the patients, one hospital and model after the other."""
    counts, total = counted(study), 0.0
    at = [where] if where in counts.sites else [s for s in counts.sites if "large" not in where or s != "Switzerland"]
    for k, name in enumerate(counts.sites):
        if name not in at:
            continue
        means = []
        for arm in study.arms:
            each = []
            for run in study.runs[arm]:
                rows = run.federation[name].test
                sources = (
                    [None] if arm == "fedavg" else list(counts.sites) if where.startswith("everywhere") else [name]
                )
                for source in sources:
                    model = run.model(source)
                    ill = model(rows.x).detach().sigmoid().numpy().astype(float).reshape(-1)
                    p = np.stack([1 - ill, ill], axis=1)
                    each.append(class_means(rows.y.numpy(), p)[metric])
            means.append(np.mean(each, axis=0))
        apart, share = (means[0] - means[1]) / len(at), counts.shares[k]
        total += (share @ apart**2 - (share @ apart) ** 2) / counts.worth[k]
    got = prevalence(study).of(metric, where, "isolated", less="fedavg")
    assert got == pytest.approx(total, rel=1e-3) and got > 0


def test_table_pairs_and_verdict_are_of_the_wider_error(study: Study) -> None:
    table = study.table().set_index(["arm", "where", "metric"])
    scores = study.report().query("arm == 'fedavg' and test == 'Hungary'")
    for metric in ("accuracy", "auc"):
        values = scores[scores["metric"] == metric]["value"].tolist()
        spare = prevalence(study).of(metric, "Hungary", "fedavg")
        assert (spare > 0) == (metric in OVER_PATIENTS)
        want = over_seeds(values, overlap=study.overlap, within=(0, 1), prevalence=spare)
        assert tuple(table.loc[("fedavg", "Hungary", metric), ["mean", "sd", "low", "high"]]) == pytest.approx(want)
    row, same = study.pairs().iloc[0], table.loc[("isolated", "everywhere", "log_loss")]
    other = study.table(against="fedavg").set_index(["arm", "where", "metric"]).loc[same.name]
    assert (row["low"], row["high"]) == pytest.approx((other["difference_low"], other["difference_high"]))
    assert "for chance in the share of each class" in study.verdict() and study.test_openings == 1


def test_no_interval_tells_of_fewer_than_five_patients() -> None:
    """Whatever the model says of the three who are ill at B, and whether there are three or one."""

    def at(ill: int, risk: float) -> float:
        frame = pd.DataFrame({"h": ["A"] * 60 + ["B"] * 40, "x": 0.0})
        frame["y"] = [*["ill"] * 30, *["well"] * 30, *["ill"] * ill, *["well"] * (40 - ill)]
        federation = Federation.from_frame(frame, site="h", label="y", classes=["well", "ill"])
        told = given(federation, {"one": lambda y: np.where(y == 1, risk, 0.3)}, same={"A": 0.6})
        assert counted(told).many[1, 1] < LEAST
        return prevalence(told).of("log_loss", "B", "one")

    assert at(3, 0.9) == pytest.approx(at(3, 0.2)) == pytest.approx(at(1, 0.9)) and at(3, 0.9) > 0


# ---------------------------------------------------------------- over splits


def test_the_wider_of_both_bound_by_bound() -> None:
    row = {"test": "A", "metric": "net_benefit", "patients": 25, "fewest": 20, "reason": ""}
    rows = pd.DataFrame([row | {"value": v, "low": v - 0.2, "high": v + 0.01} for v in (0.10, 0.11, 0.12)])
    keys = ["test", "metric"]
    t = over_seeds([0.10, 0.11, 0.12], overlap=0.4)
    got = over_splits(rows, keys, overlap=0.4, within=lambda _: (-math.inf, math.inf), tested={"A": 100}).iloc[0]
    assert (got["low"], got["high"]) == pytest.approx((0.11 - 0.2 * 0.5, t.high)) and got["low"] < t.low
    flat = over_splits(rows.assign(value=0.11, low=0.01, high=0.31), keys, overlap=0.4, tested={"A": 100}).iloc[0]
    assert (flat["low"], flat["high"]) == pytest.approx((0.06, 0.21)) and flat["reason"] == ""
    none = over_splits(rows.assign(low=np.nan, high=np.nan), keys, overlap=0.4, tested={"A": 100}).iloc[0]
    assert (none["low"], none["high"]) == pytest.approx(t[2:])


# ---------------------------------------------------------------- by simulation


class Given(Study):
    """A study of predictors that are told, and not trained: runs without a model."""

    def report(self, *, resamples: int = 0) -> pd.DataFrame:
        return self.given


def given(federation: Federation, arms: dict[str, Any], *, same: dict[str, float] | None = None) -> Given:
    """Score functions of a patient's class and row number at each split; ``same`` is a risk for all of a site."""
    rows, classes = [], []
    splits = [federation.resplit(seed) for seed in SEEDS]
    for seed, split in zip(SEEDS, splits, strict=True):
        for site in split.sites:
            part = site.test
            y, x = part.y.numpy(), part.x.numpy()[:, 0]
            for arm, says in arms.items():
                risk = says(x) if same is None else np.full(len(y), same[site.name]) if site.name in same else says(y)
                p = np.stack([1 - risk, risk], axis=1)
                for metric, means in class_means(y, p[None]).items():
                    key = {"arm": arm, "seed": seed, "train": EVERY_SITE, "test": site.name, "metric": metric}
                    value = float(METRICS[metric](y, p, np.ones((1, len(y))))[0])
                    rows.append(key | {"value": value, "patients": len(y), "fewest": 20, "reason": ""})
                    classes.append(key | {f"class {k}": mean for k, mean in enumerate(means[0])})
    runs = [
        SimpleNamespace(settings=SimpleNamespace(seed=seed), federation=split, names=(), records=[],
                        ledger_book=SimpleNamespace(rows=[]))
        for seed, split in zip(SEEDS, splits, strict=True)
    ]  # fmt: skip
    study = Given(federation, "told", dict.fromkeys(arms, runs), list(SEEDS))
    study.given = pd.DataFrame(rows)
    study._reports[("by class",)] = pd.DataFrame(classes)
    return study


def drawn(rng: np.random.Generator) -> Federation:
    x = rng.normal(size=300)
    frame = pd.DataFrame({"h": np.repeat(list("ABC"), [70, 100, 130]), "x": x})
    frame["y"] = np.where(rng.random(300) < risk_of(x), "yes", "no")
    return Federation.from_frame(frame, site="h", label="y", classes=["no", "yes"])


def risk_of(x: Any) -> Any:
    return 1 / (1 + np.exp(1 - x))


@pytest.mark.slow
def test_means_over_patients_are_covered_and_no_winner_is_false() -> None:
    """Two arms that tell everybody the same risk, of the same expected log loss; and one that knows the risks."""
    x = np.linspace(-5, 5, 2001)
    weight = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
    share = float(weight @ risk_of(x))

    def loss(p: float) -> float:
        return -share * math.log(p) - (1 - share) * math.log(1 - p)

    low = share - 0.05
    high = brentq(lambda p: loss(p) - loss(low), share + 1e-4, 0.6)
    know = lambda x: risk_of(2 * x)  # noqa: E731
    truth = {
        "log_loss": float(weight @ -(risk_of(x) * np.log(know(x)) + (1 - risk_of(x)) * np.log(1 - know(x)))),
        "accuracy": float(weight @ np.where(know(x) > 0.5, risk_of(x), 1 - risk_of(x))),
    }
    arms = {"low": lambda x: np.full(len(x), low), "high": lambda x: np.full(len(x), high)}
    rng, times = np.random.default_rng(0), 60
    false, covered = 0, dict.fromkeys(truth, 0)
    for _ in range(times):
        federation = drawn(rng)
        study = given(federation, arms | {"know": know})
        row = study.pairs(where="home").iloc[0]
        false += row["p"] < 0.05
        table = study.table().set_index(["arm", "where", "metric"])
        for metric, value in truth.items():
            found = table.loc[("know", "home", metric)]
            covered[metric] += found["low"] <= value <= found["high"]
    assert false <= 0.1 * times  # with the corrected t alone a third are
    assert all(number >= 0.9 * times for number in covered.values()), covered
