"""Tables as hospitals write them: what looks like one thing and is another is told apart, or refused by name."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import Feature, Federation
from fedlab.federation.made import TableWarning

N = 120
RNG = np.random.default_rng(5)
BASE = pd.DataFrame(
    {
        "ward": np.array(["A", "B"])[np.arange(N) % 2],
        "age": RNG.normal(60, 10, N).round(3),
        "ill": (RNG.random(N) < 0.5).astype(int),
    }
)


def make(df: pd.DataFrame, **options: Any) -> Federation:
    return Federation.from_frame(df, **({"site": "ward", "label": "ill"} | options))


def shuffled(values: Any) -> Any:
    return np.random.default_rng(0).permutation(values)


# ---------------------------------------------------------------- columns that give the answer away


@pytest.mark.parametrize(
    "numbers",
    [np.arange(N), np.arange(N)[::-1], 10 * np.arange(N), shuffled(np.arange(N)), shuffled(np.arange(2, N + 2)),
     np.where(np.arange(N) == 4, np.nan, np.arange(N)), shuffled(np.delete(np.arange(N + 6), [3, 9, 30, 31, 77, 100]))],
)  # fmt: skip
def test_row_numbers_are_named_in_any_order(numbers: Any) -> None:
    with pytest.warns(TableWarning, match="'row' counts the rows"):
        make(BASE.assign(row=numbers))


@pytest.mark.filterwarnings("error")
def test_measurements_are_no_row_numbers() -> None:
    make(
        BASE.assign(pulse=RNG.integers(50, 120, N), weight=RNG.normal(70, 9, N).round(1), far=RNG.integers(0, 10**6, N))
    )


@pytest.mark.parametrize(
    "copy",
    [
        BASE["ill"].where(np.arange(N) != 5),
        BASE["ill"].map({0: "alive", 1: "dead"}).where(np.arange(N) != 5, None),
        np.where(BASE["ill"] == 0, "alive", np.where(np.arange(N) % 3 == 0, "dead at the ward", "dead at the ICU")),
    ],
    ids=["numbers with a gap", "texts with a gap", "finer levels"],
)
def test_copies_of_the_label_are_named(copy: Any) -> None:
    with pytest.warns(TableWarning, match="'copy' follows the label without an exception"):
        make(BASE.assign(copy=copy))


# ---------------------------------------------------------------- marks, infinities, levels


def test_marks_among_categories_are_no_levels() -> None:
    text = np.array(["a", "b", "?"])[np.arange(N) % 3]
    want = make(BASE.assign(k=text))
    got = make(BASE.assign(k=pd.Categorical(text)))
    assert got.columns == want.columns == ("age", "k=b")
    assert got.fingerprint == want.fingerprint
    digits = [str(i) if i % 4 else "?" for i in range(N)]
    assert make(BASE.assign(k=pd.Categorical(digits))).columns == make(BASE.assign(k=digits)).columns == ("age", "k")


def test_a_minus_beside_a_plus_and_a_none_beside_words_are_values() -> None:
    assert make(BASE.assign(k=np.array(["+", "-"])[np.arange(N) % 2 ^ np.arange(N) // 2 % 2])).columns[1:] == ("k=-",)
    pain = np.array(["None", "Mild", "Severe"])[np.arange(N) // 2 % 3]
    assert make(BASE.assign(k=pain)).columns[1:] == ("k=Mild", "k=None", "k=Severe")
    assert make(BASE.assign(ill=np.where(BASE["ill"] == 1, "+", "-"))).task.classes == ("+", "-")
    assert make(BASE.assign(k=[str(i) if i % 4 else "None" for i in range(N)])).columns == ("age", "k")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k": pd.Categorical([np.inf if i % 9 == 0 else float(i % 3) for i in range(N)])}, "'k' holds inf"),
        ({"k": ["inf" if i % 9 == 0 else str(i % 3) for i in range(N)]}, "'k' holds inf, an infinite value"),
        ({"ill": [np.inf if i == 3 else float(i % 2) for i in range(N)]}, "'ill' holds inf, which is no class"),
        ({"ward": np.where(np.arange(N) % 2, "1", "1.0")}, "'1.0' and '1', which are one number"),
        ({"ward": np.where(np.arange(N) % 2, "?", "A")}, "60 rows have no site"),
        ({"when": pd.Series([datetime.date(9999, 12, 31) if i == 3 else datetime.date(2024, 1, i % 28 + 1)
                             for i in range(N)])}, "'when' holds the date 9999-12-31.*make the cell empty"),
    ],
)  # fmt: skip
def test_what_is_no_value_is_refused_by_column(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(BASE.assign(**change))


@pytest.mark.parametrize("mark", ["?", "NA", "nan", np.inf])
def test_marks_are_no_patient(mark: Any) -> None:
    who = pd.Series([mark if i % 5 == 0 else float(i) for i in range(N)], dtype=object)
    with pytest.raises(ValueError, match="24 rows have no patient in column 'who'"):
        make(BASE.assign(who=who), group="who")


def test_blanks_of_any_kind_are_one_spelling() -> None:
    names = np.array(["St Mary", "St\u00a0Mary", "St  Mary", "St Ma\u00adry"])[np.arange(N) % 4]
    assert make(BASE.assign(ward=names)).names == ("St Mary",)
    ill = np.array(["not dead", "not\u00a0dead", "dead"])[np.arange(N) % 3]
    assert make(BASE.assign(ill=ill)).task.classes == ("dead", "not dead")
    with pytest.raises(ValueError, match="2 columns called 'age'"):
        make(BASE.assign(**{"age ": 1.0}))


def test_levels_that_are_one_value_are_said() -> None:
    fed = make(BASE.assign(k=np.array(["01", "1", "c"])[np.arange(N) % 3]))
    assert any("'01'" in note and "'1'" in note and "taken for one" in note for note in fed.notes)


def test_a_class_of_hardly_anybody_is_said() -> None:
    with pytest.warns(TableWarning, match=r"classes of very few rows \(unknown 1\)"):
        make(BASE.assign(ill=["unknown" if i == 7 else str(v) for i, v in enumerate(BASE["ill"])]))


def test_an_ordered_label_of_two_spellings_is_one() -> None:
    levels = np.array(["No", "Yes", "Yes "])[np.arange(N) % 3]
    label = pd.Categorical(levels, categories=["No", "Yes", "Yes "], ordered=True)
    assert make(BASE.assign(ill=label)).task.classes == ("No", "Yes")


# ---------------------------------------------------------------- dates and numbers


def test_numpys_dates_in_an_object_column_are_dates() -> None:
    days = pd.date_range("2024-01-01", periods=N)
    odd = pd.Series([np.datetime64(day, "ns") for day in days], dtype=object)
    want, got = (make(BASE.assign(when=when)) for when in (days, odd))
    assert got.features[1].unit == want.features[1].unit == "days since 1970-01-01"
    assert (got["A"].rows.x == want["A"].rows.x).all()


def test_dates_are_no_plain_numbers_nor_the_other_way_round() -> None:
    dated = BASE.assign(when=pd.date_range("2024-01-01", periods=N)[::-1])
    run = fedlab.train(make(dated), rounds=1, progress=False)
    assert run.predict_proba(dated.head()).notna().all(axis=None)
    for change, said in (
        ({"age": pd.Timestamp("2024-01-01")}, "'age' holds dates, where plain numbers are meant"),
        ({"age": pd.Timedelta(days=3)}, "'age' holds durations, where plain numbers are meant"),
        ({"when": 2024}, "'when' holds no dates, and dates are meant"),
    ):
        with pytest.raises(ValueError, match=said):
            run.predict_proba(dated.head().assign(**change))
    assert run.predict_proba(dated.head().assign(when=pd.NaT)).notna().all(axis=None)


# ---------------------------------------------------------------- what features= and classes= may be


def test_arrays_and_indexes_are_lists_of_names() -> None:
    df = BASE.assign(bp=RNG.normal(120, 9, N))
    for features in (df.columns[[1, 3]], np.array(["age", "bp"]), pd.Series(["age", "bp"])):
        assert make(df, features=features).columns == ("age", "bp")
    for classes in (np.array([1, 0]), pd.Index([1, 0])):
        assert make(df, classes=classes).task.classes == ("1", "0")
    with pytest.raises(ValueError, match="features= is a set, which has no order"):
        make(df, features={"age", "bp"})


def test_a_described_column_is_found_whatever_blanks_its_name_has() -> None:
    assert make(BASE.rename(columns={"age": " age"}), features=[Feature("age ")]).columns == ("age",)


def test_dates_with_and_without_a_zone_are_not_mixed() -> None:
    days = pd.date_range("2024-01-01", periods=N)
    mixed = pd.Series([day if i % 2 else day.tz_localize("UTC") for i, day in enumerate(days)], dtype=object)
    with pytest.raises(ValueError, match="'when' holds dates with and without a time zone"):
        make(BASE.assign(when=mixed))
