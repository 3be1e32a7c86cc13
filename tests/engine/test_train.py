"""Runs: determinism, choosing, stopping, failing sites, the ledger and the model that comes out."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm
from fedlab.engine import Run
from fedlab.engine.batches import Job, row_plan
from fedlab.engine.exchange import TooFewSites
from fedlab.federation import Federation
from tests.conftest import ragged


def quick(fed: Federation, alg: str | Algorithm = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 3, "progress": False} | options))


# ---------------------------------------------------------------- same seed, same bits


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_bits(name: str, uneven: Federation) -> None:
    a, b = quick(uneven, name, "mlp"), quick(uneven, name, "mlp")
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    c = quick(uneven, name, "mlp", seed=1)
    assert a.history["log_loss"].tolist() == b.history["log_loss"].tolist() != c.history["log_loss"].tolist()


def test_the_same_bits_in_another_process() -> None:
    code = (
        "import fedlab, hashlib; r = fedlab.train(fedlab.load('heart_disease'), 'mlp', 'scaffold', rounds=3);"
        "print(hashlib.sha256(b''.join(v.numpy().tobytes() for v in r.weights.values())).hexdigest())"
    )
    call = [sys.executable, "-c", code]
    said = {subprocess.run(call, capture_output=True, text=True, check=True).stdout for _ in "ab"}
    assert len(said) == 1 and len(said.pop().strip()) == 64


def test_global_generators_and_threads_are_left_as_found(uneven: Federation) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    for engine in ("sequential", "batched"):
        quick(uneven, "fedavg", "mlp", engine=engine)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == torch.get_num_threads()


def job(**options: Any) -> Job:
    return Job(**({"round": 1, "rounds": 9, "lr": 0.1, "batch_size": 8, "local_epochs": 1, "seed": 0} | options))


def test_a_sites_batches_depend_on_nobody_else(uneven: Federation) -> None:
    """Site 1 alone, in a federation without site 0's rows, and in the whole one: the same batches, the same model."""
    whole, cut = quick(uneven, "isolated"), quick(uneven.select("site 1", "site 2"), "isolated")
    assert torch.allclose(whole.models["site 1"][0]["weight"], cut.models["site 1"][0]["weight"], atol=1e-7)
    assert np.array_equal(row_plan(50, job(), "A"), row_plan(50, job(), "A"))
    assert not np.array_equal(row_plan(50, job(), "A"), row_plan(50, job(), "B"))
    assert not np.array_equal(row_plan(50, job(), "A"), row_plan(50, job(round=2), "A"))


@pytest.mark.parametrize("clock", [3, 7, 20])
def test_the_clocked_stream_sees_every_row_once_an_epoch(clock: int) -> None:
    plans = [row_plan(50, job(round=r, clock=clock), "A") for r in range(1, 30)]
    assert {len(plan) for plan in plans} == {clock}
    steps = np.concatenate(plans)
    for epoch in range(len(steps) // 7):
        rows = steps[7 * epoch : 7 * epoch + 7]
        assert sorted(rows[rows >= 0].tolist()) == list(range(50))


# ---------------------------------------------------------------- light imports


def test_a_run_in_process_loads_neither_flower_nor_ray() -> None:
    code = (
        "import sys, fedlab\n"
        "heavy = lambda: {'flwr', 'ray', 'sklearn', 'plotly', 'ipywidgets', 'scipy.stats'} & set(sys.modules)\n"
        "print(heavy()); fedlab.train(fedlab.load('heart_disease'), rounds=1)\n"
        "print(heavy() & {'flwr', 'ray', 'sklearn'})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["set()", "set()"]


# ---------------------------------------------------------------- choosing the round


def test_the_reported_round_is_the_best_on_valid(uneven: Federation) -> None:
    run = quick(uneven, rounds=12, lr=3.0)
    history = run.history
    weighted = history.groupby("round").apply(
        lambda g: np.average(g["log_loss"], weights=g["patients"]), include_groups=False
    )
    assert set(run.chosen.values()) == {int(weighted.idxmin())}
    events = {e.round: e.weights for e in fedlab.stream(uneven, rounds=12, lr=3.0)}
    assert torch.equal(events[int(weighted.idxmin())]["weight"], run.weights["weight"])


def test_isolated_sites_each_report_their_own_best_round(uneven: Federation) -> None:
    run = quick(uneven, "isolated", rounds=15, lr=3.0)
    best = run.history.sort_values("round").groupby("site")["log_loss"].idxmin()
    assert run.chosen == run.history.loc[best].set_index("site")["round"].to_dict()
    assert len(set(run.chosen.values())) > 1


def test_without_evaluation_the_last_round_is_reported(uneven: Federation) -> None:
    run = quick(uneven, "isolated", evaluate=False)
    assert set(run.chosen.values()) == {3} and set(run.models) == set(uneven.names) and run.history.empty


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_stop_takes_effect_within_one_batch(engine: str, uneven: Federation) -> None:
    steps = []

    class Slow(Algorithm):
        def objective(self, vars, at):
            steps.append(at.step)
            if len(steps) == 25:
                stop.set()
            return at.loss(vars)

    stop = threading.Event()
    events = list(fedlab.stream(uneven, "mlp", Slow(), rounds=1000, batch_size=8, engine=engine, stop=stop))
    assert len(steps) == 25
    assert all(event.run.records for event in events)


def test_stop_from_another_thread_and_close(uneven: Federation) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.perf_counter()
    *_, event = fedlab.stream(uneven, "mlp", rounds=100_000, stop=stop)
    assert time.perf_counter() - started < 30 and 0 < event.round < 100_000
    assert event.run.model()(uneven.sites[0].test.x).shape == (len(uneven.sites[0].test), 1)
    live = fedlab.stream(uneven, "mlp", "isolated", rounds=10)
    run = next(live).run
    live.close()
    assert len(run.records) == 1 and set(run.models) == set(uneven.names)


def test_an_interrupt_returns_the_rounds_so_far(uneven: Federation) -> None:
    class Interrupted(Algorithm):
        def objective(self, vars, at):
            if at.round == 3:
                raise KeyboardInterrupt
            return at.loss(vars)

    run = quick(uneven, Interrupted(), rounds=9)
    assert len(run.records) == 2 and any("interrupted after 2 of 9" in note for note in run.notes)


# ---------------------------------------------------------------- sites that fail


class Poisoned(Algorithm):
    """The loss of the site with 60 training rows is not finite in round 3."""

    def objective(self, vars, at):
        bad = torch.where((at.n == 60) & torch.tensor(at.round == 3), torch.nan, 0.0)
        return at.loss(vars) + bad * sum(v.sum() for k, v in vars.items() if not k.startswith("prepare"))


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_site_whose_loss_is_not_finite_is_left_out_of_that_round(engine: str, uneven: Federation) -> None:
    assert {len(s.train) for s in uneven.sites} >= {60}, "the poison must hit a site"
    run = quick(uneven, Poisoned(), rounds=5, engine=engine)
    assert run.errors.to_dict("list") == {"round": [3], "site": ["site 1"], "error": ["NotFinite"]}
    assert len(run.records) == 5 and all(v.isfinite().all() for v in run.weights.values())
    bad = run.ledger.query("status != 'ok'")
    assert bad[["round", "purpose", "site", "bytes"]].values.tolist() == [[3, "train", "site 1", 0]]


def test_a_failed_site_keeps_its_memory(uneven: Federation) -> None:
    class PoisonedAlone(Poisoned):
        one_model = False
        alone = True

        def shared(self, name):
            return False

    a = quick(uneven, PoisonedAlone(), rounds=5, engine="batched", dtype="float64", evaluate=False)
    b = quick(uneven, PoisonedAlone(), rounds=5, engine="sequential", dtype="float64", evaluate=False)
    assert torch.allclose(a.models["site 1"][0]["weight"], b.models["site 1"][0]["weight"], atol=1e-9)
    assert a.models["site 1"][0]["weight"].isfinite().all()


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_too_few_sites_stop_the_run_and_lose_nothing(engine: str, uneven: Federation) -> None:
    with pytest.raises(TooFewSites, match="2 of 3 sites.*round 3.*site 1 .NotFinite.*Lower min_sites") as caught:
        quick(uneven, Poisoned(), rounds=5, engine=engine, min_sites=3)
    assert len(caught.value.run.records) == 2 and caught.value.run.model() is not None


def test_a_site_that_raises_shows_its_class_not_its_text(uneven: Federation) -> None:
    class Leaky(Algorithm):
        def finish(self, vars, at):
            if float(at.n) == 60 and at.round == 2:
                raise LookupError("patient 4711 is odd")
            return vars, {}, at.memory

    run = quick(uneven, Leaky(), engine="sequential")
    assert run.errors["error"].tolist() == ["LookupError"]
    assert "4711" not in run.ledger.to_string() + run.errors.to_string()


@pytest.mark.parametrize(
    "bad,sentence",
    [
        (lambda v: {"weight": v["weight"][:, :2]}, "'weight' that does not fit"),
        (lambda v: {**v, "extra": v["bias"]}, "'extra' that does not fit"),
        (lambda v: {"weight": v["weight"].double(), "bias": v["bias"]}, "'weight' that does not fit"),
        (lambda v: {"bias": v["bias"]}, "other tensors than most"),
    ],
)
def test_an_upload_of_another_shape_is_an_error_reply(bad: Any, sentence: str, uneven: Federation) -> None:
    class Odd(Algorithm):
        def finish(self, vars, at):
            return (bad(vars) if float(at.n) == 60 else vars), {}, at.memory

    run = quick(uneven, Odd(), engine="sequential", rounds=1)
    assert run.errors["site"].tolist() == ["site 1"] and sentence in run.errors["error"][0]


def test_combine_may_not_change_the_models_shape(uneven: Federation) -> None:
    class Broken(Algorithm):
        def combine(self, params, uploads, extra, weights, state, who):
            return {"weight": uploads["weight"][:, :, :3].mean(0)}, state

    with pytest.raises(ValueError, match=r"combine gave a tensor 'weight' of shape \[1, 3\]"):
        quick(uneven, Broken())


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
    run = quick(hospitals, "fedavg", "mlp")
    x = hospitals["Switzerland"].test.x
    assert x.isnan().any()
    p = torch.sigmoid(run.model()(x))[:, 0]
    frame = pd.DataFrame({"age": [63.0], "sex": [1]})
    want = run.net.probabilities([run.weights], x)[:, 1]
    assert torch.allclose(p.double(), want, atol=1e-6)
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


def test_a_multiclass_run() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = {}
    for name in "AB":
        x = torch.randn(90, 4, generator=generator)
        sites[name] = x, x[:, :3].argmax(1)
    for model in ("logistic", "mlp"):
        for alg in ALGORITHMS:
            run = quick(Federation.from_tensors(sites), alg, model, rounds=8, lr=0.5)
            assert run.history["auc"].iloc[-1] > 0.8
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
    fed = ragged((60, 60), missing=False)
    x = fed.sites[0].rows.x.clone()
    x[:, 2] = float("nan")
    sites = {"lacks one": (x, fed.sites[0].rows.y), "has all": (fed.sites[1].rows.x, fed.sites[1].rows.y)}
    made = Federation.from_tensors(sites, prepared=False)
    for alg in ALGORITHMS:
        run = quick(made, alg, "mlp")
        assert run.report()["value"].notna().all()


# ---------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"lr": -0.1}, "lr is -0.1.*above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"rounds": 0}, "rounds is 0.*at least 1"),
        ({"rounds": 2.5}, "rounds is 2.5.*whole number"),
        ({"local_epochs": 0}, "local_epochs is 0"),
        ({"min_sites": 4}, "min_sites is 4, but the federation has 3"),
        ({"engine": "fast"}, "engine is 'fast'.*auto, sequential, batched, ray"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"seed": -1}, "seed is -1"),
        ({"model": "cnn"}, "no model 'cnn'.*logistic, mlp"),
        ({"model": lambda i, o: nn.Linear(i, 3)}, r"shape \(2, 3\).*needs \[2, 1\].*last layer"),
        ({"model": lambda i, o: nn.Linear(5, 1)}, "cannot take rows of shape.*two columns a feature"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(options: dict[str, Any], sentence: str, uneven: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        quick(uneven, **options)


def test_wrong_types_are_refused(uneven: Federation) -> None:
    with pytest.raises(TypeError, match="no setting 'epochs'; known are rounds, local_epochs"):
        quick(uneven, epochs=3)
    with pytest.raises(TypeError, match="federation is a DataFrame: load one"):
        fedlab.train(pd.DataFrame(), rounds=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="could not be called as factory"):
        quick(uneven, model=lambda: nn.Linear(1, 1))


def test_a_ready_module_is_the_start_of_every_seed(uneven: Federation) -> None:
    module = nn.Linear(10, 1)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    first = next(iter(fedlab.stream(uneven, module, rounds=1, lr=1e-12))).weights
    assert torch.allclose(first["weight"], before["weight"], atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
