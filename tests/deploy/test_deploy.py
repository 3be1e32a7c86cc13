"""A real federation on this machine: a SuperLink, two SuperNodes with a file each, a server without a row."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fedlab
from fedlab.algorithms import Algorithm
from fedlab.federation.documentation import Fault, write
from fedlab.storage.codec import from_bytes
from tests.deploy.hospital_agreed import AGREED, COLUMNS, federation_of, plan_of, read
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
asks = "training"
"""
BALANCED = "class Balanced(Algorithm)"
"""What notebook 11 writes: the cell that has it becomes a file."""


def free_port() -> int:
    """A port that nobody has, below those that the system hands out by itself."""
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


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
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'mine'}",
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
            process.wait(120)  # it says goodbye to the SuperLink, which else takes it for alive for a minute
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
            faults = [Fault("oldpeak", "decimal")] if name == "Hungary" else []
            write(table, faults).to_csv(self.folder / f"{name}.written", index=False)
            table = table.assign(label=rows.y.numpy(), patient=rows.group)
            table.to_csv(self.folder / f"{name}.csv", index=False)
            self.node(name)
        return self

    def begin(
        self, name: str, algorithm: str | Algorithm = "fedavg", *, rounds: int = 1, waits: bool = False,
        asks: str = "training", report: Mapping[str, Any] | None = None,
    ) -> Path:  # fmt: skip
        """Submit a run; return the folder it writes to."""
        out = self.folder / name
        out.mkdir()
        plan = plan_of(SITES, algorithm, rounds=rounds, report=report or {}).save(out / "plan.json")
        told = {"out": str(out), "plan": str(plan), "waits": waits, "asks": asks}
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
    report: dict[str, Any] = {"report": {}, "calibration_summary": {}, "decisions": {"threshold": 0.2}}
    out = deployed.begin("scaffold", "scaffold", rounds=3, waits=True, report=report)
    until(lambda: (out / "round 1").exists() or (out / "told.json").exists(), moves=deployed.said)
    deployed.end("Hungary")
    deployed.node("Hungary")
    told = deployed.told(out)
    assert told["errors"] == []
    near = fedlab.train(
        federation_of(files_of(deployed)), "logistic", "scaffold",
        rounds=3, seed=0, engine="sequential", progress=False,
    )  # fmt: skip
    far = from_bytes((out / "weights").read_bytes())
    assert far.keys() == near.weights.keys()
    assert max((far[name] - near.weights[name]).abs().max().item() for name in far) == 0.0
    ledger = pd.read_csv(out / "ledger.csv", keep_default_na=False)
    assert set(ledger.query("purpose == 'restore'")["site"]) == {"Hungary"}
    assert (ledger.query("purpose == 'greet'")["site"] == list(SITES)).all()
    history = pd.read_csv(out / "history.csv", float_precision="round_trip")
    assert history["log_loss"].tolist() == near.history["log_loss"].tolist()
    for name, options in report.items():  # asked of the sites after the last round: the server has no row
        there, here = pd.read_pickle(out / name), getattr(near, name)(**options)
        told = there["value"].notna()  # what is of fewer than five patients stays at the site, and says so
        pd.testing.assert_frame_equal(there[told], here[told], check_exact=True)
        assert told.all() if name == "report" else told.mean() > 0.5
        assert (there["reason"][~told] != "").all()
    kept = fedlab.Run.load(out / "record")
    assert not kept.has_rows and kept.report().equals(near.report())
    assert set(ledger.query("purpose == 'report'")["site"]) == set(SITES)


def files_of(there: Deployment) -> pd.DataFrame:
    """The hospitals' files in one table, which only a test may do."""
    return pd.concat([read(str(there.folder / f"{name}.csv"), name) for name in SITES], ignore_index=True)


def test_the_algorithm_of_notebook_11_runs_there_from_its_file(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = json.loads((ROOT / "notebooks" / "11_your_algorithm.ipynb").read_text("utf-8"))
    (cell,) = [text for c in book["cells"] if BALANCED in (text := "".join(c["source"])) and c["cell_type"] == "code"]
    (deployed.folder / "mine").mkdir()
    (deployed.folder / "mine" / "balanced_of_11.py").write_text(cell)
    monkeypatch.syspath_prepend(str(deployed.folder / "mine"))
    from balanced_of_11 import Balanced  # type: ignore[import-not-found]

    out = deployed.begin("balanced", Balanced(power=2.0), rounds=2)
    asked = json.loads((out / "plan.json").read_text())["algorithm"]
    assert asked["class"] == "balanced_of_11:Balanced" and "sha256:" in json.dumps(asked["content"])
    assert deployed.told(out)["errors"] == []
    near = fedlab.train(
        federation_of(files_of(deployed)), "logistic", Balanced(power=2.0), rounds=2, seed=0, engine="sequential",
        progress=False,
    )  # fmt: skip
    far = from_bytes((out / "weights").read_bytes())
    assert max((far[name] - near.weights[name]).abs().max().item() for name in near.weights) == 0.0
    ledger = pd.read_csv(out / "ledger.csv", keep_default_na=False)
    assert ledger[ledger["purpose"] != "greet"]["bytes"].tolist() == near.ledger["bytes"].tolist()


def test_surveys_of_tables_and_of_rows_are_those_in_process(deployed: Deployment) -> None:
    out = deployed.begin("measures", asks="measures")
    assert deployed.told(out)["messages"] >= 8
    far = pd.read_pickle(out / "detail")
    near = fedlab.heterogeneity(federation_of(files_of(deployed)), draws=20, progress=False).detail
    counts = ["quantity", "label", "features", "missingness"]
    both = [each[each["kind"].isin(counts)].reset_index(drop=True) for each in (far, near)]
    pd.testing.assert_frame_equal(*both, check_exact=True)
    assert both[0]["value"].notna().sum() > 10

    told = deployed.told(deployed.begin("tables", asks="tables"))
    tables = {
        name: pd.read_csv(deployed.folder / f"{name}.written", dtype=str, keep_default_na=False) for name in SITES
    }
    harmony = fedlab.harmonise(tables, AGREED, progress=False)
    made = harmony.accept().apply()
    assert told["proposals"] == harmony.proposals.values.tolist() and len(told["proposals"]) == 1
    assert told["changed"] == harmony.changed and harmony.changed["Hungary"]["oldpeak"] > 100
    kept = pd.read_csv(deployed.folder / "Hungary.changed", dtype=str, keep_default_na=False)
    assert kept.equals(made["Hungary"])


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
        p.read_text(errors="replace") for p in out.rglob("*") if p.is_file() and p.name != "weights"
    )]  # fmt: skip
    assert not any("Miller" in text for text in at_server)
    assert "Miller" in (deployed.folder / "Hungary.log").read_text(errors="replace"), "its own log says why"
