"""A layer may be called as its author likes: what torch says is a parameter is trained, whatever its name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import fedlab
from fedlab.algorithms import ALGORITHMS, FedAvg
from fedlab.federation import Federation
from fedlab.models.trial import try_model
from tests.conftest import ragged

ENGINES = ["sequential", "batched", "threads"]
NAMED = ["_enc", "prepare", "running_stats", "home", "all sites", "weight", "w", "_theta", "opt", "model", "a/b"]


def called(name: str) -> type[nn.Module]:
    """A perceptron whose first layer has this name."""

    class Net(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.add_module(name, nn.Linear(inputs, 6))
            self.head = nn.Linear(6, outputs)

        def features(self, x: Tensor) -> Tensor:
            return torch.tanh(self.get_submodule(name)(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x))

    return Net


class Owned(nn.Module):
    """Parameters that are called like fedlab's preparation and torch's running statistics, and one after ``vars``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.prepare = nn.ParameterDict({"scale": torch.ones(inputs), "fill": torch.zeros(inputs)})
        self.norm = nn.ParameterDict({"running_mean": torch.zeros(6), "running_var": torch.ones(6)})
        self.body, self.head = nn.Linear(inputs, 6), nn.Linear(6, outputs)
        self._scalar = nn.Parameter(torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        x = self.body((x - self.prepare["fill"]) * self.prepare["scale"])
        return torch.tanh((x - self.norm["running_mean"]) * self.norm["running_var"])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)) * self._scalar


@pytest.fixture(scope="module")
def fed() -> Federation:
    return ragged((30, 40, 50))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMED)
def test_a_layer_of_any_name_is_trained_as_one_of_another(name: str, engine: str, fed: Federation) -> None:
    plain, run = (
        fedlab.train(fed, called(n), "ditto", rounds=2, dtype="float64", engine=engine, progress=False)
        for n in ("first", name)
    )
    for key, tensor in plain.weights.items():
        assert torch.equal(run.weights[key.replace("first.", f"{name}.")], tensor), key
    site = fed.names[0]
    assert torch.equal(run.model(site)(fed[site].test.x), plain.model(site)(fed[site].test.x))


@pytest.mark.parametrize(
    "alg", ["fedavg", "scaffold", "fedadam", "ditto", "apfl", "pfedme", "moon", "ifca", "fedprox", "isolated"]
)
def test_parameters_that_are_called_like_ours_are_parameters(alg: str, fed: Federation) -> None:
    run = fedlab.train(fed, Owned, alg, rounds=2, lr=0.5, progress=False)
    start, site = run.net.start(), fed.names[0]
    assert len(start) == 9 and ".named.prepare.scale" in start and ".named.norm.running_mean" in start
    model = run.model(None if run.algorithm.one_model else site)
    trained = dict(model.net.named_parameters())  # type: ignore[union-attr]
    moved = {k for k, v in Owned(2 * len(fed.columns), 1).named_parameters() if trained[k].shape == v.shape}
    assert moved == set(trained)
    fresh = {k.removeprefix(".named."): v for k, v in start.items()}
    assert all((trained[k] - fresh[k]).abs().max() > 1e-4 for k in trained), "every one of them has moved"
    x = fed[site].test.x
    with torch.no_grad():
        assert torch.allclose(model(x), run.net.logits(run.weights, x), atol=1e-6) or not run.algorithm.one_model


def test_preparation_stays_reachable_by_its_name(fed: Federation) -> None:
    run = fedlab.train(fed, Owned, rounds=1, progress=False)
    assert run.weights["prepare.scale"].dtype == torch.float64 and run.weights["prepare.scale"].numel() == len(
        fed.columns
    )


# ---------------------------------------------------------------- buffers that the forward pass moves


class Counting(nn.Module):
    """Spectral norm's vectors, a moving average of its own and a counter."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = spectral_norm(nn.Linear(inputs, 8)), nn.Linear(8, outputs)
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("level", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.body(x))
        if self.training:
            self.seen += 1
            self.level = 0.9 * self.level + 0.1 * out.detach().mean(0)
        return self.head(out - self.level)


@pytest.mark.parametrize("engine", ["sequential", "auto", "threads"])
def test_buffers_are_carried_from_step_to_step_and_averaged(engine: str) -> None:
    fed = ragged((30, 40))
    run = fedlab.train(fed, Counting, rounds=20, lr=0.5, batch_size=8, evaluate=False, engine=engine, progress=False)
    steps = [-(-len(site.train) // 8) for site in fed.sites]
    rows = [len(site.train) for site in fed.sites]
    model = run.model().net
    expected = 0
    for _ in range(20):  # each round from the sites' mean, to the nearest whole number
        expected = round(sum(n * (expected + k) for n, k in zip(rows, steps, strict=True)) / sum(rows))
    assert model.seen == expected, "a counter counts"
    assert abs(torch.linalg.svdvals(model.body.weight)[0] - 1) < 0.1, "and a spectral norm is one"
    assert model.level.abs().max() > 1e-3


def test_one_site_carries_buffers_as_torch_does() -> None:
    """One round of one site is a plain loop."""
    fed = ragged((40,))
    run = fedlab.train(
        fed, Counting, "fedavg", rounds=1, local_epochs=3, batch_size=8, dtype="float64", shuffle=False, evaluate=False,
        engine="sequential", progress=False,
    )  # fmt: skip
    again = fedlab.train(fed, Counting, "isolated", rounds=1, local_epochs=3, batch_size=8, dtype="float64",
                         shuffle=False, evaluate=False, engine="sequential", progress=False)  # fmt: skip
    torch.manual_seed(0)
    model = run.net.model
    plain = type(run.model().net)(2 * len(fed.columns), 1).double()
    plain.load_state_dict(model.state_dict())
    step = torch.optim.SGD(plain.parameters(), 0.1)
    x, y = run.net.ready(run.weights, fed.sites[0].train.x), fed.sites[0].train.y.double()
    for _ in range(3):
        for i in range(0, len(x), 8):
            step.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(plain(x[i : i + 8])[:, 0], y[i : i + 8]).backward()
            step.step()
    for other in (run.model().net, again.model(fed.names[0]).net):
        for key, tensor in plain.state_dict().items():
            assert torch.allclose(other.state_dict()[key].double(), tensor.double(), atol=1e-12), key


def test_a_batch_norm_that_counts_its_batches_has_the_cumulative_mean() -> None:
    """``momentum=None`` divides by num_batches_tracked: reset in every step it would keep the last batch alone."""

    def model(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(inputs, momentum=None), nn.Linear(inputs, outputs))

    fed = ragged((40,))
    run = fedlab.train(
        fed, model, rounds=1, batch_size=8, shuffle=False, evaluate=False, dtype="float64", progress=False
    )
    x = run.net.ready(run.weights, fed.sites[0].train.x)
    means = torch.stack([x[i : i + 8].mean(0) for i in range(0, len(x), 8)])
    assert torch.allclose(run.model().net[0].running_mean, means.mean(0), atol=1e-12)
    assert run.model().net[0].num_batches_tracked == len(means)


def test_a_buffer_that_moves_later_is_refused_by_name() -> None:
    class Late(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training and len(x) > 2:
                self.scale = self.scale * 0.5
            return super().forward(x) * self.scale

    with pytest.raises(fedlab.TooFewSites, match="BufferMoved") as caught:
        fedlab.train(ragged((30,)), Late, engine="sequential", progress=False)
    assert "'scale' in training, which it did not on its trial rows" in str(caught.value.__cause__)


def test_a_moved_buffer_is_saved_resumed_and_described(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fed = ragged((30, 40))
    run = fedlab.train(fed, Counting, rounds=2, progress=False, save=tmp_path / "run")
    again = fedlab.Run.load(tmp_path / "run", fed, model=Counting)
    assert again.model().net.seen == run.model().net.seen
    described = FedAvg().describe(Counting, inputs=2 * len(fed.columns))
    assert ".buffer.seen" in described.query("where == 'to a site' and what == 'model'")["content"].item()


# ---------------------------------------------------------------- what a trial finds


class Gives(nn.Linear):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x)}


class Clamps(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-1e-3, 1e-3)
        return super().forward(x)


class Squeezes(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


@pytest.mark.parametrize(
    "model,says",
    [
        (Gives, "gives a dict, and must give one tensor"),
        (lambda i, o: nn.LazyLinear(o), "tensors without a shape yet"),
        (lambda i, o: nn.Linear(i, o).requires_grad_(False), "no parameter that requires a gradient"),
        (Clamps, "changes its parameter 'weight' in a forward pass"),
        (lambda i, o: nn.Linear(3, o), "build its first layer from the factory's `inputs`"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_before_round_1(model, says: str, fed: Federation) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=says):
        fedlab.train(fed, model, progress=False)


def test_one_patient_has_a_risk_whatever_the_model_squeezes(fed: Federation) -> None:
    run = fedlab.train(fed, Squeezes, rounds=2, batch_size=7, progress=False)
    x = fed.sites[0].rows.x
    with torch.no_grad():
        every = run.net.probabilities([run.weights], x)
        each = torch.cat([run.net.probabilities([run.weights], x[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(every, each)


def test_a_trial_leaves_model_and_generators_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    found = try_model(model, torch.zeros(2, 3))
    assert found.random and found.needs_two_rows.startswith("ValueError") and not found.writes_rows
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())


def test_weight_norm_is_trained(fed: Federation) -> None:
    run = fedlab.train(fed, lambda i, o: weight_norm(nn.Linear(i, o)), rounds=3, progress=False)
    by_round = run.history.groupby("round")["log_loss"].mean()  # of the sites that have enough for valid
    assert by_round.iloc[-1] < by_round.iloc[0] and set(ALGORITHMS) > {"fedavg"}


def test_nests_travel_whatever_their_names() -> None:
    from fedlab.engine.flower import pack, unpack

    sent = {
        "a/b": {"c": torch.ones(1), "d/e~1": torch.zeros(2)},
        "a": {"b": torch.tensor(3.0)},
        "..": {"": torch.ones(2)},
    }
    back = unpack(pack({"vars": sent}))["vars"]
    assert {k: {n: t.tolist() for n, t in v.items()} for k, v in back.items()} == {
        k: {n: t.tolist() for n, t in v.items()} for k, v in sent.items()
    }
