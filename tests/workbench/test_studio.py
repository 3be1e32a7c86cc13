"""The shift studio in plain Python: dials, what they draw, the run that follows, its code, and bad input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

import fedlab
from fedlab.federation import Federation
from fedlab.federation.shift import KINDS, AcquisitionShift, LabelShift, Shifts
from fedlab.workbench import ShiftStudio, studio
from fedlab.workbench.chart import MIME
from tests.patience import STILL
from tests.workbench.panels import LONG, carried, chart_of, executed, finished, frame, same, until


@pytest.fixture
def made(make: Callable[..., ShiftStudio]) -> Callable[..., ShiftStudio]:
    return partial(make, kind=ShiftStudio, rounds=3)


def drawn(panel: ShiftStudio) -> dict[str, list[float]]:
    """What the filled marks stand at: share of the last class, patients, share missing, site by site."""
    (output,) = panel.picture.output.outputs
    after = [trace for trace in output["data"][MIME]["data"] if trace.get("mode") == "markers"][1::2]
    return {name: trace["x"] for name, trace in zip(("share", "patients", "missing"), after, strict=True)}


def faint(panel: ShiftStudio) -> list[dict[str, object]]:
    return [trace for trace in chart_of(panel)["data"] if "the run before" in trace["name"]]


# ---------------------------------------------------------------------- dials


def test_dials_become_shifts_of_the_sites_that_take_part(made: Callable[..., ShiftStudio]) -> None:
    panel = made(seed=4)
    assert panel.choice().shifts is None and "All dials are at 0" in panel.dials.summary.value
    panel.dials.turn("Hungary", label=0.4, acquisition=0.15)
    panel.dials.turn("Cleveland", practice=1.0)
    panel.controls.data.ticks["Cleveland"].value = False
    assert panel.choice().shifts == Shifts({"Hungary": [LabelShift(0.4), AcquisitionShift(0.15)]}, seed=4)
    assert panel.dials.site.options == ("Hungary", "Switzerland", "Long Beach")
    assert "0.15" in panel.dials.summary.value and "Cleveland" not in panel.dials.summary.value


def test_six_sliders_show_the_chosen_site(made: Callable[..., ShiftStudio]) -> None:
    panel = made()
    assert tuple(panel.dials.sliders) == KINDS
    assert all(not slider.continuous_update and slider.tooltip for slider in panel.dials.sliders.values())
    panel.dials.turn("Hungary", label=0.4)
    panel.dials.site.value = "Long Beach"
    assert panel.dials.sliders["label"].value == 0 and panel.dials.severities == {"Hungary": {"label": 0.4}}
    panel.dials.site.value = "Hungary"
    assert panel.dials.sliders["label"].value == 0.4
    panel.dials.turn("Hungary", label=0.0)
    assert panel.dials.severities == {} and panel.choice().shifts is None


@pytest.mark.parametrize(
    ("site", "turned", "said"),
    [("Praha", {"label": 0.5}, "no dials for 'Praha'"), ("Hungary", {"colour": 0.5}, "no dial 'colour'"),
     ("Hungary", {"label": 1.5}, "1.5")],
)  # fmt: skip
def test_what_no_dial_can_be_turned_to(
    made: Callable[..., ShiftStudio], site: str, turned: dict[str, float], said: str
) -> None:
    panel = made()
    with pytest.raises(ValueError, match=said):
        panel.dials.turn(site, **turned)
    assert panel.dials.severities == {}


def test_the_hospitals_are_drawn_before_and_after_and_test_patients_never(made: Callable[..., ShiftStudio]) -> None:
    panel = made()
    hospitals = fedlab.load("heart_disease").resplit(0)
    before = drawn(panel)
    seen = [np.concatenate([s.train.group, s.valid.group]) for s in hospitals.sites]
    assert before["patients"] == [len(np.unique(who)) for who in seen]
    panel.dials.turn("Hungary", label=0.8)
    after = drawn(panel)
    assert after["share"][1] > before["share"][1] and after["patients"][1] < before["patients"][1]
    assert [after["share"][k] for k in (0, 2, 3)] == [before["share"][k] for k in (0, 2, 3)]
    panel.feature.value = "chol"
    (output,) = panel.picture.output.outputs
    assert "chol at Hungary" in output["data"]["text/plain"]


# ---------------------------------------------------------------------- the run that follows


def test_a_run_starts_when_the_dials_rest(made: Callable[..., ShiftStudio], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "REST", 0.01)
    panel = made()
    starts: list[int] = []
    monkeypatch.setattr(panel, "start", lambda: starts.append(1))

    async def turn() -> None:
        for severity in (0.1, 0.2, 0.3):
            panel.dials.turn("Hungary", label=severity)
        assert starts == []
        await asyncio.sleep(0.1)

    asyncio.run(turn())
    assert starts == [1]


def test_a_dial_stops_the_run_and_the_last_whole_one_stays_behind(made: Callable[..., ShiftStudio]) -> None:
    panel = made()
    clean = finished(panel)
    assert faint(panel) == [] and "as they are" in panel.said.value
    panel.controls.numbers["rounds"].value = LONG
    panel.dials.turn("Hungary", label=0.4)
    panel.start()
    until(lambda: panel.run is not clean)
    half = panel.run
    assert half is not None and panel.before is clean
    panel.dials.turn("Hungary", label=0.6)
    until(lambda: not panel.busy)
    assert 0 < len(half.records) < LONG
    panel.controls.numbers["rounds"].value = 4
    panel.wait(STILL)
    assert panel.run is not half and panel.before is clean and len(faint(panel)) == 4
    assert "Drawn: Hungary: label 0.60. Faintly behind: the hospitals as they are." in panel.said.value
    assert "log loss before" in panel.table.value and "fedlab.compare" in panel.table.value
    assert panel.run.test_openings == clean.test_openings == 0


def test_a_run_of_other_data_has_nothing_behind_it(make: Callable[..., ShiftStudio]) -> None:
    panel = make(kind=ShiftStudio, rounds=2)
    panel.dials.turn("Hungary", label=0.4)
    panel.wait(STILL)
    panel.controls.data.recipe.value = "breast_cancer"
    assert panel.dials.severities == {} and panel.feature.value in [f.name for f in panel.choice().whole.features]
    finished(panel)
    assert panel.before is None and faint(panel) == []


def test_the_code_gives_the_same_numbers(made: Callable[..., ShiftStudio], hospitals: Federation) -> None:
    panel = made(hospitals, seed=2)
    panel.controls.data.ticks["Switzerland"].value = False
    panel.dials.turn("Hungary", label=0.4, documentation=0.3)
    panel.dials.turn("Long Beach", quantity=0.5)
    panel.wait(STILL)
    panel.code_button.click()
    assert "LabelShift(0.4)" in panel.code_view.value and ".shift(shifts)" in panel.code_view.value
    again = executed(panel.code, federation=hospitals)
    assert panel.run is not None and same(again, panel.run) and same(carried(panel)[0], panel.run)
    assert again.federation.fingerprint == panel.run.federation.fingerprint


def test_reset_forgets_dials_and_both_runs(made: Callable[..., ShiftStudio]) -> None:
    panel = made()
    untouched = drawn(panel)
    finished(panel)
    panel.dials.turn("Hungary", label=0.4)
    panel.wait(STILL)
    panel.reset_button.click()
    assert panel.run is panel.before is None and panel.dials.severities == {} and not chart_of(panel)
    assert drawn(panel) == untouched and panel.said.value == panel.table.value == "" and not panel.busy


# ---------------------------------------------------------------------- what cannot be had


def test_a_shift_that_cannot_be_had_is_said_and_the_picture_stays(made: Callable[..., ShiftStudio]) -> None:
    pictures = {name: (torch.randn(20, 1, 4, 4), torch.arange(20) % 2) for name in "AB"}
    panel = made(Federation.from_tensors(pictures))
    assert panel.feature.layout.display == "none"
    before = drawn(panel)
    panel.dials.turn("A", documentation=0.5)
    assert panel.alert.value != "" and "Traceback" not in panel.alert.value
    assert panel.dials.sliders["documentation"].value == 0.5 and drawn(panel) == before
    panel.wait(1)
    assert panel.run is None
    panel.start()
    assert panel.run is None and not panel.busy
    panel.dials.turn("A", documentation=0.0, quantity=0.5)
    assert panel.alert.value == "" and drawn(panel)["patients"][0] < before["patients"][0]


def test_no_site_is_a_sentence(made: Callable[..., ShiftStudio]) -> None:
    clinics = Federation.from_frame(frame(), site="clinic", label="ill", name="<b>mine</b>")
    panel = made(clinics)
    for tick in panel.controls.data.ticks.values():
        tick.value = False
    assert "tick at least one hospital" in panel.alert.value and panel.dials.site.value is None
    panel.controls.data.ticks["O'Hare"].value = True
    panel.dials.turn("O'Hare", label=0.3)
    panel.wait(STILL)
    assert panel.alert.value == "" and panel.run is not None and panel.run.federation.names == ("O'Hare",)
    assert "O&#x27;Hare" in panel.dials.summary.value
