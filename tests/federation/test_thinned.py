"""Less to learn from: whole patients, each class in its share, fewer rows always among more."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fedlab
from fedlab.federation import Federation


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fewer_rows_are_among_more_and_patients_stay_whole(data: st.DataObject) -> None:
    n = data.draw(st.integers(8, 80))
    y = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    groups = np.array(data.draw(st.lists(st.integers(0, n // 2), min_size=n, max_size=n)))
    groups[:3] = [n, n + 1, n + 2]
    task = fedlab.Classification(("a", "b", "c"))  # a class may be drawn for nobody
    made = Federation.from_tensors({"A": (torch.zeros(n, 1), y)}, groups={"A": groups}, task=task)
    seed, train = data.draw(st.integers(0, 99)), made["A"].split.train
    patients = len(np.unique(groups[train]))
    before: set[int] = set()
    for rows in range(1, len(train) + 2):
        kept = made.thinned(rows, seed=seed)["A"].split.train
        who = np.unique(groups[kept])
        assert before <= set(kept) <= set(train)
        assert len(who) == 1 or abs(len(who) - rows * patients / len(train)) < 1 or rows >= len(train)
        for who in np.unique(groups[kept]):
            assert set(train[groups[train] == who]) <= set(kept)
        before = set(kept)
    assert np.array_equal(kept, train)


@settings(max_examples=60, deadline=None)
@given(ill=st.integers(0, 60), rows=st.integers(1, 60), seed=st.integers(0, 999))
def test_each_class_has_its_share_of_the_rows(ill: int, rows: int, seed: int) -> None:
    y = (torch.arange(100) < ill).long()
    train = np.arange(60) if ill < 60 else np.arange(80)
    split = fedlab.Split(train, np.arange(80, 90), np.arange(90, 100))
    made = Federation.from_tensors({"A": (torch.zeros(100, 1), y)}, splits={"A": split})
    kept = made.thinned(rows, seed=seed)["A"].split.train
    whole = float(y[torch.from_numpy(train)].double().mean())
    assert len(kept) == min(rows, len(train))
    assert abs(int(y[torch.from_numpy(kept)].sum()) - whole * len(kept)) < 2


def test_another_seed_draws_other_rows(hospitals: Federation) -> None:
    one, other = (hospitals.thinned(20, seed=seed)["Hungary"].split.train for seed in (0, 1))
    assert set(one) != set(other)
    alone = hospitals.select("Hungary").thinned(20, seed=0)["Hungary"].split.train
    assert np.array_equal(alone, one)
