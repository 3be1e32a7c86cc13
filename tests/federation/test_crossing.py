"""A hospital that crosses into another federation keeps its meaning: columns, codes and classes go by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab.federation import Feature, Federation, Site

N = 90
FEATURES = [
    Feature("age", unit="years"),
    Feature("sex", kind="category", codes={"F": "female", "M": "male"}),
    Feature("pain", kind="category", codes={1: "none", 2: "some", 3: "much"}),
    Feature("vessels", codes={0: "none", 1: "one"}),
]


def table(ward: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"ward": ward, "age": rng.normal(60, 10, N), "sex": rng.choice(["F", "M"], N)})
    df["pain"], df["vessels"] = rng.integers(1, 4, N), rng.integers(0, 2, N)
    risk = (df["age"] - 60) / 10 + (df["pain"] - 2) + 2 * (df["sex"] == "M")
    return df.assign(outcome=np.where(rng.random(N) < 1 / (1 + np.exp(-risk)), "ill", "well"))


def make(df: pd.DataFrame, features: Any = FEATURES, classes: Any = ("well", "ill")) -> Federation:
    return Federation.from_frame(df, site="ward", label="outcome", features=features, classes=classes)


HERE = make(pd.concat([table("A", 0), table("B", 1)]))
LATE = table("C", 2)
ELSEWHERE: dict[str, Federation] = {
    "columns in another order": make(LATE, FEATURES[::-1]),
    "classes in another order": make(LATE, FEATURES, ("ill", "well")),
    "codes in another order": make(
        LATE, [*FEATURES[:2], replace(FEATURES[2], codes={3: "much", 1: "none", 2: "some"}), FEATURES[3]]
    ),
    "codes that are other numbers": make(
        LATE.assign(pain=LATE["pain"].map({1: 7, 2: 8, 3: 9}), vessels=LATE["vessels"].map({0: 5, 1: 4})),
        [
            *FEATURES[:2],
            replace(FEATURES[2], codes={7: "none", 8: "some", 9: "much"}),
            replace(FEATURES[3], codes={4: "one", 5: "none"}),
        ],
    ),
    "the second of two codes first": make(
        LATE, [FEATURES[0], replace(FEATURES[1], codes={"M": "male", "F": "female"}), *FEATURES[2:]]
    ),
    "a column more": make(LATE.assign(note=1.0), [*FEATURES, Feature("note")]),
}
TRUE = make(LATE)


@pytest.fixture(scope="module")
def run() -> fedlab.Run:
    return fedlab.train(HERE, rounds=5, progress=False)


def scores(table: pd.DataFrame) -> list[float]:
    return table[table["test"] == "C"]["value"].tolist()


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_every_door_matches_by_name(kind: str, run: fedlab.Run) -> None:
    late, true = ELSEWHERE[kind]["C"], TRUE["C"]
    admitted = HERE.admit(late)
    assert torch.equal(admitted.rows.x, true.rows.x) and torch.equal(admitted.rows.y, true.rows.y)
    assert torch.equal(replace(HERE, sites=(*HERE.sites, late))["C"].rows.x, true.rows.x)
    split = replace(late, split=true.split)  # whose draw goes by the labels' numbers
    again = fedlab.train(HERE, rounds=5, progress=False)
    assert scores(again.report(unseen=[split])) == scores(run.report(unseen=[true]))
    assert scores(again.newcomer(split)) == scores(run.newcomer(true))
    whole = fedlab.atlas(HERE, holdout=late, unseen=None, rounds=2, resamples=20, progress=False)
    assert whole.loc[whole["holdout"], "value"].notna().any()


REFUSED: dict[str, tuple[Federation, str]] = {
    "no such column": (make(LATE, FEATURES[1:]), "'C' does not fit the federation: it has no column 'age'"),
    "another unit": (
        make(LATE, [replace(FEATURES[0], unit="months"), *FEATURES[1:]]),
        "unit 'months' there and 'years'",
    ),
    "another kind": (make(LATE, [*FEATURES[:1], *FEATURES[1:2], Feature("pain"), FEATURES[3]]), "kind 'number' there"),
    "a code that means another thing": (
        make(LATE, [*FEATURES[:2], replace(FEATURES[2], codes={1: "no", 2: "some", 3: "much"}), FEATURES[3]]),
        "the code 1 means 'no' there and 'none' here",
    ),
    "a code that is none here": (
        make(
            LATE.assign(pain=LATE["pain"].replace(3, 4)),
            [*FEATURES[:2], replace(FEATURES[2], codes={1: "none", 2: "some", 4: "worse"}), FEATURES[3]],
        ),
        "'pain' has no code for '4'",
    ),
    "another class": (make(LATE.replace("well", "fine"), FEATURES, ("fine", "ill")), "no code for 'fine'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_matched_is_refused_by_name(kind: str, run: fedlab.Run) -> None:
    late, says = REFUSED[kind]
    for door in (HERE.admit, run.newcomer, lambda site: run.report(unseen=[site])):
        with pytest.raises(ValueError, match=says):
            door(late["C"])  # type: ignore[operator]


def test_all_that_differs_is_said_at_once() -> None:
    late = make(LATE.replace("well", "fine"), FEATURES[1:], ("fine", "ill"))["C"]
    with pytest.raises(ValueError, match="(?s)2 things are wrong.*no column 'age'.*'fine'"):
        HERE.admit(late)


def test_a_site_that_knows_nothing_is_taken_as_it_is_but_for_its_width() -> None:
    bare = Site("C", TRUE["C"].rows, TRUE["C"].split)
    assert HERE.admit(bare).features == HERE.features and HERE.admit(bare).classes == ("well", "ill")
    narrow = Site("C", replace(bare.rows, x=bare.rows.x[:, :2]), bare.split)
    with pytest.raises(ValueError, match="'C' has 2 columns, and the federation 6: age, sex=M, pain=1"):
        HERE.admit(narrow)


def test_the_same_name_is_not_the_same_hospital(run: fedlab.Run) -> None:
    """What is stored of a report answers for these patients alone."""
    true = TRUE["C"]
    flipped = replace(true, rows=replace(true.rows, y=1 - true.rows.y))
    kept = fedlab.train(HERE, rounds=5, progress=False)
    first, other = (
        kept.report(unseen=[site]).query("test == 'C' and metric == 'auc'")["value"].item() for site in (true, flipped)
    )
    assert first == pytest.approx(1 - other) and first != other
    one, two = (kept.newcomer(site).query("metric == 'auc'")["value"].item() for site in (true, flipped))
    assert (one, two) == (first, other)
    opened = kept.test_openings
    kept.report(unseen=[true])
    assert kept.test_openings == opened, "the same report again is the stored one"
    with pytest.raises(ValueError, match="'A' is a site of this run"):
        kept.report(unseen=[HERE["A"]])


# ---------------------------------------------------------------- facts that a redraw does not undo


def test_thinned_stays_thinned() -> None:
    few = HERE.thinned(20, seed=0)
    assert [len(site.split.train) for site in few.resplit(3).sites] == [20, 20]
    assert not np.array_equal(few["A"].split.train, few.resplit(3)["A"].split.train)
    assert few.resplit(0).fingerprint == few.fingerprint
    assert all(len(site.split.train) <= 20 for site in few.partition(fedlab.federation.IID(), sites=3).sites)
    assert [len(site.split.train) for site in few.select("A").resplit(1).sites] == [20]
    study = fedlab.compare(few, algorithms=["fedavg"], seeds=2, rounds=1, progress=False)
    assert all(len(site.split.train) == 20 for run in study.runs["fedavg"] for site in run.federation.sites)
    assert [len(s.split.train) for s in few.thinned(30, seed=0).sites] == [20, 20]


# ---------------------------------------------------------------- levels that no training row has


@pytest.mark.parametrize("engine", ["sequential", "batched"])
@pytest.mark.parametrize("levels", [("a", "b", "c"), ("a", "b")])
def test_a_code_that_no_training_row_has_is_missing(levels: tuple[str, ...], engine: str) -> None:
    rng = np.random.default_rng(0)
    known = levels[:-1]
    df = pd.DataFrame({"ward": ["A", "B"] * 60, "age": rng.normal(size=120), "k": rng.choice(known, 120)})
    df["outcome"] = np.where(df["age"] + (df["k"] == "a") + rng.normal(size=120) > 0, "ill", "well")
    feature = Feature("k", kind="category", codes={level: level for level in levels})
    for new, empty in ((levels[-1], None), (levels[0], None)):
        given = df if new == levels[-1] else df.assign(k=levels[-1])  # of two codes either may be the new one
        fed = make(given, [Feature("age"), feature])
        test = np.flatnonzero(given["ward"] == "A")[fed["A"].split.test]
        tables = [given.assign(k=given["k"].where(given.index != test[0], cell)) for cell in (new, empty)]
        runs = [
            fedlab.train(make(t, [Feature("age"), feature]), "mlp", rounds=3, engine=engine, progress=False)
            for t in tables
        ]
        risk = [run.predict_proba(given.assign(k=given["k"].where(given.index != test[0], new))) for run in runs]
        assert risk[0].equals(risk[1]), "one test cell changes nobody's model"
        missing = runs[0].predict_proba(given.assign(k=given["k"].where(given.index != test[0], None)))
        assert risk[0].equals(missing), "and it is read as an empty cell"
        model = runs[0].model()
        assert torch.allclose(
            model(fed.encode(tables[0]))[:, 0].sigmoid().double(),
            torch.from_numpy(risk[0]["ill"].to_numpy()),
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["all sites", "home", "A\x1b"])
def test_a_hospital_that_comes_later_has_no_such_name(name: str) -> None:
    others, late = HERE.holdout("A")
    run = fedlab.train(others, rounds=1, progress=False)
    for ask in (lambda s: run.report(unseen=[s]), lambda s: run.newcomer(s), lambda s: run.at(s)):
        with pytest.raises(ValueError, match="call it otherwise|rename it"):
            ask(replace(late, name=name))


def test_what_is_no_site_or_twice_the_same_is_refused() -> None:
    others, late = HERE.holdout("A")
    run = fedlab.train(others, rounds=1, progress=False)
    with pytest.raises(ValueError, match="two sites called 'A'"):
        run.report(unseen=[late, late])
    for odd in (late, "A", ["A"]):
        with pytest.raises(TypeError, match="unseen= is a list of sites"):
            run.report(unseen=odd)  # type: ignore[arg-type]
    for ask in (run.newcomer, run.at, lambda site: run.report(unseen=[site])):
        with pytest.raises(ValueError, match="'B' is a site of this run"):
            ask(others["B"])
    with pytest.raises(TypeError, match="no site"):
        run.newcomer("A")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no site 'Z'"):
        run.model("Z")


def test_numbers_that_are_none_of_the_codes_here_are_refused() -> None:
    import numpy as np
    import pandas as pd

    from fedlab.federation import Feature, Federation

    df = pd.DataFrame({"ward": ["A", "B"] * 30, "sex": np.arange(60) // 2 % 2, "ill": np.arange(60) // 3 % 2})
    coded = Federation.from_frame(df, site="ward", label="ill", features=[Feature("sex", codes={0: "f", 1: "m"})])
    plain = Federation.from_frame(df.assign(sex=df["sex"] + 1), site="ward", label="ill", features=[Feature("sex")])
    with pytest.raises(ValueError, match="2 there, which is none of the codes here"):
        coded.admit(replace(plain["A"], name="C"))


def test_what_was_thinned_is_no_more_by_thinning_it_less() -> None:
    few = HERE.thinned(20, seed=0)
    again = few.thinned(50, seed=1)
    assert [len(site.split.train) for site in again.sites] == [len(s.split.train) for s in again.resplit(1).sites]
    assert all(len(site.split.train) == 20 for site in again.resplit(1).sites)
    assert all(len(site.split.train) == 10 for site in few.thinned(10, seed=1).resplit(2).sites)


SEEDED = torch.Generator().manual_seed(0)
BYTES = torch.randint(0, 256, (40, 1, 8, 8), generator=SEEDED, dtype=torch.uint8)
BAGS = list(torch.randn(40, 2, 8, generator=SEEDED))
LABELS = torch.arange(40) % 2
OTHER_ROWS: dict[str, tuple[Federation, str]] = {
    "floats of 0 to 255": (Federation.from_tensors({"C": (BYTES.float(), LABELS)}), r"rows of shape \[1, 8, 8\], and"),
    "three channels": (
        Federation.from_tensors({"C": (BYTES.repeat(1, 3, 1, 1), LABELS)}),
        r"\[3, 8, 8\] in bytes, and",
    ),
    "another size": (
        Federation.from_tensors({"C": (BYTES.repeat(1, 1, 2, 2), LABELS)}),
        r"\[1, 16, 16\] in bytes, and",
    ),
    "a table": (
        Federation.from_tensors({"C": (torch.randn(40, 3, generator=SEEDED), LABELS)}),
        r"rows of shape \[3\], and",
    ),
    "bags": (
        Federation.from_tensors(bags={"C": (BAGS, LABELS)}),
        r"rows of shape \[None, 8\], and",
    ),
}


@pytest.fixture(scope="module")
def of_pictures() -> fedlab.Run:
    pictures = Federation.from_tensors({name: (BYTES, LABELS) for name in "AB"})

    def pooled(inputs: int, outputs: int, shape: tuple[int, ...]) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(inputs, outputs))

    return fedlab.train(pictures, pooled, rounds=1, progress=False)


@pytest.mark.parametrize("kind", OTHER_ROWS)
def test_rows_of_another_form_are_refused_at_every_door(kind: str, of_pictures: fedlab.Run) -> None:
    """A model that takes any size, or floats as well as bytes, would give scores of something else."""
    late, says = OTHER_ROWS[kind]
    doors = of_pictures.federation.admit, of_pictures.newcomer, lambda site: of_pictures.report(unseen=[site])
    for door in doors:
        with pytest.raises(ValueError, match=f"'C' has .*{says} the federation rows of shape .* in bytes: "):
            door(late["C"])  # type: ignore[operator]


def test_pictures_of_the_same_form_are_taken(of_pictures: fedlab.Run) -> None:
    late = Federation.from_tensors({"C": (BYTES, LABELS)})["C"]
    assert of_pictures.federation.admit(late).rows.x.dtype == torch.uint8
    assert set(of_pictures.report(unseen=[late])["test"]) >= {"C"}


def test_columns_without_names_are_not_matched_by_their_places() -> None:
    y = torch.arange(40) % 2
    five, seven = (Federation.from_tensors({name: (torch.randn(40, n), y)}) for name, n in (("A", 5), ("B", 7)))
    with pytest.raises(ValueError, match="'B' has 7 columns without names, and the federation has 5"):
        five.admit(seven["B"])
    with pytest.raises(ValueError, match="'A' has 5 columns without names, and the federation has 7"):
        seven.admit(five["A"])
