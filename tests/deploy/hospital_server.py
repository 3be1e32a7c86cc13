"""The ServerApp: the round loop, without a row. It waits after round 1 where it is told to."""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from flwr.serverapp import ServerApp

from fedlab.engine.exchange import Exchange
from fedlab.engine.flower import FlowerTransport
from fedlab.engine.rounds import rounds
from fedlab.federation import Federation, Task
from fedlab.storage.codec import to_bytes

from .hospital_agreed import CLASSES, COLUMNS, run_of

app = ServerApp()


@app.main()
def main(grid: Any, context: Any) -> None:
    """Carry the run through and write down what came of it."""
    config = context.run_config
    out, names = Path(str(config["out"])), str(config["sites"]).split(",")
    try:
        # a Run still needs a Federation with rows: three invented ones a site, which nobody reads
        rows = {s: (torch.rand(3, len(COLUMNS), dtype=torch.float64), torch.tensor([0, 1, 0])) for s in names}
        run = run_of(Federation.from_tensors(rows, task=Task(tuple(map(str, CLASSES))), prepared=False), config)
        transport = FlowerTransport(grid, names, columns=COLUMNS)
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
