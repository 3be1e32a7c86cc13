"""A run that is killed goes on to the bits of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import fedlab
from fedlab.algorithms import ALGORITHMS, FedAvg
from fedlab.engine import Adam, Run
from fedlab.federation import Federation
from tests.conftest import ragged

ROUNDS = 5
SOME = ("fedavg", "scaffold", "fedadam", "ditto", "fedbn", "isolated", "centralized")


class Killed(BaseException):
    """Stands for a kill: nothing in fedlab catches it."""


def killed_after(
    number: int, folder: Path, fed: Federation, model: Any, alg: Any, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    """Train, and strike once so many rounds are kept."""
    import fedlab.engine.record as record

    real = record.save

    def save(run: Run, *args: Any, **kwargs: Any) -> Path:
        path = real(run, *args, **kwargs)
        if len(run.records) == number:
            raise Killed
        return path

    with monkeypatch.context() as patch:
        patch.setattr(record, "save", save)
        with pytest.raises(Killed):
            fedlab.train(fed, model, alg, save=folder, **({"rounds": ROUNDS, "progress": False} | options))


def same(a: Run, b: Run) -> None:
    pd.testing.assert_frame_equal(
        a.history.drop(columns="seconds"), b.history.drop(columns="seconds"), check_exact=True
    )
    trained = [run.ledger.query("purpose != 'report'").reset_index(drop=True) for run in (a, b)]
    pd.testing.assert_frame_equal(*trained)
    assert (a.chosen, a.notes, a.examples_seen, a.steps_per_round) == (
        b.chosen, b.notes, b.examples_seen, b.steps_per_round,
    )  # fmt: skip
    assert list(a.weights) == list(b.weights) and all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    assert list(a.models) == list(b.models)
    for site, models in a.models.items():
        for one, other in zip(models, b.models[site], strict=True):
            assert all(torch.equal(one[k], other[k]) for k in {**one, **other})
    pd.testing.assert_frame_equal(a.report(), b.report(), check_exact=True)


def check(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    alg: Any,
    model: Any = "mlp_norm",
    *,
    kills: tuple[int, ...] = (1, 3),
    **options: Any,
) -> None:
    fed = ragged((37, 60, 90))
    straight = fedlab.train(fed, model, alg, **({"rounds": ROUNDS, "progress": False} | options))
    for number in kills:
        at = folder / str(number)
        killed_after(number, at, fed, model, alg, monkeypatch, **options)
        assert len(Run.load(at, fed, **({} if isinstance(model, str) else {"model": model})).records) == number
        again = Run.resume(at, fed, progress=False, **({} if isinstance(model, str) else {"model": model}))
        same(again, straight)
        assert again.history["seconds"].is_monotonic_increasing


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("name", SOME)
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, engine: str
) -> None:
    check(monkeypatch, tmp_path, name, engine=engine)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("bulyan", "krum", "multikrum")])
def test_every_algorithm_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """After the second round, when all that is remembered has moved."""
    check(monkeypatch, tmp_path, name, rounds=3, kills=(2,))


@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 0.5, "rounds": 6},
        {"optimizer": Adam(), "schedule": "cosine", "stragglers": 0.5},
        {"evaluate": False},
        {"patience": 1, "lr": 3.0},
        {"choose": "hospitals"},
        {"dtype": "float64", "optimizer": fedlab.SGD(momentum=0.9)},
    ],
    ids=str,
)
def test_settings_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    if "patience" in options:  # it rests after round 1 + 1 or later
        fed = ragged((37, 60, 90))
        straight = fedlab.train(fed, "mlp", "ditto", rounds=ROUNDS, progress=False, **options)
        last = len(straight.records)
        assert last < ROUNDS
        killed_after(last, tmp_path / "run", fed, "mlp", "ditto", monkeypatch, **options)
        same(Run.resume(tmp_path / "run", fed, progress=False), straight)
        same(Run.resume(tmp_path / "run", fed, progress=False), straight)  # finished by now
        return
    check(monkeypatch, tmp_path, "ditto", "mlp", **options)


def dropping(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, outputs))


def test_a_model_that_draws_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, tmp_path, "scaffold", dropping)


def test_a_process_that_is_killed_loses_one_round_at_most(tmp_path: Path, hospitals: Federation) -> None:
    code = f"""
import os, fedlab, fedlab.engine.rounds as rounds
real = rounds.Loop._combine
def dying(loop, answers, job):
    if job.round == 4:
        os._exit(9)
    return real(loop, answers, job)
rounds.Loop._combine = dying
options = dict(rounds={ROUNDS}, progress=False, save={str(tmp_path / "r")!r})
fedlab.train(fedlab.load("heart_disease"), "mlp", "ditto", **options)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    stopped = Run.load(tmp_path / "r", hospitals)
    assert len(stopped.records) == 3 and list(stopped.report()["train"].unique()) == sorted(
        hospitals.names, key=hospitals.names.index
    )
    again = Run.resume(tmp_path / "r", progress=False)
    same(again, fedlab.train(hospitals, "mlp", "ditto", rounds=ROUNDS, progress=False))
    same(Run.load(tmp_path / "r", hospitals), again)


def test_a_stopped_personal_run_has_its_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = ragged((37, 60, 90))
    short = fedlab.train(fed, "mlp", "ditto", rounds=2, progress=False)
    killed_after(2, tmp_path / "run", fed, "mlp", "ditto", monkeypatch)
    stopped = Run.load(tmp_path / "run", fed)
    for site in fed.names:
        x = fed[site].rows.x
        assert torch.equal(stopped.model(site)(x), short.model(site)(x))


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uneven: Federation) -> None:
    import fedlab.engine.rounds as rounds

    real = rounds.Loop._combine

    def interrupted(loop: Any, answers: Any, job: Any) -> Any:
        if job.round == 3:
            raise KeyboardInterrupt
        return real(loop, answers, job)

    with monkeypatch.context() as patch:
        patch.setattr(rounds.Loop, "_combine", interrupted)
        part = fedlab.train(uneven, "mlp", "scaffold", rounds=ROUNDS, progress=False, save=tmp_path / "run")
    assert len(part.records) == 2
    same(
        Run.resume(tmp_path / "run", uneven, progress=False),
        fedlab.train(uneven, "mlp", "scaffold", rounds=ROUNDS, progress=False),
    )


# ---------------------------------------------------------------- what is refused


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uneven: Federation) -> None:
    killed_after(1, tmp_path / "run", uneven, "mlp", "fedavg", monkeypatch)
    with pytest.raises(ValueError, match="cannot go on with other: the data or their split"):
        Run.resume(tmp_path / "run", uneven.resplit(3))
    with pytest.raises(ValueError, match="goes on with the one that it had"):
        Run.resume(tmp_path / "run", uneven, engine="ray")


def test_what_was_saved_by_hand_in_the_middle_has_nothing_to_go_on_from(tmp_path: Path, uneven: Federation) -> None:
    for event in fedlab.stream(uneven, rounds=3):
        if event.round == 2:
            event.run.save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"saved by run.save.*Run.load reads it"):
        Run.resume(tmp_path / "run", uneven)


@dataclass(frozen=True, kw_only=True)
class Secretive(FedAvg):
    """Its server holds an object that has no words."""

    def begin(self, params: Any, sites: int, rng: torch.Generator) -> Any:
        return {"held": iter(())}


def test_a_server_that_holds_an_object_is_kept_and_cannot_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uneven: Federation
) -> None:
    killed_after(2, tmp_path / "run", uneven, "mlp", Secretive(), monkeypatch)
    assert len(Run.load(tmp_path / "run", uneven, algorithm=Secretive()).records) == 2
    with pytest.raises(ValueError, match=r"cannot go on: loop/state/held is a tuple_iterator"):
        Run.resume(tmp_path / "run", uneven, algorithm=Secretive())


def test_a_kept_run_is_not_trained_over(tmp_path: Path, uneven: Federation) -> None:
    fedlab.train(uneven, rounds=1, progress=False, save=tmp_path / "run")
    with pytest.raises(ValueError, match=r"keeps a run already: go on with Run.resume"):
        fedlab.train(uneven, rounds=1, progress=False, save=tmp_path / "run")


def test_a_full_disk_stops_the_run_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uneven: Federation
) -> None:
    real, calls = os.fsync, [0]

    def filling(handle: int) -> None:
        calls[0] += 1
        if calls[0] > 12:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        with pytest.raises(OSError, match=r"run \(No space left"):
            fedlab.train(uneven, rounds=ROUNDS, progress=False, save=tmp_path / "run")
    assert 1 <= len(Run.load(tmp_path / "run", uneven).records) < ROUNDS
    same(Run.resume(tmp_path / "run", uneven, progress=False), fedlab.train(uneven, rounds=ROUNDS, progress=False))
