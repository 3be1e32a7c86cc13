"""The same name is not the same thing: content decides, and the refusal says what differs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.algorithms import Algorithm, FedProx, FromFlower
from fedlab.engine import SGD
from fedlab.engine.identity import content, differences
from fedlab.engine.record import RecordDiffers
from tests.conftest import ragged

FED = ragged((30, 40))


def of(source: str, name: str, **known: Any) -> Any:
    """What a notebook's cell leaves behind: its source is not in a file."""
    space: dict[str, Any] = {"__name__": "__main__", "torch": torch, "nn": nn, "Algorithm": Algorithm, **known}
    exec(compile(textwrap.dedent(source), "<cell>", "exec"), space)
    return space[name]


MINE = """
class Mine(Algorithm):
    def objective(self, vars, at):
        return at.loss(vars) {change}
"""
NET = """
class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x) {change}
"""
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "a field": (lambda: FedProx(mu=0.1), lambda: FedProx(mu=0.2), r"mu \(0.1 there, 0.2 here\)"),
    "an objective": (
        lambda: of(MINE.format(change="* 1"), "Mine")(),
        lambda: of(MINE.format(change="* 2"), "Mine")(),
        "the source of class.objective",
    ),
    "a number that it refers to": (
        lambda: of(MINE.format(change="* MU"), "Mine", MU=0.1)(),
        lambda: of(MINE.format(change="* MU"), "Mine", MU=0.5)(),
        r"class.objective.refers to.MU \(0.1 there, 0.5 here\)",
    ),
    "a function that it calls": (
        lambda: of(MINE.format(change="* f(1)"), "Mine", f=of("def f(x): return x", "f"))(),
        lambda: of(MINE.format(change="* f(1)"), "Mine", f=of("def f(x): return -x", "f"))(),
        "the source of class.objective.refers to.f",
    ),
    "a forward pass": (
        lambda: of(NET.format(change=""), "Net")(2, 1),
        lambda: of(NET.format(change="* 0.5"), "Net")(2, 1),
        "the source of class.forward",
    ),
    "a schedule": (
        lambda: of("f = lambda round, rounds: 0.5", "f"),
        lambda: of("f = lambda round, rounds: 0.7", "f"),
        "the source of f|the source of <lambda>",
    ),
    "a closure": (lambda: scaled(1.0), lambda: scaled(2.0), r"closure\[0\] \(1.0 there, 2.0 here\)"),
    "a default": (
        lambda: of("def f(r, n, k=1): return k", "f"),
        lambda: of("def f(r, n, k=2): return k", "f"),
        r"defaults\[0\]",
    ),
    "a partial": (lambda: partial(max, 1), lambda: partial(max, 2), r"args\[0\]"),
    "a tensor": (lambda: {"w": torch.ones(2)}, lambda: {"w": torch.zeros(2)}, "w.values"),
    "an array's dtype": (lambda: np.ones(2), lambda: np.ones(2, dtype=np.float32), "dtype"),
    "an attribute of a layer": (lambda: Scaled(1.0), lambda: Scaled(2.0), r"own..k \(1.0 there, 2.0 here\)"),
    "an optimizer": (lambda: SGD(momentum=0.1), lambda: SGD(momentum=0.2), "momentum"),
}  # fmt: skip


def scaled(k: float) -> Callable[[int, int], float]:
    def schedule(round: int, rounds: int) -> float:
        return k

    return schedule


class Scaled(nn.Linear):
    def __init__(self, k: float, inputs: int = 2, outputs: int = 1) -> None:
        super().__init__(inputs, outputs)
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.k


@pytest.mark.parametrize("kind", PAIRS)
def test_what_differs_is_found_and_named(kind: str) -> None:
    one, other, says = PAIRS[kind]
    assert content(one()) == content(one()), "the same again is the same"
    found = list(differences(content(one()), content(other())))
    assert found and any(__import__("re").search(says, what) for what in found), found


def test_a_comment_changes_nothing() -> None:
    bare = of("def f(x):\n    return x + 1", "f")
    said = of('def f(x):\n    """Add."""\n    # one more\n\n    return (x +\n            1)', "f")
    assert list(differences(content(bare), content(said))) == []


def test_another_python_is_no_difference_where_the_source_is_the_same() -> None:
    here = content(scaled(1.0))
    there = {k.replace("3.", "2."): v if "code" not in k else "sha256:0" for k, v in here.items()}
    assert list(differences(there, here)) == []
    assert list(differences(there | {"source": "sha256:0"}, here)) == ["the source of scaled.<locals>.schedule"]


def test_another_process_describes_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import json, sys\nfrom fedlab.engine.identity import content\n"
        "def f(x):\n    return x in {'a', 'b', 'c', 'd'} and sorted(x for x in 'ab')\n"
        "print(json.dumps(content(f)))\n"
    )
    said = {
        subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, check=True,
                       env={**__import__("os").environ, "PYTHONHASHSEED": str(seed)}).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(said) == 1 and "sha256" in said.pop()


def test_what_has_no_words_is_described_without_its_address() -> None:
    class Odd:
        def __init__(self) -> None:
            self.lock, self.itself = __import__("threading").Lock(), self

    assert "0x" not in str(content(Odd())) and content(Odd()) == content(Odd())


# ---------------------------------------------------------------- records


def mine(change: str) -> Any:
    return of(MINE.format(change=change), "Mine")()


def net(change: str) -> Any:
    return of(NET.format(change=change), "Net")


def compare(folder: Path, **changed: Any) -> fedlab.Study:
    options = {
        "algorithms": {"isolated": "isolated", "mine": mine("* 1")},
        "model": "logistic",
        "schedule": scaled(1.0),
    }
    options |= {"seeds": 2, "rounds": 2, "save": folder, "progress": False} | changed
    return fedlab.compare(FED, options.pop("model"), options.pop("algorithms"), **options)


def test_a_folder_answers_only_for_the_same_content(tmp_path: Path) -> None:
    kept = compare(tmp_path / "study")
    again = compare(tmp_path / "study")
    assert again.table().equals(kept.table())
    for changed, says in (
        ({"algorithms": {"isolated": "isolated", "mine": mine("* 2")}}, "the arm mine: the source of class.objective"),
        ({"schedule": scaled(0.5)}, r"schedule: closure\[0\] \(1.0 there, 0.5 here\)"),
        ({"lr": 0.2}, r"lr \(0.1 there, 0.2 asked\)"),
    ):
        with pytest.raises(ValueError, match=f"keeps another comparison: {says}. Choose another folder"):
            compare(tmp_path / "study", **changed)
    of_net = compare(tmp_path / "net", model=net("* 1"))
    assert compare(tmp_path / "net", model=net("* 1")).table().equals(of_net.table())
    with pytest.raises(ValueError, match="the model's the source of class.forward"):
        compare(tmp_path / "net", model=net("* 2"))


def test_a_flower_strategy_with_other_settings_is_another(tmp_path: Path) -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    arms = [{"isolated": "isolated", "far": FromFlower(strategies.FedAdam(eta=eta))} for eta in (0.001, 1.0)]
    compare(tmp_path / "s", algorithms=arms[0])
    with pytest.raises(ValueError, match=r"the arm far: strategy.eta \(0.001 there, 1.0 here\)"):
        compare(tmp_path / "s", algorithms=arms[1])
    assert compare(tmp_path / "s", algorithms=arms[0]).arms == ("isolated", "far")


@dataclass(frozen=True, kw_only=True)
class Gentle(Algorithm):
    """With a field that no JSON holds."""

    by: Any = None

    def objective(self, vars: Any, at: Any) -> Tensor:
        return at.loss(vars) * self.by(1, 1)


def test_a_run_goes_on_only_with_what_it_was_made_with(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def three(round: int, rounds: int) -> float:
        if round > 2 and stop.exists():
            raise Stop
        return 1.0

    stop = tmp_path / "stop"
    stop.touch()
    with pytest.raises(Stop):
        fedlab.train(
            FED, net("* 1"), Gentle(by=scaled(1.0)), rounds=4, schedule=three, save=tmp_path / "run", progress=False
        )
    stop.unlink()
    given: dict[str, Any] = {"model": net("* 1"), "algorithm": Gentle(by=scaled(1.0)), "schedule": three}
    for name, other, says in (
        ("model", net("* 2"), "the model's the source of class.forward"),
        ("algorithm", Gentle(by=scaled(3.0)), "the algorithm's by.closure"),
        ("schedule", scaled(1.0), "schedule: "),
    ):
        with pytest.raises(ValueError, match=f"cannot go on with other: .*{says}"):
            fedlab.Run.resume(tmp_path / "run", FED, progress=False, **{**given, name: other})
        with pytest.warns(RecordDiffers, match=says):
            fedlab.Run.load(tmp_path / "run", FED, **{**given, name: other})
    assert len(fedlab.Run.load(tmp_path / "run", FED, **given).records) == 2
