"""What ``Federation.from_tensors`` takes, and what it refuses in a sentence that names the site and the input."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fedlab.federation import Classification, Federation, Split

N = 60
GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, 3, generator=GENERATOR), torch.arange(N) % 2
NUMBER = np.arange(N)
THREE = Classification(("a", "b", "c"))


def made(x: Any = X, y: Any = Y, **options: Any) -> Federation:
    return Federation.from_tensors({"A": (x, y)}, **options)


# ---------------------------------------------------------------- labels


def test_a_one_hot_column_without_a_row_is_refused_unless_the_classes_are_named() -> None:
    hot = torch.nn.functional.one_hot(Y, 3)
    with pytest.raises(ValueError, match=r"no row has class 2 \(the one-hot labels have 3 columns\).*task=Class"):
        made(y=hot)
    with pytest.raises(ValueError, match="one-hot labels have 3 columns, and the task 2 classes"):
        made(y=hot, task=Classification(("well", "ill")))
    fed = made(y=hot, task=THREE)
    assert fed.task == THREE and torch.equal(fed["A"].rows.y, Y)


def test_a_class_that_another_hospital_has_is_no_gap() -> None:
    two, three = torch.nn.functional.one_hot(Y), torch.nn.functional.one_hot(torch.arange(N) % 3)
    assert Federation.from_tensors({"A": (X, two), "B": (X + 1, three)}).task.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.bfloat16, torch.float16, torch.float64, torch.uint8, torch.uint16, torch.uint64]
)
def test_labels_of_every_dtype_are_taken_as_numbers_and_one_hot(dtype: torch.dtype) -> None:
    for y in (Y.to(dtype), torch.nn.functional.one_hot(Y).to(dtype)):
        held = made(y=y)["A"].rows.y
        assert held.dtype == torch.int64 and torch.equal(held, Y)


def test_sparse_labels_and_those_of_an_unordered_category_of_numbers_are_taken() -> None:
    assert torch.equal(made(y=torch.nn.functional.one_hot(Y).to_sparse())["A"].rows.y, Y)
    assert torch.equal(made(y=pd.Categorical(Y.tolist()))["A"].rows.y, Y)
    assert torch.equal(made(y=Y.numpy().astype(">i4"))["A"].rows.y, Y)


TEXTS = ["ill", "well"] * (N // 2)
BAD_LABELS: dict[str, tuple[Any, str]] = {
    "complex": (Y.to(torch.complex64), "site 'A' has y of complex numbers"),
    "a complex array": (Y.numpy().astype(complex), "site 'A' has y of complex numbers"),
    "texts": (TEXTS, "site 'A' has y of texts.*number the classes.*from_frame"),
    "objects": (np.array(TEXTS, dtype=object), "site 'A' has y of objects.*number the classes.*from_frame"),
    "a category": (pd.Categorical(TEXTS), "site 'A' has y of .*number the classes.*from_frame"),
    "dates": (np.array(["2020-01-01"] * N, dtype="M8[D]"), "site 'A' has y of dates.*number the classes"),
    "None": ([None, 1] * (N // 2), "site 'A' has no label in 30 rows"),
    "nan": (np.where(NUMBER == 3, np.nan, NUMBER % 2), "site 'A' has no label in 1 row of y"),
    "nan in a tensor": (torch.tensor([torch.nan] + [1.0] * (N - 1)), "site 'A' has no label in 1 row of y"),
    "NA": (pd.Series([pd.NA, 1] * (N // 2), dtype="Int64"), "site 'A' has no label in 30 rows"),
    "masked": (np.ma.masked_array(Y.numpy(), NUMBER < 2), "site 'A' has no label in 2 rows"),
    "infinite": (torch.tensor([torch.inf] + [1.0] * (N - 1)), "site 'A' has the label inf.*no class number"),
    "too large for int64": (torch.tensor([1e30] + [1.0] * (N - 1)), r"site 'A' has the label 1e\+30"),
    "too large of uint64": (np.full(N, 2**64 - 1, dtype=np.uint64), "site 'A' has y with the number 18446"),
    "ragged": ([[0, 1], [1]] * (N // 2), "site 'A' has y that is no array"),
    "a single number": (1, r"site 'A' has labels of shape \[\]"),
    "huge": (Y * 10**10, "labels are 0, 10000000000, and no row has class 1"),
    "identifiers": (torch.arange(N) + 10**9, "no row has class 0: number the classes"),
    "a number for each row": (torch.arange(N), "60 different values: a class label has at most 20.*task=Class"),
    "too few": (Y[:50], "site 'A' has 60 rows in x and 50 labels in y"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_are_none_are_refused(case: str) -> None:
    y, sentence = BAD_LABELS[case]
    with pytest.raises(ValueError, match=sentence):
        made(y=y)


def test_a_message_does_not_list_every_label() -> None:
    with pytest.raises(ValueError) as caught:
        made(torch.zeros(5000, 1), torch.arange(5000) + 7)
    assert len(str(caught.value)) < 250


def test_many_classes_are_taken_by_name() -> None:
    y = torch.arange(N) % 30
    with pytest.raises(ValueError, match="30 different values"):
        made(y=y)
    assert len(made(y=y, task=Classification(tuple(map(str, range(30))))).task.classes) == 30
    assert len(made(y=torch.arange(N) % 20).task.classes) == 20


def test_a_task_is_a_task() -> None:
    with pytest.raises(TypeError, match=r"task is a tuple: .*Classification\("):
        made(task=("well", "ill"))


# ---------------------------------------------------------------- rows


def test_rows_of_every_dtype_keep_their_numbers() -> None:
    whole = torch.arange(N * 3).reshape(N, 3)
    for dtype in (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.bfloat16):
        x = whole.to(dtype)
        held = made(x)["A"].rows.x
        assert held.dtype == torch.float32 and torch.equal(held, x.float())
    large = made(whole.numpy().astype(np.uint64) + np.uint64(2**40))["A"].rows.x
    assert large.dtype == torch.float64 and torch.equal(large, whole.double() + 2**40)
    for same in (X.half(), X, X.double()):
        held = made(same)["A"].rows.x
        assert held.dtype == same.dtype and torch.equal(held, same)


def test_rows_of_other_layouts_are_taken_as_they_are() -> None:
    thin = X * (X > 0)
    for x in (thin.to_sparse(), thin.numpy().astype(">f4"), pd.DataFrame(thin.numpy())):
        assert torch.equal(made(x)["A"].rows.x, thin)
    assert torch.equal(made(X.clone().requires_grad_())["A"].rows.x, X)


def test_a_masked_cell_is_missing() -> None:
    x = np.ma.masked_array(X.numpy(), X.numpy() > 1)
    held = made(x, prepared=False)["A"].rows.x
    assert torch.equal(held.isnan(), X > 1) and int(held.isnan().sum()) > 0


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "complex": (X.to(torch.complex64), "site 'A' has x of complex numbers"),
    "a complex array": (X.numpy().astype(complex), "site 'A' has x of complex numbers"),
    "objects": (X.numpy().astype(object), "site 'A' has x of objects, not of numbers: give floats"),
    "texts": (X.numpy().astype(str), "site 'A' has x of texts, not of numbers: .*from_frame"),
    "a table with texts": (pd.DataFrame({"age": NUMBER, "sex": TEXTS}), "site 'A' has x of objects.*from_frame"),
    "ragged": ([[1.0], [1.0, 2.0]], "site 'A' has x that is no array"),
    "no columns": (torch.arange(N), r"site 'A' has x of shape \[60\]: .*reshape"),
    "zero columns": (torch.zeros(N, 0), r"site 'A' has x of shape \[60, 0\]"),
    "meta": (torch.zeros(N, 3, device="meta"), "site 'A' has x that is no plain tensor"),
    "identifiers": (2**60 + torch.arange(N)[:, None], r"site 'A' has x with whole numbers of more than 2\*\*53"),
    "too large of uint64": (np.full((N, 1), 2**64 - 1, dtype=np.uint64), "site 'A' has x with the number 18446"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_rows_that_are_no_numbers_are_refused(case: str) -> None:
    x, sentence = BAD_ROWS[case]
    with pytest.raises(ValueError, match=sentence):
        made(x)


def test_what_is_wrong_at_each_site_is_one_answer() -> None:
    with pytest.raises(ValueError, match="2 things are wrong") as caught:
        Federation.from_tensors({"A": (X[:, 0], Y), "B": (X, Y), "C": (X, TEXTS)})
    assert "site 'A' has x of shape [60]" in str(caught.value) and "site 'C' has y of texts" in str(caught.value)


@pytest.mark.parametrize("held", [X, (X,), (X, Y, Y), None, "xy", {"x": X, "y": Y}])
def test_a_site_is_a_pair(held: Any) -> None:
    with pytest.raises(ValueError, match=r"site 'A' is given as a .*\(x, y\)"):
        Federation.from_tensors({"A": held})


# ---------------------------------------------------------------- whose rows they are


DAYS = np.array(["2020-01-01"] * N, dtype="M8[D]") + NUMBER
BAD_GROUPS: dict[str, tuple[Any, str]] = {
    "nan": (np.where(NUMBER % 2, np.nan, NUMBER), "groups='A' has 30 rows of nobody"),
    "nan in a tensor": (torch.tensor([torch.nan, *range(N - 1)]), "groups='A' has 1 row of nobody"),
    "NaT": (np.where(NUMBER < 3, np.datetime64("NaT"), DAYS), "groups='A' has 3 rows of nobody"),
    "empty": (["", *map(str, range(N - 1))], "groups='A' has 1 row of nobody"),
    "blank": (np.array([" ", "\t", *map(str, range(N - 2))]), "groups='A' has 2 rows of nobody"),
    "None among texts": ([None, *map(str, range(N - 1))], "groups='A' has 1 row of nobody"),
    "nan among texts": ([float("nan"), *map(str, range(N - 1))], "groups='A' has 1 row of nobody"),
    "NA": (pd.Series([pd.NA, *range(N - 1)], dtype="Int64"), "groups='A' has 1 row of nobody"),
    "masked": (np.ma.masked_array(NUMBER, NUMBER < 2), "groups='A' has 2 rows of nobody"),
    "too few": (NUMBER[:50], r"groups='A' has shape \[50\] for the 60 rows of site 'A'"),
    "a column": (NUMBER[:, None], r"groups='A' has shape \[60, 1\]"),
    "none": (None, r"groups='A' has shape \[\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_GROUPS)
def test_rows_of_nobody_are_refused(case: str) -> None:
    who, sentence = BAD_GROUPS[case]
    with pytest.raises(ValueError, match=sentence):
        made(groups={"A": who})


def test_patients_are_told_apart_by_every_kind_of_name() -> None:
    half = NUMBER // 2
    kinds = [
        half, half.tolist(), torch.from_numpy(half), half.astype(float), half.astype(str), half.astype(str).tolist(),
        half.astype(object), DAYS[half], pd.Series(half, dtype="Int64"), [f"p{k} " if k % 2 else f"p{k}" for k in half],
    ]  # fmt: skip
    for who in kinds:
        patients = made(groups={"A": who})["A"].rows.patients
        assert patients.rows.tolist() == [2] * 30
        assert (patients.of[::2] == patients.of[1::2]).all() and len(set(patients.of)) == 30
    spelt = made(groups={"A": [f"p{i // 2}{' ' * (i % 2)}" for i in range(N)]})["A"].rows.patients
    assert spelt.rows.tolist() == [2] * 30


def test_groups_are_a_mapping_with_every_site() -> None:
    with pytest.raises(TypeError, match="groups= is a list: give a mapping of site name"):
        made(groups=[NUMBER])
    with pytest.raises(ValueError, match=r"groups= has no entry for site 'A' \(there are: 'B'\)"):
        made(groups={"B": NUMBER})


# ---------------------------------------------------------------- names


COMPOSED = "Köln"
PAIRS = [("A", "A "), (COMPOSED, unicodedata.normalize("NFD", COMPOSED)), (1, "1"), (1.0, "1"), ("Nord", "nord")]


@pytest.mark.parametrize("one,other", PAIRS)
def test_names_that_read_as_one_are_refused(one: Any, other: Any) -> None:
    with pytest.raises(ValueError, match="sites names"):
        Federation.from_tensors({one: (X, Y), other: (X + 1, Y)})


@pytest.mark.parametrize("name", ["", " ", None, True, 1.5, float("nan"), b"A", ("A", "B")])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="sites names a hospital .*: give it a name"):
        Federation.from_tensors({name: (X, Y)})


def test_names_are_of_one_spelling_and_so_are_the_keys_of_the_rest() -> None:
    split = Split(NUMBER[:30], NUMBER[30:40], NUMBER[40:])
    fed = Federation.from_tensors(
        {0: (X, Y), " B": (X + 1, Y)}, groups={"0": NUMBER, "B ": NUMBER + N}, splits={0: split, "B": split}
    )
    assert fed.names == ("0", "B") and fed["B"].rows.group.tolist() == (NUMBER + N).tolist()
    nfd = Federation.from_tensors({unicodedata.normalize("NFD", COMPOSED): (X, Y)})
    assert nfd.fingerprint == Federation.from_tensors({COMPOSED: (X, Y)}).fingerprint


@pytest.mark.parametrize("sites", [[(X, Y)], None, X])
def test_sites_are_a_mapping(sites: Any) -> None:
    with pytest.raises(TypeError, match="sites is a .*: give a mapping of site name"):
        Federation.from_tensors(sites)


def test_no_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no sites"):
        Federation.from_tensors({})


# ---------------------------------------------------------------- splits and duplicates


@pytest.mark.parametrize("split", [{"train": [0], "valid": [1], "test": [2]}, ([0], [1], [2]), None])
def test_a_split_is_a_split(split: Any) -> None:
    with pytest.raises(ValueError, match=r"splits= of site 'A' is a .*: give .*Split\(train, valid, test\)"):
        made(splits={"A": split})


def test_splits_are_a_mapping_with_every_site() -> None:
    split = Split(NUMBER[:30], NUMBER[30:40], NUMBER[40:])
    with pytest.raises(TypeError, match="splits= is a Split: give a mapping"):
        made(splits=split)
    with pytest.raises(ValueError, match="splits= has no entry for site 'A'"):
        made(splits={"B": split})


@pytest.mark.parametrize("length", [N - 5, N + 5])
def test_a_mask_of_another_length_is_refused(length: int) -> None:
    number = np.arange(length)
    split = Split(number < 30, (number >= 30) & (number < 40), (number >= 40) & (number < 50))
    with pytest.raises(ValueError, match=f"site 'A' has 60 rows, and the mask of train is {length} long"):
        made(splits={"A": split})


def test_a_mask_of_every_row_is_its_numbers() -> None:
    split = Split(NUMBER < 30, torch.from_numpy((NUMBER >= 30) & (NUMBER < 40)), (NUMBER >= 40).tolist())
    fed = made(splits={"A": split})
    assert fed.fingerprint == made(splits={"A": Split(NUMBER[:30], NUMBER[30:40], NUMBER[40:])}).fingerprint
    assert len(fed.thinned(10, seed=0)["A"].split.train) == 10
    with pytest.raises(ValueError, match=r"train is (.|\n)*: give the numbers of its rows, or a mask"):
        Split(np.ones((5, 2), dtype=bool), NUMBER[:1], NUMBER[1:2])


@pytest.mark.parametrize("duplicates", [None, True, 3, ["keep"], "leave"])
def test_what_is_to_happen_to_duplicates_is_said(duplicates: Any) -> None:
    split = Split(NUMBER[:30], NUMBER[30:40], NUMBER[40:])
    for splits in (None, {"A": split}):
        with pytest.raises(ValueError, match='duplicates is .*: choose "keep" or "drop"'):
            made(duplicates=duplicates, splits=splits)


def test_known_duplicates_are_counted_by_the_name_of_the_site() -> None:
    x, y = torch.cat([X, X[:2]]), torch.cat([Y, Y[:2]])
    fed = Federation.from_tensors({0: (x, y)}, duplicates={0: 2})
    assert len(fed["0"]) == N + 2 and len(set(fed["0"].rows.group.tolist())) == N
