"""Several seeds side by side in the panel: the band, the tables, the code."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fedlab.workbench import RunPanel
from tests.workbench.panels import LONG, carried, chart_of, finished, running, same, until


def seeded(make: Callable[..., RunPanel], count: int, **options: object) -> RunPanel:
    panel = make(**options)
    panel.controls.seeds.value = count
    return panel


def test_the_band_over_seeds_is_drawn(make: Callable[..., RunPanel]) -> None:
    panel = seeded(make, 4, rounds=3, seed=2)
    run = finished(panel)
    assert [r.settings.seed for r in panel.runs] == [2, 3, 4, 5] and panel.runs[0] is run
    figure = chart_of(panel)
    filled = [trace for trace in figure["data"] if trace.get("fill") == "toself"]
    lines = [trace for trace in figure["data"] if "fill" not in trace]
    assert len(filled) == len(lines) == 4 and all(len(trace["x"]) == 6 for trace in filled)
    assert "4 seeds" in figure["layout"]["title"]["text"]
    assert "±" in panel.table.value and "4 seeds" in panel.table.value
    assert "Each seed reports its own round" in panel.status.value  # not the first one's


def test_each_seed_is_the_run_that_its_number_gives(make: Callable[..., RunPanel]) -> None:
    panel = seeded(make, 2, rounds=3, seed=1)
    finished(panel)
    other = make(rounds=3, seed=2)
    alone = finished(other)
    gaps = [(panel.runs[1].weights[k] - alone.weights[k]).abs().max().item() for k in alone.weights]
    assert max(gaps) < 1e-6 and panel.runs[1].chosen == alone.chosen


def test_the_code_gives_all_seeds_to_the_bit(make: Callable[..., RunPanel]) -> None:
    panel = seeded(make, 3, rounds=3, seed=5)
    panel.controls.data.ticks["Switzerland"].value = False
    finished(panel)
    assert "seeds=[5, 6, 7]" in panel.code and ".resplit" not in panel.code and "seed=5" not in panel.code
    names: dict[str, object] = {}
    exec(panel.code, names)
    again = names["runs"]
    assert len(again) == 3 and all(same(a, b) for a, b in zip(panel.runs, again, strict=True))  # type: ignore[arg-type]
    for beside, alone in zip(panel.runs, carried(panel), strict=True):  # one seed at a time: other sums in float32
        assert all(torch.allclose(w, alone.weights[name], atol=1e-5) for name, w in beside.weights.items())


def test_the_test_opens_with_a_corrected_interval(make: Callable[..., RunPanel]) -> None:
    panel = seeded(make, 3, rounds=2)
    finished(panel)
    panel.test_button.click()
    table = panel.test_table.value
    assert "Mean over 3 seeds" in table and "all, counted alike" in table and "Switzerland †" in table
    assert [run.test_openings for run in panel.runs] == [1, 1, 1] and "been opened 1 time" in panel.openings.value


def test_stop_and_reset(make: Callable[..., RunPanel]) -> None:
    panel = seeded(make, 3, rounds=LONG)
    running(panel)
    panel.stop_button.click()
    until(lambda: not panel.busy)
    assert len({len(run.records) for run in panel.runs}) == 1 and "Stopped after" in panel.status.value
    panel.reset_button.click()
    assert panel.controls.seeds.value == 1 and panel.runs == [] and panel.run is None
