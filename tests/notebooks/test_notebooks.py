"""The notebooks keep to their form, and run from end to end without a network."""

import ast
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
import pytest

from fedlab.course import EXERCISES
from fedlab.figures.export import library

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

CELL = 1800  # seconds: the last resort against a cell that hangs; on a quiet machine the longest takes half a minute
LIMIT = 90  # seconds on two cores that have nothing else to do: said, not asserted
LONGEST = 32  # lines of a cell
PARTS = ["Question.", "Objectives.", "Time.", "Read before.", "Data."]
SECTIONS = ["Self-check", "Exercises", "Key points", "What can go wrong with real data", "References"]
# A result: a decimal below two, or a percentage. Not: 45 CFR 164.514, CC BY 4.0, a 95 % interval.
RESULT = re.compile(r"(?<![\d.\w])[01]?\.\d+|(?<!\d)(?!95\b)\d+ ?%")

# Whatever a kernel reaches for outside this machine fails at once.
OFFLINE = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"no network in this test: {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


def solutions(notebook):
    return [cell for cell in code(notebook) if is_solution(cell)]


def assigned(cells):
    """Names that cells give a value to."""
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def prose(notebook):
    """Text of a notebook without its links and what stands in backticks."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"`[^`]*`|\]\([^)]*\)|\[(?:arXiv|doi):[^\]]*\]", "", text)


def sentences(notebook):
    """What code cells show as text: the typed parts of every `Markdown(...)`."""
    for cell in code(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Markdown":
                for part in ast.walk(ast.Module([ast.Expr(a) for a in node.args], [])):
                    if isinstance(part, ast.FormattedValue):
                        part.format_spec = None  # ".2f" is no result
                yield from (
                    part.value
                    for argument in node.args
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )


def test_there_are_notebooks():
    assert {path.stem[:2] for path in PATHS} >= {exercise_id[:2] for exercise_id in EXERCISES}


@every_notebook
def test_a_notebook_has_every_part_of_the_form(path):
    notebook = read(path)
    first = notebook.cells[0].source
    assert first.startswith(f"# {path.stem[:2]} · ")
    assert [part for part in PARTS if f"**{part}**" not in first] == []
    assert len(re.findall(r"\d+ minutes, and \d+ for the exercises", first)) == 1
    assert "network" in first  # says that it runs offline
    text = prose(notebook)
    assert [section for section in SECTIONS if f"\n## {section}\n" not in text] == []
    assert text.count("> **Predict.**") >= 2


@every_notebook
def test_results_are_computed_and_not_typed(path):
    notebook = read(path)
    assert RESULT.findall(prose(notebook)) == []
    assert [text for text in sentences(notebook) if RESULT.search(text)] == []


@pytest.mark.parametrize("text", ["an AUC of 0.81", "of .81", "1.05 times", "36 % are ill", "about 93%"])
def test_a_typed_result_is_found(text):
    assert RESULT.search(text)


@pytest.mark.parametrize("text", ["45 CFR 164.514(b)", "CC BY 4.0", "a 95 % interval", "in 2017.", "Article 5(1)(b)"])
def test_what_is_no_result_is_let_through(text):
    assert not RESULT.search(text)


@every_notebook
def test_cells_are_short(path):
    assert [c.id for c in code(read(path)) if c.source.count("\n") >= LONGEST] == []


@every_notebook
def test_every_exercise_has_a_question_an_empty_answer_and_a_folded_solution(path):
    notebook = read(path)
    ids = [exercise_id for exercise_id in EXERCISES if exercise_id.startswith(path.stem[:2])]
    empty = [cell.source for cell in code(notebook) if "answer = ...\n" in cell.source]
    assert [re.findall(r'check\("(.+?)", answer\)', source) for source in empty] == [[i] for i in ids]
    solved = solutions(notebook)
    assert [re.findall(r'check\("(.+?)", answer\)', cell.source) for cell in solved] == [[i] for i in ids]
    assert all(cell.metadata.get("jupyter", {}).get("source_hidden") for cell in solved)
    for exercise_id, cell in zip(ids, solved, strict=True):  # "Run all" runs nothing of it
        (guard,) = ast.parse(cell.source).body
        assert isinstance(guard, ast.If) and ast.unparse(guard.test) == f"reveal({exercise_id!r})" and not guard.orelse
    assert re.findall(r"\*\*Exercise ([\d.]+)\.\*\*", prose(notebook)) == ids[1:]  # number 0 is the self-check


@every_notebook
def test_nothing_needs_a_solution_that_was_not_run(path):
    """Each solution stands by itself, and no other cell hangs on one."""
    cells = code(read(path))
    plain = [cell for cell in cells if not is_solution(cell)]
    only_there = assigned(cells) - assigned(plain)
    for cell in cells:
        own = assigned([cell]) if is_solution(cell) else set()
        used = {n.id for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Name)}
        assert used & only_there <= own, cell.id


@every_notebook
def test_progress_is_left_on(path):
    assert [cell.id for cell in code(read(path)) if "progress=False" in cell.source] == []


@every_notebook
def test_a_notebook_is_stripped_and_plain(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(notebook))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = notebook["cells"]
    assert [c["id"] for c in cells if c.get("outputs") or c.get("execution_count") is not None] == []
    assert len({c["id"] for c in cells}) == len(cells)


@every_notebook
def test_links_between_notebooks_lead_somewhere(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert [link for link in re.findall(r"\]\(([^):]+)\)", text) if not (FOLDER / link).is_file()] == []


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The kernel of this interpreter, whatever is installed on this machine, with nothing cached and no network."""
    kernel = tmp_path / "share" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-offline.py").write_text(OFFLINE)
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("FEDLAB_MIRROR", raising=False)
    monkeypatch.setenv("FEDLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("FEDLAB_SOLUTIONS", raising=False)


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


@pytest.mark.notebooks
@every_notebook
def test_a_notebook_runs_offline_and_its_solutions_are_right(path, offline, capsys, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel", reason="the extra lab is not installed")
    monkeypatch.setenv("FEDLAB_SOLUTIONS", "1")
    notebook = read(path)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL,
        store_widget_state=False,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    started = time.perf_counter()
    client.execute()  # raises at the first cell that does
    seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f"\n{path.stem}: {seconds:.0f} s" + (f", more than {LIMIT}" if seconds > LIMIT else ""), end=" ")
    assert {o.output_type for cell in code(notebook) for o in cell.outputs} <= {
        "execute_result",
        "display_data",
        "stream",
    }
    outputs = [o for cell in code(notebook) for o in cell.outputs]
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []  # pink when exported
    assert [o for o in outputs if o.output_type == "display_data" and not o.data] == []  # of a line of progress
    ids = [exercise_id for exercise_id in EXERCISES if exercise_id.startswith(path.stem[:2])]
    for exercise_id, cell in zip(ids, solutions(notebook), strict=True):
        assert printed(cell).startswith(f"{exercise_id}: right."), printed(cell)
    figures = [o.data for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(figures) >= 2
    # each stands there as HTML too, for an export without network: the first one brings the library, once
    assert ["DecompressionStream" in figure["text/html"] for figure in figures] == [True] + [False] * (len(figures) - 1)
    assert len(nbformat.writes(notebook)) - len(library()) < 2_000_000  # as it would be shared; the library apart


@pytest.mark.notebooks
def test_run_all_answers_nothing_and_running_a_solution_twice_in_a_row_does(offline):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel", reason="the extra lab is not installed")
    exercise = 'answer = ...\ncheck("00.1", answer)'
    solution = '# Solution 00.1\nif reveal("00.1"):\n    answer = "Switzerland"\n    check("00.1", answer)'
    cells = [
        "from fedlab.course import check, reveal",
        exercise,
        solution,
        "answer",
        exercise,
        solution,
        solution,
        solution,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=CELL).execute()
    said = [printed(cell) for cell in notebook.cells]
    assert "no answer yet" in said[1] and said[2].startswith("00.1: the solution is in this cell")
    assert notebook.cells[3].outputs[0].data["text/plain"] == "Ellipsis"
    assert "no answer yet" in said[4] and "run it a second time" in said[5]  # another cell was run in between
    assert said[6].startswith("00.1: right.") and said[7].startswith("00.1: right.")


@pytest.mark.notebooks
def test_the_kernel_of_these_tests_has_no_network(offline):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel", reason="the extra lab is not installed")
    reach = 'import socket\nsocket.create_connection(("192.0.2.1", 80), timeout=5)'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(reach)])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="no network in this test"):
        nbclient.NotebookClient(notebook, kernel_name="python3", timeout=CELL).execute()
