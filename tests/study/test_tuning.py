"""Tuning: equal trials, chosen on each seed's own valid, one stacked pass for all rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.engine import SGD, Adam
from fedlab.federation import Federation
from fedlab.study.tuning import at_the_ends, chosen_by, two_tried, validation_loss
from tests.engine.test_modes import difference
from tests.engine.test_settings import at_odds

RATES = [0.01, 0.1, 1.0]
OPTIONS: dict[str, Any] = dict(rounds=4, batch_size=16, dtype="float64")


def test_each_seed_chooses_on_its_own_valid_and_each_trial_is_its_own_run(uneven: Federation) -> None:
    study = fedlab.compare(
        uneven, "mlp", ["fedavg", "isolated", "centralized"], seeds=2, tune={"lr": RATES}, progress=False, **OPTIONS
    )
    assert study.test_openings == 0
    assert len(study.trials) == 3 * 2 * 3 and study.trials.groupby(["arm", "seed"])["chosen"].sum().eq(1).all()
    for arm, runs in study.runs.items():
        for seed, run in enumerate(runs):
            losses = []
            for lr in RATES:
                alone = fedlab.train(uneven.resplit(seed), "mlp", arm, seed=seed, lr=lr, progress=False, **OPTIONS)
                losses.append(validation_loss(alone))
                if lr == run.settings.lr:
                    assert difference(run, alone) < 1e-9
            mine = study.trials.query("arm == @arm and seed == @seed").set_index("lr")["log_loss"]
            assert mine.tolist() == pytest.approx(losses, abs=1e-9)
            assert run.settings.lr == RATES[losses.index(min(losses))]


def test_other_settings_take_passes_of_their_own(uneven: Federation) -> None:
    tune = {"lr": [0.05, 0.2], "optimizer": [SGD(), Adam()]}
    study = fedlab.compare(uneven, "logistic", ["fedavg"], seeds=2, tune=tune, rounds=2, progress=False)
    assert len(study.trials) == 8 and set(study.trials.columns) >= {"lr", "optimizer", "log_loss", "chosen"}
    assert study.table()["mean"].notna().any()


@pytest.mark.parametrize(
    "tune,options,sentence",
    [
        ({"mu": [0.1]}, {}, "tune cannot vary 'mu'.*FedProx"),
        ({"lr": [0.1], "rounds": [3]}, {}, "tune cannot vary 'rounds'"),
        ({"lr": []}, {}, "a list of different values"),
        ({"lr": [0.1, 0.1]}, {}, "a list of different values"),
        ({"lr": [0.1, -1]}, {}, "lr is -1"),
        ({"lr": [0.1]}, {"lr": 0.2}, "lr is both set and tuned"),
        ({"lr": [0.1, 0.2]}, {"evaluate": False}, "evaluate=False"),
    ],
)
def test_what_cannot_be_tuned(tune: Any, options: Any, sentence: str, uneven: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        fedlab.compare(uneven, "logistic", ["fedavg"], seeds=1, tune=tune, progress=False, **options)


def test_a_choice_at_the_end_of_what_was_tried_is_said(uneven: Federation) -> None:
    options: dict[str, Any] = dict(seeds=3, rounds=4, progress=False)
    study = fedlab.compare(uneven, "logistic", ["fedavg", "centralized"], tune={"lr": [1e-4, 1e-3, 1e-2]}, **options)
    said = "FedAvg and the pooled model mostly chose the largest lr that was tried, 0.01: a larger one may suit them"
    assert said in study.verdict()
    wide = fedlab.compare(uneven, "logistic", ["fedavg", "centralized"], tune={"lr": [1e-4, 0.1, 1e4]}, **options)
    assert "was tried" not in wide.verdict()


def test_of_two_values_or_of_words_none_is_an_end(uneven: Federation) -> None:
    for tune in ({"lr": [1e-3, 1e-2]}, {"optimizer": [SGD(), Adam(), SGD(momentum=0.5)]}):
        study = fedlab.compare(uneven, "logistic", ["fedavg", "isolated"], seeds=2, rounds=2, tune=tune, progress=False)
        assert "was tried" not in study.verdict()
        assert ("Of lr two values were tried, so that each is an end of them." in study.verdict()) == ("lr" in tune)


def chosen(values: list[float], tried: tuple[float, ...]) -> pd.DataFrame:
    """Trials of one arm that chose so on each seed."""
    rows = [("fedavg", seed, lr, lr == best) for seed, best in enumerate(values) for lr in tried]
    return pd.DataFrame(rows, columns=["arm", "seed", "lr", "chosen"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0] * 6 + [0.1] * 4, [("largest", "mostly chose")]),
        ([1.0] * 5 + [0.1] * 5, [("largest", "chose on half of the seeds")]),
        ([1.0] * 4 + [0.1] * 6, []),
        (
            [0.01] * 5 + [1.0] * 5,
            [("smallest", "chose on half of the seeds"), ("largest", "chose on half of the seeds")],
        ),
    ],
)
def test_an_end_is_said_from_half_of_the_seeds_on(values: list[float], said: list[tuple[str, str]]) -> None:
    found = at_the_ends(chosen(values, (0.01, 0.1, 1.0)))
    assert [(end, often) for end, _, _, often, _ in found] == said


def test_of_two_values_each_is_an_end_and_that_is_said_once() -> None:
    trials = chosen([0.1] * 4, (0.1, 1.0))
    assert at_the_ends(trials) == [] and two_tried(trials) == ["lr"]
    assert two_tried(chosen([0.1] * 4, (0.01, 0.1, 1.0))) == []


def test_trials_are_chosen_by_whom_the_round_is() -> None:
    tune = {"lr": [0.003, 0.01, 0.1, 1.0]}
    chosen = {}
    for by in ("patients", "hospitals"):
        study = fedlab.compare(
            at_odds(), algorithms=["fedavg"], seeds=3, tune=tune, rounds=4, choose=by, progress=False
        )
        for seed, run in zip(study.seeds, study.runs["fedavg"], strict=True):
            losses = []
            for lr in tune["lr"]:
                alone = fedlab.train(at_odds().resplit(seed), seed=seed, lr=lr, rounds=4, choose=by, progress=False)
                told = alone.history.query("chosen")
                weights = told["patients"] if by == "patients" else np.ones(len(told))
                losses.append(np.average(told["log_loss"], weights=weights))
            assert study.trials.query("seed == @seed")["log_loss"].tolist() == pytest.approx(losses, abs=1e-6)
            assert run.settings.lr == tune["lr"][int(np.argmin(losses))]
        chosen[by] = [run.settings.lr for run in study.runs["fedavg"]]
        weighted = "log loss on valid weighted by patients" if by == "patients" else "the mean over hospitals of log"
        assert chosen_by(study).startswith(f"The round and the tuned settings are chosen by {weighted}")
    assert all(a > b for a, b in zip(chosen["patients"], chosen["hospitals"], strict=True)), "no case where they differ"


def test_own_models_choose_their_own_round_and_the_last_is_chosen_by_nobody(uneven: Federation) -> None:
    options: dict[str, Any] = dict(seeds=1, rounds=1, progress=False)
    assert chosen_by(fedlab.compare(uneven, algorithms=["isolated"], **options)).startswith("Each hospital chooses")
    both = chosen_by(fedlab.compare(uneven, algorithms=["isolated", "fedavg"], **options))
    assert "(own models: the round by each hospital’s own)" in both
    two = fedlab.compare(uneven, algorithms=["fedavg", "fedprox"], seeds=2, rounds=1, progress=False)
    assert two.verdict().endswith(f"{chosen_by(two)})")
    late = fedlab.compare(uneven, algorithms=["fedavg"], evaluate=False, **options)
    assert chosen_by(late) == "The last round is reported."
