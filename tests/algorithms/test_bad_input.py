"""What is wrong is refused in a sentence that says what and how to mend it; what fails at a site stays at the site."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import (
    ALGORITHMS,
    APFL,
    IFCA,
    RFA,
    Algorithm,
    Bulyan,
    Cyclic,
    Ditto,
    FedAvg,
    FedBN,
    FedNova,
    FedPer,
    FedProx,
    FedRep,
    FineTuned,
    Krum,
    LGFedAvg,
    Moon,
    MultiKrum,
    PerFedAvg,
    PFedMe,
    TrimmedMean,
)
from fedlab.algorithms.base import mean
from fedlab.engine import SGD, Adam, Run, TooFewSites
from fedlab.engine.rounds import CombineError
from fedlab.federation import Federation
from tests.algorithms.references import Small, apart, ours, prepared, state

ENGINES = pytest.mark.parametrize("engine", ["sequential", "batched"])
NAN = float("nan")


@pytest.fixture(scope="module")
def fed() -> Federation:
    """22, 60 and 158 training rows."""
    return prepared()


def run_of(fed: Federation, alg: Any, model: Any = "mlp", **options: Any) -> Run:
    return fedlab.train(fed, model, alg, **({"rounds": 2, "progress": False} | options))


# ---------------------------------------------------------------- hyper-parameters


NUMBERS = [
    (cls, f.name)
    for cls in ALGORITHMS.values()
    for f in dataclasses.fields(cls)
    if isinstance(f.default, (int, float)) and not isinstance(f.default, bool)
]
SHARES = ("beta1", "beta2", "momentum", "share")


@pytest.mark.parametrize("value", [-2, NAN])
@pytest.mark.parametrize("cls,name", NUMBERS)
def test_a_number_out_of_range_is_refused(cls: type[Algorithm], name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {re.escape(repr(value))}: it must be"):
        cls(**{name: value})


UPPER = [(cls, name, 1.01) for cls, name in NUMBERS if name in SHARES or (cls, name) == (APFL, "alpha")]


@pytest.mark.parametrize("cls,name,value", [*UPPER, (MultiKrum, "m", 0), (PerFedAvg, "order", 3), (IFCA, "k", 0)])
def test_so_is_one_just_beyond_it(cls: type[Algorithm], name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {re.escape(repr(value))}"):
        cls(**{name: value})


WHOLE = [
    (FineTuned, "steps"), (TrimmedMean, "trim"), (IFCA, "k"), (PFedMe, "inner"), (RFA, "iterations"), (Krum, "f"),
    (MultiKrum, "m"), (Bulyan, "f"),
]  # fmt: skip


@pytest.mark.parametrize("cls,name", WHOLE)
def test_what_is_counted_must_be_a_whole_number(cls: type[Algorithm], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 1.5"):
        cls(**{name: 1.5})


@pytest.mark.parametrize("cls", [cls for cls in ALGORITHMS.values() if issubclass(cls, FedAvg)])
def test_weights_are_one_of_two_words(cls: type[FedAvg]) -> None:
    with pytest.raises(ValueError, match="weights is 'patients': it must be 'examples' or 'equal'"):
        cls(weights="patients")  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["local_steps", "local_epochs", "batch_size", "rounds"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_setting_that_is_counted_is_at_least_1(setting: str, value: Any, fed: Federation) -> None:
    with pytest.raises(ValueError, match=f"{setting} is {value}: it must be a whole number of at least 1"):
        run_of(fed, "fedavg", **{setting: value})


# ---------------------------------------------------------------- an algorithm and a model, or so many sites


@pytest.mark.parametrize("cls", [FedPer, FedRep, LGFedAvg])
@pytest.mark.parametrize(
    "head,wrong",
    [
        ("nothing", "has no layer 'nothing'"),
        ("head, top", "has no layer 'top'"),
        ("", "has no layer ''"),
        ("head, body", "every tensor"),
    ],
)
def test_a_head_that_parts_nothing_lists_the_names(cls: Any, head: str, wrong: str, fed: Federation) -> None:
    names = "body.0.weight, body.0.bias, head.weight, head.bias"
    with pytest.raises(ValueError, match=rf"{cls.__name__}\(head='{head}'\).*{wrong}.*{names}"):
        run_of(fed, cls(head=head))


def test_layers_for_fedbn_that_are_not_there_list_the_names(fed: Federation) -> None:
    with pytest.raises(ValueError, match=r"'nothing'.*body.1.weight"):
        run_of(fed, FedBN(layers="nothing"), "mlp_norm")


def test_an_algorithm_refuses_a_model_that_lacks_what_it_is_about(fed: Federation) -> None:
    with pytest.raises(ValueError, match='the model MLP has none: use "mlp_norm", or name the layers'):
        run_of(fed, "fedbn", "mlp")
    with pytest.raises(ValueError, match=r'Linear has no method features\(x\): use "mlp"'):
        run_of(fed, Moon(), "logistic")
    for name in ("fedper", "fedrep", "lgfedavg"):
        with pytest.raises(ValueError, match='Linear has no layer .head.*"mlp" has body and head'):
            run_of(fed, name, "logistic")


@pytest.mark.parametrize(
    "alg,sentence",
    [
        (Krum(f=1), "at least 2 f . 3 = 5 sites, and there are 3: f can be at most 0"),
        (MultiKrum(f=2), "at least 2 f . 3 = 7 sites, and there are 3: f can be at most 0"),
        (Bulyan(f=1), "at least 4 f . 3 = 7 sites, and there are 3: f can be at most 0"),
        (TrimmedMean(trim=2), "TrimmedMean.trim=2. needs at least 5 sites, and there are 3"),
    ],
)
def test_more_faulty_sites_than_can_be_survived(alg: Algorithm, sentence: str, fed: Federation) -> None:
    with pytest.raises(ValueError, match=sentence):
        run_of(fed, alg)


@pytest.mark.parametrize("alg", [Krum(), MultiKrum(), Bulyan(), TrimmedMean(trim=1)])
def test_as_many_as_can_be_survived_run(alg: Algorithm, fed: Federation) -> None:
    assert len(run_of(fed, alg).records) == 2


@pytest.mark.parametrize("alg,few,least", [(Krum(f=1), 3, 5), (TrimmedMean(trim=2), 3, 5), (Bulyan(f=1), 4, 7)])
def test_a_fraction_below_what_combining_needs(alg: Algorithm, few: int, least: int) -> None:
    fed = prepared(*[20] * 7)
    fraction = (few + 0.1) / 7
    with pytest.raises(ValueError, match=rf"fraction=.* asks {few} of 7 sites .*needs at least {least}"):
        run_of(fed, alg, fraction=fraction)
    assert len(run_of(fed, alg, fraction=1.0).records) == 2


@pytest.mark.parametrize("engine", ["auto", "sequential", "batched"])
def test_fednova_with_another_optimiser_than_sgd(engine: str, fed: Federation) -> None:
    with pytest.raises(
        ValueError, match=r"fednova counts how often each gradient acts.*use optimizer=SGD\(\).*not Adam"
    ):
        run_of(fed, FedNova(), optimizer=Adam(), engine=engine)
    assert len(run_of(fed, FedNova(), optimizer=SGD(momentum=0.5), engine=engine).records) == 2


# ---------------------------------------------------------------- combining


def test_a_mean_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="the weights of all sites are zero: there is no mean"):
        mean({"w": torch.ones(3, 2)}, torch.zeros(3))


def wrong_shape(new: Any) -> Any:
    return {**new, "weight": new["weight"][:, :2]}


def not_finite(new: Any) -> Any:
    return {**new, "bias": new["bias"] * NAN}


COMBINED = [
    (lambda new: {**new, "wait": new["bias"]}, r"a tensor 'wait' of shape \[1\] and torch.float32.*has none"),
    (wrong_shape, r"'weight' of shape \[1, 2\].*has shape \[1, 4\]"),
    (lambda new: {**new, "bias": new["bias"].double()}, r"'bias' of shape \[1\] and torch.float64.*torch.float32"),
    (not_finite, "'bias' that is not finite, from uploads that are"),
]


@ENGINES
@pytest.mark.parametrize("bad,sentence", COMBINED, ids=["name", "shape", "dtype", "nan"])
def test_combining_into_no_model_stops_and_keeps_the_rounds_before(
    bad: Any, sentence: str, engine: str, fed: Federation
) -> None:
    class Breaks(FedAvg):
        def begin(self, params, sites, rng):
            return {"rounds": torch.zeros(())}

        def combine(self, params, uploads, extra, weights, state, who):
            new, done = self.average(uploads, weights), state["rounds"] + 1
            return (bad(new) if done == 3 else new), {"rounds": done}

    with pytest.raises(CombineError, match=rf"Breaks\(.*\).combine gave .*{sentence}.*\.run") as caught:
        run_of(fed, Breaks(), "logistic", rounds=5, engine=engine)
    assert isinstance(caught.value, ValueError)
    run = caught.value.run
    two = run_of(fed, FedAvg(), "logistic", rounds=2, engine=engine)
    assert len(run.records) == 2 and apart(run.weights, two.weights) == 0.0
    assert run.model()(fed.sites[0].test.x).isfinite().all()


# ---------------------------------------------------------------- sites that send something else, or nothing


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
    start = run.net.start()
    assert apart(run.models["site 1"][0], start) == 0.0, "it never trained"
    assert apart(run.models["site 0"][0], start) > 0


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


# ---------------------------------------------------------------- models that are awkward


@pytest.mark.parametrize("alg", ["fedavg", "moon", "fedbn", "ditto", "apfl", "perfedavg", "pfedme", "fedprox"])
def test_a_last_batch_of_one_row_passes_a_batch_norm(alg: str) -> None:
    fed = prepared(55, 40, 70)
    assert {len(s.train) % 16 for s in fed.sites} >= {1}, "33 rows: a batch of one row is left"
    each = [ours(fed, "mlp_norm", alg, engine=engine) for engine in ("sequential", "batched")]
    assert apart(each[0][0][-1], each[1][0][-1]) < 1e-9
    assert all(v.isfinite().all() for v in each[0][0][-1].values())


class Frozen(Small):
    """The first layer is not to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body.requires_grad_(False)


class Scaled(Small):
    """Holds a number of its own that is no parameter: a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((4,), 0.5))

    def features(self, x: Tensor) -> Tensor:
        return super().features(x * self.scale)


AWKWARD = ["fedavg", "scaffold", "fednova", "fedadam", "ditto", "qfedavg", "krum", "isolated"]


def far_from_start(fed: Federation, model: nn.Module, alg: str, engine: str) -> dict[str, float]:
    """How far each tensor is from the start, in what is predicted with, after rounds with momentum and decay."""
    _, run = ours(fed, model, alg, engine=engine, optimizer=SGD(momentum=0.5, weight_decay=0.1))
    found = [run.model(site) for site in run.models] if run.models else [run.model()]
    start = state(model.double())
    return {k: max((state(m.net)[k] - v).abs().max().item() for m in found) for k, v in start.items()}


@ENGINES
@pytest.mark.parametrize("alg", AWKWARD)
def test_a_frozen_parameter_does_not_move(alg: str, engine: str, fed: Federation) -> None:
    """Not by a gradient, nor by decay, nor at the server."""
    far = far_from_start(fed, Frozen(), alg, engine)
    assert far["head.weight"] > 1e-3 and max(far["body.0.weight"], far["body.0.bias"]) < 1e-12


@ENGINES
@pytest.mark.parametrize("alg", AWKWARD)
def test_a_buffer_does_not_move(alg: str, engine: str, fed: Federation) -> None:
    far = far_from_start(fed, Scaled(), alg, engine)
    assert far["head.weight"] > 1e-3 and far["scale"] < 1e-12


class Tied(nn.Module):
    """Two layers share one parameter."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


@ENGINES
def test_tied_parameters_stay_tied(engine: str, fed: Federation) -> None:
    """Trained as one: both uses add to its gradient."""
    _, run = ours(fed.select("site 1"), Tied(), FedAvg(), engine=engine, batch_size=1000)
    model = Tied().double()
    steps = torch.optim.SGD(model.parameters(), 0.1)
    site = fed["site 1"]
    for _ in range(3):
        steps.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(site.train.x)[:, 0], site.train.y.double())
        loss.backward()
        steps.step()
    trained = run.model()
    assert torch.allclose(trained(site.test.x), model(site.test.x), atol=1e-9)
    assert torch.equal(trained.net.one.weight, trained.net.two.weight)


class Mixed(nn.Module):
    """A layer of doubles among floats."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one, self.head = nn.Linear(4, 4), nn.Linear(4, 1).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.one(x)).to(self.head.weight.dtype))


@ENGINES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_two_dtypes_gets_the_runs(dtype: str, engine: str, fed: Federation) -> None:
    got, run = ours(fed, Mixed(), FedAvg(), engine=engine, dtype=dtype)
    assert {v.dtype for v in got[-1].values()} == {getattr(torch, dtype)}
    assert run.model()(fed.sites[0].test.x).isfinite().all()


def test_what_the_caller_gave_is_left_as_it_was(fed: Federation) -> None:
    model = Small()
    before = state(model)
    run_of(fed, FedProx(), model)
    assert apart(before, state(model)) == 0.0 and model.head.weight.requires_grad and model.training
