"""An algorithm that fails on some seeds: its row says so, and the rest stands."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fedlab
from fedlab.algorithms import FedAvg
from fedlab.algorithms.tensors import Tensors
from fedlab.federation import Federation
from fedlab.study import SeedsFailed, Study

SHORT: dict[str, Any] = {"rounds": 3, "progress": False, "dtype": "float64"}


@dataclass(frozen=True)
class Fragile(FedAvg):
    """FedAvg that breaks in the second round of one seed in ``of``: told from the rest by its split's rows."""

    breaks: tuple[int, ...] = ()
    how: str = "raises"

    def begin(self, params: Tensors, sites: int, generator: Any) -> Tensors:
        """Remember the seed, and count the rounds."""
        import torch

        return {"seed": torch.tensor(generator.initial_seed()), "round": torch.tensor(0)}

    def combine(self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Any, state: Tensors, who: Any) -> Any:
        """Break, or average."""
        new, _ = super().combine(params, uploads, extra, weights, state, who)
        count = state["round"] + 1
        if int(count) == 2 and int(state["seed"]) in self.breaks:
            if self.how == "raises":
                raise ZeroDivisionError("no step length left")
            new = {k: v * float("nan") for k, v in new.items()}
        return new, {**state, "round": count}


def ask(hospitals: Federation, arms: dict[str, Any], **options: Any) -> Study:
    """Compare, expecting the warning."""
    with pytest.warns(SeedsFailed):
        return fedlab.compare(hospitals, "logistic", arms, **({"seeds": 5} | SHORT | options))


@pytest.fixture(scope="module", params=["raises", "nan"])
def study(hospitals: Federation, request: pytest.FixtureRequest) -> Study:
    return ask(
        hospitals, {"isolated": "isolated", "fragile": Fragile(breaks=(3,), how=request.param), "fedavg": "fedavg"}
    )


def test_the_row_says_it_and_the_rest_stands(study: Study, hospitals: Federation) -> None:
    assert study.arms == ("isolated", "fragile", "fedavg")
    assert [run.settings.seed for run in study.runs["fragile"]] == [0, 1, 2, 4]
    assert study.failed[["arm", "seed", "round"]].values.tolist() == [["fragile", 3, 2]]
    rows = study.table().set_index(["arm", "where", "metric"])
    row = rows.loc[("fragile", "everywhere", "auc")]
    assert row["seeds"] == 4 and row["reason"].startswith("failed on 1 of 5 seeds (seed 3 in round 2: ")
    assert rows.loc[("fedavg", "everywhere", "auc"), ["seeds", "reason"]].tolist() == [5, ""]
    whole = fedlab.compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=5, **SHORT)
    alone = whole.table().set_index(["arm", "where", "metric"])
    for arm in ("isolated", "fedavg"):
        assert rows.loc[arm].equals(alone.loc[arm])


def test_seeds_that_stand_are_those_of_a_run_alone(study: Study, hospitals: Federation) -> None:
    for run in study.runs["fragile"]:
        seed = run.settings.seed
        alone = fedlab.train(hospitals.resplit(seed), "logistic", "fedavg", seed=seed, **SHORT)
        for name, tensor in alone.weights.items():
            assert tensor.allclose(run.weights[name], atol=1e-9)


def test_pairs_take_the_seeds_that_both_have(study: Study) -> None:
    found = study.pairs().set_index(["one", "other"])["seeds"]
    assert found[("isolated", "fragile")] == 4 and found[("isolated", "fedavg")] == 5
    assert "fragile failed on 1 of 5 seeds" in study.verdict() and "judged on the others" in study.verdict()
    assert "fragile failed on 1 of 5 seeds" in study._repr_html_()


def test_a_saved_study_has_them_and_is_not_trained_again(hospitals: Federation, tmp_path: Path) -> None:
    arms = {"fragile": Fragile(breaks=(1,)), "fedavg": "fedavg"}
    study = ask(hospitals, arms, seeds=3, save=tmp_path / "study")
    again = ask(hospitals, arms, seeds=3, save=tmp_path / "study")
    loaded = Study.load(tmp_path / "study", hospitals, algorithms=arms)
    for other in (again, loaded):
        assert other.failed.values.tolist() == study.failed.values.tolist()
        assert other.table().equals(study.table())


def test_an_arm_that_always_fails_has_a_row_without_a_number(hospitals: Federation) -> None:
    study = ask(hospitals, {"fragile": Fragile(breaks=(0, 1)), "fedavg": "fedavg"}, seeds=2)
    assert study.arms == ("fedavg",) and len(study.failed) == 2
    table = study.table()
    rows = table[table["arm"] == "fragile"]
    assert len(rows) == len(table) / 2 and rows["mean"].isna().all()
    assert rows["reason"].str.contains("failed on 2 of 2 seeds").all()
    assert "fragile failed on 2 of 2 seeds" in study._repr_html_()


def test_where_nothing_stands_the_failure_is_raised(hospitals: Federation) -> None:
    with pytest.raises(ZeroDivisionError, match="no step length"):
        fedlab.compare(hospitals, "logistic", {"fragile": Fragile(breaks=(0, 1))}, seeds=2, **SHORT)


def test_a_trial_that_fails_is_not_chosen(hospitals: Federation) -> None:
    def ends(round: int, rounds: int) -> float:
        return 0.0 if round == 2 else 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("error", SeedsFailed)
        study = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=2, tune={"schedule": [ends, "linear"]}, **SHORT)
    assert [run.settings.schedule for run in study.runs["fedavg"]] == ["linear", "linear"]
    assert sorted(study.trials["log_loss"])[2:] == [float("inf")] * 2 and study.failed.empty


@pytest.mark.parametrize("engine", ["threads", "sequential"])
def test_in_turns_too(hospitals: Federation, engine: str) -> None:
    study = ask(hospitals, {"fragile": Fragile(breaks=(1,))}, seeds=3, engine=engine)
    assert [run.settings.seed for run in study.runs["fragile"]] == [0, 2]
