"""The data dictionary: what is agreed, kept as JSON, and what of a table breaks it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from data_recipes import heart_disease, phantom_ehr
from fedlab.federation.dictionary import DataDictionary, Entry


@pytest.mark.parametrize("recipe", [heart_disease, phantom_ehr])
def test_a_recipes_features_come_back_unchanged(recipe: object, tmp_path: Path) -> None:
    agreed = DataDictionary.of(recipe.FEATURES)  # type: ignore[attr-defined]
    agreed.to_json(tmp_path / "agreed.json")
    again = DataDictionary.from_json(tmp_path / "agreed.json")
    assert again == agreed and again.features() == recipe.FEATURES  # type: ignore[attr-defined]


def test_check_names_row_value_and_remedy() -> None:
    agreed = DataDictionary(
        entries=(
            Entry(name="height", unit="cm", range=(120, 230)),
            Entry(name="glucose", unit="mg/dl", range=(30, 1000), molar_mass=180.16),
            Entry(name="sex", kind="category", codes={"F": "female", "M": "male"}, required=True),
            Entry(name="admitted", kind="date"),
            Entry(name="lactate", unit="mmol/l"),
        )
    )
    table = pd.DataFrame(
        {
            "height": ["172", "68", "600", "1,75"],
            "glucose": ["100", "5.5", "", "?"],
            "sex": ["F", "M", "", "male"],
            "admitted": ["2026-01-31", "31.1.2026", "", ""],
        },
        index=["a", "b", "c", "d"],
    )
    broken = agreed.check(table)
    told = {(row, column): remedy for row, column, _, _, remedy in broken.itertuples(index=False)}
    assert [*told] == [("d", "height"), ("b", "height"), ("c", "height"), ("b", "glucose"), ("d", "sex"), ("c", "sex"),
                       ("b", "admitted"), ("", "lactate")]  # fmt: skip
    assert "172.7 cm if written in in" in told["b", "height"]
    assert "correct it" in told["c", "height"]
    assert "99.09 mg/dl if written in mmol/l" in told["b", "glucose"]


def test_a_table_as_agreed_breaks_nothing() -> None:
    agreed = DataDictionary.of(phantom_ehr.FEATURES, dates=phantom_ehr.DATES)
    assert agreed.check(phantom_ehr.raw(hospitals=1, patients=60)["Hospital 1"]).empty


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "dose", "unit": "drops/hour"}, "no unit that can be read"),
        ({"name": "dose", "range": (5, 1)}, "lower end first"),
        ({"name": "dose", "kind": "category"}, "needs its codes"),
        ({"name": "dose", "molar_mass": 0}, "above 0"),
    ],
)
def test_entries_that_agree_on_nothing(entry: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Entry(**entry)  # type: ignore[arg-type]


def test_a_broken_file_names_column_and_fault() -> None:
    with pytest.raises(ValueError, match="column 'dose', unit: 'drops' is no unit"):
        DataDictionary.from_json('{"entries": [{"name": "dose", "unit": "drops"}]}')
    with pytest.raises(ValueError, match="column 'dose' has two entries"):
        DataDictionary.from_json('{"entries": [{"name": "dose"}, {"name": "dose"}]}')
    with pytest.raises(ValueError, match="no JSON"):
        DataDictionary.from_json("{")


def test_an_unknown_column_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="which has age"):
        DataDictionary(entries=(Entry(name="age"),))["weight"]
