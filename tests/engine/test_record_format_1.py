"""Records as fedlab wrote them before a history grew line by line: `format_1/` has a run and a study of that time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import fedlab
from fedlab.federation import Federation
from tests.conftest import ragged

OLD = Path(__file__).with_name("format_1")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of other versions and code, which there will be


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


@pytest.fixture
def fed() -> Federation:
    return ragged((20, 24, 30))


def test_an_old_run_is_what_it_was(old: Path, fed: Federation) -> None:
    run = fedlab.Run.load(old / "run", fed)
    said = json.loads((old / "run" / "history.json").read_text("utf-8"))
    assert run.algorithm.name == "scaffold" and run.history["round"].max() == 3 and len(run.ledger) > 20
    assert len(said) and run.chosen and run.model("site 1")(torch.zeros(2, 5)).shape == (2, 1)
    assert run.report().query("metric == 'accuracy'").value.notna().any()


def test_an_old_run_is_resumed_and_has_the_numbers_of_a_new_one(old: Path, fed: Federation) -> None:
    run = fedlab.Run.resume(old / "run", fed, progress=False)
    new = fedlab.train(fed, "logistic", "scaffold", rounds=3, progress=False)
    for name, tensor in new.weights.items():  # another processor may have other last bits
        assert torch.allclose(run.weights[name], tensor, rtol=1e-4, atol=1e-6)


def test_an_old_study_is_what_it_was(old: Path, fed: Federation) -> None:
    study = fedlab.Study.load(old / "study", fed)
    assert study.arms == ("isolated", "fedavg") and [len(runs) for runs in study.runs.values()] == [2, 2]
    assert len(study.table())


def test_readers_leave_an_old_record_as_it_is(old: Path, fed: Federation) -> None:
    def content() -> dict[str, bytes]:
        return {str(path.relative_to(old)): path.read_bytes() for path in sorted(old.rglob("*")) if path.is_file()}

    before = content()
    fedlab.Run.load(old / "run", fed)
    fedlab.Study.load(old / "study", fed)
    assert content() == before
