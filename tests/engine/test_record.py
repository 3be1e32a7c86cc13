"""A run's folder: the same run to the bit, written whole or not at all, refused where it is not what was written."""

from __future__ import annotations

import errno
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, FedAvg, FedProx
from fedlab.engine import Adam, Run
from fedlab.engine.folder import DamagedRecord
from fedlab.engine.plain import decode, encode
from fedlab.engine.record import RecordDiffers
from fedlab.engine.tensorfile import from_bytes, to_bytes
from fedlab.federation import Federation
from tests.conftest import ragged

FILES = ("run.json", "history.json", "weights.safetensors")


def quick(fed: Federation, alg: Any = "fedavg", model: Any = "logistic", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 2, "progress": False} | options))


@pytest.fixture
def saved(uneven: Federation, tmp_path: Path) -> tuple[Run, Path]:
    run = quick(uneven)
    return run, run.save(tmp_path / "a run")


@pytest.fixture(autouse=True)
def no_unasked_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordDiffers)
        yield


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    text = (folder / "run.json").read_text() + (folder / "history.json").read_text()
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


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["changed", "cut", "missing", "empty"])
def test_damage_is_refused_by_name(saved: tuple[Run, Path], uneven: Federation, name: str, what: str) -> None:
    path = saved[1] / name
    raw = path.read_bytes()
    if what == "missing":
        path.unlink()
    elif what == "changed":  # a digit for a digit, so that it stays readable
        at = next(i for i in range(len(raw) - 9, 0, -1) if raw[i : i + 1].isdigit() or name.endswith("tensors"))
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    else:
        path.write_bytes(raw[: len(raw) // 2 if what == "cut" else 0])
    with pytest.raises(DamagedRecord, match=rf"{name}.*[Tt]ake a copy that is whole, or make it again"):
        Run.load(saved[1], uneven)


def test_a_number_changed_by_hand_is_found(saved: tuple[Run, Path], uneven: Federation) -> None:
    path = saved[1] / "run.json"
    body = json.loads(path.read_text())
    body["test_openings"] = 5
    path.write_text(json.dumps(body))
    with pytest.raises(DamagedRecord, match="changed after it was written"):
        Run.load(saved[1], uneven)
    path.write_text('["run"]')
    with pytest.raises(DamagedRecord, match="does not say its format"):
        Run.load(saved[1], uneven)


def test_a_newer_format_is_refused_by_name(saved: tuple[Run, Path], uneven: Federation) -> None:
    path = saved[1] / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99, "versions": {"fedlab": "9.1"}}))
    with pytest.raises(ValueError, match=r"format 99.*reads up to 1.*newer fedlab \(9.1\), install that"):
        Run.load(saved[1], uneven)


def test_no_record_is_said_to_be_none(uneven: Federation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no record"):
        Run.load(tmp_path / "nothing", uneven)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(DamagedRecord, match="run.json is missing; it has a study.json, another kind"):
        Run.load(tmp_path / "study", uneven)


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("call", range(8))
def test_a_full_disk_leaves_the_old_record(
    saved: tuple[Run, Path], uneven: Federation, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Every flush and every renaming fails once, in turn."""
    run, folder = saved
    before, other, calls = content(folder), quick(uneven, rounds=3), [0]

    def failing(real: Any) -> Any:
        def f(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == call + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return f

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        patch.setattr(os, "rename", failing(os.rename))
        try:
            other.save(folder)
            ended = True
        except OSError as error:
            assert str(folder) in str(error) and "No space left" in str(error) and "stands" in str(error)
            ended = False
    assert ended == (call > 5)  # three files, their folder, two renamings
    if ended:
        assert len(Run.load(folder, uneven).records) == 3
    else:
        assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_kill_between_the_renamings_loses_nothing(saved: tuple[Run, Path], uneven: Federation) -> None:
    folder = saved[1]
    folder.rename(folder.with_name(f".{folder.name}.old"))  # as a kill there leaves it
    assert len(Run.load(folder, uneven).records) == 2


def test_a_kill_while_writing_leaves_the_old_record(
    saved: tuple[Run, Path], uneven: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(saved[1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quick(uneven, rounds=3).save(saved[1])
    assert content(saved[1]) == before


def test_what_is_somebody_elses_is_not_replaced(saved: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = saved
    (folder / "my notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"my notes.txt.*choose another folder"):
        run.save(folder)
    assert (folder / "my notes.txt").read_text() == "keep me"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file: a record is a folder"):
        run.save(tmp_path / "file")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(ValueError, match=r"something else than a run.json"):
        run.save(tmp_path / "study")
    (tmp_path / "empty").mkdir()
    assert run.save(tmp_path / "empty").is_dir()


def test_saving_again_replaces(saved: tuple[Run, Path], uneven: Federation) -> None:
    run, folder = saved
    run.report()
    run.save(folder)
    assert Run.load(folder, uneven).test_openings == 1


def test_a_run_of_no_rounds_is_not_saved(uneven: Federation, tmp_path: Path) -> None:
    run = quick(uneven)
    run.records.clear()
    with pytest.raises(ValueError, match="no round has finished"):
        run.save(tmp_path / "run")


# ---------------------------------------------------------------- the files' formats


@pytest.mark.parametrize("raw", [b"", b"\xff" * 8, b"\x64" + b"\0" * 7 + b"{}", to_bytes({"w": torch.ones(2)})[:-1]])
def test_what_is_no_safetensors_file_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        from_bytes(raw)


def test_tensors_that_share_memory_and_views_are_written() -> None:
    w = torch.arange(6.0).reshape(2, 3)
    got = from_bytes(to_bytes({"w": w, "same": w, "turned": w.T, "row": w[1].expand(2, 3)}))
    assert torch.equal(got["turned"], w.T) and torch.equal(got["same"], w) and got["row"].shape == (2, 3)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    )
)
def test_tensors_come_back_to_the_bit(wanted: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    generator = torch.Generator().manual_seed(0)
    given = {name: (torch.randn(shape, generator=generator) * 9).to(dtype) for name, (dtype, shape) in wanted.items()}
    got = from_bytes(to_bytes(given))
    assert list(got) == sorted(given)
    for name, tensor in given.items():
        assert got[name].dtype == tensor.dtype and torch.equal(got[name], tensor)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner)
    | st.dictionaries(st.integers() | st.tuples(st.text(max_size=2)), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(PLAIN)
def test_plain_values_come_back(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value, {}), allow_nan=False)), {}) == value


def test_tables_come_back_with_their_dtypes_index_and_gaps() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [0.1, float("nan")], "c": ["x", None], "d": [True, False], "e": [None, (1, 2)]}, index=[7, 3]
    )
    got = decode(json.loads(json.dumps(encode(frame, {}), allow_nan=False)), {})
    pd.testing.assert_frame_equal(got, frame, check_exact=True)
    assert decode(encode(pd.DataFrame(), {}), {}).equals(pd.DataFrame())


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(TypeError, match="a/1 is a builtin_function_or_method, which a record cannot hold"):
        encode({"a": [1, print]}, {})
