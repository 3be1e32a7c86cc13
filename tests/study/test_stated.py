"""What a comparison is judged by is named beforehand, refused before training, and kept."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab.federation import Federation
from fedlab.study import Study, compare
from tests.study.told import SITES, federation

TWO: dict[str, Any] = dict(algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False)


def one_class() -> Federation:
    x = torch.arange(80.0).reshape(40, 2)
    return Federation.from_tensors({name: (x, torch.full((40,), k % 2)) for k, name in enumerate(SITES)})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"primary": "f1"}, "'f1', which is no metric; there are auc, accuracy"),
        ({"primary": "ece"}, "'ece', which is shown and never judged.*'log_loss' or 'brier'"),
        ({"smallest": 0}, "smallest is 0: .*matters, above 0"),
        ({"smallest": -0.1}, "smallest is -0.1"),
        ({"smallest": math.nan}, "smallest is nan"),
        ({"smallest": math.inf}, "smallest is inf"),
        ({"smallest": True}, "smallest is True"),
        ({"smallest": "0.02"}, "smallest is '0.02'"),
        ({"primary": "auc", "smallest": 1.0}, "auc lies between 0 and 1"),
        ({"primary": "brier", "smallest": 2}, "brier lies between 0 and 2"),
    ],
)
def test_what_nothing_can_be_judged_by_is_refused_before_training(
    hospitals: Federation, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(sys.modules["fedlab.study.compare"], "begin", lambda *_: pytest.fail("it began"))
    with pytest.raises(ValueError, match=says):
        compare(hospitals, **TWO, **options)


def test_a_metric_that_no_hospital_can_have_names_the_hospitals() -> None:
    with pytest.raises(ValueError, match="'auc', which no hospital can have: A, B and C lack test patients of a class"):
        compare(one_class(), primary="auc", **TWO)
    assert compare(one_class(), **TWO).primary == "log_loss"
    some = compare(federation(one_class="C"), primary="auc", **TWO)
    assert "Left out of the mean AUC over hospitals: C" in some.verdict()


def test_a_metric_of_two_classes_is_refused_where_there_are_three() -> None:
    x, y = torch.randn(60, 2), torch.arange(60) % 3
    three = Federation.from_tensors({"A": (x, y), "B": (x, y)})
    with pytest.raises(ValueError, match="'sensitivity_at_specificity_90', which needs a task of two classes.* has 3"):
        compare(three, "mlp", primary="sensitivity_at_specificity_90", **TWO)


def test_it_is_kept_and_read_again(hospitals: Federation, tmp_path: Path) -> None:
    options = TWO | {"primary": "auc", "smallest": 0.05}
    study = compare(hospitals, save=tmp_path / "kept", **options)
    assert (study.primary, study.smallest) == ("auc", 0.05) == tuple(study.asked["stated"].values())
    again = Study.load(tmp_path / "kept", hospitals)
    assert (again.primary, again.smallest) == ("auc", 0.05) and again.verdict() == study.verdict()
    saved = Study.load(study.save(tmp_path / "saved"), hospitals)
    assert (saved.primary, saved.smallest) == ("auc", 0.05)
    assert compare(hospitals, save=tmp_path / "kept", **options).primary == "auc"


def test_another_metric_on_the_same_folder_is_another_comparison(hospitals: Federation, tmp_path: Path) -> None:
    compare(hospitals, save=tmp_path, **TWO)
    with pytest.raises(ValueError, match="primary .log_loss there, auc asked.: it is named once, before anything"):
        compare(hospitals, save=tmp_path, primary="auc", **TWO)
    with pytest.raises(ValueError, match="smallest .None there, 0.02 asked"):
        compare(hospitals, save=tmp_path, smallest=0.02, **TWO)


def test_without_a_word_it_is_log_loss(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, **TWO)
    assert (study.primary, study.smallest) == ("log_loss", None)
    assert study.pairs().equals(study.pairs(metric="log_loss"))
