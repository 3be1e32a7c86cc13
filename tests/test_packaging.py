"""What is shipped, under which licences, and what the Makefile does."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("lab", "test", "report", "handout", "lint", "bench", "figure", "wheels", "constraints")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Wheel of this checkout as {name: bytes}."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def described(wheel, end):
    """One file of the wheel's own description."""
    (name,) = [name for name in wheel if name.endswith(f".dist-info/{end}")]
    return wheel[name]


def test_wheel_holds_both_packages_whole(wheel):
    for package in ("fedlab", "data_recipes"):
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        for path in files:
            name = path.relative_to(ROOT).as_posix()
            assert wheel.get(name) == path.read_bytes(), name
    assert wheel["data_recipes/heart_disease.csv"]


def test_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fedlab", "data_recipes"}


def test_wheel_carries_licences_and_notice(wheel):
    assert b"License-Expression: Apache-2.0 AND CC-BY-4.0\n" in described(wheel, "METADATA")
    assert b"Apache License" in described(wheel, "licenses/LICENSE")
    notice = " ".join(described(wheel, "licenses/NOTICE").decode().split())
    for words in (
        *("Andras Janosi", "William Steinbrunn", "Matthias Pfisterer", "Robert Detrano", "10.24432/C52P4X"),
        *("https://creativecommons.org/licenses/by/4.0/", "four files combined, site column added"),
    ):
        assert words in notice


def test_wheel_offers_the_command(wheel):
    assert b"fedlab = fedlab.cli:app" in described(wheel, "entry_points.txt")


def make(*arguments, cwd=ROOT, check=True, **environment):
    """Run make as from a fresh shell, also below `make test WHEELS=...`; its output."""
    make_s = ("MAKE", "MFLAGS", "WHEELS", "PYTHON", "DIR", "TORCH_INDEX", "LAB_ARGS", "FIRST")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(make_s)}
    done = subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env={**outer, **environment},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == check, done.stderr
    return done.stdout


@needs_make
def test_make_alone_lists_the_targets():
    listed = [line.split()[1] for line in make().splitlines()]
    assert listed == ["help", *TARGETS]


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_expands(target):
    assert make("-n", "-B", target)


@needs_make
@pytest.mark.parametrize(
    ("target", "name", "file"),
    [
        ("lab", "notebooks/00_start_here.ipynb", "notebooks/00_start_here.ipynb"),
        ("bench", "-m benchmarks.spine", "benchmarks/spine.py"),
    ],
)
def test_make_names_what_exists(target, name, file):
    assert name in make("-n", target)
    assert (ROOT / file).is_file()


@needs_make
def test_from_a_folder_of_wheels_nothing_is_asked_of_an_index():
    recipe = make("-n", "-B", "lab", "WHEELS=my usb/")
    installs = [line for line in recipe.splitlines() if "pip install" in line]
    assert installs and all('--no-index --find-links "my usb/"' in line for line in installs)
    assert "index-url" not in recipe


# A Python that installs nothing: it notes how it was called, finds torch in the default index alone.
PRETENDER = """#!/bin/sh
printf '%s\\n' "$*" >> calls.txt
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *--no-index*|*--index-url*) exit 1 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """The Makefile in a folder with a difficult name, and a Python that only pretends."""
    folder = tmp_path / "Größe und Maß"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "some python").write_text(PRETENDER)
    (folder / "some python").chmod(0o755)
    return folder


def calls(checkout, *arguments, **environment):
    """How Python was called while make brought the environment up to date."""
    log = checkout / "calls.txt"
    log.unlink(missing_ok=True)
    make(".venv/.lab", f"PYTHON={checkout / 'some python'}", *arguments, cwd=checkout, **environment)
    return log.read_text().splitlines() if log.exists() else []


@needs_make
@pytest.mark.skipif(sys.platform != "linux", reason="torch brings CUDA on Linux alone")
@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="a machine with an NVIDIA driver")
def test_torch_without_cuda_is_tried_first(checkout):
    installs = [line for line in calls(checkout) if "pip install" in line]
    own, cpu, build, project = installs
    assert own.endswith("--no-deps --no-index torch")
    assert "--no-deps --retries 0 --timeout 5 --index-url" in cpu and cpu.endswith("/whl/cpu torch")
    assert build.endswith("hatchling editables")
    assert project.endswith("--no-build-isolation --editable .[lab]")
    assert all("-c constraints.txt" in line for line in installs)


@needs_make
def test_with_a_driver_torch_comes_from_the_default_index(checkout):
    driver = checkout / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    found = calls(checkout, PATH=f"{driver.parent}{os.pathsep}{os.environ['PATH']}")
    assert found and not [line for line in found if line.endswith(" torch")]


@needs_make
def test_the_larger_environment_serves_the_smaller_one(checkout):
    make(".venv/.test", f"PYTHON={checkout / 'some python'}", cwd=checkout)
    assert calls(checkout) == []


@needs_make
@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_installs_when_stale_and_only_then(checkout, file):
    assert calls(checkout)
    assert calls(checkout) == []
    later = (checkout / ".venv" / ".lab").stat().st_mtime + 1
    os.utime(checkout / file, (later, later))
    assert calls(checkout)


@needs_make
def test_an_old_python_is_refused_with_the_remedy(checkout):
    old = checkout / "some python"
    old.write_text("#!/bin/sh\nexit 1\n")
    said = make(".venv/.lab", f"PYTHON={old}", cwd=checkout, check=False)
    assert "make lab PYTHON=/path/to/python3" in said
