"""The report's page in a real Chromium: no word of ours is broken, and no name of the user's leaves the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import Federation
from tests.workbench.browser import ARGS, CHROMIUM

pytestmark = pytest.mark.browser

LONG = "Krankenhaus" * 20
WIDTHS = (390, 700, 1000, 1280)
# the words of table heads that stand on more than one line
BROKEN = """() => [...document.querySelectorAll('thead th')].flatMap(head => {
  const walker = document.createTreeWalker(head, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode())
    for (const word of walker.currentNode.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, word.index);
      range.setEnd(walker.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) found.push(word[0]);
    }
  return found;
})"""
BEYOND = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser.new_page()
        browser.close()


def page(federation: Federation, at: Path) -> str:
    options: dict[str, Any] = {"algorithms": ["isolated", "fedavg"], "seeds": 2, "rounds": 1, "threshold": 0.2}
    fedlab.report(federation, at, progress=False, **options)
    return at.as_uri()


@pytest.mark.parametrize("media", ["screen", "print"])
def test_words_of_table_heads_are_whole(tab: Any, tmp_path: Path, hospitals: Federation, media: str) -> None:
    tab.emulate_media(media=media)
    tab.goto(page(hospitals, tmp_path / "report.html"))
    for width in WIDTHS[1:] if media == "print" else WIDTHS:  # A4 is 700 pixels wide
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.locator("thead th").count() > 20
        assert (width, tab.evaluate(BROKEN), tab.evaluate(BEYOND)) == (width, [], 0)


def test_a_name_longer_than_the_page_stays_on_it(tab: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, 240)
    table = {
        "site": np.array([LONG, f"{LONG} 2", "North"])[np.arange(240) % 3],
        LONG.lower(): age,
        "label": np.array([f"no{LONG}", "yes"])[(age + rng.normal(0, 5, 240) > 60).astype(int)],
    }
    federation = Federation.from_frame(pd.DataFrame(table), site="site", label="label", name=LONG)
    tab.emulate_media(media="screen")
    tab.goto(page(federation, tmp_path / "report.html"))
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        broken = [word for word in tab.evaluate(BROKEN) if "krankenhaus" not in word.lower()]
        assert (width, broken, tab.evaluate(BEYOND)) == (width, [], 0)
