"""Faults of documentation: the same patients, written as another hospital writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.intensive_care import FEATURES
from fedlab.federation import Feature
from fedlab.federation.documentation import ALSO_WRITTEN, KINDS, Fault, draw_faults, write

TABLE = pd.DataFrame({
    "height": [180.0, np.nan, 165.0],
    "creatinine": [0.85, 1.2, np.nan],
    "sex": ["M", None, "F"],
    "stage": [1, 3, 2],
    "admitted": pd.to_datetime(["2024-02-01", "2024-12-31", None]),
})  # fmt: skip
MOLAR = {"creatinine": 113.12, "bilirubin": 584.66, "glucose": 180.16, "chol": 386.65, "lactate": 90.08}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_as_agreed_is_the_same_as_text() -> None:
    assert write(TABLE).to_numpy().tolist() == [
        ["180", "0.85", "M", "1", "2024-02-01"],
        ["", "1.20", "", "3", "2024-12-31"],
        ["165", "", "F", "2", ""],
    ]
    assert write(TABLE.iloc[:0]).empty and write(TABLE.iloc[[2, 0]]).index.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        (Fault("height", "unit", {"unit": "in", "factor": 1 / 2.54, "offset": 0.0}), ["71", "", "65"]),
        (Fault("height", "unit", {"unit": "m", "factor": 0.01, "offset": 0.0}), ["1.80", "", "1.65"]),
        (Fault("creatinine", "unit", {"unit": "µmol/l", "factor": 88.4, "offset": 0.0}), ["75", "106", ""]),
        (Fault("height", "sentinel", {"value": -1}), ["180", "-1", "165"]),
        (Fault("sex", "codes", {"map": {"F": "2", "M": "1"}}), ["1", "", "2"]),
        (Fault("stage", "order", {"map": {1: 3, 2: 2, 3: 1}}), ["3", "1", "2"]),
        (Fault("creatinine", "decimal"), ["0,85", "1,20", ""]),
        (Fault("height", "decimal"), ["180,0", "", "165,0"]),
        (Fault("admitted", "date", {"format": "%d/%m/%Y"}), ["01/02/2024", "31/12/2024", ""]),
        (Fault("admitted", "date", {"format": "%m/%d/%Y"}), ["02/01/2024", "12/31/2024", ""]),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_each_fault_changes_its_column_alone(fault: Fault, written: list[str]) -> None:
    after, clean = write(TABLE, [fault]), write(TABLE)
    assert after[fault.column].tolist() == written
    assert after.drop(columns=fault.column).equals(clean.drop(columns=fault.column))


def test_several_faults_in_a_column() -> None:
    faults = [
        Fault("creatinine", "decimal"),
        Fault("creatinine", "sentinel", {"value": 999}),
        Fault("creatinine", "unit", {"unit": "mmol/l", "factor": 0.0884, "offset": 0.0}),
    ]
    assert write(TABLE, faults)["creatinine"].tolist() == ["0,075", "0,106", "999"]


def test_dates_may_be_text() -> None:
    table = pd.DataFrame({"day": ["2024-02-01", None]})
    assert write(table, [Fault("day", "date", {"format": "%d.%m.%Y"})])["day"].tolist() == ["01.02.2024", ""]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([Fault("age", "decimal")], "no column 'age'; the columns are height"),
        ([Fault("height", "decimal"), Fault("height", "decimal")], "two faults of kind 'decimal': give one"),
        ([Fault("sex", "unit", {"factor": 2, "offset": 0})], "'sex' holds no numbers: it cannot have .* 'unit'"),
        ([Fault("height", "date", {"format": "%d"})], "'height' holds numbers: it cannot have .* 'date'"),
        ([Fault("sex", "date", {"format": "%d"})], "'sex' does not hold dates as agreed"),
    ],
)
def test_faults_that_a_column_cannot_have(faults: list[Fault], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write(TABLE, faults)


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="is of kind 'units': the kinds are unit, sentinel"):
        Fault("height", "units")
    with pytest.raises(ValueError, match="no kind of fault 'units'"):
        draw_faults(FEATURES, 0.5, rng(), kinds=["units"])


@pytest.mark.parametrize("severity", [-1, 1.5, float("nan"), True, "1", None])
def test_a_severity_is_a_number_of_0_to_1(severity: Any) -> None:
    with pytest.raises(ValueError, match="severity is .*: it must be a number of 0 … 1"):
        draw_faults(FEATURES, severity, rng())


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_drawn_where_they_can_be_and_more_at_a_higher_severity(seed: int, one: float, two: float) -> None:
    fewer, more = (draw_faults(FEATURES, s, rng(seed), dates=("admitted",)) for s in sorted((one, two)))
    assert [fault for fault in more if fault in fewer] == fewer
    columns = [fault.column for fault in more]
    assert len(columns) == len(set(columns)) <= np.ceil(2 / 3 * (len(FEATURES) + 1))
    known = {feature.name: feature for feature in FEATURES}
    for fault in more:
        feature = known.get(fault.column)
        if fault.kind == "date":
            assert fault.column == "admitted"
        elif fault.kind == "sentinel":
            low, high = feature.range
            assert not feature.codes and not low <= fault.details["value"] <= high
        elif fault.kind in ("codes", "order"):
            old, new = zip(*fault.details["map"].items(), strict=True)
            assert list(old) == list(feature.codes) and len(set(new)) == len(new) and old != new
            assert (set(map(str, new)) == set(map(str, old))) == (fault.kind == "order")
        else:
            assert not feature.codes


def test_every_kind_is_drawn_and_no_more_than_two_thirds_of_the_columns() -> None:
    drawn = [draw_faults(FEATURES, 1.0, rng(seed), dates=("admitted",)) for seed in range(40)]
    assert {fault.kind for faults in drawn for fault in faults} == {*KINDS}
    assert {len(faults) for faults in drawn} == {12}  # of 17 and a date: 2/3 of 18
    assert draw_faults(FEATURES, 0.0, rng()) == []


@pytest.mark.parametrize("agreed", ALSO_WRITTEN, ids=str)
def test_units_are_pints(agreed: Any) -> None:
    name, unit = agreed if isinstance(agreed, tuple) else ("", agreed)
    words = {"°C": "degC", "°F": "degF", "%": "percent", "fraction": "dimensionless"}
    other, factor, offset = ALSO_WRITTEN[agreed]
    registry = pint.UnitRegistry()
    for value in (0.0, 1.0, 37.0):
        quantity = registry.Quantity(value, words.get(unit, unit))
        if name:
            molar = registry.Quantity(MOLAR[name], "g/mol")
            quantity = quantity * molar if "mol" in unit else quantity / molar
        if "/kg" in unit:
            quantity = quantity * registry.Quantity(80, "kg")
        expected = quantity.to(words.get(other, other)).magnitude
        assert factor * value + offset == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_feature_that_can_have_none() -> None:
    assert draw_faults([Feature("sex", kind="category", codes={"1": "f", "A": "m", "0": "x"})], 1.0, rng()) == []
