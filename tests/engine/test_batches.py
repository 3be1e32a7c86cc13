"""The order of batches: a fair shuffle, and the same for a site alone as beside any others."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from fedlab.engine.batches import Draws, Job, examples, manages, row_plan, row_plans, site_keys


def job(**options: Any) -> Job:
    return Job(**({"round": 1, "rounds": 9, "lr": 0.1, "batch_size": 8, "local_epochs": 1, "seed": 0} | options))


@given(
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch=st.lists(st.integers(1, 12), min_size=6, max_size=6),
    seeds=st.lists(st.integers(0, 2**70), min_size=6, max_size=6),
    epochs=st.integers(1, 3),
    clock=st.integers(0, 9),
    number=st.integers(1, 500),
    share=st.sampled_from([0.0, 0.5]),
    shuffle=st.booleans(),
)
def test_a_site_draws_beside_others_what_it_draws_alone(
    rows: list[int], batch: list[int], seeds: list[int], epochs: int, clock: int, number: int, share: float,
    shuffle: bool,
) -> None:  # fmt: skip
    same = {"local_epochs": epochs, "clock": clock, "round": number, "stragglers": share, "shuffle": shuffle}
    jobs = [job(batch_size=size, seed=seed, **same) for _, size, seed in zip(rows, batch, seeds, strict=False)]
    names = [f"site {i}" for i in range(len(rows))]
    together = row_plans(Draws.of(rows, jobs, names), jobs[0])
    for i, (n, mine, name) in enumerate(zip(rows, jobs, names, strict=True)):
        alone = row_plan(n, mine, name)
        assert np.array_equal(together[: len(alone), i, : mine.batch_size], alone)
        assert (together[len(alone) :, i] == -1).all() and (together[:, i, mine.batch_size :] == -1).all()
        assert len(alone) == manages(clock or epochs * -(-n // mine.batch_size), mine, name)
        assert (alone >= 0).sum() == examples(n, mine, name)


@given(rows=st.integers(1, 300), batch=st.integers(1, 40), number=st.integers(1, 99), seed=st.integers(0, 9))
def test_every_row_once_an_epoch(rows: int, batch: int, number: int, seed: int) -> None:
    plan = row_plan(rows, job(batch_size=batch, round=number, seed=seed), "A")
    assert sorted(plan[plan >= 0].tolist()) == list(range(rows))


def orders(count: int, **options: Any) -> list[tuple[int, ...]]:
    return [tuple(row_plan(4, job(batch_size=4, round=r, **options), "A")[0].tolist()) for r in range(1, count + 1)]


def test_all_orders_are_as_likely() -> None:
    seen = Counter(orders(4800))
    assert chisquare([seen[order] for order in permutations(range(4))]).pvalue > 1e-3


def test_the_next_rounds_order_does_not_hang_on_this_ones() -> None:
    drawn = orders(9600)
    pairs = Counter(zip([o[0] for o in drawn], [o[0] for o in drawn[1:]], strict=False))
    assert chisquare([pairs[a, b] for a in range(4) for b in range(4)]).pvalue > 1e-3


@pytest.mark.parametrize("apart", ["seed", "site"])
def test_neither_do_other_seeds_and_sites(apart: str) -> None:
    first = row_plan(4, job(batch_size=4), "A")[0].tolist()
    if apart == "seed":
        others = [row_plan(4, job(batch_size=4, seed=s), "A")[0].tolist() for s in range(1, 2401)]
    else:
        others = [row_plan(4, job(batch_size=4), f"site {i}")[0].tolist() for i in range(2400)]
    assert sum(other == first for other in others) == pytest.approx(2400 / factorial(4), abs=45)  # 4.5 deviations


def test_keys_are_the_rounds_and_the_sites() -> None:
    jobs = [job(round=r, seed=s) for r in (1, 2) for s in (0, 1)]
    keys = [site_keys(Draws.of([0, 0], [one, one], ["A", "B"]), one).tolist() for one in jobs]
    assert len({key for two in keys for key in two}) == 8 and min(map(min, keys)) >= 0
