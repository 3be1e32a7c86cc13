"""A line appears after two seconds and moves through a long round; short work stays quiet."""

from __future__ import annotations

import pytest

from fedlab.engine import progress
from fedlab.engine.progress import progress_line
from tests.patience import until


def test_a_long_wait_shows_what_is_going_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.05)
    monkeypatch.setattr(progress, "TICK", 0.05)
    asked: list[str] = []

    def doing() -> str:
        asked.append("train, Hungary")
        return asked[-1]

    with progress_line(4, "fedavg", "round", show=True, doing=doing) as line:
        until(lambda: len(asked) > 1)  # what was asked for before has been drawn by then
        line.update()
        now = len(asked)
        until(lambda: len(asked) > now + 1)
    said = capsys.readouterr().err
    assert "train, Hungary" in said and "0/4" in said and "1/4" in said


def test_short_work_and_no_wish_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (True, False):
        with progress_line(4, "fedavg", "round", show=show) as line:
            line.update(4)
    assert capsys.readouterr().err == ""
