"""Harmonising through the gate: what is accepted, what is made, and what the ledger holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    assert fedlab.harmonise(harmony.accept().apply(), progress=False).found == []
    back = harmony.refuse().apply()
    assert all(back[site].equals(written[site]) for site in written)


def test_accept_by_number_and_by_confidence(harmony: fedlab.Harmony) -> None:
    assert harmony.accept(1).accepted == [1]
    assert harmony.refuse(1).accept(above=2.0).accepted == []
    with pytest.raises(ValueError, match="no proposal 7.*0 to 1"):
        harmony.accept(7)


def test_contradictory_acceptances_are_refused(harmony: fedlab.Harmony) -> None:
    from dataclasses import replace

    height = next(p for p in harmony.found if p.change.column == "height")
    other = replace(height, change=replace(height.change, details=dict(height.change.details) | {"factor": 100.0}))
    harmony.found.append(other)
    with pytest.raises(ValueError, match=r"changed twice: .*2\.54.*100"):
        harmony.accept()
    assert harmony.accepted == []


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
    ups = [(site, message) for _, site, direction, message in harmony.messages if direction == "up"]
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
