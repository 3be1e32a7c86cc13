"""The ServerApp: the round loop, without a row. It waits after round 1 where it is told to."""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path
from typing import Any

from flwr.serverapp import ServerApp

from fedlab.engine.exchange import Exchange
from fedlab.engine.flower import FlowerTransport
from fedlab.engine.plan import Plan
from fedlab.engine.rounds import rounds
from fedlab.engine.train import begin
from fedlab.storage.codec import to_bytes

from .hospital_agreed import COLUMNS

app = ServerApp()


@app.main()
def main(grid: Any, context: Any) -> None:
    """Carry the run through and write down what came of it."""
    config = context.run_config
    out = Path(str(config["out"]))
    try:
        plan = Plan.load(str(config["plan"]))
        run = begin(plan)
        transport = FlowerTransport(grid, plan.sites, columns=COLUMNS)
        for event in rounds(run, Exchange(transport, ledger=run.ledger_book)):
            (out / f"round {event.round}").touch()
            while event.round == 1 and config["waits"] and not (out / "go").exists():
                time.sleep(0.1)
        (out / "weights").write_bytes(to_bytes(run.weights))
        run.ledger.to_csv(out / "ledger.csv", index=False)
        run.history.to_csv(out / "history.csv", index=False)
        told = {"errors": run.errors.values.tolist(), "notes": [*run.notes, *transport.notes]}
    except Exception:
        told = {"failed": traceback.format_exc()}
    (out / "told.json").write_text(json.dumps(told))
