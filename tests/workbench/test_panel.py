"""The panel without a browser: its widgets are set and pressed, its thread is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from fedlab.federation import Federation
from fedlab.workbench import RunPanel
from fedlab.workbench.chart import MIME


@pytest.fixture
def panel() -> Iterator[RunPanel]:
    made = RunPanel()
    yield made
    made.stop()
    made.wait(30)


def go(panel: RunPanel, *, rounds: int = 3, **numbers: float) -> None:
    for name, value in ({"rounds": rounds} | numbers).items():
        panel.controls.numbers[name].value = value
    panel.start()
    panel.wait(60)


def until(true: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def points(panel: RunPanel) -> int:
    data = panel.chart.output.outputs[0]["data"]
    return max((len(trace.get("x", [])) for trace in data[MIME]["data"]), default=0) if MIME in data else 0


def test_a_run_fills_the_chart_the_words_and_the_table(panel: RunPanel) -> None:
    go(panel, rounds=4)
    assert panel.run is not None and len(panel.run.records) == 4 and not panel.busy
    assert MIME in panel.chart.output.outputs[0]["data"] and panel.bar.value == 4
    for word in ("Cleveland", "Switzerland", "log loss"):
        assert word in panel.table.value
    assert not panel.run_button.disabled and panel.stop_button.disabled
    assert panel.run.test_openings == 0


def test_the_curve_grows_and_stop_ends_it(panel: RunPanel) -> None:
    panel.controls.numbers["rounds"].value = 2000
    panel.start()
    assert panel.busy and panel.run_button.disabled and not panel.stop_button.disabled
    until(lambda: panel.bar.value > 3)
    seen = panel.bar.value
    until(lambda: panel.bar.value > seen)
    panel.stop()
    panel.wait(20)
    done = len(panel.run.records)
    assert 0 < done < 2000 and not panel.busy and str(done) in panel.status.value and "top" in panel.status.value
    assert panel.run.model()(panel.run.federation.sites[0].test.x).shape[1] == 1


def test_starting_again_ends_the_run_before(panel: RunPanel) -> None:
    panel.controls.numbers["rounds"].value = 2000
    panel.start()
    until(lambda: panel.run is not None)
    first = panel.run
    go(panel, rounds=2)
    assert panel.run is not first and len(panel.run.records) == 2 and len(first.records) < 2000
    assert sum(t.name == "fedlab-run" and t.is_alive() for t in threading.enumerate()) == 0


def test_show_code_gives_the_same_bits(panel: RunPanel) -> None:
    panel.controls.algorithm.value = "fedprox"
    panel.controls.fields["mu"].value = 0.7
    panel.controls.model.value = "mlp"
    next(box for box in panel.controls.data.ticks.values()).value = False
    go(panel, rounds=3, seed=4, lr=0.2, local_epochs=2)
    space: dict[str, object] = {}
    exec(compile(panel.code, "shown", "exec"), space)
    run = space["run"]
    assert len(panel.run.federation.sites) == 3 and "mu=0.7" in panel.code
    assert all(torch.equal(run.weights[k], v) for k, v in panel.run.weights.items())


def test_an_algorithms_fields_become_widgets(panel: RunPanel) -> None:
    for name, fields in {"scaffold": {"server_lr"}, "fedprox": {"mu"}, "fedavg": set()}.items():
        panel.controls.algorithm.value = name
        assert set(panel.controls.fields) == fields


@pytest.mark.parametrize("name,value,word", [("lr", -1.0, "lr"), ("rounds", 0, "rounds"), ("batch_size", 0, "batch")])
def test_a_bad_value_is_one_sentence_and_nothing_is_lost(panel: RunPanel, name: str, value: float, word: str) -> None:
    go(panel, rounds=2)
    before = panel.run
    panel.controls.numbers[name].value = value
    panel.start()
    panel.wait(20)
    assert word in panel.alert.value and "Traceback" not in panel.alert.value
    assert panel.run is before and not panel.busy and panel.table.value


def test_no_site_is_said(panel: RunPanel) -> None:
    for box in panel.controls.data.ticks.values():
        box.value = False
    panel.start()
    assert "tick at least one hospital" in panel.alert.value and panel.run is None


def test_the_test_is_opened_by_its_button_alone(panel: RunPanel) -> None:
    panel.open_test()
    assert "press Run first" in panel.alert.value
    go(panel, rounds=2)
    panel.open_test()
    assert panel.run.test_openings == 1 and "Cleveland" in panel.test_table.value


def test_reset_forgets(panel: RunPanel) -> None:
    go(panel, rounds=2, lr=0.5)
    panel.controls.algorithm.value = "isolated"
    panel.reset()
    assert panel.run is None and panel.controls.algorithm.value == "fedavg"
    assert panel.controls.numbers["lr"].value == 0.1 and MIME not in panel.chart.output.outputs[0]["data"]
    assert not panel.table.value


def test_a_federation_of_ones_own() -> None:
    df = pd.DataFrame({"ward": ["A", "B"] * 30, "age": range(60), "ill": [0, 0, 1] * 20})
    panel = RunPanel(Federation.from_frame(df, site="ward", label="ill"))
    assert list(panel.controls.data.ticks) == ["A", "B"]
    go(panel, rounds=2)
    assert panel.run.federation.names == ("A", "B") and len(panel.run.records) == 2


def test_every_algorithm_runs(panel: RunPanel) -> None:
    for name in [value for _, value in panel.controls.algorithm.options]:
        panel.controls.algorithm.value = name
        go(panel, rounds=2)
        assert len(panel.run.records) == 2 and not panel.alert.value, name
