"""Planted differences: nothing at severity 0, more at a higher one, the same whatever else is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fedlab
from fedlab.federation import (
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    Federation,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shift,
    Shifts,
)
from fedlab.federation.shift import KINDS
from tests.federation.wards import ALL, images, prepared, same, shifted, ward


@pytest.mark.parametrize("kind", ALL)
def test_severity_0_changes_not_a_bit(kind: type[Shift], hospitals: Federation) -> None:
    after = hospitals.shift(Shifts({name: [kind(0.0)] for name in hospitals.names}))
    assert after.fingerprint == hospitals.fingerprint and after.source == hospitals.source
    assert all(a.rows.x is b.rows.x for a, b in zip(after.sites, hospitals.sites, strict=True))


severities = st.floats(0, 1)


@given(
    st.permutations(ALL), st.lists(severities, min_size=6, max_size=6), st.integers(0, 6), st.integers(1, 3),
    st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_mixture_in_any_order(kinds: list[type[Shift]], dials: list[float], n: int, visits: int, seed: int) -> None:
    before = ward(visits=visits)
    given = [kind(dial) for kind, dial in zip(kinds[:n], dials, strict=False)]
    shifts = Shifts({"A": given}, seed=seed)
    after = before.shift(shifts)
    assert after.fingerprint == before.shift(Shifts({"A": given[::-1]}, seed=seed)).fingerprint
    assert same(after["B"], before["B"])
    assert after.columns == before.columns and not after["A"].rows.x.isinf().any()
    part_of = {who: part for part, rows in before["A"].split.parts().items() for who in before["A"].rows.group[rows]}
    rows = after["A"].rows
    for part, numbers in after["A"].split.parts().items():
        assert len(numbers) and {part_of[who] for who in rows.group[numbers]} == {part}
    whole = pd.Series(before["A"].rows.group).value_counts()
    assert all(whole[who] == count for who, count in pd.Series(rows.group).value_counts().items())


def test_a_site_and_a_kind_draw_for_themselves(hospitals: Federation) -> None:
    alone = hospitals.shift(Shifts({"Hungary": [PracticeShift(0.4)]}, seed=3))["Hungary"]
    beside = Shifts({"Cleveland": [PracticeShift(1.0)], "Hungary": [LabelShift(0.0), PracticeShift(0.4)]}, seed=3)
    assert same(hospitals.shift(beside)["Hungary"], alone)
    assert not same(hospitals.shift(Shifts({"Hungary": [PracticeShift(0.4)]}, seed=4))["Hungary"], alone)
    few = hospitals.select("Long Beach", "Hungary").shift(Shifts({"Hungary": [PracticeShift(0.4)]}, seed=3))
    assert same(few["Hungary"], alone)


def test_taking_patients_away_leaves_the_others_values(hospitals: Federation) -> None:
    both = Shifts({"Hungary": [AcquisitionShift(0.7), PracticeShift(0.5), LabelShift(0.6), QuantityShift(0.3)]})
    more = hospitals.shift(both.only("acquisition", "practice"))["Hungary"].rows
    less = hospitals.shift(both)["Hungary"].rows
    at = np.flatnonzero(np.isin(more.group, less.group))
    assert 0 < len(less) < len(more)
    assert torch.equal(more.take(at).x.nan_to_num(-1), less.x.nan_to_num(-1))


def test_kinds_without_and_only() -> None:
    shifts = Shifts({"A": [LabelShift(0.7), AcquisitionShift(0.1)], "B": [PracticeShift(0.2), QuantityShift(0.0)]})
    assert shifts.kinds == ("acquisition", "practice", "label")
    assert shifts.without("label").kinds == ("acquisition", "practice")
    assert shifts.only("label") == Shifts({"A": [LabelShift(0.7)], "B": []})
    assert {kind.name for kind in ALL} == {*KINDS} and eval(repr(shifts)) == shifts
    with pytest.raises(ValueError, match="there is no kind of shift 'labels'; the kinds are acquisition"):
        shifts.only("labels")


def test_a_shifted_federation_says_so_and_trains(hospitals: Federation) -> None:
    after = hospitals.shift(Shifts({"Hungary": [kind(0.3) for kind in ALL]}))
    assert after.name == "heart_disease, shifted" and "planted shifts: Hungary acquisition 0.3, " in after.source
    run = fedlab.train(after, "logistic", "fedavg", rounds=2, progress=False)
    assert len(run.records) == 2


# ---------------------------------------------------------------------- back


@given(severities, severities, st.floats(0, 0.9), st.floats(0, 5), st.integers(0, 2**32), st.booleans())
@settings(max_examples=40, deadline=None)
def test_back_to_what_it_was(a: float, d: float, gain: float, offset: float, seed: int, single: bool) -> None:
    before = ward()
    if single:
        before = Federation.from_tensors({"A": (before["A"].rows.x[:, :3].float(), before["A"].rows.y)}, prepared=False)
    shifts = Shifts({"A": [DocumentationShift(d), AcquisitionShift(a, gain=gain, offset=offset, noise=0.0)]}, seed=seed)
    back = shifts.undo(before.shift(shifts))
    x, there = back["A"].rows.x, before["A"].rows.x
    assert torch.equal(x.isnan(), there.isnan()) and x.dtype == there.dtype
    assert torch.allclose(
        x.nan_to_num(), there.nan_to_num(), rtol=1e-4 if single else 1e-9, atol=1e-4 if single else 1e-9
    )
    assert (back.name, back.source) == (before.name, before.source)


@pytest.mark.parametrize("kind", [AcquisitionShift, PracticeShift, ConceptShift, LabelShift, QuantityShift])
def test_what_is_lost_cannot_be_undone(kind: type[Shift], hospitals: Federation) -> None:
    shifts = Shifts({"Hungary": [kind(0.5)]})
    with pytest.raises(ValueError, match="at site 'Hungary' cannot be undone: .*; keep the federation as it was"):
        shifts.undo(hospitals.shift(shifts))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan"), float("inf"), True, "0.5", None, np.bool_(True)])
@pytest.mark.parametrize("kind", ALL)
def test_a_severity_is_a_number_of_0_to_1(kind: type[Shift], severity: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: severity is .*: it must be a number of 0 … 1"):
        kind(severity)
    assert kind(np.float32(0.5)) == kind(0.5) and kind(1) == kind(1.0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Shifts({"A": [LabelShift(0.1), LabelShift(0.2)]}), "'A' is given two label shifts: give one"),
        (lambda: Shifts({"A": ["label"]}), "'A' is given 'label': give shifts, e.g. LabelShift"),
        (lambda: Shifts({"A": Shift(0.5)}), r"'A' is given Shift\(severity=0.5\): give shifts"),
        (lambda: Shifts({}, seed=-1), "seed is -1"),
        (lambda: ward().shift(Shifts({"C": [LabelShift(0.0)]})), "no site 'C'; the sites are A, B"),
        (lambda: shifted(ward(), LabelShift(0.1, towards="ill")), "no class 'ill'; the classes are 0, 1"),
        (lambda: shifted(ward(), PracticeShift(0.1, features=("age",))), "no feature 'age'; the features are height"),
        (lambda: PracticeShift(0.1, features="age"), r"features is text: give a tuple, \('age',\)"),
        (lambda: AcquisitionShift(0.1, gain=1.0), "gain is 1.0: it must be a number of 0 … 0.99"),
        (lambda: AcquisitionShift(0.1, noise=-1), "noise is -1: it must be a number of at least 0"),
        (lambda: ConceptShift(0.1, how="both"), "how is 'both': use 'noise' or 'threshold'"),
        (lambda: shifted(images(), ConceptShift(0.1, how="threshold")), "images or bags: use how='noise'"),
        *(
            (lambda kind=kind: shifted(images(), kind(0.1)), "images or bags, .*: use label, quantity or concept")
            for kind in ALL[:3]
        ),
        *(
            (lambda kind=kind: shifted(prepared(), kind(1)), "is prepared for a model: make it of raw rows")
            for kind in ALL[1:3]
        ),
    ],
)  # fmt: skip
def test_bad_input(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_nobody_of_a_class() -> None:
    x = torch.rand(30, 3)
    only = Federation.from_tensors({"A": (x, torch.zeros(30))}, prepared=False)
    with pytest.raises(ValueError, match="no patient of class '1', so its prevalence cannot move that way"):
        shifted(only, LabelShift(0.5))
    with pytest.raises(ValueError, match="use how='noise'"):
        shifted(only, ConceptShift(0.5, how="threshold"))
    assert same(shifted(only, LabelShift(1.0, towards="0")), only["A"])
    assert int(shifted(only, ConceptShift(1.0)).rows.y.sum()) == 15


def test_images_and_thinned_sites() -> None:
    site = shifted(images(), ConceptShift(0.5), LabelShift(0.5), QuantityShift(0.5))
    assert site.rows.x.shape[1:] == (1, 4, 4) and len(site) < 60
    thin = ward().thinned(20, seed=0)
    after = shifted(thin, LabelShift(0.5), QuantityShift(0.5))
    assert len(after) < len(thin["A"]) and len(after.split.train) < 20


@pytest.mark.parametrize("kind", ALL)
def test_three_patients_are_enough(kind: type[Shift]) -> None:
    x = torch.tensor([[1.0, float("nan")], [2.0, float("nan")], [3.0, float("nan")]])
    tiny = Federation.from_tensors({"A": (x, torch.tensor([0, 1, 1]))}, prepared=False)
    after = shifted(tiny, kind(1.0))
    assert all(len(rows) for rows in after.split.parts().values())


@pytest.mark.parametrize("what", [[], LabelShift(0.5), {"A": [LabelShift(0.5)]}, None])
def test_what_says_no_site_is_no_shift(what: Any) -> None:
    with pytest.raises(TypeError, match=rf"shifts is a {type(what).__name__}: say which site .* Shifts\("):
        fedlab.load("heart_disease").shift(what)
