"""A real federation on this machine: a SuperLink, two SuperNodes with a file each, a server without a row."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedlab
from fedlab.storage.codec import from_bytes
from tests.deploy.hospital_agreed import COLUMNS, federation_of, plan_of, read
from tests.patience import until

pytestmark = pytest.mark.deploy
ROOT = Path(__file__).parents[2]
SITES = ("Cleveland", "Hungary")
APP = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "hospital"
version = "0.1.0"
description = "two hospitals"
license = "Apache-2.0"
dependencies = []
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "fedlab"
[tool.flwr.app.components]
serverapp = "hospital.hospital_server:app"
clientapp = "hospital.hospital_client:app"
[tool.flwr.app.config]
out = ""
plan = ""
waits = false
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def programs() -> Path:
    """Where Flower's programs are: beside this Python, or beside the one that Flower is installed with."""
    flwr = pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")
    here, there = Path(sys.executable).parent, Path(flwr.__file__).parents[4] / "bin"
    found = next((folder for folder in (here, there) if (folder / "flower-superlink").exists()), None)
    if found is None:
        pytest.skip("flower-superlink is not installed")
    return found


class Deployment:
    """One SuperLink, and the SuperNodes that a test starts and ends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.port = folder, programs(), free_port()
        (folder / "home").mkdir()
        (folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )
        self.env = os.environ | {
            "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": str(folder / "home"),
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._app()
        self.start(
            "link", "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(self.port),
            "--disable-runtime-dependency-installation",
        )  # fmt: skip

    def _app(self) -> None:
        code = self.folder / "app" / "hospital"
        code.mkdir(parents=True)
        (self.folder / "app" / "pyproject.toml").write_text(APP)
        (code / "__init__.py").write_text("")
        for path in Path(__file__).parent.glob("hospital_*.py"):
            shutil.copy(path, code)

    def _listens(self) -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self) -> int:
        """How much all have written down so far: a sign of life."""
        return sum(path.stat().st_size for path in self.folder.glob("*.log"))

    def start(self, name: str, program: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self.bin / program), *arguments], stdout=log, stderr=log, env=self.env, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip

    def node(self, site: str) -> None:
        """Start a hospital's node."""
        config = {"site": site, "data": self.folder / f"{site}.csv", "folder": self.folder / f"{site} keeps"}
        self.start(
            site, "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}", "--host", "127.0.0.1",
            "--port", str(free_port()), "--node-config", " ".join(f'{k}="{v}"' for k, v in config.items()),
        )  # fmt: skip

    def end(self, name: str) -> None:
        """End a process and all that it has started."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with_all = getattr(os, "killpg", None)
            if with_all is not None:
                try:
                    with_all(process.pid, signal.SIGKILL)
                except OSError:
                    pass
            process.wait()

    def filled(self) -> Deployment:
        """Give each hospital a file of its own, and start its node."""
        until(self._listens, moves=self.said)
        hospitals = fedlab.load("heart_disease", seed=0)
        at = [hospitals.columns.index(name) for name in COLUMNS]
        for name in SITES:
            rows = hospitals[name].rows
            table = pd.DataFrame(rows.x[:, at].numpy(), columns=list(COLUMNS))
            table = table.assign(label=rows.y.numpy(), patient=rows.group)
            table.to_csv(self.folder / f"{name}.csv", index=False)
            self.node(name)
        return self

    def begin(self, name: str, algorithm: str = "fedavg", *, rounds: int, waits: bool = False) -> Path:
        """Submit a run; return the folder it writes to."""
        out = self.folder / name
        out.mkdir()
        plan = plan_of(SITES, algorithm, rounds=rounds).save(out / "plan.json")
        told = {"out": str(out), "plan": str(plan), "waits": waits}
        words = " ".join(f"{k}={json.dumps(v)}" for k, v in told.items())
        done = subprocess.run(
            [str(self.bin / "flwr"), "run", "app", "here", "--run-config", words, "--format", "json"],
            capture_output=True, text=True, env=self.env, cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return out

    def told(self, out: Path) -> dict[str, Any]:
        """Wait for a run's end; return what it says."""
        until((out / "told.json").exists, moves=lambda: (self.said(), len(list(out.iterdir()))))
        found: dict[str, Any] = json.loads((out / "told.json").read_text())
        assert "failed" not in found, found["failed"]
        return found


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    there = Deployment(tmp_path_factory.mktemp("deployed"))
    try:
        yield there.filled()
    finally:
        for name in list(there.processes):
            there.end(name)


def test_a_run_between_hospitals_is_that_in_process_also_when_a_node_starts_again(deployed: Deployment) -> None:
    out = deployed.begin("scaffold", "scaffold", rounds=2, waits=True)
    until(lambda: (out / "round 1").exists() or (out / "told.json").exists(), moves=deployed.said)
    deployed.end("Hungary")
    deployed.node("Hungary")
    (out / "go").touch()
    told = deployed.told(out)
    assert told["errors"] == []
    tables = [read(str(deployed.folder / f"{name}.csv"), name) for name in SITES]
    near = fedlab.train(
        federation_of(pd.concat(tables, ignore_index=True)), "logistic", "scaffold",
        rounds=2, seed=0, engine="sequential", progress=False,
    )  # fmt: skip
    far = from_bytes((out / "weights").read_bytes())
    assert far.keys() == near.weights.keys()
    assert max((far[name] - near.weights[name]).abs().max().item() for name in far) == 0.0
    ledger = pd.read_csv(out / "ledger.csv", keep_default_na=False)
    assert set(ledger.query("purpose == 'restore'")["site"]) == {"Hungary"}
    assert (ledger.query("purpose == 'greet'")["site"] == list(SITES)).all()
    history = pd.read_csv(out / "history.csv", float_precision="round_trip")
    assert history["log_loss"].tolist() == near.history["log_loss"].tolist()


def test_a_broken_cell_stays_at_its_node_while_the_other_trains(deployed: Deployment) -> None:
    path = deployed.folder / "Hungary.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[3, "chol"] = "Miller 4711"
    table.to_csv(path, index=False)
    out = deployed.begin("broken", rounds=1)
    told = deployed.told(out)
    assert {tuple(each[1:]) for each in told["errors"]} == {("Hungary", "ValueError")}
    assert (out / "round 1").exists() and (out / "weights").stat().st_size > 100
    at_server = [(deployed.folder / "link.log").read_text(errors="replace"), *(
        p.read_text(errors="replace") for p in out.iterdir() if p.name != "weights"
    )]  # fmt: skip
    assert not any("Miller" in text for text in at_server)
    assert "Miller" in (deployed.folder / "Hungary.log").read_text(errors="replace"), "its own log says why"
