"""JupyterLab in a real Chromium, for the panels' tests. Screenshots are kept in ``artefacts/`` to be looked at."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.patience import STILL, until

ROOT = Path(__file__).parents[2]
TOKEN = "only-for-this-test"
CELLS = {
    "panel": """import fedlab
from fedlab.workbench import RunPanel

hospitals = fedlab.load("heart_disease")
panel = RunPanel(hospitals)
panel.controls.numbers["rounds"].value = 1_000_000
panel""",
    "studio": """import fedlab
from fedlab.workbench import ShiftStudio

hospitals = fedlab.load("heart_disease")
studio = ShiftStudio(hospitals)
studio""",
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WAIT = 1000 * STILL  # milliseconds for what one sees next: a step of the page, not the whole test
SIZE = {"width": 1280, "height": 1500}
IDLE = """() => {
  const at = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const session = at && at.sessionContext && at.sessionContext.session;
  return session && session.kernel.status === 'idle';
}"""
POINTS = """() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(plot => plot.data.map(trace => (trace.x || []).length)))"""
# a long curve is thinned out: how far it has come is its last round, not its number of points
ROUND = """() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(plot => plot.data.map(trace => (trace.x || []).length ? trace.x[trace.x.length - 1] : 0)))"""
# a curve may be drawn whole inside a plot that has shrunk to nothing: both must be seen
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].some(plot =>
  plot.getBoundingClientRect().height > 300 && plot.querySelector('.svg-container').getBoundingClientRect().height > 300
  && [...plot.querySelectorAll('.scatterlayer path.js-line')].some(path => path.getBoundingClientRect().width > 100))"""
SAVED = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"


@pytest.fixture(scope="module")  # a lab that has had another panel open would show that one again
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab with notebooks of one cell, its settings private, its kernel this Python."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install 'fedlab-workbench[lab]'")
    home = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, cell in CELLS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata=kernel)
        nbformat.write(notebook, home / f"{name}.ipynb")
    spec = home / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    env = os.environ | folders | {"HOME": str(home), "JUPYTER_PATH": str(home / "share"), "PYTHONPATH": str(ROOT)}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.ip=127.0.0.1",
               f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True",
               f"--ServerApp.root_dir={home}", f"--LabApp.workspaces_dir={home / 'workspaces'}"]  # fmt: skip
    log = (home / "lab.log").open("w")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, cwd=home, stdout=log, stderr=log)
    try:
        said = home / "lab.log"

        def answers() -> bool:
            assert server.poll() is None, said.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={TOKEN}", timeout=30)
            except OSError:
                return False
            return True

        until(answers, moves=lambda: said.stat().st_size)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(STILL)
        log.close()


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[object]:
    """One tab of Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        tab = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        tab.set_default_timeout(WAIT)
        yield tab
        browser.close()


def shot(page: object, name: str) -> None:
    folder = Path(os.environ.get("FEDLAB_ARTEFACTS") or ROOT / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


def command(page: object, name: str, args: str = "{}") -> None:
    # what a command promises is not waited for: the tests wait for what is to be seen
    page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{name}', {args}); }}")


def press(page: object, name: str) -> None:
    page.locator(f".fedlab button:has-text('{name}')").first.click()


def opened(page: object, lab: str, name: str) -> None:
    """Open one of the notebooks and run its cell."""
    page.goto(f"{lab}/lab/tree/{name}.ipynb?token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(IDLE)
    command(page, "notebook:run-all-cells")
    page.wait_for_selector(".fedlab >> text=Cleveland")


def themed(page: object, name: str) -> None:
    """Change to JupyterLab's theme ``"Light"`` or ``"Dark"``."""
    command(page, "apputils:change-theme", f"{{theme: 'JupyterLab {name}'}}")
    light = "true" if name == "Light" else "false"
    page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
