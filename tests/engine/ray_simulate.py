"""``fedlab simulate`` whose raylet is killed after two rounds; used by ``test_ray_deaths.py``."""

from __future__ import annotations

import os
import signal

from fedlab.cli import app
from fedlab.engine import Run
from tests.engine.ray_deaths import below

if __name__ == "__main__":
    plain, acted = Run.tell, []

    def tell(self: Run, doing: str) -> None:
        plain(self, doing)
        if len(self.records) == 2 and not acted:
            acted.extend(number for number, _, name in below(os.getpid()) if name == "raylet")
            os.kill(acted[0], signal.SIGKILL)
            print("ACTED", flush=True)

    Run.tell = tell
    app(["simulate", "heart_disease", "--rounds", "500"])
