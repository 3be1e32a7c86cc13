"""Federations: made of tables and tensors, described, cut, and refused with a sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedlab.federation import Classification, Examples, Feature, Federation, Site, Split
from fedlab.federation.frame import encode


def table(n: int = 24, **columns: object) -> pd.DataFrame:
    base = {
        "ward": ["A", "B"] * (n // 2),
        "age": np.arange(n, dtype=float),
        "sex": ["F", "M", "M"] * (n // 3),
        "ill": [0, 0, 1, 1] * (n // 4),
    }
    return pd.DataFrame(base | columns)


def make(df: pd.DataFrame, **options: object) -> Federation:
    return Federation.from_frame(df, **({"site": "ward", "label": "ill"} | options))


def test_a_table_becomes_sites_classes_and_columns() -> None:
    fed = make(table())
    assert fed.names == ("A", "B")
    assert fed.task == Classification(("0", "1"))
    assert fed.columns == ("age", "sex=M")
    assert fed["A"].rows.x[:, 0].tolist() == list(range(0, 24, 2))
    assert fed["B"].rows.x[:3, 1].tolist() == [1.0, 0.0, 1.0]


def test_three_codes_give_three_columns_and_missing_stays_missing() -> None:
    df = table(pain=(["none", "some", None, "much"] * 6))
    fed = make(df, features=["pain"])
    assert fed.columns == ("pain=much", "pain=none", "pain=some")
    assert fed["A"].rows.x[0].tolist() == [0.0, 1.0, 0.0]
    assert fed["A"].rows.x[1].isnan().all()


def test_multiclass_and_the_order_of_classes() -> None:
    df = table(ill=["mild", "none", "severe", "none"] * 6)
    assert make(df).task.classes == ("mild", "none", "severe")
    fed = make(df, classes=["none", "mild", "severe"])
    assert fed.task.kind == "multiclass" and fed.task.outputs == 3
    assert fed["A"].rows.y[:2].tolist() == [1, 2]


def test_a_patient_is_never_in_two_parts() -> None:
    df = table(patient=np.repeat(np.arange(12), 2), ward=["A"] * 24)
    fed = make(df, group="patient")
    parts = [set(fed["A"].rows.group[rows]) for rows in fed["A"].split.parts().values()]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert sum(map(len, parts)) == 12
    assert fed.describe().loc["A", "patients"] == 12


@given(
    sizes=st.lists(st.integers(3, 60), min_size=1, max_size=4),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 10_000),
)
def test_splits_cover_every_row_once_in_the_stated_shares(sizes: list[int], share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sites = {f"s{i}": (torch.zeros(n, 1), torch.tensor(rng.random(n) < share).long()) for i, n in enumerate(sizes)}
    fed = Federation.from_tensors(sites, seed=seed)
    for site in fed.sites:
        parts = list(site.split.parts().values())
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(site)))
        for rows, wanted in zip(parts, (0.60, 0.15, 0.25), strict=True):
            assert abs(len(rows) - wanted * len(site)) <= 1.5


def test_splits_are_stratified(hospitals: Federation) -> None:
    for site in hospitals.sites:
        overall = site.rows.y.double().mean()
        for rows in site.split.parts().values():
            expected = overall * len(rows)
            assert abs(int(site.rows.y[torch.from_numpy(rows)].sum()) - expected) <= 1.5


def test_a_seed_redraws_the_split_and_nothing_else(hospitals: Federation) -> None:
    other = hospitals.resplit(1)
    assert not np.array_equal(other["Cleveland"].split.test, hospitals["Cleveland"].split.test)
    assert other["Cleveland"].rows is hospitals["Cleveland"].rows
    assert other.fingerprint != hospitals.fingerprint
    assert hospitals.resplit(0).fingerprint == hospitals.fingerprint


def test_a_sites_split_does_not_depend_on_the_others(hospitals: Federation) -> None:
    alone = hospitals.select("Hungary").resplit(5)
    together = hospitals.resplit(5)
    assert np.array_equal(alone["Hungary"].split.train, together["Hungary"].split.train)


def test_a_published_split_stays() -> None:
    split = Split(np.arange(4), np.arange(4, 6), np.arange(6, 9))
    fed = Federation.from_tensors({"A": (torch.zeros(9, 1), torch.arange(9) % 2)}, splits={"A": split})
    assert fed.published and fed.resplit(7) is fed


def test_select_and_holdout(hospitals: Federation) -> None:
    assert hospitals.select("Hungary", "Cleveland").names == ("Hungary", "Cleveland")
    rest, unseen = hospitals.holdout("Long Beach")
    assert rest.names == ("Cleveland", "Hungary", "Switzerland") and unseen.name == "Long Beach"


def test_the_fingerprint_sees_every_change(hospitals: Federation) -> None:
    prints = {hospitals.fingerprint, hospitals.select("Cleveland").fingerprint, hospitals.resplit(3).fingerprint}
    rows = hospitals["Cleveland"].rows
    changed = rows.x.clone()
    changed[0, 0] += 1e-9
    site = Site("Cleveland", Examples(changed, rows.y, rows.group), hospitals["Cleveland"].split)
    prints.add(Federation("h", (site,), hospitals.task).fingerprint)
    assert len(prints) == 4


def test_the_fingerprint_does_not_see_the_order_of_the_sites(hospitals: Federation) -> None:
    turned = hospitals.select(*reversed(hospitals.names))
    assert turned.names != hospitals.names and turned.fingerprint == hospitals.fingerprint


def test_the_parts_say_what_they_are_in_one_line(hospitals: Federation) -> None:
    assert repr(hospitals).startswith("<Federation heart_disease: 4 sites (Cleveland 303, Hungary 294")
    assert repr(hospitals["Cleveland"]).startswith("<Site Cleveland: 303 rows (182 train, 46 valid, 75 test")
    assert max(len(repr(thing)) for thing in (hospitals, hospitals["Cleveland"], hospitals["Cleveland"].rows)) < 200
    assert hospitals == hospitals and len({hospitals, hospitals.resplit(1)}) == 2


def test_html_escapes_names() -> None:
    df = table(ward=["<b>A", "B"] * 12)
    assert "<b>A" not in make(df)._repr_html_() and "&lt;b&gt;A" in make(df)._repr_html_()


def test_encode_reads_new_patients_as_the_old() -> None:
    fed = make(table())
    assert torch.equal(fed.encode(table())[::2], fed["A"].rows.x)


def test_codes_that_are_numbers_may_be_written_as_text() -> None:
    feature = Feature("fbs", kind="category", codes={0: "no", 1: "yes"})
    said = encode(pd.DataFrame({"fbs": ["1", "0", None, "1.0"]}), [feature])
    assert said[:, 0].tolist()[:2] == [1.0, 0.0] and said[2].isnan().all() and said[3, 0] == 1.0
    with pytest.raises(ValueError, match=r"holds '\?' \(row 1\), which is not among its codes \[0, 1\]"):
        encode(pd.DataFrame({"fbs": ["1", "?"]}), [feature])


BAD_TABLES = {
    "missing column": (table().drop(columns="ward"), {}, "no column 'ward'.*'age'"),
    "missing feature": (table(), {"features": ["height"]}, "no column 'height'"),
    "wrong separator": (pd.DataFrame({"ward;age;ill": ["A;3;1"]}), {}, "wrong separator"),
    "NaN in the label": (table(ill=[0.0, None, 1.0, 1.0] * 6), {}, r"'ill' is missing in 6 rows \(\{'B': 6\}\)"),
    "one label": (table(ill=[1] * 24), {}, "one value only"),
    "many labels": (table(n=24, ill=list(range(24))), {}, "24 different values"),
    "label outside the classes": (table(ill=[0, 1, 2, 1] * 6), {"classes": [0, 1]}, "holds 2"),
    "no site": (table(ward=[None, "B"] * 12), {}, "12 rows have no site"),
    "no patient": (table(who=[None] + ["p"] * 23), {"group": "who"}, "1 rows have no patient"),
    "free text": (table(note=[f"text {i}" for i in range(24)]), {}, "'note' is text with 24 different values"),
    "text in numbers": (table(age=["12,5"] + ["1"] * 23), {"features": [Feature("age")]}, "'12,5'.*row 0"),
    "unknown code": (
        table(), {"features": [Feature("sex", kind="category", codes={"F": "female"})]}, "'M'.*not among its codes"
    ),
    "a feature twice": (table(), {"features": ["age", "age"]}, "'age' twice"),
    "no rows": (table().head(0), {}, "no rows"),
    "one patient": (table(ward=["A"] * 23 + ["B"]), {}, "site 'B' has 1 patient: .*leave the site out"),
    "infinite": (table(age=[np.inf] + [1.0] * 23), {}, "infinite"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_sentence(case: str) -> None:
    df, options, sentence = BAD_TABLES[case]
    with pytest.raises(ValueError, match=sentence):
        make(df, **options)


def test_an_extra_column_is_left_alone_when_features_are_named() -> None:
    assert make(table(note="x"), features=["age"]).columns == ("age",)


def test_a_site_with_one_class_is_allowed() -> None:
    df = table()
    df.loc[df["ward"] == "B", "ill"] = 1
    fed = make(df)
    assert fed.describe().loc["B", "share 1"] == 1.0


def test_an_empty_site_is_refused() -> None:
    with pytest.raises(ValueError, match="'B' has 0 patients"):
        Federation.from_tensors(
            {"A": (torch.zeros(9, 1), torch.arange(9) % 2), "B": (torch.zeros(0, 1), torch.zeros(0).long())}
        )


def test_duplicate_sites_and_unknown_names_are_refused(hospitals: Federation) -> None:
    site = hospitals["Cleveland"]
    with pytest.raises(ValueError, match="two sites are called 'Cleveland'"):
        Federation("twice", (site, site), hospitals.task)
    with pytest.raises(ValueError, match="no site 'Boston'; the sites are Cleveland, Hungary"):
        hospitals.select("Boston")


def test_a_patient_in_two_parts_is_refused() -> None:
    rows = Examples(torch.zeros(6, 1), torch.zeros(6).long(), np.array([1, 1, 2, 3, 4, 5]))
    with pytest.raises(ValueError, match="patient 1 stands in train and in valid"):
        Site("A", rows, Split(np.array([0, 2]), np.array([1, 3]), np.array([4, 5])))


def test_prepared_rows_may_not_be_missing() -> None:
    x = torch.tensor([[1.0], [float("nan")], [2.0], [3.0]])
    with pytest.raises(ValueError, match="use prepared=False"):
        Federation.from_tensors({"A": (x, torch.tensor([0, 1, 0, 1]))})
