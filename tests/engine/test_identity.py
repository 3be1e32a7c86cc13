"""The same name is not the same thing: content decides, and the refusal says what differs."""

from __future__ import annotations

import copy
import functools
import json
import logging
import re
import subprocess
import sys
import textwrap
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


OBJECTIVE = "class Mine(Algorithm):\n    def objective(self, vars, at):\n        return at.loss(vars) * {read}"
HOLDS = (
    "class Holds:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\n    def __call__(self): return self.k"
)
KEPT = "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    k: float"


def module(name: str = "cfg", **held: Any) -> ModuleType:
    found = ModuleType(name)
    found.__dict__.update(held)
    return found


READ: dict[str, tuple[str, Callable[[float], Any]]] = {
    "a dict": ("C['k']", lambda k: {"k": k}),
    "a dict of numbers": ("C[1]", lambda k: {1: k, "1": 0}),
    "a list": ("C[0]", lambda k: [k]),
    "a tensor": ("C", torch.tensor),
    "a bfloat16 tensor": ("C", lambda k: torch.tensor(k, dtype=torch.bfloat16)),
    "an array": ("C", np.array),
    "an array of objects": ("C[0]", lambda k: np.array([k, None], dtype=object)),
    "a namespace": ("C.k", lambda k: SimpleNamespace(k=k)),
    "a dataclass": ("C.k", lambda k: of(KEPT, "Kept")(k)),
    "a module's number": ("C.k", lambda k: module(k=k)),
    "a module's function": ("C.f()", lambda k: module(f=scaled(k))),
    "a module, handed on": ("f(C)", lambda k: module(k=k)),
    "a module's module": ("C.sub.k", lambda k: module(sub=module("cfg.sub", k=k))),
    "a set": ("len(C)", lambda k: {k, "a", "b"}),
    "a frozenset": ("len(C)", lambda k: frozenset({k})),
    "bytes": ("C[0]", lambda k: str(k).encode()),
    "a complex number": ("C.real", lambda k: complex(k)),
    "a callable": ("C()", lambda k: of(HOLDS, "Holds")(k)),
    "a pattern": ("C.match", lambda k: re.compile(str(k))),
    "a deque": ("C[0]", lambda k: deque([k])),
    "a default dict": ("C[0]", lambda k: defaultdict(scaled(k))),
    "a function's attribute": ("C.k", lambda k: vars(f := of("def f(): pass", "f")).update(k=k) or f),
    "a wrapped function": ("C()", lambda k: functools.lru_cache(scaled(k))),
    "a bound method": ("C()", lambda k: of(HOLDS, "Holds")(k).__call__),
    "what a library made": ("C.get", lambda k: {"k": k}.get),
}


@pytest.mark.parametrize("read", [OBJECTIVE, "Mine = lambda: (lambda round, rounds: {read})", "a closure"])
@pytest.mark.parametrize("kind", READ)
def test_whatever_code_reads_is_told(kind: str, read: str) -> None:
    attribute, make = READ[kind]

    def told(k: float) -> Any:
        if read == "a closure":
            return content(scaled(make(k)))
        return content(of(read.format(read=attribute), "Mine", C=make(k), f=scaled(1.0))())

    assert list(differences(told(0.1), told(0.1))) == []
    assert list(differences(told(0.1), told(5.0)))


def test_what_lies_deep_is_told() -> None:
    def chain(k: float, length: int) -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        for n in range(length):
            exec(f"def h{n}(): return h{n + 1}() + h{n + 1}()", space)
        exec(f"def h{length}(): return {k}", space)
        return content(space["h0"])

    assert list(differences(chain(1, 40), chain(1, 40))) == [] != list(differences(chain(1, 40), chain(2, 40)))
    assert len(json.dumps(chain(1, 40))) < 40_000, "what is called from two places is told once"
    assert "nested too deep" in next(differences(chain(1, 3000), chain(1, 3000)))


def test_who_calls_itself_is_told_by_what_is_above() -> None:
    def two(k: int) -> Any:
        return of(f"def f(n): return g(n - 1)\ndef g(n): return f(n) * {k} if n else 0", "f")

    assert list(differences(content(two(1)), content(two(1)))) == []
    (said,) = differences(content(two(1)), content(two(2)))
    assert said.startswith("the source of refers to.g (sha256:") and said.endswith(" here)")


CLASSES: dict[str, tuple[str, str, str]] = {
    "a hidden number": (
        "class N(nn.Linear):\n    def __init__(s, k):\n        super().__init__(2, 1)\n        s._k = k",
        "N(0.1)", "N(5.0)",
    ),
    "a hidden function": (
        "class N(nn.Linear):\n    def __init__(s, f):\n        super().__init__(2, 1)\n        s._f = f",
        "N(torch.relu)", "N(torch.sin)",
    ),
    "a hook": (
        "def hooked(f):\n    net = nn.Linear(2, 1)\n    net.register_forward_hook(f)\n    return net",
        "hooked(lambda m, x, y: y)", "hooked(lambda m, x, y: y * 2)",
    ),
    "a hook before": (
        "def hooked(f):\n    net = nn.Sequential(nn.Linear(2, 1))\n    net[0].h = net[0].register_forward_pre_hook(f)\n"
        "    return net",
        "hooked(lambda m, x: x)", "hooked(lambda m, x: (x[0] * 2,))",
    ),
    "a forward that was replaced": (
        "def changed(f):\n    net = nn.Linear(2, 1)\n    net.forward = f\n    return net",
        "changed(lambda x: x)", "changed(lambda x: -x)",
    ),
    "a compiled forward": (
        "def made(f): return torch.jit.trace(nn.Sequential(nn.Linear(2, 1), f), torch.ones(1, 2))",
        "made(nn.ReLU())", "made(nn.Tanh())",
    ),
    "a compiled layer's number": (
        "def made(k):\n    net = torch.jit.script(Halved(k))\n    return nn.Sequential(net)",
        "made(0.1)", "made(5.0)",
    ),
    "a library layer's setting": (
        "T = nn.TransformerEncoderLayer", "T(4, 2, norm_first=True)", "T(4, 2, norm_first=False)",
    ),
    "a library layer's function": ("T = nn.TransformerEncoderLayer", "T(4, 2)", "T(4, 2, activation='gelu')"),
    "what is no field": (
        "class A(Algorithm):\n    def __init__(s, k=.1, **kw):\n        super().__init__(**kw)\n"
        "        object.__setattr__(s, 'k', k)",
        "A(.1)", "A(5.)",
    ),
    "the order of the bases": (
        "class M:\n    def f(s): return 1\nclass N:\n    def f(s): return 2\n"
        "def made(*bases): return type('A', bases, {'__module__': '__main__'})()",
        "made(M, N)", "made(N, M)",
    ),
    "a property's setter": (
        "class P:\n    def g(s): return 1\n    def one(s, v): s.v = v\n    def two(s, v): s.v = 2 * v\n"
        "def made(f): return type('A', (), {'__module__': '__main__', 'p': property(P.g, f)})()",
        "made(P.one)", "made(P.two)",
    ),
}  # fmt: skip


class Halved(nn.Module):
    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return x * self.k


@pytest.mark.parametrize("kind", CLASSES)
def test_whatever_a_class_holds_is_told(kind: str) -> None:
    source, one, other = CLASSES[kind]

    def told(made: str) -> Any:
        return content(of(f"{source}\ndef make(): return {made}", "make", Halved=Halved)())

    assert list(differences(told(one), told(one))) == []
    assert list(differences(told(one), told(other)))


@pytest.mark.parametrize("net", [nn.Linear(2, 1), nn.LSTM(2, 2), nn.TransformerEncoderLayer(4, 2), nn.BatchNorm1d(2)])
def test_a_trained_model_is_the_same_model(net: nn.Module) -> None:
    before = content(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    net.eval()
    assert list(differences(before, content(copy.deepcopy(net)))) == []


@pytest.mark.parametrize(
    "make", [lambda: (n for n in range(3)), lambda: open(__file__, "rb"), lambda: memoryview(b"a")]
)
def test_what_cannot_be_read_is_never_the_same(make: Callable[[], Any]) -> None:
    found = [content(of("def f(): return C", "f", C=make())) for _ in range(2)]
    assert "refers to.C, which cannot be compared" in next(differences(*found))


def test_locks_and_logs_are_no_difference() -> None:
    held = {"C": [threading.Lock(), threading.RLock(), logging.getLogger("mine"), object(), nn.Identity()]}
    assert list(differences(*(content(of("def f(): return C", "f", **copy.copy(held))) for _ in range(2)))) == []


def test_what_an_older_record_does_not_have_is_no_difference() -> None:
    now = content(Gentle(by=scaled(1.0)))
    then = {"class": {k: v for k, v in now["class"].items() if k not in ("bases", "by")}, "by": dict(now["by"])}
    assert list(differences(then, now, 1)) == [] != list(differences(then, now))
    other = then | {"by": then["by"] | {"closure": [2.0]}}
    assert list(differences(other, now, 1)) == ["by.closure[0] (2.0 there, 1.0 here)"]
    assert list(differences({"a": "a dict"}, {"a": {"k": 1}}, 1)) == []


def scaled(k: Any) -> Callable[[int, int], float]:
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
    inner = "def f(x):\n    def g(y):\n        {doc}\n    class H:\n        {doc}\n        k = 1\n    return g, H"
    one, other = (of(inner.format(doc=doc), "f") for doc in ('"""One."""', '"""Two of them."""'))
    assert list(differences(content(one), content(other))) == []
    doc, bare = (of(f"def f(x):\n    def g(y):\n        {doc}y += 1\n    return g", "f") for doc in ("'One.'; ", ""))
    assert list(differences(content(doc), content(bare))) == []


def test_another_python_is_no_difference_where_the_source_is_the_same() -> None:
    here = content(scaled(1.0))
    there = {k.replace("3.", "2."): v if "code" not in k else "sha256:0" for k, v in here.items()}
    assert list(differences(there, here)) == []
    (said,) = differences(there | {"source": "sha256:0"}, here)
    assert said == f"the source of scaled.<locals>.schedule (sha256:0 there, {here['source'][:19]} here)"


def test_another_process_describes_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import json, sys\nfrom fedlab.engine.identity import content\n"
        "class K:\n    pass\n"
        "S, O = {'a', 'b', (1, 'c'), frozenset('de'), K}, object()\n"
        "def f(x):\n    return x in {'a', 'b', 'c', 'd'} and sorted(x for x in 'ab') and (S, O, sys, K())\n"
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
        with pytest.raises(ValueError, match=f"keeps another comparison: {says}.*. Choose another folder"):
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


PLAIN = """
from fedlab.algorithms import FedAvg
class A_(FedAvg):
    def __init__(self, k=0.1):
        {how}
    def objective(self, vars, at):
        return at.loss(vars) * 2
"""


@pytest.mark.parametrize("how", ["pass", "object.__setattr__(self, 'k', k)"])
def test_an_algorithm_with_an_init_of_its_own_is_taken_up_from_a_renamed_file(tmp_path: Path, how: str) -> None:
    kept, again = (of(PLAIN.format(how=how), "A_", __name__=name) for name in ("mine", "renamed"))
    table = compare(tmp_path / "s", algorithms={"isolated": "isolated", "a": kept()}).table()
    assert compare(tmp_path / "s", algorithms={"isolated": "isolated", "a": again()}).table().equals(table)
    if how != "pass":
        with pytest.raises(ValueError, match=r"the arm a: k \(0.1 there, 5.0 here\)"):
            compare(tmp_path / "s", algorithms={"isolated": "isolated", "a": again(5.0)})


class Frozen(nn.Linear):
    def __init__(self, inputs: int, outputs: int, k: float) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("k", torch.tensor(k))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.k


def test_what_is_not_learned_belongs_to_the_model(tmp_path: Path) -> None:
    one, other = (functools.partial(Frozen, k=k) for k in (1.0, 2.0))
    compare(tmp_path / "s", model=one)
    assert compare(tmp_path / "s", model=one).arms
    with pytest.raises(ValueError, match="model constants"):
        compare(tmp_path / "s", model=other)


def test_what_cannot_be_compared_is_not_taken_up(tmp_path: Path) -> None:
    arms = {"isolated": "isolated", "a": of(MINE.format(change="* (1 if C else 2)"), "Mine", C=(n for n in range(3)))()}
    compare(tmp_path / "s", algorithms=arms)
    with pytest.raises(ValueError, match="C, which cannot be compared: a builtins.generator has nothing"):
        compare(tmp_path / "s", algorithms=arms)


def test_what_the_training_leaves_in_a_global_is_no_difference(tmp_path: Path) -> None:
    def seen() -> Any:
        return of(MINE.format(change="* len(SEEN.append(1) or 'a')"), "Mine", SEEN=[])()

    fedlab.train(FED, "logistic", seen(), rounds=2, save=tmp_path / "run", progress=False)
    assert len(fedlab.Run.resume(tmp_path / "run", FED, algorithm=seen(), progress=False).records) == 2
