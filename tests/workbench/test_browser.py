"""The panel where it lives: JupyterLab in a real Chromium. Screenshots are kept in ``artefacts/`` to be looked at."""

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
from time import monotonic, sleep

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
TOKEN = "only-for-this-test"
CELL = """import fedlab
from fedlab.workbench import RunPanel

hospitals = fedlab.load("heart_disease")
panel = RunPanel(hospitals)
panel.controls.numbers["rounds"].value = 2000
panel"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WAIT = 60_000
SIZE = {"width": 1280, "height": 1500}
IDLE = """() => {
  const at = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const session = at && at.sessionContext && at.sessionContext.session;
  return session && session.kernel.status === 'idle';
}"""
POINTS = """() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(plot => plot.data.map(trace => (trace.x || []).length)))"""
# a curve may be drawn whole inside a plot that has shrunk to nothing: both must be seen
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].some(plot =>
  plot.getBoundingClientRect().height > 300 && plot.querySelector('.svg-container').getBoundingClientRect().height > 300
  && [...plot.querySelectorAll('.scatterlayer path.js-line')].some(path => path.getBoundingClientRect().width > 100))"""
SAVED = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab with a notebook of one cell, its settings private, its kernel this Python."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install 'fedlab-workbench[lab]'")
    home = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    nbformat.write(notebook, home / "panel.ipynb")
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
        end = monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={TOKEN}", timeout=5)
                break
            except OSError:
                assert server.poll() is None and monotonic() < end, (home / "lab.log").read_text()[-3000:]
                sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)
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


def test_run_watch_stop_and_reload(page: object, lab: str) -> None:
    address = f"{lab}/lab/tree/panel.ipynb?token={TOKEN}"
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(IDLE)
    command(page, "notebook:run-all-cells")
    page.wait_for_selector(".fedlab >> text=Cleveland")
    shot(page, "1_ready")
    press(page, "Run")
    page.wait_for_function(f"({POINTS})() > 3")
    seen = page.evaluate(f"({POINTS})()")
    page.wait_for_function(f"({POINTS})() > {seen} + 3")
    shot(page, "2_training")
    press(page, "Stop")
    page.wait_for_selector(".fedlab >> text=/[Ss]topped/")
    done = page.evaluate(f"({POINTS})()")
    assert 3 < done < 2000
    shot(page, "3_stopped")
    page.set_viewport_size({"width": 1000, "height": 1500})
    page.wait_for_function(DRAWN)
    page.set_viewport_size(SIZE)
    page.wait_for_function(DRAWN)
    command(page, "docmanager:save")
    page.wait_for_function(SAVED)  # the page that comes back is the one on the disk
    page.reload()
    page.wait_for_selector(".fedlab >> text=Cleveland")
    page.wait_for_function(f"({POINTS})() >= {done}")
    page.wait_for_function(DRAWN)
    shot(page, "4_reloaded")
    press(page, "Show code")
    page.wait_for_selector(".fedlab >> text=/fedlab.train/")
    shot(page, "5_code")


def test_a_whole_run_in_the_dark(page: object) -> None:
    command(page, "apputils:change-theme", "{theme: 'JupyterLab Dark'}")
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    rounds = page.locator(".fedlab .widget-text:has(label:text-is('rounds')) input")
    rounds.fill("5")
    rounds.press("Tab")
    press(page, "Run")
    page.wait_for_selector(".fedlab table >> text=Switzerland")
    page.wait_for_function(f"({POINTS})() == 5")
    page.wait_for_function(DRAWN)
    shot(page, "6_dark")


def test_the_band_over_seeds(page: object) -> None:
    command(page, "apputils:change-theme", "{theme: 'JupyterLab Light'}")
    seeds = page.locator(".fedlab .widget-text:has(label:text-is('seeds side by side')) input")
    seeds.fill("8")
    seeds.press("Tab")
    press(page, "Run")
    page.wait_for_selector(".fedlab >> text=/over 8 seeds, each/")
    page.wait_for_function(DRAWN)
    shot(page, "7_seeds")
