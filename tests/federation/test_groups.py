"""How rows fall into subgroups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fedlab.federation import Feature
from fedlab.federation.frame import encode
from fedlab.federation.groups import group_by

FEATURES = [
    Feature("age"),
    Feature("sex", kind="category", codes={0: "female", 1: "male"}),
    Feature("pain", kind="category", codes={"a": "typical", "b": "atypical", "c": "none"}),
    Feature("vessels", codes={0: "none", 1: "one"}),
]
TABLE = pd.DataFrame(
    {
        "age": [49.9, 50, 59, 60, None],
        "sex": [0, 1, 1, None, 0],
        "pain": ["c", "b", None, "a", "a"],
        "vessels": [1, 0, None, 1, 0],
    }
)


def names(by: str, bands: list[float] | None = None) -> list[str]:
    grouping = group_by(FEATURES, by, bands)
    return [grouping.names[k] for k in grouping.numbers(encode(TABLE, FEATURES))]


def test_categories_codes_and_bands() -> None:
    assert names("sex") == ["female", "male", "male", "not known", "female"]
    assert names("pain") == ["none", "atypical", "not known", "typical", "typical"]
    assert names("vessels") == ["one", "none", "not known", "one", "none"]
    bands = ["under 50", "50 to under 60", "50 to under 60", "60 and over", "not known"]
    assert names("age", [50, 60]) == bands
    assert names("age", [50]) == ["under 50", *["50 and over"] * 3, "not known"]


def test_bands_are_pandas_own() -> None:
    age = np.random.default_rng(0).integers(20, 90, size=200).astype(float)
    table = pd.DataFrame({"age": age})
    grouping = group_by(FEATURES[:1], "age", [40, 55, 70])
    theirs = pd.cut(age, [-np.inf, 40, 55, 70, np.inf], right=False, labels=False)
    assert grouping.numbers(encode(table, FEATURES[:1])).tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("by", "bands", "sentence"),
    [
        ("race", None, "no column 'race' to group by; the columns are age, sex, pain, vessels"),
        ("age", None, "'age' is a number: give the edges"),
        ("age", [], "at least one edge"),
        ("age", [60, 50], "finite and rising"),
        ("age", [50, float("nan")], "finite and rising"),
        ("sex", [0.5], "'sex' is a category: leave bands= out"),
    ],
)
def test_groups_that_make_no_sense_are_refused(by: str, bands: list[float] | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        group_by(FEATURES, by, bands)


def test_rows_without_named_columns_have_no_groups() -> None:
    with pytest.raises(ValueError, match="no named columns"):
        group_by([], "age", [50])
