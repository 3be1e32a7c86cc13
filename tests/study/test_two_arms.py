"""Two arms on the same patients of one seed, and over hospitals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import fedlab
from fedlab.federation import Federation
from fedlab.study import Study, cliffs_delta, compare, holm
from fedlab.study import delong as definition
from tests.study.told import federation

SITES = tuple("ABCDEF")


def cohort(
    sites: tuple[str, ...] = SITES, *, n: int = 60, visits: int = 1, published: bool = False, one_class: str = ""
) -> Federation:
    """Sites of ``n`` rows, a quarter of them for testing; values are coarse, so that predictions tie."""
    rng = torch.Generator().manual_seed(5)
    data, whose = {}, {}
    for name in sites:
        x = torch.randn(n, 2, generator=rng).round()
        data[name] = (x, (x[:, 0] + torch.randn(n, generator=rng) + 99 * (name == one_class) > 0).long())
        whose[name] = np.arange(n) // visits
    rows = np.arange(n)
    split = fedlab.Split(rows[: n // 2], rows[n // 2 : n // 2 + 6], rows[n // 2 + 6 :])
    splits = dict.fromkeys(sites, split) if published else None
    return Federation.from_tensors(data, groups=whose, splits=splits, prepared=False)


@pytest.fixture(scope="module")
def study() -> Study:
    return compare(
        cohort(n=160), "logistic", ["isolated", "fedavg"], seeds=3, rounds=2, progress=False, dtype="float64"
    )


def test_delong_is_the_test_on_each_sites_own_predictions(study: Study) -> None:
    table = study.delong("isolated", "fedavg", seed=2)
    own, shared = (study.runs[arm][2] for arm in ("isolated", "fedavg"))
    assert table["where"].tolist() == list(SITES) and (table["one"] == "isolated").all()
    for row in table.to_dict("records"):
        test = own.federation[row["where"]].test
        y = test.y.numpy()
        rows = pd.DataFrame(test.x.numpy(), columns=own.federation.columns)
        said = [own.predict_proba(rows, site=row["where"])["1"], shared.predict_proba(rows)["1"]]
        want = definition(y, *said)
        assert len(np.unique(said[1])) < len(y), "ties"
        got = tuple(row[name] for name in want._fields)
        assert got[:-1] == pytest.approx(want[:-1], abs=1e-9, nan_ok=True) and row["patients"] == len(y)
        assert (row["auc_one"], row["auc_other"]) == pytest.approx(tuple(roc_auc_score(y, s) for s in said))
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"].tolist()).tolist())
    report = study.report().query("metric == 'auc' and seed == 2 and arm == 'fedavg'").set_index("test")["value"]
    assert table["auc_other"].tolist() == pytest.approx(report[list(SITES)].tolist())


def test_it_is_an_opening_of_the_study_and_of_both_runs_once(study: Study) -> None:
    fresh = Study(study.federation, study.model_name, study.runs, study.seeds)
    before = [run.test_openings for runs in study.runs.values() for run in runs]
    first = fresh.delong("fedavg", "isolated")
    assert fresh.delong("fedavg", "isolated").equals(first) and fresh.test_openings == 1
    after = [run.test_openings for runs in study.runs.values() for run in runs]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 0, 0, 1, 0, 0]
    with pytest.raises(ValueError, match="no arm 'krum'; the arms are isolated, fedavg"):
        fresh.delong("fedavg", "krum")
    assert fresh.test_openings == 1


def test_a_winner_needs_holm() -> None:
    fed = cohort(n=600)
    study = compare(fed, "logistic", ["fedavg", "centralized"], seeds=1, rounds=3, progress=False)
    for run in study.runs["centralized"]:
        run.weights = {name: -value if "prepare" not in name else value for name, value in run.weights.items()}
    table = study.delong("fedavg", "centralized")
    assert (table["winner"] == "fedavg").all() and (table["p_holm"] >= table["p"]).all() and (table["low"] > 0).all()


def test_on_a_published_split_patients_have_an_interval_where_seeds_have_none() -> None:
    """Every seed says the same here: nothing varies but the patients."""
    fed = cohort(n=120, published=True)
    study = compare(fed, "logistic", ["isolated", "fedavg"], seeds=2, rounds=2, progress=False)
    for runs in study.runs.values():
        runs[1].weights, runs[1].models, runs[1].net = runs[0].weights, runs[0].models, runs[0].net
    row = study.delong("isolated", "fedavg").query("difference != 0").iloc[0]
    assert row["low"] < row["difference"] < row["high"] and 0 < row["p"] < 1
    assert math.isnan(study.pairs(where=row["where"]).loc[0, "low"])


def test_too_few_one_class_several_visits_and_no_model_say_why() -> None:
    few = compare(cohort(("A",), n=40), "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    row = few.delong("isolated", "fedavg").loc[0]
    assert math.isfinite(row["difference"]) and math.isnan(row["low"]) and math.isnan(row["p_holm"])
    assert row["reason"].endswith("at least 10 of each class needed") and row["winner"] == ""
    one = compare(federation(one_class="C"), "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    assert "no patient among these" in one.delong("isolated", "fedavg").set_index("where").loc["C", "reason"]
    again = compare(
        cohort(("A", "B"), n=160, visits=2), "mlp", ["isolated", "fedavg"], seeds=1, rounds=9, progress=False
    )
    row = again.delong("isolated", "fedavg").loc[0]
    assert row["reason"] == "" and row["low"] < row["difference"] < row["high"] and row["patients"] == 20
    del one.runs["isolated"][0].models["A"]
    row = one.delong("fedavg", "isolated").set_index("where").loc["A"]
    assert math.isnan(row["auc_one"]) and "no model of its own: it did not hand it out" in row["reason"]


def test_what_cannot_be_asked_is_refused(study: Study) -> None:
    with pytest.raises(ValueError, match="named twice"):
        study.delong("fedavg", "fedavg")
    with pytest.raises(ValueError, match="run of seed 7; they do of 0, 1, 2"):
        study.delong("fedavg", "isolated", seed=7)
    apart = Study(study.federation, "logistic", {"one": study.runs["fedavg"][:1], "two": study.runs["fedavg"][1:]}, [0])
    with pytest.raises(ValueError, match="no seed in common"):
        apart.delong("one", "two")
    assert study.delong("fedavg", "isolated")["where"].tolist() == list(SITES)
    x, y = torch.randn(60, 2), torch.arange(60) % 3
    three = compare(Federation.from_tensors({"A": (x, y)}), "mlp", ["isolated", "fedavg"], seeds=1, rounds=1,
                    progress=False)  # fmt: skip
    with pytest.raises(ValueError, match="this task has 3"):
        three.delong("isolated", "fedavg")


def test_no_score_of_a_patient_is_saved(study: Study, tmp_path: Path) -> None:
    study.delong("fedavg", "isolated")
    folder = study.save(tmp_path / "study")
    again = Study.load(folder, study.federation)
    openings = again.test_openings
    assert again.delong("fedavg", "isolated").equals(study.delong("fedavg", "isolated"))
    assert again.test_openings == openings == study.test_openings
    test = study.runs["fedavg"][0].federation["A"].test
    said = study.runs["fedavg"][0].model()(test.x).ravel().sigmoid().tolist()
    text = json.dumps(json.loads((folder / "study.json").read_text()))
    assert not any(f"{p:.6f}"[:8] in text for p in said)


def test_over_sites_is_wilcoxon_on_means_over_the_seeds_of_both(study: Study) -> None:
    got = study.over_sites("fedavg", "isolated", metric="log_loss")
    scores = study.report().query("metric == 'log_loss'")
    home = scores[(scores["train"] == scores["test"]) | (scores["train"] == "all sites")]
    means = home.groupby(["arm", "test"])["value"].mean().unstack("arm").loc[list(SITES)]
    assert got.sites == 6 and got.difference == pytest.approx((means["fedavg"] - means["isolated"]).median())
    assert got.delta == cliffs_delta(means["fedavg"].tolist(), means["isolated"].tolist())
    with pytest.raises(ValueError, match="no metric 'mood'"):
        study.over_sites("fedavg", "isolated", metric="mood")


def test_too_few_hospitals_are_refused_before_test_is_opened(hospitals: Federation) -> None:
    study = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    with pytest.raises(ValueError, match=r"needs 6: with 4 the smallest p is 0\.125"):
        study.over_sites("fedavg", "isolated")
    assert study.test_openings == 0


def test_a_hospital_without_scores_may_leave_too_few() -> None:
    study = compare(cohort(one_class="F"), "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    with pytest.raises(ValueError, match="5 sites have a score of both arms"):
        study.over_sites("fedavg", "isolated", metric="auc")
    assert study.over_sites("fedavg", "isolated").sites == 6  # by the primary metric, log loss
