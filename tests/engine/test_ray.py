"""Flower's simulation gives the bits of one site at a time in process; what cannot run there is refused at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fedlab
from fedlab.engine import simulation
from fedlab.federation import Federation

ROOT = Path(__file__).parents[2]
SECONDS = 400  # Ray takes 10 to 30 seconds to its first round, a minute on a busy machine
APP = "from fedlab.cli import app; app()"
GROUPS = [
    ("fedavg", "fedprox", "fedadam"),
    ("scaffold", "fedbn", "fedrep"),
    ("trimmedmean", "krum", "ensemble", "fromflower"),
]


def on_ray(tmp_path: Path, *names: str) -> dict[str, dict]:
    """Run through a link to the environment: Ray cannot start workers from a path with a space."""
    pytest.importorskip("ray", reason="Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'")
    link = tmp_path / "venv"
    link.symlink_to(sys.prefix)
    assert " " not in str(link)
    python = link / Path(sys.executable).relative_to(sys.prefix)
    env = os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": "/tmp"}
    done = subprocess.run(
        [str(python), str(ROOT / "tests/engine/ray_runs.py"), *names],
        capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, env=env, check=False,
    )  # fmt: skip
    rows = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert len(rows) == len(names), done.stdout[-2000:] + done.stderr[-4000:]
    return {row["name"]: row for row in rows}


@pytest.mark.ray
@pytest.mark.parametrize("names", GROUPS)
def test_the_same_bits_as_one_site_at_a_time(names: tuple[str, ...], tmp_path: Path) -> None:
    for name, got in on_ray(tmp_path, *names).items():
        assert got["difference"] == 0.0 and got["leaves"] >= 4, name
        assert got["history"] and got["ledger"] and not got["errors"], name
        assert got["notes"] == ["Flower's simulation on Ray"]


def simulate_command(tmp_path: Path) -> list[str]:
    pytest.importorskip("ray", reason="Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'")
    link = tmp_path / "venv"
    link.symlink_to(sys.prefix)
    python = link / Path(sys.executable).relative_to(sys.prefix)
    options = ["--rounds", "2", "--algorithm", "scaffold", "--compare"]
    return [str(python), "-c", APP, "simulate", "heart_disease", *options]


@pytest.mark.ray
def test_the_command_says_that_the_bits_are_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        simulate_command(tmp_path), capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path,
        env=os.environ | {"RAY_TMPDIR": "/tmp"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "largest difference of any weight 0.0e+00, the same bits" in done.stdout


@pytest.mark.ray
def test_the_command_joins_the_cluster_that_ray_address_names(tmp_path: Path) -> None:
    command = simulate_command(tmp_path)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # the name of a Ray socket has 107 characters at most
        done = subprocess.run(
            [command[0], str(ROOT / "tests/engine/ray_cluster.py"), *command], capture_output=True, text=True,
            timeout=SECONDS, cwd=tmp_path, env=os.environ | {"RAY_TMPDIR": short}, check=False,
        )  # fmt: skip
        clusters = [folder for folder in Path(short).glob("ray/session_*") if folder.name != "session_latest"]
    assert done.returncode == 0, done.stderr[-2000:]
    assert "largest difference of any weight 0.0e+00, the same bits" in done.stdout
    assert len(clusters) == 1  # none was started beside it


def test_a_cluster_that_does_not_answer_is_named_at_once(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"RAY_ADDRESS={address}.*ray start --head"):
        fedlab.train(uneven, engine="ray")


def test_an_existing_cluster_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert simulation._cluster()["address"] == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert simulation._cluster()["address"] == "10.0.0.5:6379"


@pytest.mark.ray
def test_a_failing_site_is_left_out_and_its_text_stays_there(tmp_path: Path) -> None:
    got = on_ray(tmp_path, "leaky")["leaky"]
    assert got["errors"] == [[2, "site 1", "LookupError"]] and not got["leaked"]
    assert got["difference"] == 0.0 and got["ledger"]


def test_an_interpreter_path_with_a_space_is_refused_at_once(
    uneven: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my venv/bin/python")
    with pytest.raises(RuntimeError, match="path has a space .*folder without one, or use engine='auto'"):
        fedlab.train(uneven, engine="ray")


def test_without_the_extra_the_install_line_is_named(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'fedlab-workbench\[ray\]'"):
        fedlab.train(uneven, engine="ray")


def test_pooling_rows_is_refused_on_ray(uneven: Federation) -> None:
    with pytest.raises(ValueError, match="centralized moves rows.*use engine='auto'"):
        fedlab.train(uneven, algorithm="centralized", engine="ray")
