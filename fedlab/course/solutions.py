"""Solutions that *Run all* does not run: each stands under ``if reveal("00.1"):`` in its folded cell."""

from __future__ import annotations

import os

from fedlab.engine.notebook import kernel_shell

RUN = "FEDLAB_SOLUTIONS"
"""Name of the environment variable with which all solutions run at once: for tests, and for a teacher's handout."""

_asked: tuple[str, int] = "", -1  # which exercise was asked for last, and in which execution


def reveal(exercise_id: str) -> bool:
    """Return whether to run the solution that follows: where its cell is run twice in a row, with nothing in between.

    Parameters
    ----------
    exercise_id : str
        For example ``"04.2"``: notebook 04, exercise 2.

    Examples
    --------
    >>> if reveal("00.1"):
    ...     answer = "the solution"
    00.1: the solution is in this cell. Unfold it to read it; run it a second time to see it work.
    """
    global _asked
    if os.environ.get(RUN) == "1":
        return True
    shell = kernel_shell()
    now = -1 if shell is None else int(shell.execution_count)
    again = now > 0 and _asked == (exercise_id, now - 1)
    _asked = exercise_id, now
    if not again:
        print(
            f"{exercise_id}: the solution is in this cell. Unfold it to read it; run it a second time to see it work."
        )
    return again
