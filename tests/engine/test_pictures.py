"""Pictures: bytes until the batch, held once by all seeds, evaluated in passes; a factory that is told their shape."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.engine import batched, net
from fedlab.federation import Federation

QUICK: dict[str, Any] = {"rounds": 2, "batch_size": 8, "lr": 0.1, "dtype": "float64", "progress": False}
MODES = ("sequential", "threads", "batched")


def cnn(inputs: int, outputs: int, shape: tuple[int, ...]) -> nn.Module:
    channels, high, wide = shape
    assert channels == inputs
    conv = nn.Conv2d(channels, 4, 3, padding=1)
    return nn.Sequential(conv, nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * high * wide, outputs))


def shot(n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randint(0, 200, (n, 2, 5, 6), generator=rng, dtype=torch.uint8)
    return x + 40 * y[:, None, None, None].to(torch.uint8), y


def cameras(*, read: Any = lambda x: x) -> Federation:
    return Federation.from_tensors({name: (read(x), y) for name, (x, y) in
                                    ((name, shot(40 + 10 * k, k)) for k, name in enumerate("ABC"))})  # fmt: skip


def furthest(one: fedlab.Run, other: fedlab.Run) -> float:
    return max(float((one.weights[name] - other.weights[name]).abs().max()) for name in one.weights)


@pytest.mark.parametrize("mode", MODES)
def test_bytes_are_kept_and_seen_divided_by_255(mode: str) -> None:
    kept, floats = cameras(), cameras(read=lambda x: x.double() / 255)
    assert kept["A"].rows.x.dtype == torch.uint8
    one, other = (fedlab.train(fed, cnn, engine=mode, **QUICK) for fed in (kept, floats))
    assert furthest(one, other) < 1e-12
    told = [run.report().value.to_numpy(dtype=float) for run in (one, other)]
    assert told[0] == pytest.approx(told[1], nan_ok=True)


def test_sites_alone_in_threads_and_stacked_are_the_same() -> None:
    alone, *others = (fedlab.train(cameras(), cnn, engine=mode, **QUICK) for mode in MODES)
    assert all(furthest(alone, other) < 1e-12 for other in others)


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_in_many_passes_is_that_in_one(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fedlab.train(cameras(), cnn, engine=mode, **QUICK)
    monkeypatch.setattr(net, "PASS", 3 * 60)  # three pictures
    monkeypatch.setattr(batched, "PASS", 3 * 60)
    parts = fedlab.train(cameras(), cnn, engine=mode, **QUICK)
    for name in ("log_loss", "auc"):
        assert parts.history[name].tolist() == pytest.approx(whole.history[name].tolist(), rel=1e-9, nan_ok=True)
    told = [run.report().value.to_numpy(dtype=float) for run in (whole, parts)]
    assert told[0] == pytest.approx(told[1], nan_ok=True)


def test_ten_seeds_hold_the_pictures_once() -> None:
    fed = cameras()
    own = {site.rows.x.data_ptr() for site in fed.sites}
    for event in fedlab.stream(fed, cnn, rounds=1, seeds=10):
        held = [each for each in gc.get_objects() if type(each) is Tensor and each.dtype == torch.uint8]
        shown = {each.untyped_storage().data_ptr() for each in held if each.shape[-2:] == (5, 6) and len(each) > 20}
        assert shown == own
        assert {run.federation["A"].rows.x.data_ptr() for run in event.runs} <= own


@pytest.mark.parametrize(
    ("odd", "match"),
    [
        (lambda x: x[:, :1], "A and B|B"),
        (lambda x: x[..., :4], "B"),
        (lambda x: x.float() / 255, "are of bytes.*and those of the other sites are of floats"),
    ],
)
def test_pictures_of_another_form_beside_these_are_refused(odd: Any, match: str) -> None:
    (x, y), (other, labels) = shot(40, 0), shot(40, 1)
    with pytest.raises(ValueError, match=match):
        Federation.from_tensors({"A": (x, y), "B": (odd(other), labels)})
