"""What is wrong is refused in a sentence that says what and how to mend it; what fails at a site stays at the site."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from fedlab.algorithms import (
    ALGORITHMS,
    APFL,
    IFCA,
    RFA,
    Algorithm,
    Bulyan,
    FedAvg,
    FedBN,
    FedNova,
    FedPer,
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
from fedlab.algorithms.tensors import mean
from fedlab.engine import SGD, Adam
from fedlab.engine.combined import CombineError
from fedlab.federation import Federation
from tests.algorithms.asked import ENGINES, NAN, run_of
from tests.algorithms.references import apart, prepared

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
