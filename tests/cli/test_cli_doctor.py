"""``fedlab doctor`` and ``fedlab fetch``: traps are named with their remedy, and warnings stop nothing."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedlab.cli import doctor, environment
from tests.cli.called import call


def said(found: list[environment.Finding], state: str = "warning") -> str:
    return "\n".join(finding.said for finding in found if finding.state == state)


# --------------------------------------------------------------------------- the whole command


def test_doctor_ends_with_the_three_ways_of_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROUNDS", 2)
    done = call("doctor")
    assert done.exit_code == 0, done.output
    expected = [
        "python",
        "torch",
        "plotly",
        "heart_disease",
        "embedded",
        "everywhere",
        "home",
        "log loss",
        "works here",
    ]
    assert [words for words in expected if words not in done.stdout] == []
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("isolated", "federated", "pooled"))]
    assert [row[0] for row in rows] == ["isolated", "federated", "pooled"]
    assert all(0 <= float(cell) < 3 for row in rows for cell in row[1:]) and {len(row) for row in rows} == {7}


def test_warnings_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROUNDS", 1)
    monkeypatch.setattr(doctor, "findings", lambda: [environment.Finding("warning", "kernel", "is [another] one")])
    done = call("doctor")
    assert done.exit_code == 0 and "1 warning, above" in done.stdout and "is [another] one" in done.stdout


def test_a_run_that_cannot_be_done_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def altered() -> None:
        raise ValueError("heart_disease.csv is truncated or altered")

    monkeypatch.setattr(doctor, "trial", altered)
    done = call("doctor")
    assert done.exit_code == 1 and "truncated or altered" in done.stderr and "Traceback" not in done.output


# --------------------------------------------------------------------------- the traps


def test_what_is_missing_comes_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = environment.version
    gone = ("jupyterlab", "ray", "torch")
    monkeypatch.setattr(environment, "version", lambda name: None if name in gone else real(name))
    found = {finding.what: finding for finding in environment.packages()}
    assert found["jupyterlab"].state == "warning" and "[lab]" in found["jupyterlab"].said
    assert found["ray"].state == "note" and "[ray]" in found["ray"].said
    assert found["torch"].state == "warning" and "pip install" in found["torch"].said


def stranger(name: str, *files: str) -> Any:
    paths = [metadata.PackagePath(file) for file in files]
    return SimpleNamespace(metadata={"Name": name}, files=paths)


@pytest.mark.parametrize(
    "other",
    [stranger("fedlab"), stranger("FedLab", "fedlab/__init__.py"), stranger("other-kit", "fedlab/core.py")],
)
def test_another_package_of_our_name_is_found(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = stranger("fedlab-workbench", "fedlab/__init__.py")
    monkeypatch.setattr(metadata, "distributions", lambda: [ours, other, stranger("numpy", "numpy/__init__.py")])
    told = said(environment.names())
    assert other.metadata["Name"] in told and "pip uninstall" in told and "numpy" not in told


def test_a_file_that_hides_the_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fedlab.py").touch()
    monkeypatch.chdir(tmp_path)
    assert "hides it" in said(environment.names()) and "rename" in said(environment.names())


def test_the_package_of_another_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "checkout", lambda: tmp_path)
    assert str(tmp_path / "fedlab") in said(environment.names())


def test_another_active_environment_and_a_space_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/my envs/lab/bin/python")
    told = said(environment.interpreter())
    assert str(tmp_path) in told and "engine='ray'" in told


def test_a_kernel_of_another_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kernelspec = pytest.importorskip("jupyter_client.kernelspec")
    spec = SimpleNamespace(argv=["/elsewhere/bin/python", "-m", "ipykernel"], resource_dir="kernels/python3")
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    assert "/elsewhere/bin/python" in said(environment.kernel()) and "ipykernel install" in said(environment.kernel())
    spec.argv[0] = "python"  # JupyterLab takes its own Python for this
    assert said(environment.kernel()) == ""


# --------------------------------------------------------------------------- fetch


def test_fetch_of_an_unknown_recipe() -> None:
    done = call("fetch", "breast_cancer", "hart_disease")
    assert done.exit_code == 2 and "did you mean 'heart_disease'?" in done.stderr and done.stdout == ""


# --------------------------------------------------------------------------- help


def test_a_bare_call_shows_the_commands_and_an_unknown_one_is_refused() -> None:
    assert "doctor" in call().output
    assert call("docter").exit_code == 2
