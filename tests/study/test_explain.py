"""The parts of a fall sum to it, a planted difference is found, and nothing is made of nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.algorithms import algorithm
from fedlab.federation import (
    IID,
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    Federation,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shifts,
)
from fedlab.study import Explanation
from fedlab.study.explain.gaps import GAPS, Gap
from fedlab.study.explain.removal import look, removed
from fedlab.study.explain.shapley import shapley, subsets
from fedlab.study.words import number
from tests.conftest import ragged

QUICK = {"seeds": 3, "rounds": 4, "local_epochs": 3, "progress": False}
STRONG = {
    "acquisition": AcquisitionShift(0.9, offset=3.0, noise=0.0),
    "practice": PracticeShift(0.9, missing=0.9, never=0.3),
    "documentation": DocumentationShift(0.9),
    "concept": ConceptShift(0.9),
    "label": LabelShift(0.8),
    "quantity": QuantityShift(0.9),
}


@pytest.fixture(scope="module")
def alike() -> Federation:
    """Four intensive-care units that differ by chance alone."""
    return fedlab.load("phantom_ehr", hospitals=4, patients=300).partition(IID(), sites=4)


@pytest.fixture(scope="module")
def known(alike: Federation) -> Explanation:
    shifts = Shifts({"site 1": [LabelShift(0.9)], "site 3": [AcquisitionShift(0.2)]})
    return fedlab.explain(alike, shifts=shifts, **QUICK)


def game(numbers: list[float]) -> dict[frozenset[str], np.ndarray]:
    sets = subsets("abcd")
    return dict(zip(sets, np.array(numbers[: len(sets)])[:, None], strict=True))


@given(st.lists(st.floats(-1e3, 1e3), min_size=16, max_size=16))
def test_parts_sum_to_what_all_add(numbers: list[float]) -> None:
    values = game(numbers)
    whole = values[frozenset("abcd")] - values[frozenset()]
    assert sum(shapley(values).values()) == pytest.approx(whole, abs=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4))
def test_who_only_adds_gets_what_they_add(adds: list[float]) -> None:
    each = dict(zip("abcd", adds, strict=True))
    values = {some: np.array(sum(each[kind] for kind in some)) for some in subsets("abcd")}
    assert {kind: float(part) for kind, part in shapley(values).items()} == pytest.approx(each, abs=1e-9)


def test_a_value_is_needed_for_every_set() -> None:
    values = game([0.0] * 16)
    del values[frozenset("ab")]
    with pytest.raises(ValueError, match=r"no value of \['a', 'b'\]"):
        shapley(values)


def test_known_parts_and_residual_are_the_fall(known: Explanation) -> None:
    table = known.table()
    assert table["part"].sum() == pytest.approx(known.gap.mean, abs=1e-9)
    assert table["kind"].tolist() == ["label", "acquisition", "residual"]
    assert table["kind"][0] == "label"
    assert known.first in ("", "label") and "not explained" in known.verdict()


def test_without_a_difference_nothing_has_a_part(alike: Federation) -> None:
    explanation = fedlab.explain(alike, **QUICK)
    kinds = explanation.table().query("kind != 'residual'")
    assert not kinds["clear"].any() and ((kinds["low"] <= 0) & (kinds["high"] >= 0)).all()
    assert explanation.table()["part"].sum() == pytest.approx(explanation.gap.mean, abs=1e-9)
    assert "nothing to explain" in explanation.verdict()


@pytest.mark.parametrize("kind", STRONG)
def test_a_planted_difference_is_found(alike: Federation, kind: str) -> None:
    assert kind in look(alike.shift(Shifts({"site 2": [STRONG[kind]]}))).kinds


@pytest.mark.parametrize(
    ("kind", "gap"), [("acquisition", "own"), ("concept", "elsewhere"), ("label", "elsewhere"), ("quantity", "own")]
)
def test_a_planted_difference_has_the_largest_part(alike: Federation, kind: str, gap: str) -> None:
    explanation = fedlab.explain(alike.shift(Shifts({"site 2": [STRONG[kind]]})), gap=gap, **QUICK)
    table = explanation.table()
    assert table["kind"][0] == kind
    assert explanation.first in ("", kind)
    assert not explanation.together or kind in explanation.together
    assert table["part"].sum() == pytest.approx(explanation.gap.mean, abs=1e-9)


PARTS = st.lists(st.lists(st.floats(-0.2, 0.5), min_size=4, max_size=4), min_size=4, max_size=4)
DOUBTS = st.sampled_from(
    [{}, {"a": frozenset({"b"})}, {"a": frozenset({"wrong labels"}), "c": frozenset({"a", "never found"})}]
)


def made(rows: list[list[float]], instead: dict[str, frozenset[str]] | None = None) -> Explanation:
    """Return an explanation of three kinds whose parts, and the residual, are given seed by seed."""
    *parts, rest = np.array(rows)
    each = dict(zip("abc", parts, strict=True))
    values = {some: rest + sum((each[k] for k in some), np.zeros(len(rest))) for some in subsets("abc")}
    return Explanation("hospitals", "logistic", "own", "log_loss", list(range(len(rest))), each, values, 0.4,
                       ("a", "b", "c", "never found"), known=False, instead=instead or {})  # fmt: skip


@given(PARTS, DOUBTS)
def test_what_is_named_is_in_the_table(rows: list[list[float]], instead: dict[str, frozenset[str]]) -> None:
    explanation = made(rows, instead)
    table, told = explanation.table().set_index("kind"), explanation.verdict()
    kinds = table.drop("residual")
    assert not (explanation.first and explanation.together)
    assert ("costs most" in told) == bool(explanation.first)
    assert ("cannot be told apart" in told) == bool(explanation.together)
    if explanation.first:
        assert kinds["part"].idxmax() == explanation.first and kinds.loc[explanation.first, "clear"]
        assert f"{explanation.first} costs most" in told.lower()
        assert number(kinds.loc[explanation.first, "part"]) in told
    if explanation.together:
        mine = [kind for kind in explanation.together if kind in kinds.index]
        assert kinds["part"].idxmax() in mine
        assert explanation.cost(mine).mean == pytest.approx(kinds.loc[mine, "part"].sum(), abs=1e-9)
        assert number(explanation.cost(mine).mean) in told
    if explanation.first or explanation.together:
        assert explanation.cost(explanation.together or [explanation.first]).low > 0


SEEDS = np.array([0.01, -0.01, 0.005, -0.005])


def test_one_that_beats_all_others_is_named_alone() -> None:
    explanation = made([0.3 + SEEDS, 0.02 - SEEDS, 0.0 * SEEDS, 0.1 + SEEDS])
    assert explanation.first == "a" and explanation.together == ()
    assert "A costs most: 0.30" in explanation.verdict()


def test_a_rival_that_is_not_clear_is_a_rival() -> None:
    noisy = 0.2 + 12 * SEEDS[[1, 0, 3, 2]]
    explanation = made([0.3 + SEEDS, noisy, 0.0 * SEEDS, 0.0 * SEEDS])
    assert not explanation.table().set_index("kind").loc["b", "clear"]
    assert explanation.together == ("a", "b") and explanation.first == ""
    assert "A and b cannot be told apart: together they cost 0.50" in explanation.verdict()


def test_what_the_rows_fit_as_well_is_never_left_out() -> None:
    explanation = made([0.3 + SEEDS, 0.0 * SEEDS, 0.0 * SEEDS, 0.0 * SEEDS], {"a": frozenset({"wrong labels", "b"})})
    assert explanation.together == ("a", "b", "wrong labels")
    assert not explanation.table()["clear"].any()


def test_a_clear_part_that_may_be_the_first_ones_is_a_rival() -> None:
    parts = [0.3 + SEEDS, 0.1 - SEEDS / 2, 0.0 * SEEDS, 0.0 * SEEDS]
    assert made(parts).first == "a"
    shared = made(parts, {"b": frozenset({"a"})})
    assert shared.first == "" and shared.together == ("a", "b")
    nothing = made([parts[0], 0.001 + 2 * SEEDS, *parts[2:]], {"b": frozenset({"a"})})
    assert nothing.first == "a"  # b has no clear part to share
    assert made(parts, {"b": frozenset({"c"})}).first == "a"


def test_a_larger_rest_is_said_beside_what_costs_most() -> None:
    told = made([0.1 + SEEDS / 4, 0.0 * SEEDS, 0.0 * SEEDS, 0.5 + SEEDS]).verdict()
    assert "Of these kinds, a costs most: 0.10" in told and "more than that, +0.50" in told


def rewritten(federation: Federation, site: str, how: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
              ) -> Federation:  # fmt: skip
    """Return the federation with one site's measurements and labels rewritten."""
    at = federation.names.index(site)
    numbers = [j for j, f in enumerate(federation.features) if f.kind == "number" and not f.codes]
    rows = federation.sites[at].rows
    x = rows.x.double().numpy().copy()
    x[:, numbers], y = how(x[:, numbers], rows.y.numpy().copy())
    mine = replace(rows, x=torch.from_numpy(x).to(rows.x.dtype), y=torch.from_numpy(y))
    sites = list(federation.sites)
    sites[at] = replace(sites[at], rows=mine)
    return replace(federation, sites=tuple(sites))


def gaussian(seed: int) -> Federation:
    """Four hospitals alike, of 300 patients and six measurements that have to do with each other."""
    rng = np.random.default_rng([seed, 16])
    mix, line = np.eye(6) + 0.4 * rng.normal(size=(6, 6)), rng.normal(size=6)
    frames = {}
    for site in "ABCD":
        x = rng.normal(size=(300, 6)) @ mix.T
        ill = rng.random(300) < 1 / (1 + np.exp(-(x @ line) / 1.2 + 0.5))
        frames[site] = (torch.from_numpy(10 + 3 * x), torch.from_numpy(ill.astype(np.int64)))
    return Federation.from_tensors(frames, prepared=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_causes_of_none_of_the_kinds_are_pinned_on_none(seed: int) -> None:
    rng, alike = np.random.default_rng(seed), gaussian(seed)
    causes = {
        "wrong labels": lambda x, y: (x, np.where(rng.random(len(y)) < 0.3, 1 - y, y)),
        "noise": lambda x, y: (rng.normal(size=x.shape), y),
        "columns of other patients": lambda x, y: (rng.permuted(x, axis=0), y),
    }
    for cause, how in causes.items():
        explanation = fedlab.explain(rewritten(alike, "B", how), gap="own", seeds=6, progress=False)
        assert explanation.first == "", cause
        others = set(explanation.together) - {"wrong labels", "what is none of these kinds"}
        assert not others or len(others) < len(explanation.together), cause
        assert any("at B" in note for note in explanation.notes) or explanation.together, cause


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_prevalence_and_reading_at_one_hospital_are_not_told_apart(seed: int) -> None:
    both = gaussian(seed).shift(Shifts({"C": [LabelShift(0.5), ConceptShift(0.7)]}, seed=seed))
    explanation = fedlab.explain(both, gap="own", seeds=6, progress=False)
    assert explanation.first == ""
    assert {"label", "concept"} <= set(explanation.together) or not explanation.together


@pytest.mark.parametrize("seed", range(4))
def test_chance_is_no_difference(hospitals: Federation, seed: int) -> None:
    assert look(hospitals.partition(IID(), sites=4, seed=seed)).kinds == ()


def test_removing_nothing_is_the_identity(hospitals: Federation) -> None:
    found = look(hospitals)
    assert removed(hospitals, found, (), seed=0) is hospitals
    assert set(found.kinds) >= {"practice", "label"}


def test_a_removal_keeps_patients_in_their_part(hospitals: Federation) -> None:
    found = look(hospitals)
    drawn = removed(hospitals, found, set(found.kinds) - {"quantity"}, seed=0)
    for site, before in zip(drawn.sites, hospitals.sites, strict=True):
        for part in ("train", "valid", "test"):
            assert set(getattr(site, part).group) <= set(getattr(before, part).group)
            assert len(getattr(site, part)) == len(getattr(before, part))
    for site in removed(hospitals, found, found.kinds, seed=0).sites:
        assert len(site.split.train) == max(len(each.split.train) for each in hospitals.sites)


def test_devices_are_turned_back(alike: Federation) -> None:
    moved = alike.shift(Shifts({"site 2": [STRONG["acquisition"]]}))
    back = removed(moved, look(moved), ["acquisition"], seed=0)
    apart = [(f["site 2"].rows.x - alike["site 2"].rows.x).abs().nanmean(0) for f in (moved, back)]
    hit = apart[0] > 0
    assert bool((apart[1][hit] < 0.5 * apart[0][hit]).all())


@pytest.mark.parametrize(("name", "fall"), [("elsewhere", 0.2), ("own", 0.05), ("federated", 0.05)])
def test_a_fall_is_positive_where_something_is_lost(name: str, fall: float) -> None:
    pooled, own = np.array([[0.85, 0.85]]), np.array([[0.9, 0.7], [0.7, 0.9]])
    last = np.array([[0.8, 0.8]]) if name == "federated" else own
    for metric, sign in (("auc", 1), ("log_loss", -1)):
        gap = Gap(name, "logistic", algorithm("fedavg"), metric, {})
        assert gap.fall(sign * pooled, sign * last, [0, 1]) == pytest.approx(fall)


def test_all_three_falls_can_be_asked(alike: Federation) -> None:
    shifts = Shifts({"site 1": [LabelShift(0.5)]})
    for gap in GAPS:
        explanation = fedlab.explain(alike, gap=gap, shifts=shifts, seeds=2, rounds=2, progress=False)
        assert explanation.table()["part"].sum() == pytest.approx(explanation.gap.mean, abs=1e-9)
        assert GAPS[gap] in explanation.verdict()


def test_a_site_without_a_class_is_left_out_and_named() -> None:
    x = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 1.0  # constant
    y = (x[:, 0] > 0).long()
    sites = {"A": (x, y), "B": (x, 1 - y), "C": (x[:40], torch.zeros(40, dtype=torch.long))}
    explanation = fedlab.explain(Federation.from_tensors(sites, prepared=False), metric="auc", **QUICK)
    assert list(explanation.left_out) == ["C"] and "no patient" in explanation.left_out["C"]
    assert np.isfinite(explanation.gap.mean)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"seeds": 1}, "one seed has no spread"),
        ({"gap": "far"}, "choose one of federated"),
        ({"metric": "kappa"}, "choose one of auc"),
        ({"shifts": Shifts({"nowhere": [LabelShift(0.5)]})}, "no site 'nowhere'"),
    ],
)
def test_refuses(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fedlab.explain(ragged((30, 40)), **{"progress": False, **options})


def test_refuses_one_hospital() -> None:
    with pytest.raises(ValueError, match="the only hospital"):
        fedlab.explain(ragged((30,)))


def test_images_are_explained_by_prevalence_and_size() -> None:
    x, y = torch.randn(90, 1, 4, 4), torch.arange(90) % 2
    sites = {"A": (x, y), "B": (x[:40], y[:40])}
    found = look(Federation.from_tensors(sites))
    assert found.kinds == ("quantity",) and found.notes
