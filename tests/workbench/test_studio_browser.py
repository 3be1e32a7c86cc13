"""The shift studio where it lives: JupyterLab in a real Chromium."""

from __future__ import annotations

import pytest

from tests.workbench.browser import DRAWN, POINTS, SIZE, opened, press, shot, themed

pytestmark = pytest.mark.browser

FAINT = "() => [...document.querySelectorAll('.js-plotly-plot')].some(p => p.data.some(t => /run before/.test(t.name)))"

WHOLE = ".fedlab th >> text=log loss before"  # the table comes when a run has ended
FITS = """() => [...document.querySelectorAll('.fedlab .js-plotly-plot')].every(plot =>
  plot.querySelector('.main-svg').getBoundingClientRect().right
    <= plot.closest('.fedlab').getBoundingClientRect().right)"""

NARROW = "() => document.querySelector('.fedlab').clientWidth < 400"
APART = """() => {
  const labels = [...document.querySelectorAll('.fedlab .js-plotly-plot [class*=xaxislayer] [class$=tick] text')]
    .map(label => label.getBoundingClientRect());
  const clear = (a, b) => a.right + 3 < b.left || b.right + 3 < a.left || a.bottom < b.top || b.bottom < a.top;
  return labels.length > 8 && labels.every((a, i) => labels.every((b, j) => i === j || clear(a, b)));
}"""


def dial(page: object, kind: str) -> object:
    return page.locator(f".fedlab .widget-slider:has(label:text-is('{kind}')) .noUi-handle")


def test_turn_a_dial_watch_and_turn_another(page: object, lab: str) -> None:
    opened(page, lab, "studio")
    page.wait_for_selector(".fedlab >> text=All dials are at 0")
    shot(page, "studio_1_ready")
    press(page, "Run")
    page.wait_for_selector(".fedlab >> text=/Finished: 30 rounds/")
    assert not page.evaluate(FAINT)
    page.locator(".fedlab select[size]").select_option("Hungary")
    dial(page, "label").press("PageUp")
    page.wait_for_selector(".fedlab td >> text=0.25")
    page.wait_for_selector(".fedlab >> text=/Faintly behind: the hospitals as they are/")
    page.wait_for_selector(WHOLE)
    dial(page, "acquisition").press("End")
    page.wait_for_selector(".fedlab td >> text=1.00")
    page.wait_for_function(FAINT)
    page.wait_for_selector(".fedlab >> text=/Faintly behind: Hungary: label 0.25/")
    page.wait_for_selector(WHOLE)
    page.wait_for_function(DRAWN)
    shot(page, "studio_3_behind")
    press(page, "Show code")
    page.wait_for_selector(".fedlab pre >> text=/LabelShift.0.25/")
    shot(page, "studio_4_code")
    press(page, "Show code")


def test_in_the_dark_and_narrow(page: object) -> None:
    themed(page, "Dark")
    page.wait_for_function(DRAWN)
    shot(page, "studio_5_dark")
    page.set_viewport_size({"width": 720, "height": 1800})
    page.wait_for_function(NARROW)  # before that all fits, in the wide page that was
    page.wait_for_function(FITS)
    page.wait_for_function(APART)
    shot(page, "studio_6_narrow")
    page.set_viewport_size(SIZE)
    press(page, "Reset")
    page.wait_for_selector(".fedlab >> text=All dials are at 0")
    assert page.evaluate(f"({POINTS})()") < 30
    themed(page, "Light")
