"""A study scores no hospital as if it had taken part, and says where it did not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fedlab
from fedlab.algorithms import Algorithm, FedAvg, FedProx, Isolated
from fedlab.engine.absences import NO_MODEL
from fedlab.federation import METRICS
from fedlab.report.gap import Gap
from fedlab.report.numbers import as_json
from fedlab.study import Study
from fedlab.study.failed import SeedsFailed
from tests.conftest import ragged

FED = ragged((30, 45, 60))
BAD, GOOD = "site 1", ["site 0", "site 2"]
ROWS = len(FED[BAD].train)


def failing(cls: type[Algorithm], rounds: tuple[int, ...] = (1, 2, 3, 4)) -> Any:
    """The algorithm, of which one site raises in these rounds."""

    def finish(self: Any, vars: Any, at: Any) -> Any:
        if at.round in rounds and float(at.n) == ROWS:
            raise LookupError("no such patient")
        return cls.finish(self, vars, at)

    return type(cls.__name__, (cls,), {"finish": finish})()


def compare(**arms: Algorithm | str) -> Study:
    with pytest.warns(SeedsFailed):
        return fedlab.compare(
            FED, "mlp_norm", arms, seeds=3, rounds=4, progress=False, engine="sequential"
        )  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return compare(isolated=failing(Isolated), fedavg="fedavg")


def test_its_own_cells_are_nan_with_the_reason(study: Study) -> None:
    table = study.table().set_index(["arm", "where", "metric"])
    row = table.loc[("isolated", BAD, "auc")]
    assert np.isnan(row["mean"]) and row["seeds"] == 0
    assert row["reason"] == "failed to train in 4 of 4 rounds (LookupError), on 3 of 3 seeds"
    assert np.isfinite(table.loc[("fedavg", BAD, "auc"), "mean"]) and not table.loc[("fedavg", BAD, "auc"), "reason"]


def test_the_means_are_over_the_same_hospitals_for_all_arms(study: Study) -> None:
    table, scores = study.table().set_index(["arm", "where", "metric"]), study.report()
    scores = scores[scores["metric"] == "log_loss"]
    for arm, train in (("fedavg", ["all sites"]), ("isolated", GOOD)):
        rows = scores[(scores["arm"] == arm) & scores["train"].isin(train) & scores["test"].isin(GOOD)]
        assert table.loc[(arm, "everywhere", "log_loss"), "mean"] == pytest.approx(rows["value"].mean(), abs=1e-12)
        own = rows if arm == "fedavg" else rows[rows["train"] == rows["test"]]
        row = table.loc[(arm, "home", "log_loss")]
        assert row["mean"] == pytest.approx(own["value"].mean(), abs=1e-12) and row["seeds"] == 3
        assert row["reason"].startswith(f"without {BAD} ({NO_MODEL}: it failed to train in 4 of 4 rounds")


def test_the_verdict_the_reprs_and_the_report_say_it(study: Study) -> None:
    said = (f"isolated: {BAD} failed to train in 4 of 4 rounds (LookupError), on 3 of 3 seeds: there it has no model "
            "of its own and no score.")  # fmt: skip
    assert said in study.verdict() and said in study._repr_html_()
    assert f"{BAD} has none (log_loss cannot be computed at {BAD}: {NO_MODEL}" in study.verdict()
    assert "in 1 of 2 arms not every hospital took part throughout" in repr(study)
    told = json.loads(as_json(Gap(study, unseen=study.report().iloc[:0], held=study.report().iloc[:0]), 10.0, {}))
    assert said in json.dumps(told, ensure_ascii=False)


def test_one_seed_without_a_model_takes_the_hospital_out_of_all_seeds() -> None:
    runs = {
        arm: [
            fedlab.train(FED.resplit(seed=s), "mlp_norm", alg(s), rounds=4, seed=s, progress=False, engine="sequential")
            for s in range(3)
        ]
        for arm, alg in {
            "isolated": lambda s: failing(Isolated) if s == 1 else Isolated(),
            "fedavg": lambda _: FedAvg(),
        }.items()
    }
    study = Study(FED, "mlp_norm", runs, [0, 1, 2])
    table = study.table().set_index(["arm", "where", "metric"])
    scores = study.report().query("metric == 'log_loss' and arm == 'isolated'")
    assert table.loc[("isolated", BAD, "log_loss"), "seeds"] == 2
    rows = scores[scores["train"].isin(GOOD) & scores["test"].isin(GOOD)]
    assert table.loc[("isolated", "everywhere", "log_loss"), "mean"] == pytest.approx(rows["value"].mean(), abs=1e-12)
    assert "on 1 of 3 seeds" in study.verdict()


def test_missed_rounds_are_marked() -> None:
    study = compare(isolated="isolated", fedavg=failing(FedAvg, rounds=(1, 3)), fedprox=FedProx())
    table = study.table().set_index(["arm", "where", "metric"])
    told = "failed to train in 2 of 4 rounds (LookupError), on 3 of 3 seeds"
    assert table.loc[("fedavg", BAD, "auc"), "reason"] == told and np.isfinite(
        table.loc[("fedavg", BAD, "auc"), "mean"]
    )
    assert table.loc[("fedprox", BAD, "auc"), "reason"] == "" and table.loc[("fedavg", "home", "auc"), "reason"] == ""
    assert f"fedavg: {BAD} {told}." in study.verdict()


def test_a_shared_model_that_learnt_without_a_hospital_says_so() -> None:
    study = compare(isolated="isolated", fedavg=failing(FedAvg))
    assert "(LookupError), on 3 of 3 seeds: there the model was learnt without that hospital." in study.verdict()


def test_a_site_with_one_class_in_a_seed_is_marked() -> None:
    x = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    y = (x[:, 0] + np.random.default_rng(1).normal(size=120) > 0).astype(int)
    y[:40] = 0
    fed = fedlab.Federation.from_tensors(
        {"A": (x[:40], y[:40]), "B": (x[40:80], y[40:80]), "C": (x[80:], y[80:])}, name="one class"
    )
    study = fedlab.compare(fed, algorithms=["isolated", "fedavg"], seeds=2, rounds=2, progress=False)
    said = "isolated learns from one class alone at A (none of its 24 training patients is 1, on 2 of 2 seeds)."
    assert said in study.verdict() and "fedavg learns" not in study.verdict()


def test_of_many_hospitals_three_are_told_and_the_others_counted() -> None:
    fed = ragged((30,) * 8)
    rows = len(fed["site 0"].train)

    def finish(self: Any, vars: Any, at: Any) -> Any:
        if at.round == 1 and float(at.n) == rows:
            raise LookupError("no such patient")
        return FedAvg.finish(self, vars, at)

    failing_first = type("FedAvg", (FedAvg,), {"finish": finish})()
    with pytest.raises(fedlab.TooFewSites):
        fedlab.train(fed, "mlp", failing_first, rounds=2, progress=False, engine="sequential")
    fed = ragged((30, 30, 30, 30, 30, 61))
    with pytest.warns(SeedsFailed) as caught:
        study = fedlab.compare(
            fed, "mlp", {"mine": failing_first}, seeds=2, rounds=2, progress=False, engine="sequential"
        )
    assert len(caught) == 4 and str(caught[-1].message) == (
        "mine: so it is with 2 more; study.table() has what each missed."
    )
    assert (study.table()["reason"].str.startswith("failed to train in 1 of 2 rounds")).sum() == 5 * len(METRICS)


def test_nothing_is_said_where_nothing_happened() -> None:
    study = fedlab.compare(FED, "mlp", ["isolated", "fedavg"], seeds=2, rounds=2, progress=False)
    assert "took part" not in repr(study) and "failed" not in study.verdict()
    assert set(study.table()["reason"]) <= {""}


def test_an_arm_with_the_name_of_another_algorithm_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the arm 'isolated' is FedAvg.*a verdict calls 'isolated' the hospitals’ own models"
    ):
        fedlab.compare(FED, algorithms={"isolated": "fedavg", "mine": "fedprox"}, seeds=2, rounds=1, progress=False)
