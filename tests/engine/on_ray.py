"""Runs on Ray in a process of their own, for as long as they say something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patiently

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
APP = "from fedlab.cli import app; app()"


def python(tmp_path: Path) -> str:
    """This environment's Python through a link: Ray cannot start workers from a path with a space."""
    pytest.importorskip("ray", reason="Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'")
    link = tmp_path / "venv"
    if not link.is_symlink():
        link.symlink_to(sys.prefix)
    assert " " not in str(link)
    return str(link / Path(sys.executable).relative_to(sys.prefix))


def run(tmp_path: Path, *command: str, cluster: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python with this command, in a cluster of its own if it should find one."""
    here = python(tmp_path)
    first = [here, str(HERE / "ray_cluster.py")] if cluster else []
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as short:  # of the names of Ray's sockets
        where = {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": short, "TQDM_MININTERVAL": "1"}
        return patiently([*first, here, *command], cwd=tmp_path, env=os.environ | where | env)


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What it has told as a result."""
    rows = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert rows, done.stdout[-2000:] + done.stderr[-4000:]
    return rows
