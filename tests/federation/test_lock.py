"""Patients who are put away: at random, whole, at every site, seen by nothing, and kept by all that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.federation import (
    IID,
    AcquisitionShift,
    Clusters,
    Column,
    Dirichlet,
    Federation,
    LabelShift,
    QuantityShift,
    Shifts,
    Site,
    Split,
)
from fedlab.federation.lock import draw_patients
from fedlab.federation.site import Examples


def ward(n: int, ill: int, *, groups: Any = None) -> Federation:
    """One hospital; the second column numbers the rows."""
    x = torch.stack([torch.zeros(n), torch.arange(n)], dim=1).double()
    y = (torch.arange(n) < ill).long()
    task = fedlab.Classification(("well", "ill"))
    return Federation.from_tensors({"A": (x, y)}, groups=None if groups is None else {"A": groups}, task=task)


def away(site: Site) -> set[float]:
    """Numbers of the locked rows."""
    assert site.locked is not None
    return set(site.locked.x[:, 1].tolist())


# ---------------------------------------------------------------- who is drawn


@given(data=st.data())
def test_whole_patients_are_drawn_and_everyone_else_is_left(data: st.DataObject) -> None:
    n = data.draw(st.integers(8, 80))
    groups = np.array(data.draw(st.lists(st.integers(0, n // 2), min_size=n, max_size=n)))
    groups[:4] = [n, n + 1, n + 2, n + 3]
    share, seed = data.draw(st.floats(0.01, 0.5)), data.draw(st.integers(0, 99))
    fed = ward(n, n // 3, groups=groups)
    patients = len(set(groups.tolist()))
    if patients - max(1, round(share * patients)) < 3:
        return
    site = fed.lock(share, seed=seed)["A"]
    assert site.locked is not None
    assert not set(site.rows.group.tolist()) & set(site.locked.group.tolist())
    assert len(set(site.locked.group.tolist())) == max(1, round(share * patients))
    both = torch.cat([site.rows.x, site.locked.x])
    assert sorted(both[:, 1].tolist()) == list(range(n)), "nobody is lost"
    assert sorted(np.concatenate(list(site.split.parts().values())).tolist()) == list(range(len(site)))


@pytest.mark.parametrize(("n", "number"), [(6, 1), (7, 1), (20, 3), (40, 6)])
@pytest.mark.parametrize("cases", [1, 2, 5])
def test_every_patient_is_as_likely_of_whatever_class(n: int, number: int, cases: int) -> None:
    rows = Examples(torch.zeros(n, 1), (torch.arange(n) < cases).long(), np.arange(n))
    drawn = np.array([draw_patients(rows, number, site="A", seed=seed) for seed in range(4000)])
    assert (drawn.sum(1) == number).all()
    among = drawn[:, :cases].sum(1)
    assert np.ptp(among) <= 1, "each class in its share, to within one"
    share = number / n
    assert np.abs(drawn.mean(0) - share).max() < 4.5 * np.sqrt(share * (1 - share) / 4000)


def test_the_draw_is_by_seed_and_name_alone(hospitals: Federation) -> None:
    locked = hospitals.lock(0.15, seed=3)
    for name in hospitals.names:
        alone = hospitals.select(name).lock(0.15, seed=3)
        assert alone.digest(alone[name]) == locked.digest(locked[name])
    assert locked.fingerprint != hospitals.lock(0.15, seed=4).fingerprint != hospitals.fingerprint
    assert locked.fingerprint != hospitals.lock(0.2, seed=3).fingerprint
    same = replace(locked, sites=tuple(replace(site, locked=None) for site in locked.sites))
    assert same.fingerprint != locked.fingerprint, "who is locked is in the fingerprint, and not only who is left"
    assert "138 rows locked" in repr(locked) and "and 45 locked" in repr(locked["Cleveland"])


# ---------------------------------------------------------------- what keeps them


def test_they_stay_locked_whatever_is_made_of_the_federation(hospitals: Federation) -> None:
    locked = hospitals.lock(0.15, seed=0)
    before = {site.name: site.locked for site in locked.sites}
    others, late = locked.holdout("Hungary")
    assert late.locked is before["Hungary"]
    for fed in (locked.resplit(7), locked.select("Hungary", "Cleveland"), others, locked.thinned(20, seed=0)):
        assert fed.locking == (0.15, 0)
        assert all(site.locked is before[site.name] for site in fed.sites)
    thin = hospitals.thinned(20, seed=0).lock(0.15, seed=0)
    assert [len(site.split.train) for site in thin.sites] == [20] * 4
    assert locked.resplit(0).fingerprint == locked.fingerprint


@pytest.mark.parametrize("scheme", [IID(), Dirichlet(0.5), Clusters(), Column("sex")])
def test_a_partition_deals_them_by_its_own_rule(hospitals: Federation, scheme: Any) -> None:
    def rows_of(sites: Any, part: str) -> list[Any]:
        held = [getattr(site, part) for site in sites if getattr(site, part) is not None]
        return sorted(torch.cat([torch.cat([e.x.nan_to_num(-1), e.y[:, None]], 1) for e in held]).tolist())

    locked = hospitals.lock(0.15, seed=0)
    dealt = locked.partition(scheme, sites=3, seed=1)
    for part in ("rows", "locked"):
        assert rows_of(dealt.sites, part) == rows_of(locked.sites, part)
    if isinstance(scheme, Column):
        sex = next(k for k, name in enumerate(hospitals.sources) if name == "sex")
        for site in dealt.sites:
            assert site.locked is not None
            assert site.locked.x[:, sex].unique().tolist() == site.rows.x[:, sex].unique().tolist()
    assert all(site.locked is None for site in hospitals.partition(scheme, sites=3, seed=1).sites)


def test_a_partition_leaves_three_who_are_not_locked() -> None:
    fed = ward(12, 6).lock(0.4, seed=0)
    with pytest.raises(fedlab.federation.Infeasible, match="7 patients do not make 3 sites.*the nearest is 2 sites"):
        fed.partition(IID(), sites=3)
    assert min(map(len, fed.partition(IID(), sites=2, seed=3).sites)) >= 3


def test_a_shift_changes_them_with_their_hospital(hospitals: Federation) -> None:
    shifts = Shifts({"Hungary": [AcquisitionShift(0.7, noise=0)]})
    one, other = hospitals.lock(0.15, seed=0).shift(shifts)["Hungary"], hospitals.shift(shifts).lock(0.15, seed=0)
    assert one.locked is not None and other["Hungary"].locked is not None
    assert torch.allclose(one.locked.x, other["Hungary"].locked.x, equal_nan=True)
    assert torch.allclose(one.rows.x, other["Hungary"].rows.x, equal_nan=True)
    locked = hospitals.lock(0.15, seed=0)
    back = shifts.undo(locked.shift(shifts))["Hungary"].locked
    was = locked["Hungary"].locked
    assert back is not None and was is not None and torch.allclose(back.x, was.x, equal_nan=True)
    fewer = locked.shift(Shifts({"Hungary": [LabelShift(0.5), QuantityShift(0.5)]}))["Hungary"].locked
    assert fewer is not None and len(fewer) < len(was) and set(fewer.group.tolist()) < set(was.group.tolist())
    assert float(fewer.y.double().mean()) > float(was.y.double().mean())


def test_another_order_of_columns_and_classes_turns_them_too(hospitals: Federation) -> None:
    others, late = hospitals.lock(0.15, seed=0).holdout("Hungary")
    turned = Federation("turned", (late,), hospitals.task, hospitals.features)["Hungary"]
    flipped = fedlab.federation.align.aligned(turned, hospitals.features[::-1], hospitals.task.classes[::-1])
    assert flipped.locked is not None and late.locked is not None
    assert torch.equal(flipped.locked.y, 1 - late.locked.y)
    again = others.admit(flipped).locked
    assert again is not None and torch.allclose(again.x, late.locked.x, equal_nan=True)


# ---------------------------------------------------------------- nothing sees them

QUIET: dict[str, Any] = {"progress": False}


def study_of(fed: Federation) -> fedlab.Study:
    return fedlab.compare(fed, algorithms=["isolated", "fedavg"], seeds=2, rounds=2, **QUIET)


def newcomer(fed: Federation) -> list[pd.DataFrame]:
    others, late = fed.holdout("Hungary")
    run = fedlab.train(others, "logistic", "fedavg", rounds=2, **QUIET)
    return [run.newcomer(late, rounds=1), run.report(unseen=[late], resamples=20), run.at(late)]


def looks(fed: Federation) -> list[pd.DataFrame]:
    study = study_of(fed)
    return [study.table(), study.calibration(), study.subgroups(by="sex"), study.atlas(resamples=20), study.trials]


DOORS: dict[str, Callable[[Federation], list[pd.DataFrame]]] = {
    "describe": lambda fed: [fed.describe()],
    "study": looks,
    "newcomer": newcomer,
    "heterogeneity": lambda fed: [fedlab.heterogeneity(fed, **QUIET).table()],
    "explain": lambda fed: [fedlab.explain(fed, seeds=2, rounds=1, **QUIET).table()],
    "learning curve": lambda fed: [fedlab.learning_curve(fed, rows=[16], sites=[2], seeds=2, rounds=2, **QUIET).scores],
}


@pytest.mark.parametrize("door", [pytest.param(d, marks=[pytest.mark.slow] * (d == "explain")) for d in DOORS])
def test_no_door_sees_them(hospitals: Federation, door: str) -> None:
    """What the locked patients are makes no difference to any number."""

    def other(site: Site) -> Site:
        assert site.locked is not None
        return replace(site, locked=replace(site.locked, x=site.locked.x * 0 + 1e6, y=1 - site.locked.y))

    locked = hospitals.lock(0.3, seed=0)
    poisoned = replace(locked, sites=tuple(map(other, locked.sites)))
    for one, two in zip(DOORS[door](locked), DOORS[door](poisoned), strict=True):
        pd.testing.assert_frame_equal(one.drop(columns="seconds", errors="ignore"),
                                      two.drop(columns="seconds", errors="ignore"))  # fmt: skip


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.15", True, None])
def test_a_share_that_is_none(hospitals: Federation, share: Any) -> None:
    with pytest.raises(ValueError, match="share is .*between 0 and 1"):
        hospitals.lock(share)


def test_a_lock_larger_than_a_site_names_each() -> None:
    x = torch.zeros(40, 1)
    fed = Federation.from_tensors({n: (x[:k] + torch.arange(k)[:, None], torch.arange(k) % 2)
                                   for n, k in (("A", 40), ("B", 5), ("C", 3))})  # fmt: skip
    with pytest.raises(ValueError, match="site 'C' has 3 patients, and a lock of 15% takes 1 .*leave the site out"):
        fed.lock(0.15)
    with pytest.raises(ValueError, match="2 things are wrong:\n- site 'B' has 5 .*at most 40%\n- site 'C'"):
        fed.lock(0.6)
    assert [len(site) for site in fed.select("A", "B").lock(0.15).sites] == [34, 4]


def test_what_is_locked_or_published_is_not_locked(hospitals: Federation) -> None:
    locked = hospitals.lock(0.15, seed=2)
    for fed in (locked, locked.resplit(1), locked.select("Hungary")):
        with pytest.raises(ValueError, match="locked already, 15% with seed 2"):
            fed.lock(0.1)
    x, y = torch.arange(20)[:, None].double(), torch.arange(20) % 2
    split = Split(np.arange(12), np.arange(12, 15), np.arange(15, 20))
    with pytest.raises(ValueError, match="split of 'my federation' is published.*without splits="):
        Federation.from_tensors({"A": (x, y)}, splits={"A": split}).lock(0.15)
    with pytest.raises(ValueError, match="seed is -1"):
        hospitals.lock(0.15, seed=-1)


# ---------------------------------------------------------------- records


def test_a_record_finds_the_locked_recipe_again(hospitals: Federation, tmp_path: Any) -> None:
    locked = hospitals.lock(0.2, seed=5)
    study = study_of(locked)
    again = fedlab.Study.load(study.save(tmp_path / "study"))  # a warning would say that the data differ
    assert again.federation.fingerprint == locked.fingerprint and again.federation.locking == (0.2, 5)
    kept = fedlab.compare(locked, algorithms=["fedavg"], seeds=2, rounds=1, save=tmp_path / "kept", **QUIET)
    assert kept.arms == ("fedavg",)
    for fed in (hospitals, hospitals.lock(0.2, seed=6)):
        with pytest.raises(ValueError, match="keeps another comparison: .*data"):
            fedlab.compare(fed, algorithms=["fedavg"], seeds=2, rounds=1, save=tmp_path / "kept", **QUIET)
