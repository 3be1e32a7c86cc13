"""The last look: once, on patients whom nothing has met, with intervals over patients, entered wherever it is kept."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

import fedlab
from fedlab.engine import openings
from fedlab.federation import IID, AcquisitionShift, Federation, LabelShift, Shifts
from fedlab.federation.reserved import MEANS
from fedlab.metrics.delong import delong
from fedlab.study import Study
from fedlab.study.final import Reopened
from fedlab.study.over_patients import Share, auc_difference, mean_auc_interval, placements

ARMS = ["isolated", "fedavg"]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def locked(hospitals: Federation) -> Federation:
    return hospitals.lock(0.3, seed=0)


def ask(fed: Federation, *, seeds: int = 2, save: Path | None = None, arms: list[str] | None = None) -> Study:
    return fedlab.compare(fed, "logistic", arms or ARMS, seeds=seeds, rounds=2, progress=False, save=save)


def test_the_table_is_what_scikit_learn_says_of_the_locked_patients(locked: Federation) -> None:
    study = ask(locked)
    table = study.final().set_index(["arm", "where", "metric"])
    site = locked["Cleveland"].locked
    assert site is not None
    y = site.y.numpy()
    said = [run.model()(site.x).reshape(-1).sigmoid().double().detach().numpy() for run in study.runs["fedavg"]]
    row = table.loc[("fedavg", "Cleveland", "auc")]
    assert row["value"] == pytest.approx(np.mean([roc_auc_score(y, p) for p in said]))
    got = table.loc[("fedavg", "Cleveland", "log_loss"), "value"]
    assert got == pytest.approx(np.mean([log_loss(y, p) for p in said]), rel=1e-5)
    assert row["patients"] == len(y) and row["fewest"] == min(np.bincount(y)) and row["seeds"] == 2
    homes = [table.loc[("isolated", name, "brier"), "value"] for name in locked.names]
    assert table.loc[("isolated", "home", "brier"), "value"] == pytest.approx(np.mean(homes))
    assert {*MEANS, *locked.names} == {where for _, where, _ in table.index}
    assert (table["openings"] == 1).all()
    known = table.dropna(subset=["low"])
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all() and len(known) > 20
    assert (table.loc[table["low"].isna(), "reason"] != "").all(), "what is nan says why"
    apart = table.loc[("fedavg", "home", "log_loss")]
    assert apart["difference"] == pytest.approx(apart["value"] - table.loc[("isolated", "home", "log_loss"), "value"])
    assert apart["difference_low"] < apart["difference"] < apart["difference_high"]


def test_one_model_has_the_interval_of_its_mean_loss_and_delongs_of_two(locked: Federation) -> None:
    study = ask(locked.select("Cleveland", "Hungary"), seeds=1, arms=["isolated", "fedavg"])
    table = study.final().set_index(["arm", "where", "metric"])
    site = locked["Cleveland"].locked
    assert site is not None
    y = site.y.numpy()
    runs = [study.runs[arm][0].model("Cleveland" if arm == "isolated" else None) for arm in ("fedavg", "isolated")]
    said = [model(site.x).reshape(-1).sigmoid().double().detach().numpy() for model in runs]
    each = -np.log(np.where(y == 1, said[0], 1 - said[0]))
    half = 1.96 * each.std(ddof=1) / np.sqrt(len(y))
    row = table.loc[("fedavg", "Cleveland", "log_loss")]
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.15)
    row, independent = table.loc[("fedavg", "Cleveland", "auc")], delong(y, *said)
    assert row["difference"] == pytest.approx(independent.difference)
    assert row["difference_low"] == pytest.approx(independent.low)
    assert row["difference_high"] == pytest.approx(independent.high)


def test_it_opens_once_and_says_so(locked: Federation, tmp_path: Path) -> None:
    study = ask(locked, save=tmp_path / "study")
    assert "the locked patients not opened" in repr(study)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Reopened)
        table = study.final()
    at = study.opened["at"]
    with pytest.warns(Reopened, match=f"opened on {at[:10]}.*what was found then"):
        assert study.final().equals(table)
    assert study.test_openings == 0, "test is another matter"
    assert "test opened 0 times in this study, 0 times over" in repr(study)
    assert "the locked patients opened 1 time" in repr(study)
    again = Study.load(tmp_path / "study", locked)
    assert again.opened["at"] == at and again.opened["openings"] == 1 and again.test_openings == 0
    with pytest.warns(Reopened, match="what was found then"):
        assert again.final().equals(table)
    copy = Study.load(again.save(tmp_path / "copy"), locked)
    assert copy.opened["table"].equals(table)
    assert ask(locked, save=tmp_path / "study").opened["at"] == at, "a comparison that goes on knows it too"


def test_another_study_on_the_same_patients_is_told(locked: Federation) -> None:
    ask(locked).final()
    other = ask(locked.resplit(5), seeds=3)
    with pytest.warns(Reopened, match=r"not locked any more: this is opening 2 of them, last on .* by a study of "):
        table = other.final()
    assert (table["openings"] == 2).all() and len(other.opened["before"]) == 1
    with pytest.warns(Reopened, match="opening 3"):
        ask(locked.select("Hungary", "Cleveland")).final()


def test_patients_who_were_seen_before_the_lock_are_told_of(hospitals: Federation) -> None:
    ask(hospitals).report()
    with pytest.warns(Reopened, match="may have been seen before they were locked: .*opened 1 time without this lock"):
        table = ask(hospitals.lock(0.15, seed=1)).final()
    assert (table["openings"] == 1).all()
    with pytest.warns(Reopened, match="this is opening 2 of them"):  # some of whom the other lock had put away too
        ask(hospitals.lock(0.15, seed=2)).final()


def test_locked_patients_are_known_under_other_names_dealt_out_and_shifted(locked: Federation) -> None:
    ask(locked).final()
    renamed = replace(locked, sites=tuple(replace(site, name=f"new {site.name}") for site in locked.sites))
    shifted = locked.shift(Shifts({"Cleveland": [LabelShift(0.5), AcquisitionShift(0.5)]})).select("Cleveland")
    others = (renamed, locked.partition(IID(), sites=2, seed=0), shifted)
    for number, other in enumerate(others, 2):
        with pytest.warns(Reopened, match=f"not locked any more: this is opening {number} of them"):
            assert (ask(other).final()["openings"] == number).all()


def test_more_arms_than_then_open_anew(locked: Federation, tmp_path: Path) -> None:
    study = ask(locked, arms=["fedavg"])
    study.final()
    both = ask(locked)
    study.runs = both.runs
    with pytest.warns(Reopened, match="opening 2"):
        assert set(study.final()["arm"]) == {"isolated", "fedavg"}


def test_without_a_lock_it_is_refused_with_the_remedy(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match=r"no patients of 'heart_disease' are locked.*federation.lock\(share=0.15"):
        ask(hospitals).final()


def test_a_hospital_without_locked_patients_is_in_no_mean() -> None:
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fed = Federation.from_tensors({n: (x[k::2], (x[k::2, 0] > 0).long()) for k, n in enumerate("AB")}).lock(0.2)
    bare = replace(fed, sites=(fed["A"], replace(fed["B"], locked=None)))
    table = ask(bare).final().set_index(["arm", "where", "metric"])
    row = table.loc[("fedavg", "home", "log_loss")]
    assert row["value"] == table.loc[("fedavg", "A", "log_loss"), "value"] and row["patients"] == 20 * 2
    assert "without B (no patient of this hospital is locked)" in row["reason"]
    alone = table.loc[("fedavg", "B", "log_loss")]
    assert np.isnan(alone["value"]) and "no patient of this hospital is locked" in alone["reason"]


def test_few_patients_and_equal_predictions_have_no_interval() -> None:
    y = (torch.arange(60) % 2).long()
    fed = Federation.from_tensors({n: (torch.zeros(60, 2), y) for n in "AB"}).lock(0.4)
    table = ask(fed, seeds=1).final().set_index(["arm", "where", "metric"])
    assert table.loc[("fedavg", "home", "auc"), "value"] == 0.5
    auc = table.loc[("fedavg", "A", "auc")]
    assert np.isnan(auc["low"]) and auc["reason"] == "fewer than 20 patients of a class: no interval"
    x = torch.cat([y[:, None] * 2.0 - 1, torch.zeros(60, 1)], 1)
    perfect = Federation.from_tensors({n: (x, y) for n in "AB"}).lock(0.4)
    row = ask(perfect, seeds=1).final().set_index(["arm", "where", "metric"]).loc[("fedavg", "home", "auc")]
    assert (row["value"], row["high"]) == (1.0, 1.0) and 0.8 < row["low"] < 0.97, "perfect separation is not certain"


def test_several_rows_of_a_patient_and_several_classes(locked: Federation) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(360, 2, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0).long() + (x[:, 0] > 1).long()
    fed = Federation.from_tensors({"A": (x, y), "B": (-x, y)}, groups=dict.fromkeys("AB", np.arange(360) // 2))
    table = ask(fed.lock(0.3)).final().set_index(["arm", "where", "metric"])
    assert table.loc[("fedavg", "A", "log_loss"), "patients"] == 54
    assert "mean of the AUCs of 3 classes" in table.loc[("fedavg", "A", "auc"), "reason"]
    assert np.isfinite(table.loc[("fedavg", "A", "log_loss"), "low"])
    two = Federation.from_tensors({"A": (x, y.clamp(max=1))}, groups={"A": np.arange(360) // 2})
    table = ask(two.lock(0.3), arms=["fedavg"]).final().set_index(["where", "metric"])
    row = table.loc[("A", "auc")]
    assert row["patients"] == 54 and row["low"] < row["value"] < row["high"] and row["reason"] == ""


def test_a_partition_can_be_opened(locked: Federation) -> None:
    dealt = locked.partition(IID(), sites=2, seed=0)
    table = ask(dealt).final()
    total = sum(len(site.locked.patients.first) for site in locked.sites if site.locked is not None)
    assert table.query("where == 'home'")["patients"].max() == total


def test_folder_and_file_that_cannot_be_written_warn(
    locked: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "file" / "state"))
    with pytest.warns(openings.NotKept, match="counted in this process alone. Set FEDLAB_STATE"):
        ask(locked).final()
    with pytest.warns(Reopened, match="opening 2"):
        ask(locked, seeds=3).final()


# ---------------------------------------------------------------- the interval of a mean of AUCs


def covered(hospitals: int, cases: int, others: int, spread: float, auc: float, draws: int) -> float:
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    middle = norm.ppf(auc) * np.sqrt(1 + spread**2)
    y = np.repeat([1, 0], [cases, others])
    inside, who = 0, (np.arange(cases), np.arange(cases, cases + others))
    for _ in range(draws):
        p = np.concatenate([rng.normal(middle, spread, (hospitals, cases)), rng.normal(size=(hospitals, others))], 1)
        low, high = mean_auc_interval(
            [Share(c / hospitals, o / hospitals, 1 / hospitals, who) for c, o in zip(*placements(y, p), strict=True)]
        )
        inside += low <= auc <= high
    return inside / draws


@pytest.mark.slow
@pytest.mark.parametrize(("hospitals", "cases", "others"), [(1, 20, 56), (4, 5, 20), (10, 2, 10), (20, 1, 8)])
@pytest.mark.parametrize("auc", [0.7, 0.95])
@pytest.mark.parametrize("spread", [0.55, 1.8])
def test_the_interval_of_a_mean_of_aucs_covers(
    hospitals: int, cases: int, others: int, spread: float, auc: float
) -> None:
    assert covered(hospitals, cases, others, spread, auc, draws=500) >= 0.92


def test_models_that_rank_alike_have_no_interval_of_their_difference() -> None:
    share = Share(np.full(20, 0.8), np.full(30, 0.8), 1.0, (np.arange(20), np.arange(20, 50)))
    assert auc_difference([share], [share])[0] == 0 and np.isnan(auc_difference([share], [share])[1])


def test_the_table_is_plain(locked: Federation) -> None:
    table = ask(locked).final()
    assert isinstance(table.index, pd.RangeIndex) and not table.duplicated(["arm", "where", "metric"]).any()
