"""Rows that are bags of instances: as many as each has, padded for a batch and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fedlab
from fedlab.federation import IID, Bags, Federation
from fedlab.federation.bags import in_passes, joined

QUICK: dict[str, Any] = {"rounds": 2, "batch_size": 4, "lr": 0.1, "dtype": "float64", "progress": False}
MODES = ("sequential", "threads", "batched")


class Mean(nn.Module):
    """The mean over the instances that are there, then a line; what stands in the padding must not count."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inside, self.head = nn.Linear(inputs, 6), nn.Linear(6, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        held = torch.where(mask[..., None], self.inside(x).tanh(), 0.0)
        return self.head(held.sum(-2) / mask.sum(-1, keepdim=True))


def slides(n: int = 36, *, seed: int = 0, most: int = 7) -> tuple[list[Tensor], Tensor]:
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    bags = [torch.randn(1 + i % most, 3, generator=rng, dtype=torch.float64) + y[i] for i in range(n)]
    return bags, y


def labs() -> Federation:
    return Federation.from_tensors(bags={name: slides(24 + 12 * k, seed=k) for k, name in enumerate("ABC")})


# ---------------------------------------------------------------------- the bags themselves


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_padded_and_taken_apart_again_they_are_the_same(lengths: list[int], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    each = [torch.randn(n, 2, generator=rng) for n in lengths]
    bags = Bags.of(each)
    x, mask = bags.padded()
    assert x.shape == (len(each), max(lengths), 2) and mask.sum(1).tolist() == lengths
    assert not x[~mask].any() and torch.equal(bags.flat, torch.cat(each))
    again = Bags.where(x, mask)
    assert all(torch.equal(a, b) for a, b in zip(again, each, strict=True))
    order = torch.randperm(len(each), generator=rng)
    assert all(torch.equal(bag, each[k]) for bag, k in zip(bags[order], order.tolist(), strict=True))
    assert [len(part) for part in in_passes(bags, 8)] and joined([*in_passes(bags, 8)]).lengths.tolist() == lengths


def test_a_slice_and_a_join_copy_nothing() -> None:
    bags = Bags.of(slides()[0])
    assert bags[3][0].data_ptr() != bags[4][0].data_ptr() and bags[5:9][0].data_ptr() == bags[5].data_ptr()
    assert joined([bags[:3], bags[3:]])[4].data_ptr() == bags[4].data_ptr()


def test_instances_may_lie_in_a_file(tmp_path: Path) -> None:
    each, y = slides()
    np.save(tmp_path / "flat.npy", torch.cat(each).numpy())
    ends = np.cumsum([0, *map(len, each)])
    lies = Bags(np.load(tmp_path / "flat.npy", mmap_mode="c"), ends)
    fed, same = (Federation.from_tensors(bags={"A": (bags, y)}) for bags in (lies, each))
    assert fed.fingerprint == same.fingerprint and fed["A"].rows.offsets.tolist() == ends.tolist()
    one, other = (fedlab.train(each, Mean, **QUICK) for each in (fed, same))
    assert all(torch.equal(w, other.weights[name]) for name, w in one.weights.items())
    with pytest.raises(ValueError, match='read-only.*mmap_mode="c"'):
        Bags(np.load(tmp_path / "flat.npy", mmap_mode="r"), ends)


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: Bags.of([]), "there are no bags"),
        (lambda: Bags.of([torch.ones(2, 3), torch.ones(2, 4)]), r"bag 1 has shape \[2, 4\], and bag 0 \[2, 3\]"),
        (lambda: Bags.of([torch.ones(2, 3), torch.ones(0, 3)]), "bag 1 has no instance"),
        (lambda: Bags.of([torch.ones(2, 3, dtype=torch.uint8)]), r"bag 0 is of bytes: say.*bag.float\(\) / 255"),
        (lambda: Bags(torch.ones(4, 2), [0, 5]), "offsets goes from 0 to 5, and there are 4 instances"),
        (lambda: Bags(torch.ones(4, 2), [0, 2, 2, 4]), "bag 1 has no instance"),
        (lambda: Bags(torch.ones(4, 2).long(), [0, 4]), "give floats"),
        (lambda: Bags.where(torch.ones(2, 3, 1), torch.ones(2, 3)), r"mask.bool\(\)"),
        (lambda: Bags.where(torch.ones(2, 3, 1), torch.ones(2, 4).bool()), r"the mask has shape \[2, 4\]"),
        (lambda: Bags.where(torch.ones(2, 3, 1), torch.eye(2, 3).bool() & torch.tensor([[True], [False]])),
         "bag 1 has no instance.*its mask is false everywhere"),
    ],
)  # fmt: skip
def test_what_is_no_bag_is_refused(made: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        made()


def test_sites_must_have_bags_alike() -> None:
    bags, y = slides()
    with pytest.raises(ValueError, match="B"):
        Federation.from_tensors(bags={"A": (bags, y), "B": ([bag[:, :2] for bag in bags], y)})
    with pytest.raises(TypeError, match="knows no bags"):
        torch.stack([Bags.of(bags), Bags.of(bags)])


# ---------------------------------------------------------------------- in a federation


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "ditto", "isolated"])
def test_sites_alone_in_threads_and_stacked_train_the_same(algorithm: str) -> None:
    alone, *others = (fedlab.train(labs(), Mean, algorithm, engine=mode, **QUICK) for mode in MODES)
    for other in others:
        assert not any("stacked" in note for note in other.notes)
        for site in "ABC":
            mine, theirs = alone.model(site).state_dict(), other.model(site).state_dict()
            assert all(torch.allclose(mine[name], theirs[name], rtol=1e-9) for name in mine)
        assert alone.history.log_loss.tolist() == pytest.approx(other.history.log_loss.tolist(), rel=1e-9, nan_ok=True)


def test_it_is_what_a_plain_loop_over_padded_bags_comes_to() -> None:
    bags, y = slides(40)
    fed = Federation.from_tensors(bags={"A": (bags, y)})
    run = fedlab.train(fed, Mean, engine="batched", evaluate=False, **QUICK | {"batch_size": 100, "rounds": 5})
    start = fedlab.train(fed, Mean, engine="batched", evaluate=False, **QUICK | {"lr": 1e-30, "rounds": 1})
    model = Mean(3, 1).double()
    model.load_state_dict({name: tensor.clone() for name, tensor in start.weights.items()})
    x, mask = Bags.of([bags[k] for k in fed["A"].split.train]).padded()
    step = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        step.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x, mask)[:, 0], fed["A"].train.y.double()).backward()
        step.step()
    assert all(torch.allclose(w, run.weights[name], rtol=1e-9) for name, w in model.state_dict().items())


def test_patients_are_not_split_and_all_that_makes_a_federation_keeps_the_bags() -> None:
    bags, y = slides(60)
    fed = Federation.from_tensors(bags={"A": (bags, y), "B": (bags, y)}, groups={n: np.arange(60) // 2 for n in "AB"})
    site = fed["A"]
    parts = [set(site.rows.group[rows]) for rows in site.split.parts().values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30
    dealt = fed.partition(IID(), sites=3)
    for made in (fed.resplit(3), fed.thinned(10, seed=0), fed.lock(), fed.select("B"), dealt):
        total = sum(int(each.rows.x.lengths.sum()) for each in made.sites)
        away = sum(int(each.locked.x.lengths.sum()) for each in made.sites if each.locked is not None)
        assert total + away == sum(map(len, bags)) * len({*made.names} & {"A", "B"} or "AB")
        assert len(fedlab.train(made, Mean, **QUICK).history)
    assert fed.fingerprint != fed.resplit(1).fingerprint == fed.resplit(1).fingerprint


def test_a_bag_more_or_less_is_another_federation() -> None:
    bags, y = slides()
    changed = [*bags[:-1], torch.cat([bags[-1], bags[-1][:1]])]
    one, other = (Federation.from_tensors(bags={"A": (each, y)}) for each in (bags, changed))
    assert one.fingerprint != other.fingerprint


def test_a_run_is_kept_reported_and_served_to_a_newcomer(tmp_path: Path) -> None:
    fed, late = labs().holdout("C")
    run = fedlab.train(fed, Mean, save=tmp_path / "run", **QUICK)
    again = fedlab.Run.load(tmp_path / "run", fed, model=Mean)
    assert all(torch.equal(w, again.weights[name]) for name, w in run.weights.items())
    report = run.report(unseen=[late]).query("metric == 'accuracy'").set_index("test")["value"]
    x, mask = late.test.x.padded()
    said = run.model()(x, mask)[:, 0] > 0
    assert report["C"] == pytest.approx(float((said.long() == late.test.y).double().mean()))


def test_a_model_without_a_mask_is_refused_and_not_fed_padding() -> None:
    class Blind(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.head = nn.Linear(inputs, outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.mean(-2))

    with pytest.raises(ValueError, match="mask"):
        fedlab.train(labs(), Blind, **QUICK)
