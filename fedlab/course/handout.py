"""Handouts: notebooks that were run, as HTML files that need neither network nor Python. ``make handout`` calls this.

What a reader is asked to answer stays unanswered; ``--solutions`` makes the teacher's copy.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fedlab.course.formula import with_formulas
from fedlab.course.solutions import RUN

LIMIT = 600  # seconds for a cell
MATHML = re.compile("<math.*?</math>", re.S)
LOADS = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^>]*>")
# The template of `jupyter nbconvert --to html`, without the four scripts that it would fetch.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js_requirejs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
body.jp-Notebook { max-width: 1000px; margin: 0 auto; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
</style>{% endblock %}"""


def handout(notebook: Path, folder: Path, *, solutions: bool = False) -> Path:
    """Run a notebook and write it as one HTML file; the notebook stays as it is.

    Parameters
    ----------
    notebook : Path
    folder : Path
        Where the file goes; made if it is not there.
    solutions : bool
        Run and show the solutions of the exercises. Default: leave them out.

    Returns
    -------
    Path
        The file, named as the notebook.

    Raises
    ------
    ImportError
        If JupyterLab, whose exporter this is, is not installed.
    RuntimeError
        If a cell fails, or the page would load something from elsewhere.
    """
    try:
        import nbformat
        from jinja2 import DictLoader
        from nbclient.exceptions import CellExecutionError
        from nbconvert import HTMLExporter
        from nbconvert.preprocessors import ExecutePreprocessor
    except ImportError as error:
        raise ImportError(f"{error}. Handouts need JupyterLab: pip install 'fedlab-workbench[lab]'") from error
    read = nbformat.read(notebook, as_version=4)
    if not solutions:
        read.cells = [cell for cell in read.cells if "solution" not in cell.metadata.get("tags", [])]
    formulas: dict[str, str] = {}  # the exporter takes MathML apart: it is put in afterwards

    def stand_in(formula: str) -> str:
        return formulas.setdefault(formula, f"formula-{secrets.token_hex(8)}")

    for cell in read.cells:
        if cell.cell_type == "markdown":
            cell.source = MATHML.sub(lambda found: stand_in(found[0]), with_formulas(cell.source))
    run = ExecutePreprocessor(timeout=LIMIT, kernel_name="python3", store_widget_state=False)
    try:
        with _solutions_run() if solutions else nullcontext():
            run.preprocess(read, {"metadata": {"path": str(notebook.resolve().parent)}})
    except CellExecutionError as error:
        raise RuntimeError(f"{notebook}: a cell failed, so there is no handout of it. {error}") from None
    loader = DictLoader({"handout.html.j2": TEMPLATE})
    export = HTMLExporter(template_file="handout.html.j2", extra_loaders=[loader], embed_images=True)
    page, _ = export.from_notebook_node(read, {"metadata": {"name": notebook.stem, "path": str(notebook.parent)}})
    for formula, stand in formulas.items():
        page = page.replace(stand, formula)
    if found := LOADS.search(page):
        raise RuntimeError(f"{notebook}: its page would load {found[0][:120]}, and a handout loads nothing")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{notebook.stem}.html"
    file.write_text(page, encoding="utf-8")
    return file


@contextmanager
def _solutions_run() -> Iterator[None]:
    before = os.environ.get(RUN)
    os.environ[RUN] = "1"
    try:
        yield
    finally:
        os.environ.pop(RUN) if before is None else os.environ.update({RUN: before})


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the handouts that are asked for; return the exit code."""
    parse = argparse.ArgumentParser(prog="python -m fedlab.course.handout", description=__doc__)
    parse.add_argument("notebooks", nargs="+", type=Path, help="notebooks, e.g. notebooks/00_start_here.ipynb")
    parse.add_argument("-o", "--output", type=Path, default=Path("handouts"), metavar="FOLDER")
    parse.add_argument("--solutions", action="store_true", help="the teacher's copy: with the solutions, run")
    asked = parse.parse_args(arguments)
    failed = 0
    for notebook in asked.notebooks:
        try:
            print(handout(notebook, asked.output, solutions=asked.solutions), flush=True)
        except (OSError, RuntimeError, ImportError) as error:
            print(f"handout: {error}", file=sys.stderr)
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
