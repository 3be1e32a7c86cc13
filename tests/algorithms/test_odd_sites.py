"""Sites that send something else, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedlab.algorithms import (
    Cyclic,
    Ditto,
    FedAvg,
)
from fedlab.engine import TooFewSites
from fedlab.federation import Federation
from tests.algorithms.asked import ENGINES, NAN, run_of
from tests.algorithms.references import apart, ours


class Odd(FedAvg):
    """The site with 60 training rows spoils what it sends, in every round or in one."""

    only: int = 0

    def finish(self, vars, at):
        if self.only and at.round != self.only:
            return vars, {"told": at.n}, at.memory
        return *self.spoil(vars, torch.where(at.n == 60, NAN, at.n), at), at.memory

    def spoil(self, vars, bad, at):
        raise NotImplementedError


class OddModel(Odd):
    def spoil(self, vars, bad, at):
        return {k: v + 0 * bad for k, v in vars.items()}, {"told": at.n}


class OddExtra(Odd):
    def spoil(self, vars, bad, at):
        return vars, {"told": bad}


@ENGINES
@pytest.mark.parametrize("cls", [OddModel, OddExtra])
def test_a_site_that_sends_nan_is_left_out(cls: Any, engine: str, fed: Federation) -> None:
    """In every round, and the run goes on with the other two as if it were not there."""
    got, run = ours(fed, "mlp", cls(), engine=engine, rounds=4)
    assert run.errors[["round", "site"]].values.tolist() == [[t, "site 1"] for t in range(1, 5)]
    want, _ = ours(fed.select("site 0", "site 2"), "mlp", FedAvg(), engine=engine, rounds=4)
    assert apart(want[-1], got[-1]) < 1e-9
    up = run.ledger.query("purpose == 'train' and direction == 'up' and site == 'site 1'")
    assert (up["bytes"] == 0).all() and (up["status"] != "ok").all()
    with pytest.raises(TooFewSites, match="2 of 3 sites.*site 1"):
        ours(fed, "mlp", cls(), engine=engine, min_sites=3)


@pytest.mark.parametrize(
    "bad",
    [
        lambda v: {f"other.{k}": t for k, t in v.items()},
        lambda v: {k: t.flatten() for k, t in v.items()},
        lambda v: {k: t.float() for k, t in v.items()},
        lambda v: {},
    ],
    ids=["names", "shapes", "dtypes", "nothing"],
)
def test_a_site_that_sends_another_model_is_left_out(bad: Any, fed: Federation) -> None:
    class Other(FedAvg):
        def finish(self, vars, at):
            return (bad(vars) if at.n == 60 else vars), {}, at.memory

    got, run = ours(fed, "mlp", Other(), engine="sequential")
    assert set(run.errors["site"]) == {"site 1"} and len(run.errors) == 3
    want, _ = ours(fed.select("site 0", "site 2"), "mlp", FedAvg(), engine="sequential")
    assert apart(want[-1], got[-1]) < 1e-9


def test_what_a_personal_algorithm_does_without_a_site_that_always_fails(fed: Federation) -> None:
    class Failing(Ditto):
        def finish(self, vars, at):
            if at.n == 60:
                raise LookupError("no")
            return super().finish(vars, at)

    run = run_of(fed, Failing(), engine="sequential", rounds=3)
    assert run.errors["error"].tolist() == ["LookupError"] * 3
    assert set(run.models) == {"site 0", "site 2"}, "what never trained is no model"


def test_cyclic_passes_over_a_site_that_always_fails(fed: Federation) -> None:
    class Failing(Cyclic):
        def finish(self, vars, at):
            if at.n == 60:
                raise LookupError("no")
            return super().finish(vars, at)

    got, run = ours(fed, "mlp", Failing(), engine="sequential", rounds=6)
    assert run.errors["round"].tolist() == [2, 5]
    assert apart(got[0], got[1]) == 0.0 and apart(got[1], got[2]) > 0


def test_when_every_site_fails_the_run_stops_and_says_who(fed: Federation) -> None:
    class Failing(FedAvg):
        def objective(self, vars, at):
            return at.loss(vars) * (NAN if at.round == 3 else 1)

    for engine in ("sequential", "batched"):
        with pytest.raises(TooFewSites, match="0 of 3 sites.*round 3.*site 0 .NotFinite.*site 2 .NotFinite") as caught:
            run_of(fed, Failing(), engine=engine, rounds=5)
        assert len(caught.value.run.records) == 2
