"""The course's self-checks: right, wrong, unknown and of another type; none of them raises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from data_recipes import heart_disease
from fedlab.course import EXERCISES, check, verdict
from fedlab.course.federated_training import EqualVoices
from fedlab.federation import Federation
from fedlab.study import Paired, corrected_t

WARDS = pd.DataFrame(
    {
        "ward": ["A"] * 6 + ["B"] * 6,
        "patient": np.repeat(["a1", "a2", "a3", "b1", "b2", "b3"], 2),
        "visit": [1, 2] * 6,
        "pulse": [71, 75, 88, 96, 64, 66, 79, 84, 91, 99, 70, 68],
        "infected": ["no", "no", "yes", "yes", "no", "no", "no", "no", "yes", "yes", "no", "no"],
    }
)
ROLES = {"site": "ward", "label": "infected"}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """What ``check`` prints."""

    def says(exercise_id: Any, answer: Any) -> str:
        assert check(exercise_id, answer) is None
        return capsys.readouterr().out.strip()

    return says


def right(exercise_id: str, hospitals: Federation) -> Any:
    """An answer worked out here, by another way than the registry's where there is one."""
    pooled = torch.cat([site.train.x for site in hospitals.sites])
    answers = {
        "00.0": lambda: "B c A",
        "00.1": lambda: " switzerland ",
        "00.3": lambda: Federation.from_frame(WARDS, **ROLES, group="patient", features=["pulse"]),
        "02.0": lambda: "cab",
        "02.2": lambda: np.float64(1 - 0.98**40),
        "03.0": lambda: "bac",
        "03.1": lambda: "Switzerland",
        "04.0": lambda: "cba",
        "04.1": lambda: pooled[:, hospitals.columns.index("age")].nanmean(),
        "04.2": lambda: bytes_of_switzerland(hospitals),
    }
    return answers[exercise_id]()


def bytes_of_switzerland(hospitals: Federation) -> int:
    ledger = fedlab.train(hospitals, "logistic", "fedavg", rounds=30, progress=False).ledger
    return ledger.query("site == 'Switzerland' and direction == 'up'")["bytes"].sum()


@pytest.mark.parametrize(
    "exercise_id", ["00.0", "00.1", "00.3", "02.0", "02.2", "03.0", "03.1", "04.0", "04.1", "04.2"]
)
def test_right(exercise_id: str, hospitals: Federation, said) -> None:
    assert said(exercise_id, right(exercise_id, hospitals)).startswith(f"{exercise_id}: right. ")


def test_an_auc_of_zero_cholesterol_is_scikit_learns(said) -> None:
    from sklearn.metrics import roc_auc_score

    raw = pd.concat(heart_disease.raw().values())
    zero = pd.to_numeric(raw["chol"], errors="coerce") == 0
    assert said("02.3", roc_auc_score(raw["num"].astype(float) > 0, zero)).startswith("02.3: right.")


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("00.0", "bcb", "question 3: who would have to be in the room"),
        ("00.0", "bcab", "there are 3 questions, and 'bcab' has 4 letters"),
        ("00.1", "Hungary", "Hungary is another one: multiply the patients"),
        ("00.1", "Basel", "'Basel' is none of Cleveland, Hungary, Switzerland, Long Beach"),
        ("00.2", 2, "2 is too high: hold out 'Hungary'"),
        ("02.1", 0, "0 is too low: replace age by age // 10"),
        ("02.2", 0.8, "0.8 is too high: all four stay safe"),
        ("02.3", math.nan, "nan is no number: join the raw tables"),
        ("03.2", -math.inf, "-inf is too low: a coin says 0.5 to everybody"),
        ("04.1", 53.0, "a mean of four means is something else"),
        ("04.3", {"bias": torch.zeros(1)}, "it has no tensor 'weight'"),
        ("04.3", {"weight": torch.zeros(1, 44), "bias": torch.zeros(1)}, "neither FedAvg nor its plain mean"),
    ],
)
def test_wrong_gets_a_hint(exercise_id: str, answer: Any, hint: str, said) -> None:
    text = said(exercise_id, answer)
    assert text.startswith(f"{exercise_id}: not yet: ") and hint in text


@pytest.mark.parametrize("equal", [True, False])
def test_equal_voices_are_told_from_fedavg(equal: bool, hospitals: Federation, said) -> None:
    settings = dict(rounds=10, shuffle=False, evaluate=False, dtype="float64", progress=False)
    run = fedlab.train(hospitals, "logistic", EqualVoices() if equal else "fedavg", **settings)
    text = said("04.3", {name: run.weights[name].numpy() for name in ("weight", "bias")})
    assert ("04.3: right." in text) is equal
    assert ("this is FedAvg as it was" in text) is not equal


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"features": ["pulse"]}, "name the patient's column in group="),
        ({"group": "patient"}, "the number of the visit is no measurement"),
    ],
)
def test_a_federation_is_looked_into(columns: dict[str, Any], hint: str, said) -> None:
    assert hint in said("00.3", Federation.from_frame(WARDS, **ROLES, **columns))


@pytest.mark.parametrize("made", [float, np.float32, torch.tensor, lambda value: pd.Series([value]).iloc[0]])
def test_a_number_of_any_library_is_a_number(made: Any, said) -> None:
    assert said("02.2", made(1 - 0.98**40)).startswith("02.2: right.")


class Grumpy:
    """An answer that cannot even be compared."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("exercise_id", EXERCISES)
@pytest.mark.parametrize(
    "answer", [Grumpy(), b"x", {1, 2}, pd.DataFrame({"a": [1, 2]}), len, True], ids=lambda answer: type(answer).__name__
)
def test_another_type_is_named_and_never_raises(exercise_id: str, answer: Any, said) -> None:
    text = said(exercise_id, answer)
    wants = EXERCISES[exercise_id].wants
    assert text.startswith(f"{exercise_id}: not yet: ")
    if exercise_id != "04.3" or not hasattr(answer, "__contains__"):
        assert f"this is of type {type(answer).__name__}, and the exercise asks for {wants}" in text


@pytest.mark.parametrize("nothing", [..., None])
@pytest.mark.parametrize("exercise_id", EXERCISES)
def test_no_answer_repeats_the_question(exercise_id: str, nothing: Any, said) -> None:
    exercise = EXERCISES[exercise_id]
    assert said(exercise_id, nothing) == f"{exercise_id}: no answer yet. It asks for {exercise.wants}: {exercise.asks}"


@pytest.mark.parametrize(
    ("unknown", "near"), [("4.2", "04.2"), (4.2, "04.2"), ("04.20", "04.2"), ("zzz", None), (None, None), ([], None)]
)
def test_an_unknown_exercise_is_said(unknown: Any, near: str | None, said) -> None:
    text = said(unknown, 1)
    assert text.startswith(f"There is no exercise {unknown!r}.") and text.endswith(f"are {', '.join(EXERCISES)}.")
    assert ("Did you mean" in text) is (near is not None) and (near is None or f"Did you mean {near!r}?" in text)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda exercise: exercise.id)
def test_each_exercise_says_what_it_wants(exercise) -> None:
    assert exercise.wants.split()[0] in ("a", "the", "three") and exercise.asks and exercise.well.endswith((".", "?"))


def judged(difference: float, low: float, high: float, *, p: float, seen: float = math.nan) -> Paired:
    return Paired(difference, math.nan, low, high, p, 10, detectable=seen)


@pytest.mark.parametrize(
    ("interval", "options", "text"),
    [
        ((0.05, 0.01, 0.09), {}, "better (+0.05 [+0.01, +0.09])"),
        ((0.05, 0.01, 0.09), {"lower_is_better": True}, "worse (+0.05 [+0.01, +0.09])"),
        ((-0.05, -0.09, -0.01), {}, "worse (−0.05 [−0.09, −0.01])"),
        ((-0.05, -0.09, -0.01), {"lower_is_better": True}, "better (−0.05 [−0.09, −0.01])"),
        # clearly above zero, so that no bound may be written as zero
        ((0.05, 0.0004, 0.1), {}, "better (+0.0500 [+0.0004, +0.1000])"),
        ((-0.05, -0.1, -0.002), {}, "worse (−0.050 [−0.100, −0.002])"),
        ((0.0123, 0.001, 0.02), {"digits": 3}, "better (+0.012 [+0.001, +0.020])"),
        # adjusted for others, it is no longer clear
        ((0.05, 0.01, 0.09), {"p": 0.08}, "no clear difference (+0.05 [+0.01, +0.09]; 0.051 could have been seen)"),
        ((0.05, 0.01, 0.09), {"p": math.nan}, "no clear difference (+0.05 [+0.01, +0.09]; 0.051 could have been seen)"),
    ],
)
def test_a_verdict_says_no_more_than_its_interval(
    interval: tuple[float, float, float], options: dict[str, Any], text: str
) -> None:
    assert verdict(judged(*interval, p=0.01, seen=0.051), **options) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (judged(0.0, -0.01, 0.01, p=1.0, seen=0.0134), "(0.00 [−0.01, +0.01]; 0.013 could have been seen)"),
        (judged(0.05, 0.0, 0.1, p=0.05, seen=0.0712), "(+0.05 [0.00, +0.10]; 0.071 could have been seen)"),
        # without a spread there is neither an interval nor anything that could have been seen
        (judged(0.05, math.nan, math.nan, p=math.nan), "(+0.05 [–, –])"),
    ],
)
def test_where_nothing_is_clear_a_verdict_says_what_could_have_been_seen(found: Paired, text: str) -> None:
    assert verdict(found) == f"no clear difference {text}"


def test_a_verdict_of_seeds_says_the_smallest_difference_that_they_could_have_seen() -> None:
    found = corrected_t([0.02, 0.05, -0.01, 0.04, 0.03], overlap=0.25 / 0.60)
    assert verdict(found) == f"no clear difference (+0.03 [−0.02, +0.08]; {found.detectable:.3f} could have been seen)"


def test_a_verdict_takes_a_row_of_a_table() -> None:
    found = corrected_t([0.05, 0.06, 0.04, 0.05], overlap=0.4)
    (row,) = pd.DataFrame([found]).itertuples()
    assert verdict(row) == verdict(found) == "better (+0.05 [+0.03, +0.07])"
