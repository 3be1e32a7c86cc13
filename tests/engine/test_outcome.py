"""What a run leaves behind: its ledger, its model, its report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm
from fedlab.engine import Run
from fedlab.engine.batches import Job, examples, row_plan
from fedlab.federation import Federation
from tests.conftest import combinations, ragged


def quick(fed: Federation, alg: str | Algorithm = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 3, "progress": False} | options))


# ---------------------------------------------------------------- the ledger


def test_the_ledger_of_fedavg_byte_by_byte(uneven: Federation) -> None:
    ledger = quick(uneven, rounds=2).ledger
    model = 4 * (10 + 1)
    assert ledger.query("purpose == 'train' and direction == 'down'")["bytes"].tolist() == [model] * 6
    assert ledger.query("purpose == 'train' and direction == 'up'")["bytes"].tolist() == [model + 8] * 6
    statistics = ledger.query("purpose == 'statistics' and direction == 'up'")
    assert statistics["bytes"].tolist() == [8 * (3 * 5 + 1)] * 3
    assert statistics["content"].unique().tolist() == ["rows, present [5], total [5], squares [5]"]
    assert ledger["site"].unique().tolist() == sorted(uneven.names)


def test_isolated_sends_no_model_until_it_is_asked_for(uneven: Federation) -> None:
    ledger = quick(uneven, "isolated").ledger
    assert not ledger.query("purpose == 'train'")["content"].str.contains("weight").any()
    assert ledger.query("purpose == 'statistics'")["content"].isin(["rows", "own"]).all()
    assert ledger.query("purpose == 'export' and direction == 'up'")["content"].str.contains("weight").all()


def test_pooling_rows_is_on_the_ledger(uneven: Federation) -> None:
    pooled = quick(uneven, "centralized").ledger.query("purpose == 'pool'")
    rows = {s.name: len(s.train) for s in uneven.sites}
    assert pooled.set_index("site")["bytes"].to_dict() == {name: n * (5 * 8 + 8) for name, n in rows.items()}


# ---------------------------------------------------------------- the model


def test_the_model_has_its_preprocessing_inside(hospitals: Federation) -> None:
    run = quick(hospitals, "fedavg", "mlp", dtype="float64")
    x = hospitals["Switzerland"].test.x
    assert x.isnan().any()
    p = torch.sigmoid(run.model()(x))[:, 0]
    frame = pd.DataFrame({"age": [63.0], "sex": [1]})
    want = run.net.probabilities([run.net.placed(run.weights)], x)[:, 1].cpu()
    assert torch.allclose(p, want, atol=1e-12)
    with pytest.raises(ValueError, match="no column 'cp'"):
        run.predict_proba(frame)


def test_predict_proba_of_a_table() -> None:
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"ward": ["A", "B"] * 50, "age": rng.normal(60, 9, 100), "sex": ["F", "M", "M", "F"] * 25})
    df["ill"] = np.where(df["age"] > 60, "yes", "no")
    fed = Federation.from_frame(df, site="ward", label="ill")
    run = quick(fed, rounds=20, lr=1.0)
    p = run.predict_proba(df.head(7))
    assert list(p.columns) == ["no", "yes"] and np.allclose(p.sum(axis=1), 1) and len(p) == 7
    said = run.predict_proba(df)["yes"] > 0.5
    assert ((said) == (df["ill"] == "yes")).mean() > 0.85


def test_a_model_per_site_must_be_asked_for_by_name(uneven: Federation) -> None:
    run = quick(uneven, "isolated")
    with pytest.raises(ValueError, match="site= one of site 0, site 1, site 2"):
        run.model()
    with pytest.raises(ValueError, match="no site 'Boston'"):
        run.model("Boston")
    assert isinstance(run.model("site 1"), nn.Module)


def test_the_report_opens_test_once_and_counts(uneven: Federation) -> None:
    run = quick(uneven)
    assert run.test_openings == 0
    first, again = run.report(), run.report()
    assert run.test_openings == 1 and first.equals(again)
    run.report(resamples=50)
    assert run.test_openings == 2
    auc = first.query("metric == 'auc'")
    assert auc["train"].unique().tolist() == ["all sites"] and auc["test"].tolist() == list(uneven.names)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fedavg", "isolated"])
def test_one_metric_is_that_of_the_report(algorithm: str, uneven: Federation) -> None:
    run = quick(uneven, algorithm)
    read = {metric: run.test_scores(metric) for metric in ("auc", "log_loss", "brier")}
    assert run.test_openings == 3
    for metric, table in read.items():
        rows = run.report().loc[lambda told, metric=metric: told["metric"] == metric]
        whole = rows.pivot(index="train", columns="test", values="value")[list(uneven.names)].to_numpy()
        assert np.allclose(table, whole, atol=1e-12)
    with pytest.raises(ValueError, match="metric is 'balanced_accuracy_chosen': choose one of auc, "):
        run.test_scores("balanced_accuracy_chosen")


def test_a_multiclass_run() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = {}
    for name in "ABC":
        x = torch.randn(150, 4, generator=generator)  # with fewer, no site tells an AUC: five valid patients a class
        sites[name] = x, x[:, :3].argmax(1)
    for alg, model in combinations():
        run = quick(Federation.from_tensors(sites), alg, model, rounds=12, lr=0.5)
        assert run.history["auc"].iloc[-1] > (0.6 if alg in ("fedsgd", "cyclic") else 0.75), (alg, model)
    assert run.report().query("metric == 'accuracy'")["value"].min() > 0.5


def test_a_one_class_site_takes_part_and_its_auc_is_nan_with_a_reason() -> None:
    fed = ragged((40, 60), missing=False)
    x = fed.sites[0].rows.x
    sites = {"ill only": (x, torch.ones(40).long()), "mixed": (fed.sites[1].rows.x, fed.sites[1].rows.y)}
    run = quick(Federation.from_tensors(sites, prepared=False))
    assert run.history.query("site == 'ill only'")["auc"].isna().all()
    report = run.report().query("test == 'ill only' and metric == 'auc'")
    assert report["value"].isna().all() and "no patient" in report["reason"].iloc[0]


def test_a_feature_that_a_site_never_measured() -> None:
    fed = ragged((60, 60, 60), missing=False)
    x = fed.sites[0].rows.x.clone()
    x[:, 2] = float("nan")
    sites = {"lacks one": (x, fed.sites[0].rows.y)} | {s.name: (s.rows.x, s.rows.y) for s in fed.sites[1:]}
    made = Federation.from_tensors(sites, prepared=False)
    for alg in ALGORITHMS:
        run = quick(made, alg, "mlp_norm")
        assert run.report()["value"].notna().all()


# ---------------------------------------------------------------- the examples


@given(rows=st.integers(1, 60), batch=st.integers(1, 20), clock=st.integers(0, 15), number=st.integers(1, 9))
def test_examples_are_the_rows_of_the_batches(rows: int, batch: int, clock: int, number: int) -> None:
    job = Job(round=number, rounds=9, lr=0.1, batch_size=batch, local_epochs=2, seed=0, clock=clock)
    assert examples(rows, job) == int((row_plan(rows, job, "A") >= 0).sum())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_examples_seen_count_every_gradient(name: str, short: Federation) -> None:
    rows = [len(site.train) for site in short.sites]
    seen = quick(short, name, "mlp_norm", rounds=4, batch_size=16).examples_seen
    clock = -(-max(rows) // 16)
    places = [sum(rows)] if name == "centralized" else rows
    if name in ("isolated", "ensemble", "centralized"):
        steps = [np.resize([16] * (n // 16) + [n % 16] * (n % 16 > 0), 4 * clock).sum() for n in places]
        assert seen == sum(steps)
    elif name == "cyclic":
        assert seen == sum(rows) + rows[0]
    else:
        assert seen == 4 * sum(rows)
