"""The run panel in plain Python: run, stop, reset, and bad input."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

import data_recipes
import fedlab
from fedlab.algorithms import ALGORITHMS, FedAvg
from fedlab.algorithms.base import At
from fedlab.algorithms.tensors import Tensors
from fedlab.federation import Federation
from fedlab.workbench import RunPanel, cell, worker
from tests.patience import STILL
from tests.workbench.panels import LONG, chart_of, finished, points, running, same, until

# ---------------------------------------------------------------------- run, stop, reset


def test_a_run_to_its_end(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=6)
    assert panel.stop_button.disabled and "press Run" in panel.status.value and not chart_of(panel)
    run = finished(panel)
    assert len(run.records) == 6 and panel.bar.value == panel.bar.max == 6
    assert "Finished: 6 rounds" in panel.status.value and "best log loss on valid" in panel.status.value
    assert points(panel) == 6 and panel.alert.value == ""
    assert [trace["name"] for trace in chart_of(panel)["data"]][:4] == list(run.federation.names)
    assert not panel.run_button.disabled and panel.stop_button.disabled
    for site in run.federation.names:
        assert f"<td>{site}</td>" in panel.table.value
    assert same(run, fedlab.train(fedlab.load("heart_disease"), rounds=6, progress=False))


def test_the_curve_grows_and_stop_keeps_the_rounds(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    run = running(panel)
    until(lambda: points(panel) >= 1)
    before = points(panel)
    until(lambda: points(panel) > before)
    assert f"of {LONG}" in panel.status.value and "left" in panel.status.value
    assert panel.run_button.disabled and not panel.stop_button.disabled
    panel.stop_button.click()
    then = len(run.records)
    panel.wait(STILL)
    done = len(run.records)
    assert done <= then + 1, "the round in which it was pressed, if that was already over"
    assert not panel.busy and panel.run is run and done < LONG
    assert f"Stopped after {done} of {LONG} rounds; they are kept" in panel.status.value
    assert panel.bar.value == done and len(run.history) == 4 * done
    assert "Reported round on valid" in panel.table.value and run.model() is not None


def test_a_stopped_run_of_own_models_keeps_them(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    panel.controls.algorithm.value = "isolated"
    run = running(panel)
    panel.stop()
    panel.wait(STILL)
    assert set(run.models) == set(run.federation.names) and "Each hospital reports" in panel.status.value
    panel.open_test()
    assert panel.test_table.value.count("<tr>") == 1 + 16


def test_stop_before_the_first_round_leaves_the_run_that_was(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    run = finished(panel)
    table = panel.table.value
    halted = threading.Event()
    halted.set()
    events = fedlab.stream(run.federation, stop=halted, rounds=2)
    thread = worker.Worker(events, panel, rounds=2, stop=halted, keep=lambda run: pytest.fail("there is no round"))
    thread.start()
    assert thread.wait(STILL)
    assert "Stopped before the first round was over" in panel.status.value
    assert panel.run is run and panel.table.value == table


def interrupt_the_wait(panel: RunPanel) -> None:
    """Wait as a cell does, and press the kernel's interrupt button meanwhile."""
    presses = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    presses.start()
    panel.wait(STILL)
    presses.join()


def test_an_interrupted_wait_stops_the_run(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    run = running(panel)
    interrupt_the_wait(panel)
    assert not panel.busy and not workers() and panel.run is run
    done = len(run.records)
    assert f"Stopped after {done} of {LONG} rounds" in panel.status.value and panel.alert.value == ""
    time.sleep(0.1)
    assert len(run.records) == done and not panel.run_button.disabled


def test_an_interrupted_wait_says_of_a_run_that_does_not_end_that_it_runs(
    make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, release = make(rounds=2), threading.Event()
    show = panel.show
    monkeypatch.setattr(panel, "show", lambda *a: (release.wait(STILL), show(*a)))
    stop = worker.Worker.stop
    monkeypatch.setattr(worker.Worker, "stop", lambda self, timeout=0.2: stop(self, 0.2))
    panel.start()
    until(lambda: panel.run is not None)
    interrupt_the_wait(panel)
    assert panel.busy and workers() and "still goes on" in panel.alert.value
    panel.reset()
    assert panel.busy and "still ending" in panel.alert.value  # and not forgotten while it runs
    release.set()
    panel.wait(STILL)
    assert not panel.busy and not workers()


class Leaves(FedAvg):
    """A model's or an algorithm's code may end the thread in any way."""

    def broadcast(self, state: Tensors) -> Tensors:
        raise SystemExit(3)


def test_code_that_exits_is_said_and_the_panel_does_not_hang(
    make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALGORITHMS, "fedavg", Leaves)
    panel = make(rounds=2)
    panel.start()
    panel.wait(STILL)
    assert not panel.busy and "SystemExit" in panel.status.value and not panel.run_button.disabled


def test_reset_in_mid_run_sets_everything_back(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG, lr=0.5, seed=3)
    panel.controls.algorithm.value = "fedprox"
    panel.controls.fields["mu"].value = 2.0
    panel.controls.data.ticks["Hungary"].value = False
    panel.metric.value = "auc"
    running(panel)
    panel.reset_button.click()
    assert panel.run is None and not panel.busy and not chart_of(panel) and panel.bar.value == 0
    assert panel.table.value == panel.code_view.value == panel.alert.value == ""
    choice = panel.controls.choice()
    assert str(choice.algorithm) == "FedAvg()" and len(choice.sites) == 4
    assert choice.settings == {"rounds": 30, "local_epochs": 1, "lr": 0.1, "batch_size": 32, "seed": 0}
    assert panel.metric.value == "log_loss" and panel.test_button.disabled
    panel.controls.numbers["rounds"].value = 2
    assert len(finished(panel).records) == 2


def test_to_start_again_ends_the_run_before(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    first = running(panel)
    panel.controls.numbers["rounds"].value = 3
    panel.start()
    panel.wait(STILL)
    done = len(first.records)
    assert panel.run is not first and len(panel.run.records) == 3
    assert "Finished: 3 rounds" in panel.status.value and len(first.records) == done < LONG


def test_to_run_the_cell_again_ends_its_run(make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch) -> None:
    at = ["cell one", "first time"]
    monkeypatch.setattr(cell, "current_cell", lambda: tuple(at))
    old, beside = make(rounds=LONG), make(rounds=LONG)
    running(old), running(beside)
    at[0] = "cell two"
    make()
    assert old.busy and beside.busy
    at[:] = ["cell one", "second time"]
    make()
    until(lambda: not old.busy and not beside.busy)
    assert "Stopped after" in old.status.value


def test_outside_a_notebook_panels_let_each_other_be(make: Callable[..., RunPanel]) -> None:
    assert cell.current_cell() == ("", "")
    one = make(rounds=LONG)
    running(one)
    make()
    assert one.busy


def test_two_starts_at_once_are_one_run(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    threads = [threading.Thread(target=panel.start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STILL)
    assert len(workers()) == 1
    panel.stop()
    panel.wait(STILL)
    assert not workers()


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fedlab-run"]


def test_no_thread_and_no_worker_is_left(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=1)
    finished(panel)
    before, gone = threading.active_count(), weakref.ref(panel._worker)
    for _ in range(5):
        finished(panel)
    gc.collect()
    assert threading.active_count() <= before and not workers() and gone() is None


def test_the_chart_is_redrawn_no_more_than_it_may(
    make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = make(rounds=LONG)
    drawn: list[float] = []
    draw = panel.chart.draw
    monkeypatch.setattr(panel.chart, "draw", lambda *a, **k: (drawn.append(time.perf_counter()), draw(*a, **k)))
    running(panel)
    until(lambda: len(drawn) >= 4)
    live = list(drawn)
    panel.stop()
    panel.wait(STILL)
    assert all(b - a >= worker.REDRAW for a, b in zip(live, live[1:], strict=False)) and len(drawn) > len(live)


def test_the_curve_changes_its_metric(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    run = finished(panel)
    panel.metric.value = "auc"
    auc = run.history.query("site == 'Cleveland'")["auc"].tolist()
    assert chart_of(panel)["data"][0]["y"] == pytest.approx(auc, abs=1e-5)


def test_a_panel_that_cannot_draw_does_not_hang(make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make(rounds=2)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(panel.chart, "draw", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    panel.start()
    panel.wait(STILL)
    assert not panel.busy and "no ink" in panel.status.value and not panel.run_button.disabled


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "setting,value,sentence",
    [
        ("lr", -0.1, "the learning rate must be a finite number above 0"),
        ("lr", float("nan"), "the learning rate must be a finite number above 0"),
        ("rounds", 0, "rounds is 0: it must be a whole number of at least 1"),
        ("batch_size", 0, "batch_size is 0"),
        ("local_epochs", -1, "local_epochs is -1"),
        ("seed", -1, "seed is -1"),
    ],
)
def test_bad_settings_are_a_sentence_and_lose_nothing(
    make: Callable[..., RunPanel], setting: str, value: float, sentence: str
) -> None:
    panel = make(rounds=2)
    run, table, drawn = finished(panel), panel.table.value, chart_of(panel)
    panel.controls.numbers[setting].value = value
    panel.start()
    assert sentence in panel.alert.value and "Traceback" not in panel.alert.value
    assert panel.run is run and panel.table.value == table and chart_of(panel) == drawn and not panel.busy
    panel.controls.numbers[setting].value = getattr(fedlab.Settings(), setting) if setting != "rounds" else 2
    assert same(finished(panel), run) and panel.alert.value == ""


def test_no_site_and_a_bad_field_are_sentences(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    for tick in panel.controls.data.ticks.values():
        tick.value = False
    panel.start()
    assert "tick at least one hospital" in panel.alert.value and panel.run is None
    panel.code_button.click()
    assert "tick at least one hospital" in panel.alert.value and panel.code_view.value == ""
    panel.controls.data.reset()
    panel.controls.algorithm.value = "fedprox"
    panel.controls.fields["mu"].value = -1.0
    panel.start()
    assert "mu" in panel.alert.value and panel.run is None


def test_data_that_are_not_here_are_not_chosen(make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make(rounds=2)
    known = data_recipes.catalogue()
    known.loc["breast_cancer", "where"] = "to download"
    monkeypatch.setattr(data_recipes, "catalogue", lambda: known)
    panel.controls.data.recipe.value = "breast_cancer"
    assert "fedlab fetch breast_cancer" in panel.alert.value
    assert (
        panel.controls.data.recipe.value == "heart_disease" and panel.controls.data.federation.name == "heart_disease"
    )
    assert len(finished(panel).records) == 2


class Shy(FedAvg):
    """Site 0 sends what is not a number from round 2 on; with ``everyone``, all do."""

    everyone = False

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        upload, extra, memory = super().finish(vars, at)
        bad = (at.round >= 2) & ((at.n < 30) | self.everyone)
        return {k: torch.where(bad, torch.nan, v) for k, v in upload.items()}, extra, memory


class Silent(Shy):
    """Nobody sends a number from round 2 on."""

    everyone = True


def test_a_site_that_fails_is_said_in_words(
    make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch, uneven: Federation
) -> None:
    monkeypatch.setitem(ALGORITHMS, "fedavg", Shy)
    panel = make(uneven, rounds=4)
    run = finished(panel)
    assert len(run.records) == 4 and set(run.errors["site"]) == {"site 0"}
    assert "site 0 failed in 3 rounds, last in round 4 (its numbers were not finite)." in panel.status.value


def test_when_nobody_answers_the_rounds_before_are_kept(
    make: Callable[..., RunPanel], monkeypatch: pytest.MonkeyPatch, uneven: Federation
) -> None:
    monkeypatch.setitem(ALGORITHMS, "fedavg", Silent)
    panel = make(uneven, rounds=4)
    run = finished(panel)
    assert len(run.records) == 1 and panel.bar.bar_style == "danger" and points(panel) == 1
    assert "broke off in round 2" in panel.status.value and "try a smaller learning rate" in panel.status.value
    assert "kept in panel.run" in panel.status.value


def test_a_rate_that_is_far_too_high_ends_in_a_sentence(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=30, lr=1e30)
    panel.controls.model.value = "mlp"
    panel.start()
    panel.wait(STILL)
    assert not panel.busy and "Traceback" not in panel.status.value
    assert "finite" in panel.status.value or "Finished" in panel.status.value, panel.status.value
