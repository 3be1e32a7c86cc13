"""Self-checks: an exercise, what may be wrong with an answer to it, and a friendly word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from fedlab.study.contrasts import amount
from fedlab.study.paired import Paired, ahead
from fedlab.study.words import signed

Judge: TypeAlias = Callable[[Any], str]
"""What is wrong with an answer, and a hint; empty if it is right."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Parameters
    ----------
    id : str
        ``"04.2"``: notebook 04, exercise 2. Number 0 is the notebook's self-check.
    asks : str
        The exercise in one line.
    wants : str
        What an answer is, e.g. ``"a number"``; said to who gives something else.
    judge : callable
        Takes the answer, returns what is wrong with it, or an empty string. It may raise on an answer of the wrong
        type.
    well : str
        What to take along from a right answer.
    """

    id: str
    asks: str
    wants: str
    judge: Judge
    well: str = ""


def verdict_on(exercises: Mapping[str, Exercise], exercise_id: str, answer: Any) -> str:
    """Return the line that :func:`fedlab.course.check` prints."""
    exercise = exercises.get(exercise_id) if isinstance(exercise_id, str) else None
    if exercise is None:
        near = get_close_matches(str(exercise_id), exercises, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"There is no exercise {exercise_id!r}.{hint} The exercises are {', '.join(exercises)}."
    if answer is ... or answer is None:
        return f"{exercise.id}: no answer yet. It asks for {exercise.wants}: {exercise.asks}"
    try:
        wrong = exercise.judge(answer)
    except Exception:  # an answer may be anything at all, and none may break the notebook
        wrong = f"this is of type {type(answer).__name__}, and the exercise asks for {exercise.wants}."
    if wrong:
        return f"{exercise.id}: not yet: {wrong}"
    return f"{exercise.id}: right. {exercise.well}".rstrip()


def number(expected: Callable[[], float], hint: str, *, within: float = 0.005) -> Judge:
    """Judge a number (of Python, NumPy, pandas or torch) by the one that is computed when it is needed.

    Parameters
    ----------
    expected : callable
    hint : str
    within : float
        How far an answer may be away.

    Examples
    --------
    >>> judge = number(lambda: 0.25, "divide by four")
    >>> judge(0.25), judge(0.5)
    ('', '0.5 is too high: divide by four')
    """

    def judge(answer: Any) -> str:
        if isinstance(answer, (bool, str)):
            raise TypeError("not a number")
        given, right = float(answer), expected()
        if math.isfinite(given) and abs(given - right) <= within:
            return ""
        side = "too high" if given > right else "too low" if given < right else "no number"
        return f"{given:.6g} is {side}: {hint}"

    return judge


def name(expected: Callable[[], str], choices: Callable[[], Sequence[str]], hint: str) -> Judge:
    """Judge one of several names, by letter case and blanks forgivingly."""

    def judge(answer: Any) -> str:
        if not isinstance(answer, str):
            raise TypeError("not a name")
        known = {choice.casefold(): choice for choice in choices()}
        given = known.get(answer.strip().casefold())
        if given is None:
            return f"{answer!r} is none of {', '.join(known.values())}."
        return "" if given == expected() else f"{given} is another one: {hint}"

    return judge


def letters(expected: str, hints: Sequence[str]) -> Judge:
    """Judge a self-check of several choices, answered by one letter a question.

    Examples
    --------
    >>> judge = letters("ba", ["look at the map", "think of the label"])
    >>> judge("BA"), judge("bb")
    ('', 'question 2: think of the label')
    """

    def judge(answer: Any) -> str:
        if not isinstance(answer, str):
            raise TypeError("not letters")
        given = "".join(sign for sign in answer.casefold() if sign.isalpha())
        if len(given) != len(expected):
            return f"there are {len(expected)} questions, and {answer!r} has {len(given)} letters."
        pairs = enumerate(zip(given, expected, hints, strict=True), 1)
        return " ".join(f"question {k}: {hint}" for k, (letter, right, hint) in pairs if letter != right)

    return judge


def verdict(found: Paired, *, p: float | None = None, digits: int = 2, lower_is_better: bool = False) -> str:
    """Say what an interval of a difference says, and no more; where nothing is clear, also what could have been seen.

    Parameters
    ----------
    found : Paired
        The difference, its interval and p, and the smallest difference that the seeds could have seen
        (``fedlab.study.corrected_t``), or a row of a table that has these.
    p : float, optional
        Of several differences: adjusted for how many there are (``fedlab.study.holm``). It must be below .05 too.
        Default: that of the difference by itself.
    digits : int
        More are written where a bound would look like the zero that it is not.
    lower_is_better : bool
        For a loss.

    Examples
    --------
    >>> from fedlab.study import corrected_t
    >>> verdict(corrected_t([0.05, 0.06, 0.04, 0.05], overlap=0.4))
    'better (+0.05 [+0.03, +0.07])'
    >>> verdict(corrected_t([0.05, 0.15, -0.05, 0.05], overlap=0.4))
    'no clear difference (+0.05 [−0.16, +0.26]; 0.27 could have been seen)'
    >>> verdict(corrected_t([0.05, 0.06, 0.04, 0.05], overlap=0.4), p=0.08)
    'no clear difference (+0.05 [+0.03, +0.07]; 0.027 could have been seen)'
    """
    clear = ahead(found.low, found.high, found.p if p is None else p) != 0
    while clear and digits < 9 and float(f"{found.low if found.low > 0 else found.high:.{digits}f}") == 0:
        digits += 1  # a bound that is not zero must not look like it
    point, *bounds = [signed(value, digits) for value in (found.difference, found.low, found.high)]
    word = "no clear difference" if not clear else "worse" if (found.low > 0) == lower_is_better else "better"
    seen = "" if clear or math.isnan(found.detectable) else f"; {amount(found.detectable)} could have been seen"
    return f"{word} ({point} [{', '.join(bounds)}]{seen})"
