"""Names of the user's are text wherever they are shown: in figures, reports, panels, tables and files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import fedlab
from fedlab import figures
from fedlab.federation import Federation, LabelShift, Shifts
from fedlab.report.numbers import FORMULA
from fedlab.report.report import Report
from fedlab.workbench import RunPanel, ShiftStudio
from tests.patience import STILL

MARK = "<img src=x onerror=alert(1)>"
SITES = [
    f"{MARK}%{{x}}",
    "=cmd|' /C calc'!A0",
    "מרכז רפואי 🏥 " + "long" + " long" * 60,
    "-2+3</script><script>alert(2)",
]
CLASSES = ["<i>no</i>", "@yes"]
FEATURES = ["<u>age</u>", "+crp & co", "ward<b>"]
CODES = ["<s>A</s>", "=B"]


@pytest.fixture(scope="module")
def hostile() -> Federation:
    rng = np.random.default_rng(0)
    n = 240
    age = rng.normal(60, 10, n)
    table = {
        "site": np.array(SITES)[np.arange(n) % 4],
        FEATURES[0]: age,
        FEATURES[1]: rng.normal(size=n),
        FEATURES[2]: np.array(CODES)[rng.integers(0, 2, n)],
        "label": np.array(CLASSES)[(age + rng.normal(0, 5, n) > 60).astype(int)],
    }
    return Federation.from_frame(pd.DataFrame(table), site="site", label="label", name=f"mine {MARK}", source=MARK)


@pytest.fixture(scope="module")
def study(hostile: Federation) -> fedlab.Study:
    arms = {"isolated": "isolated", f"{MARK} mine": "fedavg", "centralized": "centralized"}
    return fedlab.compare(hostile, algorithms=arms, seeds=2, rounds=2, progress=False)


@pytest.fixture(scope="module")
def made(hostile: Federation) -> Report:
    return fedlab.report(hostile, algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False)


def texts(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Everything in a figure that plotly shows, with its key: all but what identifies (groups) or is stored beside."""
    if isinstance(part, dict):
        for inner, value in part.items():
            if inner not in ("legendgroup", "meta"):
                yield from texts(value, inner)
    elif isinstance(part, list):
        for value in part:
            yield from texts(value, key)
    elif isinstance(part, str):
        yield key, part


def shown(figure: go.Figure) -> list[tuple[str, str]]:
    return list(texts(json.loads(figure.to_json())))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)


ALLOWED = re.compile(r"</?(b|br|span|extra)( style='[^']*')?>")


def test_figures_show_names_as_text(hostile: Federation, study: fedlab.Study) -> None:
    run = study.runs[f"{MARK} mine"][0]
    moved = hostile.shift(Shifts({SITES[0]: [LabelShift(0.5)]}))
    measured = fedlab.heterogeneity(hostile, measures=["total_variation"], progress=False)
    curve = fedlab.learning_curve(
        hostile, algorithms={MARK: "fedavg"}, rows=[8], sites=[], seeds=2, rounds=1, progress=False
    )
    alone = fedlab.atlas(hostile, algorithms=["isolated", "fedavg"], rounds=1, resamples=20, progress=False)
    drawn = {
        "curves": figures.learning_curves(run, behind=run),
        "bands": figures.seed_bands(study.runs[f"{MARK} mine"]),
        "gains": figures.who_gains(study),
        "differences": figures.differences(study, at_home=True),
        "atlas": figures.atlas_map(alone, federation=hostile),
        "reliability": figures.reliability_curves(study.calibration(), federation=hostile),
        "subgroups": figures.subgroup_scores(run.subgroups(by=FEATURES[2]), "log_loss"),
        "heterogeneity": figures.heterogeneity(measured),
        "more data": figures.more_data(curve, "log_loss"),
        **{f"shifted {f}": figures.before_after(hostile, moved, site=SITES[0], feature=f) for f in FEATURES},
    }
    for name, figure in drawn.items():
        for key, text in shown(figure):
            assert "<" not in ALLOWED.sub("", text), (name, text)
            if key == "hovertemplate":  # a template that a name is written into must not take its %{x} for its own
                assert "%{x}</extra>" not in text and "1)&gt;%{x}" not in text, (name, text)
            assert len(text) < 2500, name  # a name of any length leaves the figure its room
    assert any("&lt;img" in text for _, text in shown(drawn["curves"]))


def test_the_page_has_no_tag_of_a_name(made: Report) -> None:
    page = re.sub(r"<script.*?</script>", "", made.html, flags=re.S)
    assert not Tags(page).seen & {"img", "i", "u", "s"} and "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "alert(2)" not in re.sub(r"&lt;/script&gt;&lt;script&gt;alert\(2\)", "", page)
    assert not Tags(made._repr_html_()).seen & {"img", "i", "u", "s"}


def test_no_cell_of_the_csv_is_a_formula_and_it_reads_back(made: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    words, numbers = (
        ("arm", "train", "test", "metric", "reason"),
        ("seed", "value", "low", "high", "patients", "fewest"),
    )
    assert not [row[c] for row in rows for c in words if row[c].startswith(FORMULA)]
    opened = made.gap.opened
    for column in words:
        back = [row[column].removeprefix("'") for row in rows]
        assert back == opened[column].tolist()
    table = pd.read_csv(io.StringIO(made.csv))
    for column in numbers:
        assert table[column].tolist() == pytest.approx(opened[column].tolist(), nan_ok=True)
    assert "'=cmd|' /C calc'!A0" in {row["test"] for row in rows}


def test_the_json_reads_back(made: Report) -> None:
    assert set(json.loads(made.json)["atlas"]["fedavg"]["all sites"]) == set(SITES)


def test_tables_that_notebooks_show(hostile: Federation, study: fedlab.Study) -> None:
    run = study.runs["isolated"][0]
    for shown in (hostile, run, study):
        assert not Tags(shown._repr_html_()).seen & {"img", "i", "u", "s"}
    ledger = run.ledger.to_html()
    assert not Tags(ledger).seen & {"img"} and "&lt;img" in ledger


@pytest.mark.parametrize("kind", [RunPanel, ShiftStudio])
def test_panels_show_names_as_text(hostile: Federation, kind: type[RunPanel]) -> None:
    panel = kind(hostile)
    panel.controls.numbers["rounds"].value = 2
    try:
        panel.start()
        panel.wait(STILL)
        panel.code_button.click()
        panel.controls.numbers["rounds"].value = 3
        if isinstance(panel, RunPanel):
            panel.open_test()
            panel.controls.data.ticks[SITES[1]].value = False
        else:
            panel.dials.turn(SITES[0], label=0.5)
        told = [
            panel.table.value,
            panel.chart.notes.value,
            panel.stale.value,
            panel.status.value,
            panel.code_view.value,
        ]
        told += [
            panel.alert.value,
            *([panel.test_table.value] if isinstance(panel, RunPanel) else [panel.dials.summary.value]),
        ]
        assert not {tag for text in told for tag in Tags(text).seen} & {"img", "i", "u", "s", "script"}
        assert "&lt;img" in panel.table.value and panel.stale.value
        ticks = panel.controls.data.ticks.values()
        assert not any(tick.description_allow_html for tick in ticks)
        run = panel.run
        assert run is not None and len(run.records) == 2
    finally:
        panel.stop()
        panel.wait(STILL)
