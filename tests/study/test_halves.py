"""Halves of the seeds: how often they name the same winner, against a loop over the tests themselves."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedlab.study import Study, corrected_t, holm
from fedlab.study.halves import _holm, _tested
from fedlab.study.paired import ahead
from tests.study.told import jitter, steady, told


def noisy(gain: float, *, seeds: int = 10) -> Study:
    gains = {"fedavg": 0.0, "scaffold": gain}
    return told({
        name: [[0.7 + gains[name] + jitter(a, s, k, 0.02) for k in range(3)] for s in range(seeds)]
        for a, name in enumerate(gains)
    })  # fmt: skip


def test_a_steady_winner_is_named_by_every_half() -> None:
    found = told(steady((0.05, 0.05, 0.05))).halves()
    assert (found.halvings, found.seeds, found.best, found.clear) == (126, 5, 1.0, 1.0)
    row = found.pairs.loc[0]
    assert (row["ahead"], row["winner"], row["one_wins"], row["other_wins"]) == (1, 1, 0, 1)


def test_every_half_is_judged_as_the_study_is() -> None:
    """Six seeds have ten halvings: judged one by one by ``corrected_t`` and ``holm``."""
    study = noisy(0.02, seeds=6)
    rows = np.array([study.given[study.given["arm"] == arm].groupby("seed")["value"].mean() for arm in study.arms])
    apart, best, named, count = rows[0] - rows[1], 0, 0, 0
    for one in itertools.combinations(range(6), 3):
        other = tuple(set(range(6)) - set(one))
        if one > other:
            continue
        halves = [corrected_t(apart[list(half)].tolist(), overlap=study.overlap) for half in (one, other)]
        wins = [ahead(half.low, half.high, holm([half.p])[0]) for half in halves]
        best += halves[0].difference * halves[1].difference > 0
        named += wins[0] * wins[1] > 0
        count += 1
    found = study.halves()
    assert found.halvings == count == 10
    assert found.best == pytest.approx(best / 10) and found.clear == found.pairs.loc[0, "winner"] == named / 10


def test_the_tests_of_all_halves_at_once_are_the_ones_of_each() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(4, 8))
    differences[1, 2] = math.nan
    differences[2] = 0.0
    differences[3] = 0.1
    cuts = np.array([[rng.permutation(8)[:4] for _ in range(5)] for _ in range(2)])
    spare = np.array([0.0, 0.2, 0.0, 0.1])
    mean, p = _tested(differences, cuts, 0.4, spare)
    for at in np.ndindex(2, 5):
        rows = zip(differences, spare.tolist(), strict=True)
        each = [corrected_t(row[cuts[at]].tolist(), overlap=0.4, prevalence=more) for row, more in rows]
        assert mean[:, *at] == pytest.approx([one.difference for one in each])
        assert p[:, *at] == pytest.approx([one.p for one in each], nan_ok=True)
        assert _holm(p)[:, *at] == pytest.approx(holm(p[:, *at]).tolist(), nan_ok=True)


def test_without_a_winner_halves_name_none_and_differ_on_the_best() -> None:
    found = noisy(0.0).halves()
    assert found.clear == 0 and found.best < 1


def test_a_large_study_is_halved_at_random_and_the_seed_repeats_it() -> None:
    study = noisy(0.01, seeds=13)
    found = study.halves(times=50)
    assert (found.halvings, found.seeds) == (50, 6)  # an odd number leaves one out
    assert found.best == study.halves(times=50).best and found.pairs.equals(study.halves(times=50).pairs)
    assert not found.pairs.equals(study.halves(times=50, seed=1).pairs)


@pytest.mark.parametrize("seeds", [2, 3])
def test_too_few_seeds_are_refused(seeds: int) -> None:
    with pytest.raises(ValueError, match=rf"the study has {seeds} seeds, and halves need 4.*seeds=10"):
        noisy(0.01, seeds=seeds).halves()


def test_what_cannot_be_halved_is_refused() -> None:
    assert noisy(0.01, seeds=4).halves().halvings == 3
    with pytest.raises(ValueError, match="times is 0"):
        noisy(0.01).halves(times=0)
    with pytest.raises(ValueError, match="one arm"):
        told({"fedavg": [[0.7] * 3] * 4}).halves()
