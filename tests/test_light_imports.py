"""What costs a second or more is imported where it is used. One process goes through all steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "import data_recipes": {"torch", "pandas", "sklearn", "scipy.stats", "pooch"},
    "data_recipes.load('heart_disease')": {"sklearn", "scipy.stats", "pooch", "requests"},
    "import fedlab": {"sklearn", "scipy.stats", "flwr", "ray", "plotly", "ipywidgets"},
    "import fedlab.cli": {"sklearn", "scipy.stats", "flwr", "ray", "plotly", "ipywidgets"},
    "import fedlab.algorithms.from_flower": {"flwr", "ray"},
    "fedlab.train(fedlab.load('heart_disease'), rounds=1, progress=False)": {"sklearn", "flwr", "ray"},
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What stands in ``sys.modules`` after each step."""
    lines = [f"{step}; after[{step!r}] = list(sys.modules)" for step in STEPS]
    code = "\n".join(["import json, sys", "after = {}", *lines, "print(json.dumps(after))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_loads_nothing_heavy(step: str, loaded: dict[str, list[str]]) -> None:
    assert STEPS[step] & set(loaded[step]) == set()
