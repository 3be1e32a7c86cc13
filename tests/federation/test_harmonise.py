"""What summaries alone tell of how hospitals write, and what they must not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_recipes import heart_disease, phantom_ehr
from fedlab.federation.dictionary import DataDictionary, Entry
from fedlab.federation.documentation import Fault, write
from fedlab.federation.harmonise import Findings, apply, propose, summarise
from fedlab.federation.harmonise.changes import Change
from tests.federation.tables import ward, wards

AGREED = DataDictionary(
    entries=(
        Entry(name="height", unit="cm", range=(120, 230)),
        Entry(name="weight", unit="kg", range=(25, 250)),
        Entry(name="temperature", unit="°C", range=(30, 43)),
        Entry(name="sex", kind="category", codes={"F": "female", "M": "male"}),
        Entry(name="frailty", kind="ordered", codes={str(k): str(k) for k in range(1, 6)}),
        Entry(name="age", unit="years", range=(18, 110)),
        Entry(name="admitted", kind="date"),
    )
)


def told(tables: dict[str, pd.DataFrame], dictionary: DataDictionary | None = None) -> Findings:
    return propose({site: summarise(table) for site, table in tables.items()}, dictionary)


def found(tables: dict[str, pd.DataFrame], dictionary: DataDictionary | None = None) -> list[tuple[str, str, str, str]]:
    proposals = told(tables, dictionary).proposals
    return sorted((p.change.site, p.change.column, p.change.kind, p.change.words) for p in proposals)


def undecided(tables: dict[str, pd.DataFrame], dictionary: DataDictionary | None = None) -> str:
    return "\n".join(f"{u.site} {u.column}: {u.reason}" for u in told(tables, dictionary).undecided)


def asked(tables: dict[str, pd.DataFrame], dictionary: DataDictionary | None = None) -> list[tuple[str, str, str]]:
    """Of every question the site, the column and the likeliest reading."""
    return sorted((q.site, q.column, q.words[0]) for q in told(tables, dictionary).questions)


@pytest.mark.parametrize("dictionary", [None, AGREED])
def test_hospitals_that_write_alike_get_no_proposal(dictionary: DataDictionary | None) -> None:
    assert found(wards(), dictionary) == []


def test_sicker_older_and_heavier_patients_are_no_fault() -> None:
    tables = wards()
    tables["B"] = tables["B"].assign(age=tables["B"]["age"] + 12, weight=tables["B"]["weight"] * 1.25)
    tables["C"] = tables["C"][tables["C"]["frailty"] > 2].reset_index(drop=True)
    assert found(tables) == []


FAULTS = [
    ("height", "unit", {"unit": "in", "factor": 0.3937, "offset": 0.0}),
    ("weight", "unit", {"unit": "lb", "factor": 2.2046, "offset": 0.0}),
    ("temperature", "unit", {"unit": "°F", "factor": 1.8, "offset": 32.0}),
    ("age", "sentinel", {"value": 999}),
    ("height", "sentinel", {"value": 0}),
    ("sex", "codes", {"map": {"F": "2", "M": "1"}}),
    ("frailty", "order", {"map": {1: 5, 2: 4, 3: 3, 4: 2, 5: 1}}),
    ("weight", "decimal", {}),
    ("admitted", "date", {"format": "%d/%m/%Y"}),
    ("admitted", "date", {"format": "%m/%d/%Y"}),
]


@pytest.mark.parametrize("dictionary", [None, AGREED])
@pytest.mark.parametrize(("column", "kind", "details"), FAULTS)
def test_finds_one_fault_and_the_change_undoes_it(
    column: str, kind: str, details: dict[str, Any], dictionary: DataDictionary | None
) -> None:
    tables = wards()
    if kind == "sentinel":
        tables["B"].loc[:9, column] = np.nan
    agreed = {site: write(table) for site, table in tables.items()}
    written = agreed | {"B": write(tables["B"], [Fault(column, kind, details)])}
    proposals = told(written, dictionary).proposals
    assert [(p.change.site, p.change.column, p.change.kind) for p in proposals] == [("B", column, kind)]
    after = apply(written["B"], [proposals[0].change])[column]
    if kind == "unit":
        assert np.allclose(after.astype(float), agreed["B"][column].astype(float), rtol=0.02)
    else:
        assert [cell or "" for cell in after.tolist()] == agreed["B"][column].tolist()
    assert found(written | {"B": apply(written["B"], [proposals[0].change])}, dictionary) == []


def test_numbers_stay_numbers() -> None:
    table = pd.DataFrame({"height": [70.0, np.nan, 0.0]})
    changes = [
        Change("B", "height", "unit", {"factor": 2.54, "offset": 0.0}),
        Change("B", "height", "sentinel", {"value": "0"}),
    ]
    after = apply(table, changes)["height"]
    assert after.dtype == float and after.tolist()[0] == pytest.approx(177.8) and after[1:].isna().all()


def test_a_dose_is_divided_by_each_patients_weight() -> None:
    table = pd.DataFrame({"dose": ["8", "8"], "weight": ["80", "40"]})
    change = Change("B", "dose", "unit", {"factor": 1 / 80, "offset": 0.0, "weight": "weight", "divide": True})
    assert apply(table, [change])["dose"].tolist() == ["0.1", "0.2"]


def test_rows_whose_unit_another_column_names() -> None:
    tables = {}
    for site, unit, factor in (("A", "mcg/min", 1.0), ("B", "mcg/kg/min", 1 / 80), ("C", "mcg/min", 1.0)):
        dose = np.exp(2 + 0.8 * np.random.default_rng(ord(site)).standard_normal(60)) * factor
        tables[site] = pd.DataFrame({"dose": dose.round(3), "dose_unit": unit, "weight": 80.0})
    proposals = told(tables).proposals
    assert [(p.change.site, p.change.column, p.change.kind) for p in proposals] == [("B", "dose", "unit")]
    after = apply(tables["B"], [proposals[0].change])
    assert np.allclose(after["dose"], tables["B"]["dose"] * 80) and set(after["dose_unit"]) == {"µg/min"}
    assert found(tables | {"B": after}) == []


def test_fractions_among_percentages() -> None:
    tables = {site: pd.DataFrame({"fio2": np.random.default_rng(k).choice([21, 30, 40, 50, 60, 100], 200)})
              for k, site in enumerate("ABC")}  # fmt: skip
    fio2 = tables["B"]["fio2"]
    tables["B"] = pd.DataFrame({"fio2": fio2.where(fio2.index >= 40, fio2 / 100)})
    agreed = DataDictionary(entries=(Entry(name="fio2", unit="%", range=(21, 100)),))
    proposals = told(tables, agreed).proposals
    after = apply(tables["B"], [p.change for p in proposals])["fio2"]
    assert [p.change.site for p in proposals] == ["B"] and after.between(21, 100).all()


def test_zero_cholesterol_of_real_hospitals_and_nothing_else() -> None:
    raw = heart_disease.raw()
    zeros = [("Long Beach", "chol"), ("Switzerland", "chol")]
    for dictionary in (None, DataDictionary.of(heart_disease.FEATURES)):
        assert [(site, column) for site, column, *_ in found(raw, dictionary)] == zeros


# ---------------------------------------------------------------------- other patients, and other units

BODY = DataDictionary(
    entries=(
        Entry(name="height", unit="cm", range=(30, 230)),
        Entry(name="weight", unit="kg", range=(1, 350)),
        Entry(name="bilirubin", unit="mg/dl", range=(0.1, 60), molar_mass=584.66),
        Entry(name="hemoglobin", unit="g/dl", range=(3, 25)),
        Entry(name="hematocrit", unit="%", range=(0.1, 80)),
    )
)


def bodies(n: int = 150, *, seed: int, bmi: float = 26.0, height: float = 170.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cm = (height * (1 + 0.055 * rng.standard_normal(n))).round()
    haemoglobin = 13.5 + 1.4 * rng.standard_normal(n)
    return pd.DataFrame(
        {
            "height": cm,
            "weight": (bmi * (cm / 100) ** 2 * np.exp(0.18 * rng.standard_normal(n))).round(1),
            "bilirubin": (0.7 * np.exp(0.4 * rng.standard_normal(n))).round(2).clip(0.1),
            "hemoglobin": haemoglobin.round(1),
            "hematocrit": (3 * haemoglobin + rng.standard_normal(n)).round(1),
        }
    )


def three(other: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {name: bodies(seed=k) for k, name in enumerate("ABC")} | {"D": other}


@pytest.mark.parametrize("dictionary", [None, BODY])
@pytest.mark.parametrize(("factor", "first"), [(17.1, "µmol/l"), (10.0, "")])
def test_what_only_lies_elsewhere_is_asked_and_never_proposed(
    factor: float, first: str, dictionary: DataDictionary | None
) -> None:
    rng = np.random.default_rng(5)  # measured so: nothing was converted
    tables = three(bodies(seed=9).assign(bilirubin=(0.7 * factor * np.exp(0.4 * rng.standard_normal(150))).round(1)))
    assert found(tables, dictionary) == []
    questions = [q for q in told(tables, dictionary).questions if q.column == "bilirubin"]
    assert len(questions) == 1 and None in questions[0].readings
    assert questions[0].words[0].startswith(f"from {first}") and "Ask D" in questions[0].ask


def test_small_children_are_no_adults_in_inches() -> None:
    tables = three(bodies(seed=9, bmi=17, height=67))
    assert found(tables) == found(tables, BODY) == []
    assert [a for a in asked(tables, BODY) if a[1] == "height"] == []  # in inches they would be far too thin


@pytest.mark.parametrize("dictionary", [None, BODY])
def test_a_law_of_the_body_tells_inches_within_the_agreed_range(dictionary: DataDictionary | None) -> None:
    table = bodies(seed=9)
    tables = three(table.assign(height=(table["height"] / 2.54).round()))
    assert found(tables, dictionary) == [("D", "height", "unit", "from in to cm: × 2.54")]
    assert "weight / height² would be" in told(tables, dictionary).proposals[0].evidence
    alone = {site: table.drop(columns="weight") for site, table in tables.items()}
    assert found(alone, dictionary) == [] and asked(alone, dictionary) == [("D", "height", "from in to cm: × 2.54")]


def test_a_law_names_the_column_that_breaks_it() -> None:
    table = bodies(seed=9)
    tables = three(table.assign(hematocrit=(table["hematocrit"] / 100).round(3)))
    assert found(tables, BODY) == [("D", "hematocrit", "unit", "from fraction to %: × 100")]


def test_numbers_that_are_round_in_another_unit_alone_were_converted() -> None:
    table = bodies(seed=9)
    written = (table["height"] / 2.54).round(2)
    alone = {site: t[["height"]] for site, t in three(table.assign(height=written)).items()}
    assert found(alone, BODY) == [("D", "height", "unit", "from in to cm: × 2.54")]
    measured = {**alone, "D": pd.DataFrame({"height": written + np.random.default_rng(0).uniform(-0.2, 0.2, 150)})}
    assert found(measured, BODY) == [] and asked(measured, BODY) == [("D", "height", "from in to cm: × 2.54")]


def test_values_outside_the_range_are_proposed_unless_the_patients_are_outside_too() -> None:
    adults = DataDictionary(
        entries=(
            Entry(name="height", unit="cm", range=(120, 230)),
            Entry(name="weight", unit="kg", range=(30, 300)),
            Entry(name="age", unit="years", range=(18, 110)),
        )
    )
    rng = np.random.default_rng(3)
    tables = {name: bodies(seed=k)[["height"]].assign(age=rng.normal(60, 12, 150).round()) for k, name in
              enumerate("ABC")}  # fmt: skip
    inches = bodies(seed=9)[["height"]].div(2.54).round()
    assert found(tables | {"D": inches.assign(age=rng.normal(60, 12, 150).round())}, adults) == [
        ("D", "height", "unit", "from in to cm: × 2.54")
    ]
    children = bodies(seed=9, height=67)[["height"]].assign(age=rng.uniform(0.2, 1.5, 150).round(2))
    assert found(tables | {"D": children}, adults) == []


def test_two_readings_that_fit_a_crowd_apart_are_asked() -> None:
    tables = three(bodies(seed=9))
    far = bodies(seed=9).loc[:29, "bilirubin"] * 17.1
    tables["D"].loc[:29, "bilirubin"] = (far * 20).round(1)  # µmol/l, and then outside the agreed range
    assert all(p[2] == "unit" for p in found(tables, BODY))
    mixed = {name: table[["bilirubin"]] for name, table in tables.items()}
    mixed["D"] = pd.concat([mixed["A"].iloc[:100], (mixed["A"].iloc[:40] * 170).round(1)], ignore_index=True)
    assert found(mixed) == []  # without an agreed range a crowd apart may be other patients


def test_grades_that_are_frequent_elsewhere_are_no_other_order() -> None:
    tables, many = wards(4), ward(1500, seed=8)
    tables["D"] = many[(many["frailty"] > 3) | (many.index % 12 == 0)].reset_index(drop=True)
    tables["C"] = many[(many["frailty"] < 3) | (many.index % 12 == 1)].reset_index(drop=True)
    assert found(tables, AGREED) == []


def test_a_zero_within_the_agreed_range_is_asked_and_not_erased() -> None:
    urine = DataDictionary(entries=(Entry(name="urine", unit="ml", range=(0, 9000)),))
    tables = {name: pd.DataFrame({"urine": np.random.default_rng(k).normal(1800, 300, 150).round()}) for k, name in
              enumerate("ABC")}  # fmt: skip
    tables["C"].loc[:50, "urine"] = 0
    assert found(tables, urine) == []


@pytest.mark.parametrize("dictionary", [None, BODY])
def test_too_few_patients_and_equal_numbers_say_nothing(dictionary: DataDictionary | None) -> None:
    few = bodies(8, seed=9).assign(bilirubin=12.0)
    same = bodies(seed=9).assign(bilirubin=12.0, height=67.0)
    for other in (few, same, bodies(seed=9).assign(height=-1.0, weight=np.nan)):
        assert [p for p in found(three(other), dictionary) if p[1] in ("bilirubin", "height") and p[2] == "unit"] == []


def test_what_a_law_tells_is_a_mean_over_patients() -> None:
    summary = summarise(bodies(60, seed=1))
    assert len(summary["weight"]["laws"]["height"]) == 1
    assert summarise(bodies(19, seed=1))["weight"]["laws"] == {}  # too few


# ---------------------------------------------------------------------- what cannot be told


def test_two_hospitals_and_no_dictionary_nobody_can_say_who_is_wrong() -> None:
    tables = wards(2)
    tables["B"] = tables["B"].assign(height=(tables["B"]["height"] / 2.54).round(1))
    assert found(tables) == []
    assert "dictionary" in undecided(tables)
    assert [(site, column) for site, column, *_ in found(tables, AGREED)] == [("B", "height")]


def test_two_patients_tell_no_unit() -> None:
    tables = wards(3) | {"D": ward(2).assign(height=[68.0, 70.0])}
    assert found(tables) == []
    assert "D height: fewer than 5 patients with a number" in undecided(tables)


def test_awkward_columns_are_said_and_not_raised() -> None:
    tables = wards(3)
    tables["A"] = tables["A"].drop(columns="age")
    tables["B"] = tables["B"].assign(weight=np.nan, temperature=37.0)
    tables["C"].loc[:7, "sex"] = "other"
    tables = {site: table.assign(note=[f"{site} {k}" for k in range(len(table))]) for site, table in tables.items()}
    assert found(tables) == []
    unsure = undecided(tables)
    assert "A age: the column is missing here" in unsure
    assert "B weight: fewer than 5 patients with a number" in unsure
    assert "C note: text of many different values" in unsure


def test_a_category_that_no_other_site_has_is_asked_about() -> None:
    tables = wards(4)
    for number, table in enumerate(tables.values()):
        table["clinic"] = ["north", "south"] * 60 if number < 3 else "harbour"
    assert "D clinic: harbour is at no other site: other patients, or another code?" in undecided(tables)
    assert found(tables) == []


def test_dates_in_three_formats_in_one_column() -> None:
    table = ward(300)
    day = pd.to_datetime(table["admitted"])
    mixed = [day.dt.strftime(form) for form in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y")]
    tables = wards(2) | {"C": table.assign(admitted=[mixed[k % 3][k] for k in range(len(table))])}
    assert [(c, words) for _, c, _, words in found(tables, AGREED)] == [
        ("admitted", "31.1.2026 with the day first becomes year-month-day"),
        ("admitted", "31/1/2026 with the day second becomes year-month-day"),
    ]
    changes = [p.change for p in told(tables, AGREED).proposals]
    assert apply(tables["C"], changes)["admitted"].tolist() == table["admitted"].tolist()


def test_contradictory_changes_are_refused_and_both_named() -> None:
    change = {"factor": 2.54, "offset": 0.0}
    two = [Change("B", "height", "unit", change), Change("B", "height", "unit", change | {"factor": 100.0})]
    with pytest.raises(ValueError, match=r"'height' at 'B'.*2\.54.*100"):
        apply(pd.DataFrame({"height": [1.0]}), two)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (pd.DataFrame(), "empty"),
        (pd.DataFrame({"a": []}), "empty"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "twice"),
    ],
)
def test_tables_that_cannot_be_summarised(table: pd.DataFrame, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        summarise(table)


# ---------------------------------------------------------------------- what leaves a site


def leaves(message: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(message, dict):
        for name, value in message.items():
            yield from leaves(value, f"{path}/{name}")
    else:
        yield path, message


cells = st.one_of(
    st.sampled_from(["", "?", "M", "F", "0", "999", "1,5", "40%", "31/12/2020"]), st.integers(0, 300).map(str)
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_count_of_fewer_than_five_and_no_patients_own_value(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["a", "b"])
    for path, value in leaves(summarise(table)):
        if isinstance(value, int):
            assert value >= 5, path
        if isinstance(value, list):
            assert len(value) * 5 <= len(table), path
    for name in ("a", "b"):
        one = summarise(table)[name]
        codes = {*(one.get("levels") or {}), *one["recurring"]}
        counts = pd.Series([cell for cell, _ in rows] if name == "a" else [cell for _, cell in rows]).value_counts()
        assert all(counts[code] >= 5 for code in codes)


def test_a_patient_of_many_rows_is_one_patient() -> None:
    table = pd.DataFrame({"who": [1] * 9 + [2], "sex": ["M"] * 9 + ["F"]})
    assert summarise(table, patient="who")["sex"]["levels"] == {}
    assert summarise(table)["sex"]["levels"] == {"M": 10}  # the one F is counted with the M


@pytest.mark.slow
def test_planted_faults_are_found_and_little_else() -> None:
    from benchmarks.harmoniser import judge

    judged = [with_it for with_it, _ in map(judge, range(9000, 9012))]
    every = [one for j in judged for one in j.told]
    planted, proposed, asked = (sum(getattr(j, what).total() for j in judged)
                                for what in ("planted", "proposed", "asked"))  # fmt: skip
    assert sum(right for *_, right in every) >= 0.98 * len(every)
    assert proposed >= 0.85 * planted and proposed + asked >= 0.95 * planted
    assert abs(np.mean([right for *_, right in every]) - np.mean([sure for _, sure, _ in every])) < 0.05


@pytest.mark.slow
def test_nothing_is_proposed_where_the_patients_are_others_and_nobody_made_a_fault() -> None:
    from benchmarks.harmoniser import without_faults
    from benchmarks.populations import POPULATIONS

    for seed in range(9000, 9003):
        left = without_faults(seed)
        assert set(left) == set(POPULATIONS)
        assert {kind: (with_it, without) for kind, (with_it, _, without, _) in left.items() if with_it + without} == {}


def test_a_generated_federation_is_quiet() -> None:
    assert found(phantom_ehr.raw(hospitals=4, patients=150, seed=3)) == []
