"""Many hospitals: what is computed for all of them at once is what it was for one after the other."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab.engine import opened
from fedlab.engine.run import EVERY_SITE
from fedlab.federation import METRICS, Federation
from fedlab.metrics.cells import FEW
from fedlab.metrics.scores import CHOSEN, bounds, many_scores, scores
from fedlab.metrics.thresholds import Threshold, choose_threshold, choose_thresholds
from fedlab.study import over_seeds
from fedlab.study.pairs import gains, paired, series
from fedlab.study.places import MEANS, left_out, per_seed, without
from fedlab.study.study import Study

RNG = np.random.default_rng(0)


def predictions(models: int, n: int, classes: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    y = np.r_[np.arange(classes), RNG.integers(classes, size=n - classes)]
    p = RNG.dirichlet(np.ones(classes), size=(models, n))
    return y, np.round(p, 1) + 0.05 if ties else p


@pytest.mark.parametrize("resamples", [0, 40])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "classes"), [(6, 2), (40, 2), (30, 3)])
def test_many_models_score_as_each_by_itself(n: int, classes: int, ties: bool, resamples: int) -> None:
    y, p = predictions(7, n, classes, ties=ties)
    p[3, 1] = np.nan
    at = choose_thresholds(y, p)
    assert [str(each) for each in at] == [str(choose_threshold(y, one)) for one in p]
    for together, one, threshold in zip(many_scores(y, p, thresholds=at, resamples=resamples), p, at, strict=True):
        alone = scores(y, one, threshold=threshold, resamples=resamples)
        assert together.keys() == alone.keys() == METRICS.keys()
        for name, score in together.items():
            assert score[:3] == pytest.approx(alone[name][:3], abs=1e-14, nan_ok=True), name
            assert score.reason == alone[name].reason


def plain_threshold(y: np.ndarray, p: np.ndarray) -> float:
    said = p[:, 1]
    candidates = np.unique(np.r_[said, 0.5])
    worth = [((said >= t) & (y == 1)).sum() * (y == 0).sum() + ((said < t) & (y == 0)).sum() * (y == 1).sum()
             for t in candidates]  # fmt: skip
    best = candidates[np.array(worth) == max(worth)]
    return float(best[np.abs(best - 0.5).argmin()])


@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_is_that_of_going_through_all(ties: bool) -> None:
    for n in (2, 5, 30):
        y, p = predictions(20, n, 2, ties=ties)
        assert [at.value for at in choose_thresholds(y, p)] == [plain_threshold(y, one) for one in p]


def test_a_bootstrap_in_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    y, p = predictions(9, 80, 2, ties=True)
    at = [Threshold(0.4)] * 9
    whole = many_scores(y, p, thresholds=at, resamples=30)
    monkeypatch.setattr("fedlab.metrics.scores.TOGETHER", 1)
    for one, other in zip(whole, many_scores(y, p, thresholds=at, resamples=30), strict=True):
        assert {k: v[:3] for k, v in one.items()} == {k: pytest.approx(v[:3], abs=1e-14) for k, v in other.items()}
    assert not math.isnan(whole[0][CHOSEN].low)


@pytest.mark.parametrize("algorithm", ["isolated", "ensemble", "fedavg"])
def test_models_predict_together_to_the_bit_what_they_predict_alone(
    hospitals: Federation, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fedlab.train(hospitals, "mlp", algorithm, rounds=1, progress=False)
    _, models = run._sources()
    site = hospitals["Hungary"]
    together = opened._predicted(run.net, models, site.test.x)
    with torch.no_grad():
        alone = [run.net.vote(members, site.test.x).numpy() for members in models]
    assert together.tolist() == [each.tolist() for each in alone]
    monkeypatch.setattr("fedlab.engine.net.PREPARED", 1)
    assert opened._predicted(run.net, models, site.test.x).tolist() == together.tolist()


def test_one_hospital_scored_by_itself_is_the_row_of_a_report_on_all(hospitals: Federation) -> None:
    rest, late = hospitals.holdout("Hungary")
    run = fedlab.train(rest, algorithm="fedavg", rounds=2, progress=False)
    alone = run.at(late, resamples=20)
    assert run.test_openings == 1
    every = run.report(resamples=20, unseen=[late])
    pd.testing.assert_frame_equal(alone, every[every["test"] == "Hungary"].reset_index(drop=True))


# --------------------------------------------------------------------------- the study's tables


class Given(Study):
    """A study whose report is given."""

    given: pd.DataFrame

    def report(self, *, resamples: int = 0) -> pd.DataFrame:
        return self.given.copy()


def given(sites: int = 9, seeds: int = 3) -> Given:
    """Two arms at many hospitals, some of which have no patient of a class on some seeds."""
    names = [f"H{k}" for k in range(sites)]
    rows = [
        {"arm": arm, "seed": seed, "train": source, "test": site, "metric": metric, "low": np.nan, "high": np.nan,
         "value": np.nan if (k * 5 + seed) % 7 == 0 and metric == "auc" else RNG.random(),
         "patients": 10 + k, "fewest": 3 + 2 * k}
        for arm in ("isolated", "fedavg")
        for seed in range(seeds)
        for k, site in enumerate(names)
        for source in (names if arm == "isolated" else [EVERY_SITE])
        for metric in METRICS
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    x, y = torch.arange(80.0).reshape(40, 2), torch.arange(40) % 2
    federation = Federation.from_tensors({name: (x, y) for name in names})
    study = Given(federation, "logistic", {"isolated": [], "fedavg": []}, list(range(seeds)))
    study.given = frame.assign(reason=np.where(frame["value"].isna(), "no patient of a class", ""))
    return study


def plain_per_seed(scores: pd.DataFrame) -> dict[tuple[str, str, str, int], float]:
    """One place, arm, metric and seed after the other."""
    own = scores[(scores["train"] == scores["test"]) | (scores["train"] == EVERY_SITE)]
    small = {site for site in set(own["test"]) if own[own["test"] == site]["fewest"].min() < FEW}
    out = {}
    for metric in scores["metric"].unique():
        gone = set(left_out(scores, metric))
        places = {"everywhere": (scores, gone), "home": (own, gone), "home, large sites": (own, gone | small)}
        places |= {site: (own[own["test"] == site], set()) for site in own["test"].unique()}
        for where, (rows, without_) in places.items():
            for arm in scores["arm"].unique():
                for seed in scores["seed"].unique():
                    at = (rows["arm"] == arm) & (rows["seed"] == seed) & (rows["metric"] == metric)
                    values = rows[at & ~rows["test"].isin(without_)]["value"]
                    if len(values):
                        out[arm, where, metric, seed] = values.mean(skipna=False)
    return out


def test_one_number_a_place_arm_metric_and_seed_is_the_plain_mean() -> None:
    study = given()
    found = per_seed(study.given)
    keys = zip(found["arm"], found["where"], found["metric"], found["seed"], strict=True)
    together = dict(zip(keys, found["value"], strict=True))
    plain = plain_per_seed(study.given)
    assert together.keys() == plain.keys() and found.columns.tolist() == ["arm", "where", "metric", "seed", "value"]
    assert {k: pytest.approx(v, rel=1e-14, nan_ok=True) for k, v in together.items()} == plain


def test_the_table_is_that_of_one_row_after_the_other_exactly() -> None:
    study = given()
    values = per_seed(study.given)
    got = study.table()
    for row in got.to_dict("records"):
        arm, where, metric = row["arm"], row["where"], row["metric"]
        mine, theirs = (
            values[(values["arm"] == who) & (values["where"] == where) & (values["metric"] == metric)]
            .set_index("seed")["value"].reindex(study.seeds)
            for who in (arm, "isolated")
        )  # fmt: skip
        expected = over_seeds(mine.tolist(), overlap=study.overlap, within=bounds(metric))
        apart = over_seeds((mine - theirs).tolist(), overlap=study.overlap)
        told = [row[k] for k in ("mean", "sd", "low", "high")]
        assert np.array_equal(told, list(expected), equal_nan=True)
        told = [row[k] for k in ("difference", "difference_low", "difference_high")]
        assert np.array_equal(told, [apart.mean, apart.low, apart.high], equal_nan=True)
        assert row["seeds"] == mine.notna().sum() and row["reason"] == without(study.given, metric, where)
    assert len(got) == 2 * (len(MEANS) + 9) * len(METRICS)


def test_every_hospitals_gain_is_that_of_asking_for_it_alone() -> None:
    study = given()
    table = gains(study, metric="auc", against="isolated")
    for row in table.to_dict("records"):
        values = series(study, "auc", row["where"])
        alone = paired(study, values, "fedavg", "isolated", "auc", row["where"])
        alone["reason"] += (
            "; " * bool(alone["reason"]) + "shown, not judged: single hospitals are in no family of tests"
        )
        assert {k: row[k] for k in alone} == {
            k: pytest.approx(v, nan_ok=True) if isinstance(v, float) else v for k, v in alone.items()
        }


def test_a_report_that_is_written_to_leaves_the_studys_own(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=1, rounds=1, progress=False)
    before = study.report().copy()
    mine = study.report()
    mine["value"] = 0.0
    mine.loc[0, "test"] = "nowhere"
    pd.testing.assert_frame_equal(study.report(), before)
    assert dataclasses.is_dataclass(study)
