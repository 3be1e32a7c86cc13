"""Run in a process of its own by ``test_ray.py``: the same run on Ray and here, differences printed as JSON.

Every new word on what the run is doing is printed too, as a sign of life.
"""

from __future__ import annotations

import json
import sys

from torch.utils._pytree import tree_leaves

import fedlab
from fedlab.algorithms import Algorithm, FromFlower, algorithm
from fedlab.engine import Run
from tests.conftest import ragged


class Leaky(Algorithm):
    """FedAvg, but the site with 60 training rows fails in round 2 with a patient's name in the text."""

    def finish(self, vars, at):
        if float(at.n) == 60 and at.round == 2:
            raise LookupError("patient 4711 is odd")
        return vars, {}, at.memory


def named(name: str) -> Algorithm:
    if name == "fromflower":
        from flwr.serverapp.strategy import FedAdam

        return FromFlower(FedAdam(eta=0.05))
    return Leaky() if name == "leaky" else algorithm(name)


def speak() -> None:
    """Let every run say what it does, one line each time that it changes."""

    def tell(self: Run, doing: str) -> None:
        if doing != self.doing:
            print(doing, flush=True)
        self.doing = doing

    Run.tell = tell


def compare(name: str) -> dict[str, object]:
    fed, alg = ragged(), named(name)
    options = dict(rounds=3, batch_size=16, progress=False)
    far = fedlab.train(fed, "mlp_norm", alg, engine="ray", **options)
    near = fedlab.train(fed, "mlp_norm", alg, engine="sequential", **options)
    pairs = zip(tree_leaves((far.weights, far.models)), tree_leaves((near.weights, near.models)), strict=True)
    return {
        "difference": max((a - b).abs().max().item() for a, b in pairs),
        "leaves": len(tree_leaves((far.weights, far.models))),
        "history": far.history.drop(columns="seconds").equals(near.history.drop(columns="seconds")),
        "ledger": far.ledger.equals(near.ledger),
        "errors": far.errors.values.tolist(),
        "leaked": "4711" in far.ledger.to_string() + far.errors.to_string(),
        "notes": far.notes,
    }


if __name__ == "__main__":
    speak()
    for name in sys.argv[1:]:
        print("RESULT", json.dumps({"name": name, **compare(name)}), flush=True)
