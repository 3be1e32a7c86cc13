"""What a table's cells mean: read by value, said where it was found, refused where it cannot be told."""

from __future__ import annotations

import datetime
import pickle
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.federation import Feature, Federation
from fedlab.federation.frame import encode, guess
from fedlab.federation.made import TableWarning

N = 60


def table(**columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base = pd.DataFrame({"ward": np.where(np.arange(N) % 2, "B", "A"), "age": rng.normal(60, 10, N).round(3)})
    return base.assign(ill=(rng.random(N) < 0.5).astype(int)).assign(**columns)


def make(df: pd.DataFrame, **options: Any) -> Federation:
    return Federation.from_frame(df, **({"site": "ward", "label": "ill"} | options))


def cells(df: pd.DataFrame, column: str = "k") -> list[float]:
    """The column as the federation holds it, in the order of the table."""
    fed = make(df)
    at = fed.columns.index(column)
    out = torch.empty(len(df), dtype=torch.float64)
    for site in fed.sites:
        out[torch.from_numpy(np.flatnonzero(df["ward"] == site.name))] = site.rows.x[:, at]
    return out.tolist()


DAYS = pd.Series(pd.to_datetime("1970-01-01") + pd.to_timedelta(np.arange(N) % 7, unit="D"))
COUNT = [float(i % 7) for i in range(N)]
NUMBERS: dict[str, Any] = {
    "whole numbers as objects": pd.Series([i % 7 for i in range(N)], dtype=object),
    "decimals": [Decimal(i % 7) for i in range(N)],
    "texts": [str(i % 7) for i in range(N)],
    "texts with blanks": [f" {i % 7} " for i in range(N)],
    "NumPy's": pd.Series([np.int8(i % 7) for i in range(N)], dtype=object),
    "nullable": pd.array([i % 7 for i in range(N)], dtype="Int64"),
    "dates": DAYS,
    "dates of Python": pd.Series([d.date() for d in DAYS], dtype=object),
    "dates of a zone": DAYS.dt.tz_localize("UTC"),
    "durations": DAYS - DAYS[0],
    "durations of Python": pd.Series([datetime.timedelta(days=i % 7) for i in range(N)], dtype=object),
    "periods": DAYS.dt.to_period("D"),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_number_is_a_number_however_it_is_written(kind: str) -> None:
    assert cells(table(k=NUMBERS[kind])) == COUNT


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != "nullable"])
def test_and_an_empty_cell_is_missing(kind: str) -> None:
    column = pd.Series(NUMBERS[kind])
    column = column if kind in ("dates", "dates of a zone", "durations", "periods") else column.astype(object)
    column[3] = None
    got = cells(table(k=column))
    assert np.isnan(got[3]) and [*got[:3], *got[4:]] == [*COUNT[:3], *COUNT[4:]]


def test_the_missing_date_of_a_described_number_is_missing() -> None:
    seen = DAYS.copy()
    seen[3] = pd.NaT
    fed = make(table(seen=seen), features=["age", Feature("seen")])
    assert fed["B"].rows.x[1, 1].isnan() and fed["B"].rows.x[:, 1].nan_to_num(0).max() == 6


@pytest.mark.parametrize("mark", ["?", "", "NA", "nan", "-", "NULL", "  "])
def test_marks_of_missing_are_no_level(mark: str) -> None:
    fed = make(table(k=[mark if i == 7 else "abc"[i % 3] for i in range(N)]))
    assert [c for c in fed.columns if c.startswith("k")] == ["k=a", "k=b", "k=c"]
    assert fed["B"].rows.x[3, 1:].isnan().all() and not fed["A"].rows.x.isnan().any()
    assert any("read as not measured" in note for note in fed.notes)


def test_a_mark_that_is_a_code_is_a_code() -> None:
    feature = Feature("k", kind="category", codes={"?": "not known", "a": "a"})
    fed = make(table(k=["?" if i % 2 else "a" for i in range(N)]), features=[feature])
    assert not fed["A"].rows.x.isnan().any()
    with pytest.raises(ValueError, match=r"holds '\?' .*not among its codes"):
        encode(pd.DataFrame({"k": ["?"]}), [Feature("k", kind="category", codes={"a": "a", "b": "b"})])


CATEGORIES: dict[str, tuple[Any, list[str]]] = {
    "whole numbers": (pd.Series(np.arange(N) % 3).astype("category"), ["k=0", "k=1", "k=2"]),
    "two of them": (pd.Series(np.arange(N) % 2).astype("category"), ["k=1"]),
    "ordered": (
        pd.Categorical(["low", "high", "mid"] * 20, categories=["low", "mid", "high"], ordered=True),
        ["k=low", "k=mid", "k=high"],
    ),
    "bands": (
        pd.cut(pd.Series(np.arange(N)), [-1, 20, 40, 60]),
        ["k=(-1, 20]", "k=(20, 40]", "k=(40, 60]"],
    ),
    "spellings": (["Yes", "Yes ", "No", "Maybe"] * 15, ["k=Maybe", "k=No", "k=Yes"]),
    "numbers and texts": ([1, "1", "x", 2] * 15, ["k=1", "k=2", "k=x"]),
    "Köln twice": (["Köln", "Ko\u0308ln", "Bonn", "Ulm"] * 15, ["k=Bonn", "k=Köln", "k=Ulm"]),
}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_a_category_keeps_its_levels_and_their_order(kind: str) -> None:
    column, names = CATEGORIES[kind]
    fed = make(table(k=column))
    assert [c for c in fed.columns if c.startswith("k=")] == names
    assert any("levels of 'k' were found in the table" in note for note in fed.notes)
    assert torch.equal(fed.encode(table(k=column))[::2], fed["A"].rows.x)


def test_a_code_is_found_in_any_spelling_of_its_number() -> None:
    feature = Feature("k", kind="category", codes={0: "no", 1: "yes"})
    said = encode(pd.DataFrame({"k": pd.Series([1, "1", 1.0, True, " 1", 0], dtype=object)}), [feature])
    assert said[:, 0].tolist() == [1, 1, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="one value written in two ways"):
        Feature("k", kind="category", codes={1: "yes", "1": "no"})


def test_a_category_of_one_code_groups_and_parts_its_patients() -> None:
    fed = make(table(land="DE"))
    run = fedlab.train(fed, rounds=1, progress=False)
    groups = run.subgroups(by="land").query("metric == 'auc'")
    assert set(groups["group"]) == {"DE"} and groups["patients"].sum() == sum(len(s.test) for s in fed.sites)
    assert fed.partition(fedlab.federation.Column(by="land")).names == ("land DE",)


def test_an_empty_column_stays_and_is_said() -> None:
    fed = make(table(k=None))
    assert fed.columns == ("age", "k") and "'k' holds no value" in fed.notes


# ---------------------------------------------------------------- names of columns


def test_columns_may_be_called_by_numbers_or_tuples() -> None:
    assert make(table().rename(columns={"age": 0})).columns == ("0",)
    wide = table().set_axis(pd.MultiIndex.from_tuples([("", "ward"), ("vital", "age"), ("", "ill")]), axis=1)
    assert Federation.from_frame(wide, site=("", "ward"), label=("", "ill")).columns == ("vital age",)


def test_one_name_is_one_column() -> None:
    assert make(table(k=1.0), features="age").columns == ("age",)
    twice = pd.concat([table(), table()[["age"]]], axis=1)
    with pytest.raises(ValueError, match="2 columns called 'age'"):
        make(twice)
    with pytest.raises(TypeError, match="the table is a dict: give a DataFrame"):
        Federation.from_frame(table().to_dict("list"), site="ward", label="ill")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"features": ["age", "ill"]}, {"features": [Feature("ward")]}, {"site": "ill"}])
def test_label_site_and_group_are_no_features(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a model would read it off|they are different columns"):
        make(table(), **options)


# ---------------------------------------------------------------- sites


def test_blanks_around_a_site_and_its_unicode_do_not_make_two() -> None:
    names = ["A", "A ", "Köln", "Ko\u0308ln"] * 15
    fed = make(table(ward=names))
    assert fed.names == ("A", "Köln") and sum("were taken for one" in note for note in fed.notes) == 2
    assert make(table(ward=[3.0, 4.0] * 30)).names == ("3", "4")


def test_sites_that_may_be_one_or_two_are_refused() -> None:
    with pytest.raises(ValueError, match="'Nord' and 'nord'.*one hospital or two"):
        make(table(ward=["Nord", "nord"] * 30))
    with pytest.raises(ValueError, match="holds fractions such as 3.6"):
        make(table(ward=[3.6, 4.0] * 30))


@pytest.mark.parametrize("name", ["home", "everywhere", "home, large sites", "all sites", "all but A", "took part"])
def test_no_hospital_is_called_as_a_mean_over_hospitals(name: str) -> None:
    with pytest.raises(ValueError, match=f"a hospital is called '{name}'"):
        make(table(ward=[name, "B"] * 30))


# ---------------------------------------------------------------- labels

TRUTH = np.arange(N) % 4 == 0
LABELS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "truth as numbers": (TRUTH, {"classes": [0, 1]}, ("0", "1")),
    "truth": (TRUTH, {}, ("False", "True")),
    "1 and '1'": (
        pd.Series([int(t) if i % 2 else str(int(t)) for i, t in enumerate(TRUTH)], dtype=object),
        {},
        ("0", "1"),
    ),
    "ordered": (
        pd.Categorical(np.where(TRUTH, "died", "survived"), categories=["survived", "died"], ordered=True),
        {},
        ("survived", "died"),
    ),
    "spellings": (np.where(TRUTH, np.where(np.arange(N) % 8, "Yes", "Yes "), "No"), {}, ("No", "Yes")),
    "floats": (TRUTH.astype(float), {}, ("0", "1")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_label_is_read_by_value(kind: str) -> None:
    column, options, classes = LABELS[kind]
    fed = make(table(ill=column), **options)
    assert fed.task.classes == classes
    assert fed["A"].rows.y.tolist() == TRUTH[::2].astype(int).tolist()


@pytest.mark.parametrize("blank", ["", "  ", "?", "NA", None])
def test_a_blank_is_no_class(blank: str | None) -> None:
    column = ["yes" if i % 3 else "no" for i in range(N)]
    column[4] = blank  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"'ill' is missing in 1 rows \(\{'A': 1\}\)"):
        make(table(ill=column))


def test_classes_in_other_letters_are_refused_unless_named() -> None:
    column = ["Yes", "yes", "no"] * 20
    with pytest.raises(ValueError, match="'Yes' and 'yes'.*make them one, or name both in classes="):
        make(table(ill=column))
    assert make(table(ill=column), classes=["no", "yes", "Yes"]).task.classes == ("no", "yes", "Yes")


TENSOR_LABELS: dict[str, Any] = {
    "a column": torch.arange(N)[:, None] % 2,
    "an array": (torch.arange(N) % 2).numpy(),
    "one-hot": torch.nn.functional.one_hot(torch.arange(N) % 2),
    "floats": (torch.arange(N) % 2).double(),
    "truth": torch.arange(N) % 2 == 1,
    "a list": [i % 2 for i in range(N)],
}


@pytest.mark.parametrize("kind", TENSOR_LABELS)
def test_labels_of_tensors_are_taken_right(kind: str) -> None:
    fed = Federation.from_tensors({"A": (torch.randn(N, 2), TENSOR_LABELS[kind])})
    assert torch.equal(fed["A"].rows.y, torch.arange(N) % 2)


@pytest.mark.parametrize(
    "y,says",
    [
        (torch.rand(N), "no class number: soft labels"),
        ((torch.arange(N) % 2) * 0.99999994, "no class number"),
        (torch.arange(N) % 2 + 1, "no row has class 0: number the classes"),
        (torch.ones(N, 2), "not one-hot"),
        (torch.arange(N) % 2 - 1, "label -1: classes are numbered"),
        (torch.zeros(N, 2, 2), r"shape \[60, 2, 2\]"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y: torch.Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Federation.from_tensors({"A": (torch.randn(N, 2), y)})


def test_whole_numbers_that_float32_would_make_one_stay_apart() -> None:
    x = torch.arange(N)[:, None] + 2**30
    assert Federation.from_tensors({"A": (x, torch.arange(N) % 2)})["A"].rows.x.unique().numel() == N


def test_a_federation_shares_no_memory_with_what_it_is_made_of() -> None:
    x, y, who = torch.randn(N, 3), torch.arange(N) % 2, np.arange(N)
    fed = Federation.from_tensors({"A": (x, y)}, groups={"A": who})
    before = fed.fingerprint
    x.zero_(), y.zero_(), who.fill(0)
    assert fed.fingerprint == before


# ---------------------------------------------------------------- values that are none


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e39, -1.7976931348623157e308])
def test_what_no_measurement_can_be_is_named_by_its_column(bad: float) -> None:
    df = table()
    run = fedlab.train(make(df), rounds=1, progress=False)
    with pytest.raises(ValueError, match="column 'age' holds"):
        run.predict_proba(df.iloc[:1].assign(age=bad))
    with pytest.raises(ValueError, match="infinite value or one larger"):
        run.model()(torch.tensor([[bad]], dtype=torch.float64))
    df.loc[5, "age"] = bad
    with pytest.raises(ValueError, match=r"column 'age' holds .*row 5"):
        make(df)
    with pytest.raises(ValueError, match="'A' .*in column 'x0'"):
        x = torch.zeros(N, 1, dtype=torch.float64)
        x[3] = bad
        Federation.from_tensors({"A": (x, torch.arange(N) % 2)}, prepared=False)


def test_all_that_is_wrong_with_a_table_is_one_answer() -> None:
    df = table(note=[f"text {i}" for i in range(N)], height=["1,5"] * N, ill=["a"] * N)
    with pytest.raises(ValueError) as caught:
        make(df, features=["age", "note", "absent", Feature("height")])
    for part in ("4 things are wrong", "'note' is text", "no column 'absent'", "'1,5'", "one value only"):
        assert part in str(caught.value)


# ---------------------------------------------------------------- what makes a model look better than it is


def test_a_column_that_counts_rows_or_follows_the_label_is_named() -> None:
    df = table().sort_values("ill", ignore_index=True)
    with pytest.warns(TableWarning, match="'row' counts the rows"):
        make(df.assign(row=np.arange(N)))
    with pytest.warns(TableWarning, match="'outcome' follows the label without an exception"):
        make(df.assign(outcome=np.where(df["ill"] == 1, "dead", "alive")))
    with pytest.warns(TableWarning, match="'died_on' follows the label"):
        make(df.assign(died_on=np.where(df["ill"] == 1, 5.0, np.nan)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableWarning)
        make(df)


def test_patients_at_several_hospitals_are_counted() -> None:
    df = pd.concat([table(who=range(N)), table(who=range(N)).assign(ward="C")])
    with pytest.warns(TableWarning, match=r"60 patients stand at several hospitals \(C 60, A 30, B 30\)"):
        make(df, group="who")


def test_equal_rows_share_a_patient_and_never_straddle_a_split() -> None:
    df = table()
    df = pd.concat([df, df.iloc[:10]], ignore_index=True)
    with pytest.warns(TableWarning, match=r"10 rows repeat another .*\(A 5, B 5\): they share a patient"):
        fed = make(df)
    for seed in range(20):
        for site in fed.resplit(seed).sites:
            parts = [set(map(tuple, site.rows.x[rows].tolist())) for rows in site.split.parts().values()]
            assert not (parts[0] & parts[2]) and not (parts[0] & parts[1]) and not (parts[1] & parts[2])
    with pytest.warns(TableWarning, match="left out"):
        assert sum(map(len, make(df, duplicates="drop").sites)) == N
    assert sum(map(len, make(df, duplicates={"A": 5, "B": 5}).sites)) == N + 10
    with pytest.raises(ValueError, match="known to repeat rows so: {'A': 1}"):
        make(df, duplicates={"A": 1})
    with pytest.raises(ValueError, match='choose "keep" or "drop"'):
        make(df, duplicates="remove")


def test_rows_of_two_patients_that_are_equal_make_them_one() -> None:
    df = table(who=[f"p{i // 2}" for i in range(N)], ward="A")
    df.loc[9, ["age", "ill"]] = df.loc[2, ["age", "ill"]]
    with pytest.warns(TableWarning, match="1 row repeats"):
        fed = make(df, group="who")
    group = fed["A"].rows.group
    assert group[2] == group[3] == group[8] == group[9] and len(set(group)) == N // 2 - 1


def test_rows_of_few_columns_that_are_equal_by_chance_stay_patients() -> None:
    rng = np.random.default_rng(0)
    coarse = pd.DataFrame(rng.integers(0, 2, (N, 3)), columns=list("xyz")).assign(ward="A", ill=rng.integers(0, 2, N))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableWarning)
        fed = make(coarse)
    assert len(set(fed["A"].rows.group)) == N and any("by chance" in note for note in fed.notes)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_no_copy_of_a_training_row_is_tested(seed: int, copies: int) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(40, 3)))
    y = torch.from_numpy(rng.integers(0, 2, 40))
    again = torch.from_numpy(rng.integers(0, 40, copies))
    rows = torch.cat([x, x[again]]), torch.cat([y, y[again]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        site = Federation.from_tensors({"A": rows}, seed=seed)["A"]
    seen = {tuple(row) for row in site.train.x.tolist()}
    assert not any(tuple(row) in seen for row in site.test.x.tolist())


def test_a_published_split_is_left_as_it_is_and_its_copies_are_said() -> None:
    x, y = torch.randn(30, 3), torch.arange(30) % 2
    x[29], y[29] = x[0], y[0]
    split = fedlab.Split(np.arange(30) < 15, (np.arange(30) >= 15) & (np.arange(30) < 20), np.arange(30) >= 20)
    with pytest.warns(TableWarning, match=r"in the published split test rows equal a training row .*\(A 1\)"):
        fed = Federation.from_tensors({"A": (x, y)}, splits={"A": split})
    assert fed.describe()[["train", "valid", "test"]].values.tolist() == [[15, 5, 10]]


def test_a_guess_says_what_it_took_for_missing() -> None:
    assert guess(pd.Series(["1", "?", "2"], name="ca")).missing == ("?",)
    with pytest.raises(ValueError, match=r"nearly all are numbers; '2,5' is none"):
        guess(pd.Series([*map(str, range(40)), "2,5"], name="ca"))


def test_a_sentence_with_small_counts_has_none_where_it_leaves() -> None:
    df = table()
    df = pd.concat([df, df.iloc[[0, 2, 4, 6, 8, 10, 1, 3]]], ignore_index=True)
    with pytest.warns(TableWarning, match=r"8 rows repeat another .*\(A 6, B 2\)"):
        fed = make(df)
    (note,) = (note for note in fed.notes if "repeat" in note)
    assert note.outgoing.startswith("some rows repeat another") and "(A 6, B <5)" in note.outgoing
    assert pickle.loads(pickle.dumps(note)).outgoing == note.outgoing
