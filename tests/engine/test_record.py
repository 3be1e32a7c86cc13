"""A run's folder: the same run to the bit, and what a record cannot hold is asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from fedlab.algorithms import ALGORITHMS, Algorithm, FedAvg, FedProx
from fedlab.engine import Adam, Run
from fedlab.engine.record import RecordDiffers
from fedlab.federation import Federation
from tests.conftest import ragged
from tests.engine.records import content, quick

FILES = ("run.json", "history.jsonl", "weights.safetensors")


# ---------------------------------------------------------------- the same to the bit


@pytest.mark.parametrize("name", ["fedavg", "fedbn", "isolated", "ensemble", "ifca", "ditto", "fedadam", "centralized"])
def test_what_is_loaded_is_what_was_saved(hospitals: Federation, tmp_path: Path, name: str) -> None:
    run = quick(hospitals, name, "mlp_norm")
    opened, some = run.report(resamples=5), next(iter(run.models), None)
    again = Run.load(run.save(tmp_path / "run"), hospitals)
    pd.testing.assert_frame_equal(again.history, run.history, check_exact=True)
    pd.testing.assert_frame_equal(again.ledger, run.ledger)
    pd.testing.assert_frame_equal(again.errors, run.errors)
    assert (again.chosen, again.notes, again.steps_per_round, again.examples_seen) == (
        run.chosen, run.notes, run.steps_per_round, run.examples_seen,
    )  # fmt: skip
    assert (again.algorithm, again.settings, repr(again)) == (run.algorithm, run.settings, repr(run))
    assert again.test_openings == 1
    pd.testing.assert_frame_equal(again.report(resamples=5), opened, check_exact=True)  # a stored report stays stored
    assert again.test_openings == 1
    pd.testing.assert_frame_equal(again.report(), run.report(), check_exact=True)  # and one that is computed now
    assert again.test_openings == 2
    x = hospitals["Hungary"].rows.x
    whose = None if run.algorithm.one_model else some
    assert torch.equal(again.model(whose)(x), run.model(whose)(x))


def test_it_predicts_the_same_for_a_table(hospitals: Federation, tmp_path: Path) -> None:
    run = quick(hospitals)
    frame = pd.DataFrame({f.name: [next(iter(f.codes)) if f.codes else 50.0] for f in hospitals.features})
    again = Run.load(run.save(tmp_path / "run"), hospitals)
    pd.testing.assert_frame_equal(again.predict_proba(frame), run.predict_proba(frame), check_exact=True)


def test_a_newcomers_scores_stay_stored(hospitals: Federation, tmp_path: Path) -> None:
    others, late = hospitals.holdout("Long Beach")
    run = quick(others, "ditto", "mlp")
    scores = run.newcomer(late, rounds=1)
    again = Run.load(run.save(tmp_path / "run"), others)
    pd.testing.assert_frame_equal(again.newcomer(late, rounds=1), scores, check_exact=True)
    assert again.test_openings == 1
    again._reports.clear()
    pd.testing.assert_frame_equal(again.newcomer(late, rounds=1), scores, check_exact=True)


def test_errors_come_back_and_an_empty_history(tmp_path: Path) -> None:
    fed = ragged((30, 40))
    run = quick(fed, evaluate=False)
    run.records[0].errors["site 0"] = "RuntimeError"
    again = Run.load(run.save(tmp_path / "run"), fed)
    assert again.errors.to_numpy().tolist() == [[1, "site 0", "RuntimeError"]]
    assert again.history.equals(run.history) and again.history.empty


def test_settings_and_fields_come_back(uneven: Federation, tmp_path: Path) -> None:
    run = quick(uneven, FedProx(mu=0.3), optimizer=Adam(beta1=0.5), schedule="cosine", clip=1.5, dtype="float64")
    again = Run.load(run.save(tmp_path / "run"), uneven)
    assert again.algorithm == FedProx(mu=0.3) and again.settings == run.settings
    assert {k: v.dtype for k, v in again.weights.items()} == {k: v.dtype for k, v in run.weights.items()}


def test_without_a_federation_the_recipe_is_loaded_again(hospitals: Federation, tmp_path: Path) -> None:
    some = hospitals.select("Hungary", "Cleveland").resplit(3)
    run = quick(some, seed=3)
    again = Run.load(run.save(tmp_path / "run"))
    assert again.federation.fingerprint == some.fingerprint
    pd.testing.assert_frame_equal(again.report(), run.report(), check_exact=True)


def test_data_of_ones_own_must_be_given(saved: tuple[Run, Path]) -> None:
    with pytest.raises(ValueError, match="holds no patients: give the federation"):
        Run.load(saved[1])


def test_the_folder_holds_no_patient_and_no_pickle(saved: tuple[Run, Path]) -> None:
    run, folder = saved
    assert sorted(content(folder)) == sorted(FILES)
    numbers = {value for row in run.federation.sites[0].rows.x.tolist() for value in row if value == value}
    text = (folder / "run.json").read_text() + (folder / "history.jsonl").read_text()
    assert not [value for value in numbers if repr(value) in text]


# ---------------------------------------------------------------- what has no words


@dataclass(frozen=True, kw_only=True)
class Mine(FedAvg):
    """An algorithm that no name leads to."""

    much: float = 0.5


def test_an_algorithm_of_ones_own_is_asked_for(
    uneven: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quick(uneven, Mine(much=0.25)).save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"Mine\(.*much=0.25.*not known here: give algorithm="):
        Run.load(folder, uneven)
    assert Run.load(folder, uneven, algorithm=Mine()).algorithm == Mine(much=0.25)
    with pytest.raises(ValueError, match="give one of the class Mine"):
        Run.load(folder, uneven, algorithm="fedavg")
    monkeypatch.setitem(ALGORITHMS, "mine", Mine)
    registered = quick(uneven, Mine(much=0.125)).save(tmp_path / "registered")
    assert Run.load(registered, uneven).algorithm == Mine(much=0.125)


def test_a_field_that_has_no_words_is_asked_for(uneven: Federation, tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Holds(Algorithm):
        what: Any = None

    folder = quick(uneven, Holds(what=print)).save(tmp_path / "run")
    with pytest.raises(ValueError, match="fields that a record cannot hold: give algorithm="):
        Run.load(folder, uneven)
    assert Run.load(folder, uneven, algorithm=Holds(what=print)).algorithm == Holds(what=print)


def halving(round: int, rounds: int) -> float:
    return 0.5**round


def test_a_schedule_of_ones_own_is_asked_for(uneven: Federation, tmp_path: Path) -> None:
    folder = quick(uneven, schedule=halving).save(tmp_path / "run")
    with pytest.raises(ValueError, match="setting schedule was .*halving.*: give schedule="):
        Run.load(folder, uneven)
    assert Run.load(folder, uneven, schedule=halving).settings.schedule is halving
    with pytest.raises(ValueError, match="rounds is in the record"):
        Run.load(folder, uneven, schedule=halving, rounds=3)


def narrow(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 3), nn.Tanh(), nn.Linear(3, outputs))


def test_a_model_of_ones_own_is_asked_for_and_checked(uneven: Federation, tmp_path: Path) -> None:
    run = quick(uneven, model=narrow)
    folder = run.save(tmp_path / "run")
    with pytest.raises(ValueError, match="model was 'narrow', one of your own: give model="):
        Run.load(folder, uneven)
    again = Run.load(folder, uneven, model=narrow)
    x = uneven.sites[0].rows.x
    assert torch.equal(again.model()(x), run.model()(x)) and again.model_name == "narrow"
    with pytest.raises(ValueError, match=r"other tensors: 0.weight \[3, 10\] in the record, none here"):
        Run.load(folder, uneven, model="logistic")
    with pytest.warns(RecordDiffers, match="layers .*Tanh.*here .*ReLU"):
        Run.load(folder, uneven, model=lambda i, o: nn.Sequential(nn.Linear(i, 3), nn.ReLU(), nn.Linear(3, o)))


def test_frozen_layers_come_back_though_the_start_differs(uneven: Federation, tmp_path: Path) -> None:
    def frozen() -> nn.Module:
        made = narrow(10, 1)
        made[0].requires_grad_(False)
        return made

    run = quick(uneven, model=frozen())
    folder = run.save(tmp_path / "run")
    with pytest.warns(RecordDiffers, match="model's start"):
        again = Run.load(folder, uneven, model=frozen())
    x = uneven.sites[0].rows.x
    assert torch.equal(again.model()(x), run.model()(x))


# ---------------------------------------------------------------- other data, other versions


def test_other_data_warn_with_both_fingerprints(saved: tuple[Run, Path], uneven: Federation) -> None:
    run, folder = saved
    other = uneven.resplit(9)
    with pytest.warns(RecordDiffers) as told:
        again = Run.load(folder, other)
    said = str(told[0].message)
    assert uneven.fingerprint[:12] in said and other.fingerprint[:12] in said and "a run" in said
    assert again.history.equals(run.history)
    assert told[0].filename == __file__


def test_other_versions_warn_with_both(saved: tuple[Run, Path], uneven: Federation, monkeypatch: Any) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    then = json.loads((saved[1] / "run.json").read_text())["versions"]
    assert set(then) == {"python", "torch", "numpy", "fedlab"}
    with pytest.warns(RecordDiffers, match=rf"python \(then {then['python']}, here 3.99.0\)"):
        Run.load(saved[1], uneven)


def test_other_columns_are_refused(saved: tuple[Run, Path]) -> None:
    wide = Federation.from_tensors(
        {s.name: (s.rows.x[:, :4], s.rows.y) for s in saved[0].federation.sites}, prepared=False
    )
    with pytest.raises(ValueError, match="a federation with the same columns"):
        Run.load(saved[1], wide)
