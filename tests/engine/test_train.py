"""Runs: determinism, choosing the round, and settings that make no sense."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
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
from fedlab.federation import Federation


def quick(fed: Federation, alg: str | Algorithm = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 3, "progress": False} | options))


# ---------------------------------------------------------------- same seed, same bits


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_bits(name: str, short: Federation) -> None:
    a, b = quick(short, name, "mlp_norm"), quick(short, name, "mlp_norm")
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    c = quick(short, name, "mlp_norm", seed=1)
    one, same, other = (run.history["log_loss"] for run in (a, b, c))
    assert one.equals(same) and not one.equals(other)  # nan where a site has too few valid patients to tell


def test_the_same_bits_in_another_process(hospitals: Federation) -> None:
    """With another order of sets and another number of torch's threads."""
    code = (
        "import fedlab; r = fedlab.train(fedlab.load('heart_disease'), 'mlp', 'scaffold', rounds=3, progress=False);"
        "print(b''.join(v.numpy().tobytes() for v in r.weights.values()).hex())"
    )
    other = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2"}
    there = subprocess.run([sys.executable, "-c", code], env=other, capture_output=True, text=True, check=True).stdout
    here = fedlab.train(hospitals, "mlp", "scaffold", rounds=3, progress=False)
    assert there.strip() == b"".join(v.numpy().tobytes() for v in here.weights.values()).hex()


def test_global_generators_and_threads_are_left_as_found(uneven: Federation, two_threads: None) -> None:
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
    whole, cut = (quick(fed, "isolated", dtype="float64") for fed in (uneven, uneven.select("site 1", "site 2")))
    assert torch.allclose(whole.models["site 1"][0]["weight"], cut.models["site 1"][0]["weight"], atol=1e-12)
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
        ({"engine": "fast"}, "engine is 'fast'.*auto, batched, threads, sequential, ray"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"seed": -1}, "seed is -1"),
        ({"model": "cnn"}, "no model 'cnn'.*logistic, linear, mlp"),
        ({"model": lambda i, o: nn.Linear(i, 3)}, r"shape \(2, 3\).*needs \[2, 1\].*last layer"),
        ({"model": lambda i, o: nn.Linear(5, 1)}, "cannot take rows of shape.*two columns a feature"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(options: dict[str, Any], sentence: str, uneven: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        quick(uneven, **options)


def test_wrong_types_are_refused(uneven: Federation) -> None:
    for ask in (fedlab.train, partial(fedlab.compare, algorithms=["fedavg"])):
        with pytest.raises(
            TypeError, match=r"away is no setting, but asked in a plan: fedlab.engine.carry_out\(Plan.of"
        ):
            ask(uneven, "logistic", away={"site 0": [(1, 1)]})
        with pytest.raises(TypeError, match="no setting 'warp'; known are rounds, local_epochs"):
            ask(uneven, "logistic", warp=9)
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
