"""What a self-check says of an answer, for the tests of every notebook's exercises."""

from __future__ import annotations

from typing import Any

from fedlab.course import EXERCISES
from fedlab.course.core import verdict_on


def is_right(exercise_id: str, answer: Any) -> None:
    assert verdict_on(EXERCISES, exercise_id, answer).startswith(f"{exercise_id}: right. ")


def gets_a_hint(exercise_id: str, answer: Any, hint: str) -> None:
    text = verdict_on(EXERCISES, exercise_id, answer)
    assert text.startswith(f"{exercise_id}: not yet: ") and hint in text
