"""The method's own calibration: how often a winner is named where there is none, and where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.study.false_alarms import named, paired_differences, spread


@pytest.mark.slow
@pytest.mark.parametrize("apart", ["seeds", "measurement"])
def test_a_winner_is_named_rarely_where_there_is_none_and_mostly_where_there_is(apart: str) -> None:
    differences = paired_differences(1000, seeds=10, apart=apart)
    assert abs(differences.mean()) < 0.01, "A and B are one algorithm"
    alarms = named(differences)
    assert alarms.corrected <= 0.07
    assert named(differences + 2.5 * spread(differences)).corrected >= 0.80
    if apart == "measurement":
        assert alarms.naive > 0.20, "the plain t takes a lucky cohort for a better algorithm"


def test_the_simulation_really_splits_one_cohort_again() -> None:
    got = paired_differences(300, seeds=4, apart="measurement")
    assert got.shape == (300, 4) and (np.abs(got) <= 1).all()
    assert np.corrcoef(got[:, 0], got[:, 1])[0, 1] > 0.1, "two splits of one cohort share its luck"
    assert np.array_equal(got, paired_differences(300, seeds=4, apart="measurement"))
    assert not np.array_equal(got[:100], paired_differences(100, seeds=4, apart="measurement", seed=1))


def test_a_large_difference_is_seen_by_either_and_none_by_none() -> None:
    differences = np.array([[0.1, 0.12, 0.11, 0.09], [0.1, -0.1, 0.1, -0.1], [-0.3, -0.31, -0.29, -0.3]])
    assert named(differences) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    with pytest.raises(ValueError, match="'seeds' or 'measurement'"):
        paired_differences(1, apart="data")  # type: ignore[arg-type]
