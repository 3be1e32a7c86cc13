"""The run panel where it lives: JupyterLab in a real Chromium."""

from __future__ import annotations

import pytest

from tests.workbench.browser import DRAWN, POINTS, ROUND, SAVED, SIZE, command, opened, press, shot, themed

IN_SIGHT = """() => {
  const code = document.querySelector('.fedlab pre').getBoundingClientRect();
  return code.height > 50 && code.top >= 0 && code.bottom <= innerHeight;
}"""

pytestmark = pytest.mark.browser


def test_run_watch_stop_and_reload(page: object, lab: str) -> None:
    opened(page, lab, "panel")
    shot(page, "1_ready")
    press(page, "Run")
    page.wait_for_function(f"({ROUND})() > 3")
    seen = page.evaluate(f"({ROUND})()")
    page.wait_for_function(f"({ROUND})() > {seen} + 3")
    shot(page, "2_training")
    press(page, "Stop")
    page.wait_for_selector(".fedlab >> text=/[Ss]topped/")
    done = page.evaluate(f"({ROUND})()")
    assert 3 < done < 1_000_000
    shot(page, "3_stopped")
    page.set_viewport_size({"width": 1000, "height": 1500})
    page.wait_for_function(DRAWN)
    page.set_viewport_size(SIZE)
    page.wait_for_function(DRAWN)
    command(page, "docmanager:save")
    page.wait_for_function(SAVED)  # the page that comes back is the one on the disk
    page.reload()
    page.wait_for_selector(".fedlab >> text=Cleveland")
    page.wait_for_function(f"({ROUND})() >= {done}")
    page.wait_for_function(DRAWN)
    shot(page, "4_reloaded")
    press(page, "Show code")
    page.wait_for_selector(".fedlab >> text=/fedlab.train/")
    page.wait_for_function(IN_SIGHT)
    shot(page, "5_code")


def test_the_code_is_copied(page: object) -> None:
    page.context.grant_permissions(["clipboard-read"])
    press(page, "Copy")
    page.wait_for_selector(".fedlab button:has-text('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".fedlab pre").inner_text() and "fedlab.train(" in copied
    # Without it a page may write for seconds after a press alone, which a slow machine lets pass.
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('something else')")
    command(page, "docmanager:save")
    page.wait_for_function(SAVED)
    page.reload()
    page.wait_for_selector(".fedlab button:has-text('Copy')")  # shown again, and not done again
    assert page.evaluate("navigator.clipboard.readText()") == "something else"


def test_other_settings_mark_the_curve(page: object) -> None:
    rate = page.locator(".fedlab .widget-text:has(label:text-is('learning rate')) input")
    rate.fill("0.7")
    rate.press("Tab")
    page.wait_for_selector(".fedlab >> text=/Drawn below: learning rate 0.1/")
    page.wait_for_selector(".fedlab .fedlab-old .js-plotly-plot")
    rate.fill("0.1")
    rate.press("Tab")
    page.wait_for_selector(".fedlab .fedlab-old", state="detached")


def test_a_whole_run_in_the_dark(page: object) -> None:
    themed(page, "Dark")
    rounds = page.locator(".fedlab .widget-text:has(label:text-is('rounds')) input")
    rounds.fill("5")
    rounds.press("Tab")
    press(page, "Run")
    page.wait_for_selector(".fedlab table >> text=Switzerland")
    page.wait_for_function(f"({POINTS})() == 5")
    page.wait_for_function(DRAWN)
    shot(page, "6_dark")


def test_the_band_over_seeds(page: object) -> None:
    themed(page, "Light")
    seeds = page.locator(".fedlab .widget-text:has(label:text-is('seeds side by side')) input")
    seeds.fill("8")
    seeds.press("Tab")
    press(page, "Run")
    page.wait_for_selector(".fedlab >> text=/over 8 seeds, each/")
    page.wait_for_function(DRAWN)
    shot(page, "7_seeds")
