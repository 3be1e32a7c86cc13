"""What a run may be asked beside rounds and rates: samples, stragglers, schedules, clipping, patience."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fedlab
from fedlab.algorithms import Algorithm, FedAvg
from fedlab.engine import SGD, Adam, Run, TooFewSites
from fedlab.engine.batches import Job, examples, manages, row_plan
from fedlab.federation import Federation
from tests.conftest import ragged
from tests.engine.test_modes import both, difference

MANY = (37, 100, 63, 80, 51, 44, 29, 70)


def quick(fed: Federation, alg: str | Algorithm = "fedavg", **options: Any) -> Run:
    return fedlab.train(fed, "logistic", alg, **({"rounds": 4, "batch_size": 16, "progress": False} | options))


def asked(run: Run) -> list[list[str]]:
    sent = run.ledger.query("purpose == 'train' and direction == 'down'")
    return [sorted(group["site"]) for _, group in sent.groupby("round")]


# ---------------------------------------------------------------- whom to ask


def test_a_fraction_is_drawn_anew_each_round_and_is_the_seeds() -> None:
    fed = ragged(MANY)
    a, b, c = (asked(quick(fed, fraction=0.5, rounds=6, seed=seed)) for seed in (0, 0, 1))
    assert a == b != c and {len(sites) for sites in a} == {4} and len({tuple(sites) for sites in a}) > 1


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "ditto", "fedadam", "feddyn"])
def test_modes_agree_on_a_sample(name: str) -> None:
    assert difference(*both(ragged(MANY), "mlp", name, dtype="float64", fraction=0.4)) < 1e-9


def test_learning_alone_takes_no_sample() -> None:
    run = quick(ragged(MANY), "isolated", fraction=0.25)
    assert {len(sites) for sites in asked(run)} == {8}


def test_at_least_one_is_asked(uneven: Federation) -> None:
    assert {len(sites) for sites in asked(quick(uneven, fraction=0.01))} == {1}


class Fragile(FedAvg):
    """Site 1, of 60 training rows, never answers."""

    def finish(self, vars, at):
        if float(at.n) == 60:
            raise LookupError
        return vars, {}, at.memory


def test_a_sample_that_does_not_answer_changes_nothing_and_the_run_goes_on(uneven: Federation) -> None:
    events = list(
        fedlab.stream(uneven, "logistic", Fragile(), rounds=12, batch_size=16, fraction=0.3, engine="sequential")
    )
    silent = [e for e in events if "site 1" in e.errors]
    assert len(events) == 12 and silent
    for event in silent:
        before = events[event.round - 2].weights if event.round > 1 else None
        if before is not None:
            assert all(torch.equal(event.weights[k], before[k]) for k in before)


def test_a_site_that_fails_in_every_round_is_left_out_of_all(uneven: Federation) -> None:
    run = quick(uneven, Fragile(), engine="sequential")
    assert len(run.records) == 4 and set(run.errors["site"]) == {"site 1"} and len(run.errors) == 4


def test_silence_of_everybody_ends_a_sampled_run_too(uneven: Federation) -> None:
    class Dead(FedAvg):
        def finish(self, vars, at):
            raise LookupError

    with pytest.raises(TooFewSites) as caught:
        quick(uneven, Dead(), fraction=0.3, rounds=30, engine="sequential")
    assert len(caught.value.run.records) == 3


def test_cyclic_passes_over_a_site_that_does_not_answer(uneven: Federation) -> None:
    class FragileCycle(fedlab.algorithms.Cyclic):
        finish = Fragile.finish

    run = quick(uneven, FragileCycle(), rounds=6, engine="sequential")
    assert len(run.records) == 6 and set(run.errors["site"]) == {"site 1"}


# ---------------------------------------------------------------- how much a site does


@given(rows=st.integers(1, 60), batch=st.integers(1, 20), clock=st.integers(0, 15), share=st.floats(0, 0.99))
def test_the_examples_of_a_straggler_are_the_rows_of_its_batches(
    rows: int, batch: int, clock: int, share: float
) -> None:
    job = Job(round=3, rounds=9, lr=0.1, batch_size=batch, local_epochs=2, seed=0, clock=clock, stragglers=share)
    plan = row_plan(rows, job, "A")
    assert examples(rows, job, "A") == int((plan >= 0).sum()) and 1 <= len(plan)
    assert len(plan) == manages(clock or 2 * -(-rows // batch), job, "A")


def test_a_share_of_the_sites_straggles() -> None:
    job = Job(round=1, rounds=9, lr=0.1, batch_size=16, local_epochs=1, seed=0, stragglers=0.5)
    slow = np.mean([manages(1000, job, f"site {i}") < 1000 for i in range(400)])
    assert slow == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", ["fednova", "fedprox", "scaffold"])
def test_modes_agree_with_stragglers(name: str) -> None:
    assert difference(*both(ragged(MANY), "mlp", name, dtype="float64", stragglers=0.5)) < 1e-9


def test_stragglers_do_not_slow_who_learns_alone(uneven: Federation) -> None:
    a, b = quick(uneven, "isolated"), quick(uneven, "isolated", stragglers=0.9)
    assert difference(a, b) == 0.0


def test_local_steps_are_the_same_at_every_site(uneven: Federation) -> None:
    run = quick(uneven, local_steps=5)
    assert run.steps_per_round == 5
    rows = [len(site.train) for site in uneven.sites]
    plans = [
        row_plan(n, Job(round=1, rounds=1, lr=1, batch_size=16, local_epochs=1, seed=0, clock=5), "") for n in rows
    ]
    assert {len(plan) for plan in plans} == {5}
    assert difference(*both(uneven, "mlp", "fednova", dtype="float64", local_steps=5)) < 1e-9


# ---------------------------------------------------------------- how it steps


def rates(fed: Federation, **options: Any) -> list[float]:
    seen: list[float] = []

    class Watch(FedAvg):
        def finish(self, vars, at):
            seen.append(round(float(at.lr), 6))
            return vars, {}, at.memory

    quick(fed, Watch(), engine="sequential", **options)
    return seen[:: len(fed.sites)]


def test_schedules(uneven: Federation) -> None:
    assert rates(uneven, lr=0.4, schedule="linear") == [0.4, 0.3, 0.2, 0.1]
    assert rates(uneven, lr=0.4, schedule="cosine") == pytest.approx([0.4, 0.341421, 0.2, 0.058579], abs=1e-6)
    assert rates(uneven, lr=0.4, schedule=lambda t, n: 0.5**t) == [0.2, 0.1, 0.05, 0.025]
    with pytest.raises(ValueError, match="schedule gave 0 for round 2"):
        quick(uneven, schedule=lambda t, n: 2 - t)
    with pytest.raises(ValueError, match="schedule is 'step': choose one of constant, cosine, linear"):
        quick(uneven, schedule="step")


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9, weight_decay=0.01), Adam(weight_decay=0.01)])
@pytest.mark.parametrize("name", ["fedavg", "fedrep", "ditto", "apfl", "isolated"])
def test_modes_agree_with_decay_clipping_and_a_schedule(name: str, optimizer: Any, short: Federation) -> None:
    options = dict(optimizer=optimizer, lr=0.01, clip=0.1, schedule="cosine", dtype="float64")
    assert difference(*both(short, "mlp", name, **options)) < 1e-9


def test_clipping_bounds_a_step(uneven: Federation) -> None:
    *_, event = fedlab.stream(
        uneven, "logistic", rounds=1, batch_size=1000, lr=1.0, clip=1e-3, dtype="float64", evaluate=False
    )
    length = sum(v.norm() ** 2 for k, v in event.weights.items() if not k.startswith("prepare")).sqrt()
    assert 0 < length <= 1e-3


# ---------------------------------------------------------------- when it stops


def test_patience_stops_early_and_says_so(uneven: Federation) -> None:
    run = quick(uneven, rounds=200, lr=2.0, patience=3)
    best = run.chosen["site 0"]
    assert len(run.records) == best + 3 < 200
    assert run.notes[-1] == f"stopped early after round {best + 3}: none of the last 3 was better on valid"
    whole = quick(uneven, rounds=best + 3, lr=2.0)
    assert difference(run, whole) == 0.0


def test_seeds_that_stop_at_different_rounds_are_each_its_own_run(uneven: Federation) -> None:
    options: dict[str, Any] = dict(rounds=60, lr=1.5, patience=2, batch_size=16, dtype="float64")
    for name in ("fedavg", "centralized", "ditto"):
        *_, last = fedlab.stream(uneven, "mlp", name, seeds=4, **options)
        lengths = {len(run.records) for run in last.runs}
        assert len(lengths) > 1
        for run in last.runs:
            seed = run.settings.seed
            alone = fedlab.train(uneven.resplit(seed), "mlp", name, seed=seed, progress=False, **options)
            assert len(alone.records) == len(run.records) and difference(run, alone) < 1e-9


def test_patience_needs_an_evaluation(uneven: Federation) -> None:
    with pytest.raises(ValueError, match="patience looks at valid"):
        quick(uneven, patience=2, evaluate=False)


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"fraction": 0}, "fraction is 0: it must be more than 0 and at most 1"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"stragglers": 1}, "stragglers is 1: it must be at least 0 and below 1"),
        ({"clip": 0}, "clip is 0: it must be more than 0"),
        ({"patience": 0}, "patience is 0: it must be a whole number of at least 1"),
        ({"optimizer": "adam"}, "optimizer is 'adam'.*SGD.*Adam"),
    ],
)
def test_out_of_range(options: dict[str, Any], sentence: str, uneven: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        quick(uneven, **options)


# ---------------------------------------------------------------- by whose loss the round is chosen


def at_odds() -> Federation:
    """A large hospital and two small ones in which the same feature means the opposite."""
    generator = torch.Generator().manual_seed(0)
    sites = {}
    for name, n, sign in (("large", 600, 1.0), ("small", 60, -1.0), ("tiny", 40, -1.0)):
        x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        sites[name] = (x, (sign * x[:, 0] + 0.5 * torch.randn(n, generator=generator) > 0).long())
    return Federation.from_tensors(sites, prepared=True)


def best_rounds(run: Run) -> tuple[int, int]:
    """The best round by all patients, and by the mean over hospitals: from the history alone."""
    table = run.history.assign(all=lambda h: h["log_loss"] * h["patients"])
    by = table.groupby("round")
    return int((by["all"].sum() / by["patients"].sum()).idxmin()), int(by["log_loss"].mean().idxmin())


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_patients_and_hospitals_choose_different_rounds_each_its_own_best(engine: str) -> None:
    options: dict[str, Any] = dict(rounds=12, lr=0.05, engine=engine)
    by = {choose: quick(at_odds(), choose=choose, **options) for choose in ("patients", "hospitals")}
    patients, hospitals = best_rounds(by["patients"])
    assert patients != hospitals and best_rounds(by["hospitals"]) == (patients, hospitals)
    assert set(by["patients"].chosen.values()) == {patients}
    assert set(by["hospitals"].chosen.values()) == {hospitals}
    assert difference(quick(at_odds(), **options), by["patients"]) == 0.0, "patients choose by default"
    assert difference(quick(at_odds(), choose="hospitals", **options), by["hospitals"]) == 0.0


def test_hospitals_choose_alike_in_seeds_side_by_side_and_when_waiting() -> None:
    options: dict[str, Any] = dict(rounds=12, lr=0.05, choose="hospitals", patience=3, batch_size=16, dtype="float64")
    *_, last = fedlab.stream(at_odds(), "logistic", "fedavg", seeds=3, **options)
    for run in last.runs:
        seed = run.settings.seed
        alone = fedlab.train(at_odds().resplit(seed), seed=seed, progress=False, **options)
        assert run.chosen == alone.chosen and difference(run, alone) < 1e-9
        best = best_rounds(run)[1]
        assert set(run.chosen.values()) == {best} and len(run.records) == min(best + 3, 12)


def test_a_hospital_that_tells_nothing_has_no_say_among_hospitals_either() -> None:
    federation = Federation.from_tensors(
        {name: tuple(t[:n] for t in (site.rows.x, site.rows.y)) for name, n, site in
         [(s.name, 20 if s.name == "tiny" else len(s.rows), s) for s in at_odds().sites]}, prepared=True)  # fmt: skip
    run = quick(federation, rounds=8, lr=0.05, choose="hospitals")
    told = run.history.dropna(subset="log_loss")
    assert "tiny" not in set(told["site"]) and set(told["site"]) == {"large", "small"}
    assert set(run.chosen.values()) == {int(told.groupby("round")["log_loss"].mean().idxmin())}


def test_who_is_asked_to_choose_is_checked(uneven: Federation) -> None:
    for wrong in ("sites", "Hospitals", None, 1):
        with pytest.raises(ValueError, match="choose is .*: give 'patients'.* or 'hospitals'"):
            quick(uneven, choose=wrong)
    with pytest.raises(ValueError, match="choose looks at valid"):
        quick(uneven, choose="hospitals", evaluate=False)
