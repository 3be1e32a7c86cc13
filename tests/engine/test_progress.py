"""A line appears after two seconds, moves through a long round, and leaves nothing behind; short work stays quiet."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

import pytest

from fedlab.engine import progress
from fedlab.engine.progress import Line, Log, progress_line
from tests.patience import until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.05)
    monkeypatch.setattr(progress, "TICK", 0.05)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress_line(4, "fedavg", "round", show=True, doing=lambda: "train, Hungary") as line:
        until(lambda: "0/4 rounds" in file.getvalue())
        line.update()
        until(lambda: "1/4 rounds" in file.getvalue())
    said = file.getvalue()
    assert "train, Hungary" in said and "\r" not in said and "|" not in said and said.endswith("\n")


def test_each_line_of_a_log_comes_twice_as_late_as_the_one_before() -> None:
    file, line = io.StringIO(), Line(4, "fedavg", "round")
    log, drawn = Log(file), []
    for elapsed in (100.0, 150.0, 199.0, 300.0, 500.0, 590.0, 700.0):
        line.began, before = time.monotonic() - elapsed, file.getvalue()
        log.draw(line, "")
        drawn += [elapsed] if file.getvalue() != before else []
    assert drawn == [100, 300, 700]


def test_a_terminal_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_line(4, "fedavg", "round", show=True, doing=lambda: "train, Hungary"):
        until(lambda: "train, Hungary" in screen.getvalue())  # nothing is finished: it is removed all the same
    drawn = screen.getvalue().split("\r")
    assert "train, Hungary" in drawn[1] and "0/4" in drawn[1] and drawn[-1] == drawn[-2].strip() == ""
    assert len(drawn[-2]) >= len(drawn[1])


def test_a_terminal_without_unicode_is_written_to(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    class Ascii(Screen):
        encoding = "ascii"

        def write(self, text: str) -> int:
            return super().write(text.encode("ascii").decode())

    screen = Ascii()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_line(4, "fedavg", "round", show=True, doing=lambda: "Århus") as line:
        line.update(2)
        until(lambda: "2/4" in screen.getvalue())


def test_short_work_and_no_wish_stay_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (True, False):
        with progress_line(4, "fedavg", "round", show=show) as line:
            line.update(4)
    assert capsys.readouterr().err == ""


def test_an_error_ends_the_line(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(KeyboardInterrupt), progress_line(4, "fedavg", "round", show=True):
        until(lambda: "0/4" in screen.getvalue())
        raise KeyboardInterrupt
    before = screen.getvalue()
    time.sleep(0.2)
    assert screen.getvalue() == before and before.endswith("\r")


# ---------------------------------------------------------------------- below a cell

SETUP = """
import time
from fedlab.engine import progress
from fedlab.engine.progress import progress_line
progress.QUIET = progress.TICK = 0.05
"""
WORK = """
asked = []
with progress_line(4, "fedavg", "round", show=True, doing=lambda: asked.append(1) or "Hungary"):
    while progress._place() is not None and len(asked) < 3:  # drawn twice, where it is drawn
        time.sleep(0.01)
"""


def executed(*cells: str, watched: bool) -> tuple[list[Any], list[dict[str, Any]]]:
    """Run cells in a kernel; return their outputs as they would be stored, and all messages about them."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="the extra lab is not installed")
    seen: list[dict[str, Any]] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        async def async_start_new_kernel_client(self) -> Any:
            client = await super().async_start_new_kernel_client()
            client.allow_stdin = watched  # as a frontend with somebody in front of it
            return client

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            seen.append(msg)
            return super().process_message(msg, cell, cell_index)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    Client(notebook, kernel_name="python3", timeout=None).execute()
    return [cell.outputs for cell in notebook.cells], seen


CELLS = {
    "setup": SETUP,
    "alone": WORK,
    "twice": WORK + WORK + "print('after')",
    "beside": "print('before')" + WORK,
    "amid": WORK + "    print('meanwhile')",
    "nested": WORK + WORK.replace("\n", "\n    "),
    "captured": "%%capture caught" + WORK,
    "caught": "print(caught.outputs, repr(caught.stdout), repr(caught.stderr))",
}


@pytest.fixture(scope="module")
def watched() -> dict[str, tuple[list[Any], list[dict[str, Any]]]]:
    """What each cell has stored, and the messages about it, with somebody in front of the notebook."""
    outputs, messages = executed(*CELLS.values(), watched=True)
    parents = list(dict.fromkeys(msg["parent_header"]["msg_id"] for msg in messages))
    assert len(parents) == len(CELLS)
    each = [[msg for msg in messages if msg["parent_header"]["msg_id"] == parent] for parent in parents]
    return dict(zip(CELLS, zip(outputs, each, strict=True), strict=True))


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [msg["msg_type"] for msg in messages if msg["msg_type"] not in ("status", "execute_input")]


@pytest.mark.notebooks
def test_a_program_that_runs_a_notebook_stores_no_progress() -> None:
    outputs, messages = executed(SETUP, WORK, "print('before')" + WORK, watched=False)
    assert outputs[:2] == [[], []] and [o["name"] for o in outputs[2]] == ["stdout"]
    assert kinds(messages) == ["stream"]


@pytest.mark.notebooks
def test_a_line_below_a_cell_is_drawn_and_taken_away(watched: Any) -> None:
    outputs, messages = watched["alone"]
    assert outputs == [] and kinds(messages)[0] == "display_data" and kinds(messages)[-1] == "clear_output"
    shown = [m["content"]["data"]["text/plain"] for m in messages if m["msg_type"].endswith("display_data")]
    assert len(shown) >= 2 and all("fedavg" in text and "0/4" in text and "Hungary" in text for text in shown)
    outputs, messages = watched["twice"]
    assert [(o["name"], o["text"]) for o in outputs] == [("stdout", "after\n")]
    assert kinds(messages).count("display_data") == kinds(messages).count("clear_output") == 2


@pytest.mark.notebooks
@pytest.mark.parametrize(("cell", "text"), [("beside", "before\n"), ("amid", "meanwhile\n")])
def test_what_a_cell_has_shown_stays(watched: Any, cell: str, text: str) -> None:
    outputs, messages = watched[cell]
    assert (
        "".join(o["text"] for o in outputs if o["output_type"] == "stream") == text
    )  # a slow kernel sends it in parts
    assert [o["data"] for o in outputs if o["output_type"] == "display_data"] == [{}]  # nothing to be seen
    assert "clear_output" not in kinds(messages)


@pytest.mark.notebooks
def test_one_line_inside_another_leaves_it_its_place(watched: Any) -> None:
    outputs, messages = watched["nested"]
    assert outputs == [] and kinds(messages)[-1] == "clear_output" and kinds(messages).count("clear_output") == 1


@pytest.mark.notebooks
def test_a_captured_cell_captures_no_progress(watched: Any) -> None:
    assert watched["captured"][0] == [] and watched["caught"][0][0]["text"] == "[] '' ''\n"
