"""The two seams of a run: what a step makes of the gradients of its rows, and what leaves a site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlab.algorithms import ALGORITHMS, algorithm
from fedlab.engine import Run, TooFewSites, replicas
from fedlab.engine.hooks import Hooks, Upload
from fedlab.engine.plan import planned
from fedlab.engine.train import begin, run_live
from fedlab.engine.trees import tree_leaves, tree_map
from fedlab.federation import Federation
from tests.conftest import ragged

ROWS = (
    "fedsgd fedavg fedavgm fedadagrad fedadam fedyogi fedprox fednova moon finetuned fedbn fedper fedrep lgfedavg "
    "ditto apfl perfedavg pfedme"
).split()
EQUAL = ["scaffold", "feddyn"]


def went(fed: Federation, hooks: Hooks, engine: str, alg: str = "fedavg", model: Any = "mlp", **options: Any) -> Run:
    settings = {"rounds": 3, "batch_size": 16, "lr": 0.1, "dtype": "float64", "engine": engine} | options
    run = begin(planned(fed, model, alg, settings))
    run.hooks = hooks
    for _ in run_live(run):
        pass
    return run


def gap(a: Run, b: Run) -> float:
    each = zip(tree_leaves((a.weights, a.models)), tree_leaves((b.weights, b.models)), strict=True)
    return max(float((x.double() - y.double()).abs().max()) for x, y in each)


# ---------------------------------------------------------------- DP-SGD on top


@dataclass(frozen=True)
class DPSGD:
    """Abadi et al. (2016), Algorithm 1. The noise can be predicted: a test of the seam, no privacy."""

    clip: float = 1.0
    noise: float = 1.0
    rows: int = 16

    def join(self, grads: Any, weight: Tensor, at: Any) -> Any:
        norm = torch.sqrt(sum((g.reshape(len(g), -1) ** 2).sum(1) for g in tree_leaves(grads)))
        share = (self.clip / norm.clamp(min=1e-12)).clamp(max=1)
        salt = iter(range(10**6))

        def joined(g: Tensor) -> Tensor:
            clipped = torch.tensordot(share, g, 1)
            return (clipped + self.noise * self.clip * at.noise(g.shape[1:], salt=next(salt))) / self.rows

        return tree_map(joined, grads)

    def after(self, grads: Any) -> Any:
        return grads


@pytest.mark.parametrize("alg", ["fedavg", "fedprox", "scaffold", "ditto"])
def test_dp_sgd_alone_is_dp_sgd_stacked(alg: str, short: Federation) -> None:
    hooks = Hooks(rows=DPSGD())
    alone, stacked = (went(short, hooks, engine, alg, rounds=2) for engine in ("sequential", "batched"))
    assert not stacked.notes or "stacked" not in stacked.notes[0]
    assert gap(alone, stacked) < 1e-12 and gap(alone, went(short, Hooks(), "sequential", alg, rounds=2)) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("alg", ["fednova", "fedrep", "moon", "pfedme", "ifca", "apfl"])
def test_dp_sgd_alone_is_dp_sgd_stacked_for_all_others(alg: str, short: Federation) -> None:
    hooks = Hooks(rows=DPSGD())
    assert gap(*(went(short, hooks, engine, alg, rounds=2) for engine in ("sequential", "batched"))) < 1e-12


def test_no_clip_and_no_noise_is_plain_sgd_in_whole_batches() -> None:
    whole = ragged((27, 54))  # 16 and 32 training rows
    assert {len(site.split.train) % 16 for site in whole.sites} == {0}
    plain = Hooks(rows=DPSGD(clip=1e9, noise=0.0))
    assert gap(went(whole, plain, "batched"), went(whole, Hooks(), "batched")) < 1e-12


def test_seeds_beside_each_other_are_each_its_own_run(short: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = Hooks(rows=DPSGD(), upload=Hostile("site 1"))

    def begun(*given: Any, **more: Any) -> Run:
        run = begin(*given, **more)
        run.hooks = hooks
        return run

    monkeypatch.setattr(replicas, "begin", begun)
    settings = {"rounds": 2, "batch_size": 16, "dtype": "float64"}
    *_, runs = replicas.train_seeds([short] * 2, "mlp", "fedavg", seeds=[0, 1], **settings)
    assert not any("stacked" in note for run in runs for note in run.notes)
    assert gap(runs[1], went(short, hooks, "sequential", rounds=2, seed=1)) < 1e-12


def test_rows_behind_batch_norm_are_refused_before_the_first_question(short: Federation) -> None:
    with pytest.raises(ValueError, match="gradient of one row.*GroupNorm") as caught:
        went(short, Hooks(rows=DPSGD()), "batched", model="mlp_norm")
    assert caught.value.run.ledger.empty


def test_a_row_has_no_parts(short: Federation) -> None:
    with pytest.raises(TooFewSites) as caught:
        went(short, Hooks(rows=DPSGD()), "sequential", "perfedavg")
    assert "a row by itself has no parts" in str(caught.value.__cause__)


def test_convolutions_go_row_by_row_too() -> None:
    x = torch.randn(24, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    fed = Federation.from_tensors({name: (x + i, torch.arange(24) % 2) for i, name in enumerate("AB")})

    def cnn(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, outputs)
        )

    hooks = Hooks(rows=DPSGD())
    assert gap(*(went(fed, hooks, engine, model=cnn, rounds=1) for engine in ("threads", "batched"))) < 1e-12


# ---------------------------------------------------------------- what leaves


@dataclass(frozen=True)
class Hostile:
    """One site sends ten times its change, and claims a million rows."""

    site: str
    sealed: bool = False
    factor: float = 10.0

    def leave(self, upload: Upload) -> Upload:
        is_it = torch.tensor([site == self.site for site in upload.sites])

        def turned(sent: Tensor, received: Tensor) -> Tensor:
            return torch.where(is_it.view(-1, *[1] * received.ndim), received + self.factor * (sent - received), sent)

        model = {k: turned(v, upload.received[k]) for k, v in upload.model.items()}
        return replace(upload, model=model, rows=torch.where(is_it, 1e6, upload.rows))

    def opened(self, sent: Any, like: Any) -> Any:
        raise AssertionError("nothing is sealed")


class Nothing(Hostile):
    def leave(self, upload: Upload) -> Upload:
        return upload


@pytest.mark.parametrize("alg", ["fedavg", "scaffold", "fedbn", "isolated", "centralized"])
@pytest.mark.parametrize("engine", ["sequential", "auto"])
def test_a_hook_that_does_nothing_changes_no_bit(alg: str, engine: str, short: Federation) -> None:
    a, b = (went(short, hooks, engine, alg, "mlp_norm", rounds=2) for hooks in (Hooks(upload=Nothing("")), Hooks()))
    assert gap(a, b) == 0 and a.examples_seen == b.examples_seen


def test_a_hostile_site_passes_alone_and_stacked(short: Federation) -> None:
    hooks = Hooks(upload=Hostile("site 1"))
    a, b, plain = went(short, hooks, "sequential"), went(short, hooks, "batched"), went(short, Hooks(), "batched")
    assert gap(a, b) < 1e-12 < gap(a, plain)


@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_an_upload_made_infinite_by_a_hook_is_an_error_reply(engine: str, short: Federation) -> None:
    run = went(short, Hooks(upload=Hostile("site 1", factor=float("inf"))), engine)
    assert set(run.errors["site"]) == {"site 1"} and len(run.records) == 3
    assert all(bool(v.isfinite().all()) for v in run.weights.values())


@dataclass(frozen=True)
class Claims(Nothing):
    """One site says that it has another number of rows."""

    rows: float = 0.0

    def leave(self, upload: Upload) -> Upload:
        is_it = torch.tensor([site == self.site for site in upload.sites])
        return replace(upload, rows=torch.where(is_it, self.rows, upload.rows))


@pytest.mark.parametrize("rows", [0.0, -50.0, float("nan"), float("inf")])
@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_site_of_no_number_of_rows_is_left_out_and_ends_nothing(engine: str, rows: float, short: Federation) -> None:
    """Rows weigh models: a negative number turned the mean round, and 0 or nan ended the run for all."""
    odd = went(short, Hooks(upload=Claims("site 1", rows=rows)), engine)
    infinite = went(short, Hooks(upload=Hostile("site 1", factor=float("inf"))), engine)
    assert set(odd.errors["site"]) == {"site 1"} and len(odd.records) == 3
    assert all(torch.equal(w, infinite.weights[name]) for name, w in odd.weights.items()), "as without that site"


def test_a_hook_that_gives_other_shapes_unsealed_is_refused(short: Federation) -> None:
    class Odd(Nothing):
        def leave(self, upload: Upload) -> Upload:
            return replace(upload, model={k: v.float() for k, v in upload.model.items()})

    with pytest.raises(ValueError, match="Odd.leave gives a tensor .* sealed = True"):
        went(short, Hooks(upload=Odd("")), "batched")
    with pytest.raises(TooFewSites, match="does not fit the model"):
        went(short, Hooks(upload=Odd("")), "sequential")


class Masked:
    """Pairwise masks (Bonawitz et al., 2017) in whole numbers that wrap: noise is sent, and the sum is exact."""

    sealed = True
    names = ("site 0", "site 1", "site 2")

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def leave(self, upload: Upload) -> Upload:
        return replace(upload, model={"masked": torch.stack([self._one(upload, i) for i in range(len(upload.sites))])},
                       extra={}, rows=torch.zeros(len(upload.sites), dtype=torch.float64))  # fmt: skip

    def _one(self, upload: Upload, i: int) -> Tensor:
        rows = upload.rows[i]
        flat = torch.cat([rows[None], *(v[i].double().flatten() * rows for _, v in sorted(upload.model.items()))])
        out, me = (flat * 2.0**32).round().long(), self.names.index(upload.sites[i])
        for peer in set(range(3)) - {me}:
            rng = torch.Generator().manual_seed(upload.job.round * 10 + min(me, peer) * 3 + max(me, peer))
            out = out + (1 if me < peer else -1) * torch.randint(-(2**63), 2**63 - 1, out.shape, generator=rng)
        return out

    def opened(self, sent: Any, like: Any) -> Any:
        self.seen.append(sent["model"]["masked"])
        total, n = sent["model"]["masked"].sum(0).double() / 2.0**32, len(sent["rows"])
        values, model = iter((total[1:] / total[0]).split([like[k].numel() for k in sorted(like)])), {}
        for name in sorted(like):
            model[name] = next(values).view(like[name].shape).to(like[name]).expand(n, *like[name].shape)
        return {"model": model, "extra": {}, "rows": (total[0] / n).expand(n)}


@pytest.mark.parametrize("alg", ["fedavg", "fedadam", "fedbn"])
@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_masked_uploads_add_up_to_the_same(alg: str, engine: str, short: Federation) -> None:
    masked = Masked()
    sealed, plain = (went(short, hooks, engine, alg, "mlp_norm") for hooks in (Hooks(upload=masked), Hooks()))
    assert gap(sealed, plain) < 1e-6
    spread = masked.seen[0].double().abs().mean(1)
    assert bool((spread > 2.0**60).all())  # of each alone there is nothing to see


def test_an_algorithm_that_looks_at_each_upload_takes_no_sealed_ones(short: Federation) -> None:
    with pytest.raises(ValueError, match="fedmedian looks at each upload by itself.*fedavg"):
        went(short, Hooks(upload=Masked()), "batched", "fedmedian")


def test_what_a_server_half_needs_is_stated_as_it_was_measured() -> None:
    stated = {name: algorithm(name).sums for name in ALGORITHMS}
    assert {name for name, sums in stated.items() if sums == "rows"} == {*ROWS}
    assert {name for name, sums in stated.items() if sums == "equal"} == {*EQUAL}
    assert algorithm("fedavg").__class__(weights="equal").sums == "equal"
