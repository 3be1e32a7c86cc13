"""Where the sites compute. Without a GPU, on torch's "meta" device: that all of the sites' work stays where it is put.

On a machine with a GPU the whole suite runs on it (``device="auto"``), and the last test compares it with the CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fedlab
from benchmarks.workloads import cnn, pictures
from fedlab.algorithms import ALGORITHMS
from fedlab.algorithms.base import Batch
from fedlab.engine import SGD, Adam, Settings
from fedlab.engine.batched import Part, StackedSites
from fedlab.engine.batches import Job
from fedlab.engine.local import LocalTransport
from fedlab.engine.plan import planned
from fedlab.engine.train import begin
from fedlab.engine.trees import tree_leaves, tree_map
from fedlab.federation import Federation
from fedlab.models import BatchNorm, Dropout
from tests.engine.test_modes import difference


def normed(inputs: int, outputs: int) -> torch.nn.Module:
    class Net(fedlab.models.MLP):
        def __init__(self) -> None:
            super().__init__(inputs, outputs, norm=True, dropout=0.3)

    assert any(isinstance(layer, (BatchNorm, Dropout)) for layer in Net().body)
    return Net()


WORK = [(name, SGD()) for name in ALGORITHMS if name != "centralized"]  # pooled: not all at once
WITH_ADAM = [(name, Adam(weight_decay=0.01)) for name, _ in WORK if not ALGORITHMS[name].needs_sgd]


@pytest.mark.parametrize("name,optimizer", WORK + [pytest.param(*pair, marks=pytest.mark.slow) for pair in WITH_ADAM])
def test_the_sites_work_stays_on_its_device(name: str, optimizer: Any, uneven: Federation) -> None:
    run = begin(planned(uneven, normed, name, dict(optimizer=optimizer, batch_size=16, clip=1.0, device="cpu")))
    transport = LocalTransport(run, stop=lambda: False)
    for work in transport.work.values():
        work.prepare({})
    stack = StackedSites(list(transport.work.values()), stop=lambda: False)
    model = {k: v for k, v in run.net.start().items() if run.algorithm.shared(k)}
    state = run.algorithm.begin(run.net.start(), 3, torch.Generator().manual_seed(0))
    job = Job(round=1, rounds=2, lr=0.1, batch_size=16, local_epochs=1, seed=0, clip=1.0)
    part = Part([0, 1, 2], model, run.algorithm.broadcast(state), job)
    box = stack._box([part], None, torch.zeros(3))
    there = {"device": "meta"}  # torch's device without memory: a tensor of the CPU in its operations is an error
    stack.x, stack.y = stack.x.to(**there), stack.y.to(**there)
    box = tree_map(lambda v: v.to(**there), box)
    run.net.constants = tree_map(lambda v: v.to(**there), run.net.constants)
    work, feed = stack._work([part]), Feed(stack.x, stack.y)
    upload, sent, memory = work.train(box, feed, lambda: False)
    with torch.no_grad():
        personal = torch.func.vmap(work.personal)({**box, "memory": {**memory, "opt": {}}})
    assert {leaf.device.type for leaf in tree_leaves([upload, sent, memory, *personal])} <= {"meta"}


class Feed:
    """Two steps of two rows a site; in the second one the first site is done."""

    length = 2

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def batch(self, step: int) -> Batch:
        x = self.x[:6].unflatten(0, (3, 2))
        return Batch(x, self.y[:6].unflatten(0, (3, 2)), torch.ones_like(x[..., 0]))

    def going(self, step: int) -> torch.Tensor | None:
        return None if step == 0 else self.y[:3] > 0


def test_auto_is_the_cpu_where_there_is_no_gpu_and_on_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Settings().place == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Settings().place == "cuda" and Settings(engine="ray").place == "cpu"
    assert Settings(device="cpu").place == "cpu" and Settings(device="cuda:0").place == "cuda:0"
    with pytest.raises(ValueError, match="device is 'cuda:1', but torch finds 1 CUDA devices here"):
        Settings(device="cuda:1")
    with pytest.raises(ValueError, match="device is 'gpu': choose auto, cpu, cuda"):
        Settings(device="gpu")


@pytest.mark.parametrize("engine", ["batched", "threads", "sequential"])
def test_convolutions_keep_their_digits_wherever_a_model_is_asked(engine: str) -> None:
    """What cuDNN is told can be read without a GPU: in training, evaluation, the report and newcomers' predictions."""
    told: list[bool] = []

    class Listening(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            told.append(torch.backends.cudnn.allow_tf32 or not torch.backends.cudnn.deterministic)
            return super().forward(x)

    before = torch.backends.cudnn.allow_tf32
    fed = pictures(2, 12)
    run = fedlab.train(fed, lambda i, o: Listening(cnn(i, o)), rounds=1, batch_size=8, engine=engine, progress=False)
    probed = 2  # `begin` looks only at shapes and the generator
    assert len(told) > probed + 2 and not any(told[probed:])
    told.clear()
    run.report()
    assert told and not any(told)
    assert torch.backends.cudnn.allow_tf32 == before


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@on_a_gpu
@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_gpu_gives_what_the_cpu_gives(name: str, engine: str, uneven: Federation) -> None:
    if name == "centralized" and engine == "batched":
        engine = "auto"
    options: dict[str, Any] = dict(rounds=3, batch_size=16, dtype="float64", engine=engine, progress=False)
    near = fedlab.train(uneven, "mlp_norm", name, device="cpu", **options)
    assert difference(near, fedlab.train(uneven, "mlp_norm", name, device="cuda", **options)) < 1e-9


@on_a_gpu
@pytest.mark.parametrize("engine", ["batched", "threads", "sequential"])
def test_convolutions_on_a_gpu_keep_their_digits_and_repeat(engine: str) -> None:
    """As many digits as on a CPU: a GPU's usual ten bits would be a thousand times as far from float64."""
    options: dict[str, Any] = dict(rounds=2, batch_size=16, lr=0.1, progress=False)
    gpu: dict[str, Any] = dict(device="cuda", engine=engine)
    exact, near, *far = (
        fedlab.train(pictures(rows=40), cnn, "fedavg", **options, **where)
        for where in (dict(device="cpu", dtype="float64"), dict(device="cpu"), gpu, gpu)
    )
    off = [max((run.weights[k] - v).abs().max().item() for k, v in exact.weights.items()) for run in (near, *far)]
    assert off[1] < 20 * off[0]
    assert difference(*far) == 0
    assert difference(exact, fedlab.train(pictures(rows=40), cnn, "fedavg", **options, **gpu, dtype="float64")) < 1e-9


@on_a_gpu
def test_convolutions_are_stacked_on_a_gpu_and_not_on_a_cpu() -> None:
    notes = {d: fedlab.train(pictures(rows=20), cnn, rounds=1, progress=False, device=d).notes for d in ("cpu", "cuda")}
    assert "convolutions are slower stacked" in notes["cpu"][0] and not notes["cuda"]
