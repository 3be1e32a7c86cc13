"""The repository agrees with itself: requirements, pins, what is committed."""

import importlib
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONFIG = tomllib.loads(PYPROJECT)
EXTRAS = CONFIG["project"]["optional-dependencies"]
DEPENDENCIES = [*CONFIG["project"]["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]


def git(*arguments, cwd=ROOT):
    """Output of a git command that sees no settings of this machine."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    settings = ["safe.directory=*", "user.name=t", "user.email=t@example.org"]
    command = ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True).stdout


def committed(pattern="*"):
    """Files that are in the repository, or would be after `git add .`."""
    try:
        listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    paths = {ROOT / name for name in listed.decode().split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def pins():
    """Constraints as {name: version}."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    # `+cpu` would bind the pins to one index; a URL or a folder, to one machine.
    assert [line for line in pinned if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in pinned)}


@pytest.mark.parametrize("line", [*DEPENDENCIES, *CONFIG["build-system"]["requires"]])
def test_every_dependency_is_pinned_within_its_bounds(line):
    requirement = Requirement(line)
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("line", DEPENDENCIES)
def test_every_dependency_says_why_it_is_there(line):
    lines = PYPROJECT.splitlines()
    (place,) = [number for number, text in enumerate(lines) if text.strip() == f'"{line}",']
    assert re.match(r"\s+# \w", lines[place - 1])


def environment_entries():
    """Entries of environment.yml below `dependencies`, as (conda's, pip's)."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8").partition("dependencies:\n")[2]
    conda = re.findall(r"^  - (.+)$", text, re.M)
    return [entry for entry in conda if entry != "pip:"], re.findall(r"^      - (.+)$", text, re.M)


def test_environment_python_is_a_supported_one():
    conda, _ = environment_entries()
    (python,) = [entry.partition("=")[2] for entry in conda if entry.startswith("python=")]
    assert SpecifierSet(CONFIG["project"]["requires-python"]).contains(python)
    # Anything else from conda would stand beside the constraints.
    assert [entry for entry in conda if not entry.startswith("python=")] == ["pip"]


def test_environment_takes_everything_from_pyproject_and_constraints():
    _, pip = environment_entries()
    constraint, project = pip
    assert constraint == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[(.+)\]", project)[1].split(",")
    assert "lab" in extras and set(extras) <= set(EXTRAS)


# Written so that this file does not find itself.
PRIVATE = re.compile(
    r"py[p]i\.org/simple|files\.python[h]osted|download\.py[t]orch\.org"
    r"|/opt/(?:pypi|wheels)|(?<![\w.~-])/(?:work|root)/|/(?:home|Users)/\w+/|[A-Z]:\\Users"
)
CPU_INDEX = "TORCH_INDEX ?= https://download.py" + "torch.org/whl/cpu"


def private(line):
    return PRIVATE.search(line) and line != CPU_INDEX


def test_no_file_names_a_package_index_or_a_folder_of_some_machine():
    found = []
    for path in committed():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{n}: {line}" for n, line in enumerate(lines, 1) if private(line)]
    assert found == []


@pytest.mark.parametrize("line", ["see /wo§rk/x", "--index-url https://py§pi.org/simple", "x=/ho§me/ada/y"])
def test_a_private_line_is_found(line):
    # The sign keeps the examples from being found here.
    assert private(line.replace("§", ""))


def test_notebooks_are_stripped():
    full = []
    for path in committed("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        if "widgets" in notebook["metadata"] or any(c["outputs"] or c["execution_count"] for c in code):
            full.append(path.name)
    assert full == [], "run nbstripout on them"


def test_tables_survive_a_checkout_that_rewrites_line_ends(tmp_path):
    """Sums are over bytes, and a clone on Windows turns every line end of a text file into two bytes."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    files = {f"{n}.csv": path.read_bytes() for n, path in enumerate(committed("*.csv"))}
    files |= {"lf.csv": b"a\n1\n", "crlf.csv": b"a\r\n1\r\n", "other.txt": b"a\n"}
    files[".gitattributes"] = (ROOT / ".gitattributes").read_bytes()
    for name, content in files.items():
        (there / name).write_bytes(content)
    git("init", "-q", cwd=there)
    git("add", ".", cwd=there)
    git("commit", "-qm", "tables", cwd=there)
    git("-c", "core.autocrlf=true", "clone", "-q", str(there), str(here), cwd=tmp_path)
    assert (here / "other.txt").read_bytes() == b"a\r\n", "the clone did not rewrite anything"
    tables = {name: content for name, content in files.items() if name.endswith(".csv")}
    assert {name: (here / name).read_bytes() for name in tables} == tables


def test_the_readmes_tables_are_those_of_the_files() -> None:
    from benchmarks.readme import written

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert written(text) == text, "run python -m benchmarks.readme"


def test_the_readme_says_of_the_eicu_demo_what_was_measured() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    measured = json.loads((ROOT / "benchmarks" / "results" / "eicu.json").read_text(encoding="utf-8"))["figures"]
    apart = [each["note"] for each in measured if each["name"].endswith("harmonised less as written")]
    assert len(apart) == 2 and all(note.endswith("; no clear difference") for note in apart)
    auc, log_loss = (note.removesuffix("; no clear difference") for note in apart)
    assert f"harmonised less as written {auc} and {log_loss};" in text


def test_the_readmes_harmoniser_finds_what_its_comments_say() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "phantom_ehr.raw" in part)
    asked, done = block.split("harmony.accept", 1)
    named = {"fedlab": importlib.import_module("fedlab")}
    exec(asked, named)
    harmony = named["harmony"]
    assert sorted(harmony.proposals["column"]) == ["age", "glucose", "temperature"]
    assert harmony.questions.loc[0, "column"].tolist() == ["lactate", "lactate"]
    assert harmony.questions.loc[(0, 0), "change"].startswith("from mg/dl to mmol/l")
    assert set(harmony.undecided["column"]) == {"patient"}
    exec(f"harmony.accept{done}", named)
    assert named["agreed"].check(named["tables"]["Hospital 2"]).empty


def test_the_readme_lists_every_algorithm() -> None:
    from fedlab.algorithms import ALGORITHMS

    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## The algorithms")[1].split("## ")[0]
    assert sorted(re.findall(r"`(\w+)`", text)) == sorted(ALGORITHMS)
