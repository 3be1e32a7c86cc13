"""What a look at `test` is asked with that cannot be: a sentence with the argument's name, and nothing is opened."""

from __future__ import annotations

from typing import Any

import pytest

import fedlab
from fedlab.study import Study

ODD: list[Any] = [None, "x", 3.7, -1, float("nan"), [0.2], {"a": 1}, object()]
LOOKS = {
    "report": {"resamples": ODD},
    "atlas": {"resamples": ODD},
    "calibration": {"bins": ODD},
    "decisions": {"threshold": ODD, "thresholds": [odd for odd in ODD if odd != [0.2]]},
    "subgroups": {"by": ODD, "bands": ["x", 3.7, -1, {"a": 1}, [2, 1], [float("nan")]], "smallest": ODD, "fewest": ODD},
    "halves": {"times": ODD, "seed": ODD},
    "random_effects": {"metric": ODD, "threshold": ODD, "against": ODD[1:]},
    "table": {"against": ODD},
    "verdict": {"against": ODD, "also": [None, 3.7, object(), "f1", ["f1"]]},
    "pairs": {"metric": ODD[1:], "where": ODD},
    "delong": {"one": ODD, "other": ODD, "seed": ODD[1:]},
    "over_sites": {"one": ODD, "other": ODD, "metric": ODD[1:]},
}
NEEDED = {
    "decisions": {"threshold": 0.2},
    "subgroups": {"by": "age", "bands": [50]},
    "delong": {"one": "isolated", "other": "fedavg"},
    "over_sites": {"one": "isolated", "other": "fedavg"},
}
OF_A_RUN = ("report", "calibration", "decisions", "subgroups")


@pytest.fixture(scope="module")
def study() -> Study:
    hospitals = fedlab.load("heart_disease")
    return fedlab.compare(hospitals, algorithms=["isolated", "fedavg"], seeds=4, rounds=1, progress=False)


@pytest.mark.parametrize(("look", "argument"), [(look, name) for look, each in LOOKS.items() for name in each])
def test_an_odd_argument_is_named_and_opens_nothing(study: Study, look: str, argument: str) -> None:
    run = study.runs["fedavg"][0]
    before = study.test_openings, run.test_openings
    for odd in LOOKS[look][argument]:
        given = {**NEEDED.get(look, {}), argument: odd}
        for whose in [study, run] if look in OF_A_RUN else [study]:
            with pytest.raises(ValueError) as caught:
                getattr(whose, look)(**given)
            said = str(caught.value)
            shown = odd[0] if isinstance(odd, list) else odd
            assert any(word in said for word in (argument, repr(shown), str(odd))), said
    assert (study.test_openings, run.test_openings) == before
