"""The ServerApp: the round loop, without a row. It waits after round 1 where it is told to."""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path
from typing import Any

from flwr.serverapp import ServerApp

import fedlab
from fedlab.engine.exchange import Exchange
from fedlab.engine.flower import FlowerTransport
from fedlab.engine.plan import Plan
from fedlab.engine.rounds import rounds
from fedlab.engine.train import begin
from fedlab.storage.codec import to_bytes

from .hospital_agreed import AGREED, COLUMNS

app = ServerApp()


@app.main()
def main(grid: Any, context: Any) -> None:
    """Carry the run through, or ask about tables or rows, and write down what came of it."""
    config = context.run_config
    out = Path(str(config["out"]))
    try:
        plan = Plan.load(str(config["plan"]))
        asks = {"training": train, "tables": ask_of_tables, "measures": measure}[str(config["asks"])]
        told = asks(plan, grid, out, waits=bool(config["waits"]))
    except Exception:
        told = {"failed": traceback.format_exc()}
    (out / "told").write_text(json.dumps(told))
    (out / "told").rename(out / "told.json")  # who waits for it finds all of it


def train(plan: Plan, grid: Any, out: Path, *, waits: bool) -> dict[str, Any]:
    """Carry the run through; where it waits, until a node has come that was not there."""
    run = begin(plan)
    transport = FlowerTransport(grid, plan.sites, columns=COLUMNS)
    there = set(grid.get_node_ids())
    for event in rounds(run, Exchange(transport, ledger=run.ledger_book)):
        (out / f"round {event.round}").touch()
        while waits and event.round == 1 and set(grid.get_node_ids()) <= there:
            time.sleep(0.1)
    (out / "weights").write_bytes(to_bytes(run.weights))
    run.ledger.to_csv(out / "ledger.csv", index=False)
    run.history.to_csv(out / "history.csv", index=False)
    for name, options in plan.report.items():
        getattr(run, name)(**options).to_pickle(out / name)
    run.save(out / "record")
    return {"errors": run.errors.values.tolist(), "notes": [*run.notes, *transport.notes]}


def ask_of_tables(plan: Plan, grid: Any, out: Path, *, waits: bool) -> dict[str, Any]:
    """Harmonise what the hospitals wrote."""
    harmony = fedlab.harmonise(Exchange(FlowerTransport(grid, plan.sites)), AGREED, progress=False)
    harmony.accept().apply()
    return {"proposals": harmony.proposals.values.tolist(), "changed": harmony.changed}


def measure(plan: Plan, grid: Any, out: Path, *, waits: bool) -> dict[str, Any]:
    """Measure what differs, as far as counts show it."""
    gate = Exchange(FlowerTransport(grid, plan.sites))
    found = fedlab.heterogeneity(plan, gate=gate, draws=20, progress=False)
    found.detail.to_pickle(out / "detail")
    return {"messages": len(found.ledger)}
