"""The algorithms against hand computations, each other, and independent loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, FedAvg, FedProx, Scaffold, algorithm
from fedlab.algorithms.ranges import in_range
from fedlab.federation import Federation, fit, merge, prepare, summarise
from tests.conftest import ragged

EXACT: dict[str, Any] = dict(dtype="float64", engine="sequential", progress=False)


def last_weights(fed: Federation, alg: Algorithm | str, **options: Any) -> dict[str, Tensor]:
    """The server's tensors after the last round."""
    *_, event = fedlab.stream(fed, options.pop("model", "logistic"), alg, **({"evaluate": False} | options))
    return event.weights


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[k] - b[k]).abs().max().item() for k in a)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(20, 55), min_size=1, max_size=4), lr=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_one_full_batch_step_a_round_is_pooled_gradient_descent(sizes: list[int], lr: float, seed: int) -> None:
    fed = ragged(tuple(sizes), seed=seed)  # each column of each site has five patients, without which it tells nothing
    ours = last_weights(fed, "fedavg", rounds=4, lr=lr, batch_size=1000, dtype="float64", seed=seed)
    x = torch.cat([site.train.x for site in fed.sites])
    y = torch.cat([site.train.y for site in fed.sites]).double()
    x = prepare(x, fit(summarise(x)))
    w, b = torch.zeros(1, x.shape[1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for _ in range(4):
        error = torch.sigmoid(x @ w[0] + b) - y
        w, b = w - lr * (error @ x / len(y))[None], b - lr * error.mean()
    assert apart({"weight": w, "bias": b}, ours) < 1e-9


def test_fedprox_with_mu_zero_is_fedavg_to_the_bit(uneven: Federation) -> None:
    for engine in ("sequential", "batched"):
        a = last_weights(uneven, FedAvg(), rounds=3, engine=engine)
        b = last_weights(uneven, FedProx(mu=0), rounds=3, engine=engine)
        assert apart(a, b) == 0.0


def test_fedprox_stays_nearer_to_where_the_round_began(uneven: Federation) -> None:
    reach = [
        sum(v.norm().item() for k, v in last_weights(uneven, FedProx(mu=mu), rounds=1, local_epochs=5).items()
            if not k.startswith("prepare"))
        for mu in (0.0, 1.0, 10.0)
    ]  # fmt: skip
    assert reach[0] > reach[1] > reach[2]


def test_scaffolds_first_round_is_uniform_fedavg(uneven: Federation) -> None:
    a = last_weights(uneven, Scaffold(server_lr=1.0), rounds=1, dtype="float64")
    b = last_weights(uneven, FedAvg(weights="equal"), rounds=1, dtype="float64")
    assert apart(a, b) < 1e-12
    later = last_weights(uneven, Scaffold(), rounds=3, dtype="float64")
    assert apart(later, last_weights(uneven, FedAvg(weights="equal"), rounds=3, dtype="float64")) > 1e-4


def reference_scaffold(fed: Federation, *, rounds: int, lr: float, batch: int, server_lr: float) -> dict[str, Tensor]:
    """Algorithm 1 of the paper, option II, written with plain loops on (w, b) of a logistic model."""
    trains = sorted(fed.sites, key=lambda s: s.name)
    buffers = fit(merge([summarise(s.train.x) for s in trains]))
    data = [(prepare(s.train.x, buffers), s.train.y.double()) for s in trains]
    d = data[0][0].shape[1]
    x, c = torch.zeros(d + 1, dtype=torch.float64), torch.zeros(d + 1, dtype=torch.float64)
    c_i = [torch.zeros_like(c) for _ in data]
    for _ in range(rounds):
        dy, dc = [], []
        for i, (rows, labels) in enumerate(data):
            y, steps = x.clone(), 0
            for at in range(0, len(labels), batch):
                part, want = rows[at : at + batch], labels[at : at + batch]
                error = torch.sigmoid(part @ y[:d] + y[d]) - want
                g = torch.cat([error @ part / len(want), error.mean()[None]])
                y, steps = y - lr * (g - c_i[i] + c), steps + 1
            new = c_i[i] - c + (x - y) / (steps * lr)
            dy.append(y - x)
            dc.append(new - c_i[i])
            c_i[i] = new
        x = x + server_lr * torch.stack(dy).mean(0)
        c = c + torch.stack(dc).sum(0) / len(data)
    return {"weight": x[None, :d], "bias": x[d:]}


def test_scaffold_is_the_papers_algorithm(uneven: Federation) -> None:
    ours = last_weights(
        uneven, Scaffold(server_lr=0.7), rounds=4, lr=0.3, batch_size=16, shuffle=False, dtype="float64"
    )
    want = reference_scaffold(uneven, rounds=4, lr=0.3, batch=16, server_lr=0.7)
    assert apart(want, ours) < 1e-9


def test_fedavg_is_a_plain_torch_loop(uneven: Federation) -> None:
    ours = last_weights(
        uneven, "fedavg", model="mlp", rounds=3, batch_size=16, local_epochs=2, shuffle=False, dtype="float64"
    )
    trains = sorted(uneven.sites, key=lambda s: s.name)
    buffers = fit(merge([summarise(s.train.x) for s in trains]))
    model = fedlab.models.build("mlp", 10, 1, seed=0).double()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(3):
        sums = {k: torch.zeros_like(v) for k, v in start.items()}
        for site in trains:
            model.load_state_dict(start)
            sgd = torch.optim.SGD(model.parameters(), lr=0.1)
            x, y = prepare(site.train.x, buffers), site.train.y.double()
            for _ in range(2):
                for at in range(0, len(y), 16):
                    sgd.zero_grad()
                    out = model(x[at : at + 16])[:, 0]
                    nn.functional.binary_cross_entropy_with_logits(out, y[at : at + 16]).backward()
                    sgd.step()
            for k, v in model.state_dict().items():
                sums[k] += v * len(y)
        n = sum(len(s.train) for s in trains)
        start = {k: v / n for k, v in sums.items()}
    assert apart(start, ours) < 1e-9


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_order_of_the_sites_does_not_matter(name: str, short: Federation) -> None:
    shuffled = short.select("site 2", "site 0", "site 1")
    a = fedlab.train(short, "mlp_norm", name, rounds=3, progress=False)
    b = fedlab.train(shuffled, "mlp_norm", name, rounds=3, progress=False)
    assert apart(a.weights, b.weights) == 0.0
    assert a.chosen == b.chosen
    for site in a.models:
        assert all(apart(x, y) == 0.0 for x, y in zip(a.models[site], b.models[site], strict=True))


def test_centralized_is_one_site_of_all_rows_on_the_same_clock(uneven: Federation) -> None:
    run = fedlab.train(uneven, "logistic", "centralized", rounds=5, progress=False)
    longest = max(-(-len(s.train) // 32) for s in uneven.sites)
    assert run.steps_per_round == longest
    pooled = last_weights(uneven, "centralized", rounds=1, batch_size=10_000, dtype="float64")
    together = last_weights(uneven, "fedavg", rounds=1, batch_size=10_000, dtype="float64")
    assert apart(pooled, together) < 1e-9


def test_isolated_sites_learn_from_their_own_rows_alone(uneven: Federation) -> None:
    options: dict[str, Any] = dict(rounds=4, progress=False, dtype="float64")
    together = fedlab.train(uneven, "logistic", "isolated", **options)
    sizes = {s.name: len(s.train) for s in uneven.sites}
    largest = max(sizes, key=sizes.__getitem__)
    alone = fedlab.train(uneven.select(largest), "logistic", "isolated", engine="sequential", **options)
    assert apart(alone.models[largest][0], together.models[largest][0]) < 1e-9


def test_the_ensemble_averages_the_isolated_models(uneven: Federation) -> None:
    options: dict[str, Any] = dict(rounds=3, evaluate=False, progress=False, dtype="float64")
    isolated = fedlab.train(uneven, "logistic", "isolated", **options)
    vote = fedlab.train(uneven, "logistic", "ensemble", **options)
    x = uneven.sites[0].test.x
    each = [torch.sigmoid(isolated.model(name)(x)) for name in sorted(uneven.names)]
    assert torch.allclose(torch.sigmoid(vote.model()(x)), torch.stack(each).mean(0), atol=1e-12)


def test_hyper_parameters_out_of_range_and_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="mu is -1.*at least 0"):
        FedProx(mu=-1)
    with pytest.raises(ValueError, match="server_lr is 0.*more than 0"):
        Scaffold(server_lr=0)
    with pytest.raises(ValueError, match="mu is nan"):
        FedProx(mu=float("nan"))
    with pytest.raises(ValueError, match="at least 0 and at most 1"):
        in_range("beta", 2, 0, 1)
    with pytest.raises(ValueError, match="no algorithm 'fedavgg' .did you mean 'fedavg'"):
        algorithm("fedavgg")
