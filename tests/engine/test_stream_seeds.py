"""Several seeds live, side by side."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import fedlab
from fedlab.federation import Federation
from tests.engine.test_modes import difference, torchs_own
from tests.engine.test_threads import cnn, images

OPTIONS: dict[str, Any] = dict(rounds=3, batch_size=16, dtype="float64")


def test_each_event_is_the_spread_of_a_round(uneven: Federation) -> None:
    events = []
    for spread in fedlab.stream(uneven, "mlp", "scaffold", seeds=[4, 2, 9], **OPTIONS):
        band = spread.band("log_loss")
        assert list(band.index) == ["site 0", "site 1", "site 2"] and (band["low"] <= band["high"]).all()
        events.append((spread.round, [run.settings.seed for run in spread.runs], spread.errors))
    assert events == [(number, [4, 2, 9], {}) for number in (1, 2, 3)]
    one = fedlab.train(uneven.resplit(2), "mlp", "scaffold", seed=2, progress=False, **OPTIONS)
    assert difference(spread.runs[1], one) < 1e-9
    assert spread.run is spread.runs[0] and "3 seeds, round 3 of 3" in repr(spread)


@pytest.mark.parametrize("engine", ["auto", "sequential", "threads"])
def test_what_cannot_be_stacked_takes_turns_round_by_round(engine: str, uneven: Federation) -> None:
    model, fed = (torchs_own, uneven) if engine != "threads" else (cnn, images())
    rounds = [
        [len(run.records) for run in spread.runs]
        for spread in fedlab.stream(fed, model, "fedavg", seeds=2, engine=engine, **OPTIONS)
    ]
    assert rounds == [[1, 1], [2, 2], [3, 3]]


def test_frozen_starts_that_hang_on_the_seed_are_not_stacked(uneven: Federation) -> None:
    def frozen(inputs: int, outputs: int) -> Any:
        model = fedlab.models.build.__globals__["MLP"](inputs, outputs)
        model.body[0].weight.requires_grad_(False)
        return model

    *_, last = fedlab.stream(uneven, frozen, "fedavg", seeds=2, **OPTIONS)
    for run in last.runs:
        seed = run.settings.seed
        alone = fedlab.train(uneven.resplit(seed), frozen, "fedavg", seed=seed, progress=False, **OPTIONS)
        assert difference(run, alone) < 1e-9


def test_stop_ends_all_seeds(uneven: Federation) -> None:
    stop, seen = threading.Event(), 0
    for spread in fedlab.stream(uneven, "mlp", seeds=3, stop=stop, rounds=500):
        seen = spread.round
        if seen == 2:
            stop.set()
    assert seen == 2 and all(len(run.records) == 2 for run in spread.runs)


def test_what_is_wrong_is_said_before_the_first_round(uneven: Federation) -> None:
    with pytest.raises(TypeError, match="seed= for one run, or seeds= for several"):
        fedlab.stream(uneven, seeds=2, seed=1)
    with pytest.raises(ValueError, match="lr is -1"):
        fedlab.stream(uneven, seeds=2, lr=-1)
    with pytest.raises(ValueError, match="different seeds"):
        fedlab.stream(uneven, seeds=[1, 1])
