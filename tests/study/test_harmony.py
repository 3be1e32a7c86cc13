"""Harmonising through the gate: what is accepted, what is made, and what the ledger holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from data_recipes import heart_disease
from fedlab.federation import Feature
from fedlab.federation.dictionary import DataDictionary
from fedlab.federation.documentation import Fault, write
from tests.federation.tables import wards

INCHES = Fault("height", "unit", {"unit": "in", "factor": 0.3937, "offset": 0.0})


@pytest.fixture
def harmony() -> fedlab.Harmony:
    tables = {site: write(table) for site, table in wards().items()}
    tables["B"] = write(wards()["B"], [INCHES, Fault("weight", "decimal")])
    return fedlab.harmonise(tables, progress=False)


def test_proposals_are_a_table_with_evidence(harmony: fedlab.Harmony) -> None:
    told = harmony.proposals.set_index("column")
    assert told["site"].eq("B").all() and sorted(told.index) == ["height", "weight"]
    assert "sd from the others" in told.loc["height", "evidence"] and told["confidence"].between(0.8, 1).all()


def test_only_what_is_accepted_is_made_and_all_can_be_undone(harmony: fedlab.Harmony) -> None:
    written = {site: desk.written for site, desk in harmony.desks.items()}
    made = harmony.accept(kind="unit").apply()
    assert made["B"]["height"].astype(float).mean() > 150 and made["B"]["weight"].str.contains(",").all()
    assert fedlab.harmonise(harmony.accept().apply(), progress=False).proposals.empty
    back = harmony.refuse().apply()
    assert all(back[site].equals(written[site]) for site in written)


def test_accept_by_number(harmony: fedlab.Harmony) -> None:
    assert harmony.accept(1).accepted == [1]
    assert harmony.refuse(1).accepted == []
    for act in (harmony.accept, harmony.refuse):
        with pytest.raises(ValueError, match="no proposal 7.*0 to 1"):
            act(7)
    with pytest.raises(TypeError, match="above"):
        harmony.accept(above=0.95)  # type: ignore[call-arg]


def test_contradictory_acceptances_are_refused(harmony: fedlab.Harmony) -> None:
    from dataclasses import replace

    height = next(p for p in harmony.found.proposals if p.change.column == "height")
    other = replace(height, change=replace(height.change, details=dict(height.change.details) | {"factor": 100.0}))
    harmony.found.proposals.append(other)
    with pytest.raises(ValueError, match=r"changed twice: .*2\.54.*100"):
        harmony.accept()
    assert harmony.accepted == []


# ---------------------------------------------------------------------- questions


@pytest.fixture
def unit_of_livers() -> fedlab.Harmony:
    """Three wards, and one hospital whose bilirubin may be in µmol/l, or of a liver unit."""
    tables = {}
    for k, name in enumerate("ABCD"):
        rng = np.random.default_rng(k)
        mg = 0.7 * np.exp(0.4 * rng.standard_normal(150)) * (17.1 if name == "D" else 1)
        tables[name] = pd.DataFrame({"bilirubin": mg.round(2 if name < "D" else 0), "age": rng.normal(60, 12, 150)})
    agreed = DataDictionary.of([Feature("bilirubin", unit="mg/dl", range=(0.05, 60))])
    return fedlab.harmonise(tables, agreed, progress=False)


def test_a_question_has_every_reading_and_what_to_ask(unit_of_livers: fedlab.Harmony) -> None:
    assert unit_of_livers.proposals.empty
    told = unit_of_livers.questions
    assert told.index.names == ["number", "reading"] and told.index.tolist()[:2] == [(0, 0), (0, 1)]
    assert told["change"].iloc[0] == "from µmol/l to mg/dl: × 0.058466" and "nothing is changed" in set(told["change"])
    assert told["ask"].str.startswith("Ask D").all() and not told["answered"].any()
    assert "1 questions, 0 answered" in repr(unit_of_livers)


def test_accepting_answers_no_question(unit_of_livers: fedlab.Harmony) -> None:
    written = unit_of_livers.desks["D"].written
    made = unit_of_livers.accept().accept(kind="unit").accept(site="D", column="bilirubin").apply()
    assert made["D"].equals(written) and not unit_of_livers.questions["answered"].any()


def test_an_answer_is_made_and_can_be_taken_back(unit_of_livers: fedlab.Harmony) -> None:
    written = unit_of_livers.desks["D"].written
    made = unit_of_livers.answer(0, 0).apply()["D"]
    assert np.allclose(made["bilirubin"], written["bilirubin"] * 0.058466, rtol=1e-3)
    assert unit_of_livers.questions["answered"].tolist()[:2] == [True, False]
    number = unit_of_livers.questions["change"].tolist().index("nothing is changed")
    assert unit_of_livers.answer(0, number).apply()["D"].equals(written)
    assert unit_of_livers.questions["answered"].tolist()[number]
    assert not unit_of_livers.answer(0, None).questions["answered"].any()


@pytest.mark.parametrize(
    ("number", "reading", "words"),
    [
        (3, 0, "no question 3.*0 to 0"),
        (0, 9, "no reading of question 0 9"),
        (-1, 0, "no question -1"),
        (True, 0, "no q"),
    ],
)
def test_answers_to_what_was_not_asked(unit_of_livers: fedlab.Harmony, number: int, reading: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unit_of_livers.answer(number, reading)
    assert unit_of_livers.answers == {}


def test_an_answer_that_contradicts_an_acceptance_is_refused(harmony: fedlab.Harmony) -> None:
    from fedlab.federation.harmonise import Question

    height = next(n for n, p in enumerate(harmony.found.proposals) if p.change.column == "height")
    feet = harmony.found.proposals[height].change
    feet = type(feet)(feet.site, feet.column, feet.kind, dict(feet.details) | {"factor": 30.48})
    harmony.found.questions.append(Question("B", "height", (feet, None), "Ask B", "made up"))
    number = len(harmony.found.questions) - 1
    with pytest.raises(ValueError, match=r"changed twice.*answer\(number, None\)"):
        harmony.accept(height).answer(number, 0)
    assert harmony.answers == {} and harmony.refuse().answer(number, 0).answers == {number: 0}
    with pytest.raises(ValueError, match="changed twice"):
        harmony.accept(height)


def test_without_questions_the_table_is_empty(harmony: fedlab.Harmony) -> None:
    assert harmony.questions.empty and "change" in harmony.questions
    with pytest.raises(ValueError, match="no question 0, and no other"):
        harmony.answer(0, 0)


def leaves(told: Any) -> Iterator[Any]:
    if isinstance(told, dict):
        for value in told.values():
            yield from leaves(value)
    else:
        yield told


def test_the_ledger_holds_no_row_and_no_cell_of_fewer_than_five() -> None:
    tables = heart_disease.raw()
    harmony = fedlab.harmonise(tables, progress=False)
    harmony.accept().apply()
    ups = [(site, message) for _, _, site, direction, message in harmony.messages if direction == "up"]
    assert len(ups) == 2 * len(tables)
    for site, message in ups:
        for value in leaves(message):
            if isinstance(value, torch.Tensor):
                assert 5 * value.numel() <= len(tables[site])
            elif isinstance(value, int):
                assert value >= 5
    assert set(harmony.ledger["purpose"]) == {"summarise", "apply"}


@pytest.mark.parametrize(
    ("tables", "words"),
    [({}, "no table"), ({"A": pd.DataFrame()}, "'A' is empty"), ({"A": [1]}, "'A' has a list, not a DataFrame")],
)
def test_bad_tables_are_named(tables: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fedlab.harmonise(tables, progress=False)


# ---------------------------------------------------------------------- the real intensive-care units

EICU = Path(os.environ.get("FEDLAB_MIRROR", "")) / "eicu_demo" / "csv_from_fst"
needs_eicu = pytest.mark.skipif(not (EICU / "patient.csv.gz").is_file(), reason="needs FEDLAB_MIRROR with eicu_demo")


def charted(name: str) -> pd.DataFrame:
    """A table of eICU with each row's patient and region."""
    stays = pd.read_csv(EICU / "patient.csv.gz", dtype="str").merge(
        pd.read_csv(EICU / "hospital.csv.gz", dtype="str"), on="hospitalid"
    )
    keys = ["patientunitstayid", "uniquepid", "region", "admissionheight"]
    return pd.read_csv(EICU / f"{name}.csv.gz", dtype="str").merge(stays[keys], on="patientunitstayid")


@needs_eicu
def test_norepinephrine_is_charted_in_other_units() -> None:
    drug = charted("infusionDrug")
    drug = drug[drug["drugname"].str.startswith("Norepinephrine (")]
    drug = drug.assign(
        norepinephrine=drug["drugrate"], norepinephrine_unit=drug["drugname"].str.extract(r"\((.*)\)")[0]
    )
    columns = ["uniquepid", "norepinephrine", "norepinephrine_unit"]
    regions = {"Midwest", "Northeast", "South", "West"}
    tables = {str(region): rows[columns] for region, rows in drug.groupby("region")}
    told = fedlab.harmonise(tables, patient="uniquepid", progress=False).undecided
    volumes = told[told["reason"].str.contains("'ml/hr', which says nothing of µg/min", regex=False)]
    assert set(volumes["site"]) == regions
    bags = [*columns, "drugamount", "volumeoffluid"]
    tables = {str(region): rows[bags] for region, rows in drug.groupby("region")}
    told = fedlab.harmonise(tables, patient="uniquepid", progress=False).proposals
    told = told[told["change"].str.contains("from ml/hr to µg/min")]
    assert set(told["site"]) == regions and set(told["kind"]) == {"unit"}


@needs_eicu
def test_fractions_among_percentages_and_inches_among_centimetres_are_caught_at_the_site() -> None:
    agreed = DataDictionary.of([Feature("fio2", unit="%", range=(21, 100))])
    oxygen = charted("respiratoryCharting")
    oxygen = oxygen[oxygen["respchartvaluelabel"].str.lower().str.contains("fio2")]
    broken = agreed.check(oxygen.rename(columns={"respchartvalue": "fio2"}))
    fractions = broken[broken["remedy"].str.contains("if written in fraction")]
    assert {"0.4", "0.5", "0.6"} <= set(fractions["value"])
    stays = pd.read_csv(EICU / "patient.csv.gz", dtype="str")
    heights = DataDictionary.of([Feature("admissionheight", unit="cm", range=(100, 250))]).check(stays)
    inches = heights[heights["remedy"].str.contains("if written in in")]["value"].astype(float)
    assert inches.between(65, 71.5).sum() == 6


def test_a_federation_is_no_table_of_a_hospital() -> None:
    with pytest.raises(TypeError, match="tables is a Federation: give the tables as the hospitals wrote them, by site"):
        fedlab.harmonise(fedlab.load("heart_disease"))  # type: ignore[arg-type]
