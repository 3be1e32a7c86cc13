"""Splits are fair draws: of every part the expected share of a class is the site's own, however small the site is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fedlab
from fedlab.federation import Federation
from fedlab.federation.splits import draw_rows

SHARES = {"train": 0.60, "valid": 0.15, "test": 0.25}
SEEDS = 300
FAR = 5.5  # standard errors of independent draws: in 2,000 comparisons 1e-4, and a stratified draw varies less


def site_of(n: int, cases: int) -> Federation:
    y = (torch.arange(n) < cases).long()
    return Federation.from_tensors({"A": (torch.zeros(n, 1), y)}, task=fedlab.Classification(("healthy", "ill")))


def assert_unbiased(n: int, cases: int) -> None:
    made = site_of(n, cases)
    found, rows = dict.fromkeys(SHARES, 0), dict.fromkeys(SHARES, 0)
    for seed in range(SEEDS):
        for part, at in made.resplit(seed)["A"].split.parts().items():
            found[part] += int((at < cases).sum())
            rows[part] += len(at)
            assert len(at) >= 1
            assert n < 8 or abs(len(at) - SHARES[part] * n) < 1
    share = cases / n
    for part in SHARES:
        error = math.sqrt(share * (1 - share) / rows[part])
        assert abs(found[part] / rows[part] - share) < FAR * error, (n, cases, part)


@pytest.mark.parametrize(("n", "cases"), [(6, 1), (6, 3), (7, 2), (8, 1), (8, 7), (11, 3), (25, 4), (40, 2)])
def test_no_part_holds_more_of_a_class_than_another(n: int, cases: int) -> None:
    assert_unbiased(n, cases)


@pytest.mark.slow
@pytest.mark.parametrize("n", range(6, 41))
def test_no_part_holds_more_of_a_class_whatever_the_site(n: int) -> None:
    for cases in range(1, n):
        assert_unbiased(n, cases)


@pytest.mark.parametrize("n", [8, 9, 25, 30])
def test_the_parts_have_their_shares_on_average(n: int) -> None:
    made = site_of(n, n // 3)
    splits = [made.resplit(seed)["A"].split.parts() for seed in range(SEEDS)]
    for part, share in SHARES.items():
        assert abs(np.mean([len(split[part]) for split in splits]) - share * n) < 0.12  # 4 errors of a rounding


def test_under_eight_patients_sizes_are_fixed_and_patients_drawn() -> None:
    for n, sizes in {3: [1, 1, 1], 4: [2, 1, 1], 5: [3, 1, 1], 6: [4, 1, 1], 7: [4, 1, 2]}.items():
        splits = [site_of(n, 1).resplit(seed)["A"].split for seed in range(60)]
        assert {tuple(map(len, split.parts().values())) for split in splits} == {tuple(sizes)}
        assert {int(split.valid[0]) for split in splits} == set(range(n))


def test_many_small_hospitals_have_one_prevalence_in_all_parts() -> None:
    units = fedlab.load("phantom_ehr", hospitals=40, patients=25)
    whole = np.mean([float(label) for site in units.sites for label in site.rows.y])
    for part in SHARES:
        shares = []
        for seed in range(20):
            sides = [getattr(site, part).y.numpy() for site in units.resplit(seed).sites]
            shares.append(np.concatenate(sides).mean())
        error = np.std(shares, ddof=1) / math.sqrt(len(shares))
        assert 0 < error < 0.01 and abs(np.mean(shares) - whole) < 4 * error


def test_many_rows_of_a_patient_stay_together_and_fair() -> None:
    group = np.repeat(np.arange(12), np.arange(1, 13))
    y = torch.from_numpy(group % 3 == 0).long()
    made = Federation.from_tensors({"A": (torch.zeros(len(y), 1), y)}, groups={"A": group})
    rows = {part: np.zeros(2) for part in SHARES}
    for seed in range(2_000):
        for part, at in made.resplit(seed)["A"].split.parts().items():
            rows[part] += [len(at), int(y[at].sum())]
    for part, share in SHARES.items():
        assert rows[part][0] / 2_000 == pytest.approx(share * len(y), rel=0.04)
        assert rows[part][1] / rows[part][0] == pytest.approx(float(y.double().mean()), abs=0.03)


def test_fewer_rows_hold_no_more_of_a_class() -> None:
    for n, cases, rows in ((20, 3, 5), (47, 7, 9), (25, 4, 12)):
        y = (torch.arange(n) < cases).long()
        split = fedlab.Split(np.arange(n - 2), np.array([n - 2]), np.array([n - 1]))
        made = Federation.from_tensors({"A": (torch.zeros(n, 1), y)}, splits={"A": split})
        kept = [made.thinned(rows, seed=seed)["A"].split.train for seed in range(SEEDS)]
        share = cases / (n - 2)
        error = math.sqrt(share * (1 - share) / (SEEDS * rows))
        assert abs(np.mean([(at < cases).mean() for at in kept]) - share) < 4 * error


def test_each_split_is_thinned_by_a_draw_of_its_own(hospitals: Federation) -> None:
    """One draw for all seeds would take the same places of every split, and round each class the same way."""
    small = hospitals.thinned(20, seed=0)
    ill = [int(small.resplit(seed)["Cleveland"].train.y.sum()) for seed in range(12)]
    assert len(set(ill)) > 1
    places = [
        tuple(np.flatnonzero(np.isin(hospitals.resplit(seed)["Hungary"].split.train, drawn["Hungary"].split.train)))
        for seed in range(4)
        for drawn in [small.resplit(seed)]
    ]
    assert len(set(places)) == 4


def test_patients_with_many_rows_are_drawn_as_often_as_others() -> None:
    """Thirty ill patients of five rows each, thirty healthy of one."""
    y, group = np.r_[np.ones(150, int), np.zeros(30, int)], np.r_[np.repeat(np.arange(30), 5), np.arange(30, 60)]
    rows = np.arange(180)
    for wanted in (10, 20, 40):
        ill, patients, drawn = 0, 0, 0
        for seed in range(400):
            kept = draw_rows(y, group, rows, wanted, site="A", seed=seed)
            who = np.unique(group[kept])
            ill, patients, drawn = ill + (who < 30).sum(), patients + len(who), drawn + len(kept)
        assert abs(ill / patients - 0.5) < 0.02 and abs(drawn / 400 - wanted) < 0.06 * wanted
