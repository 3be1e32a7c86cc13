"""Data flows left to right: a module imports from its own package and from those to its left."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    *("storage", "metrics", "tasks", "federation", "data_recipes", "models", "privacy", "algorithms", "engine"),
    *("testing", "study", "figures", "fedlab", "workbench", "course", "report", "cli"),
)
# "fedlab" in that row is the front door, fedlab/__init__.py: it offers what lies to its left (recipes
# lazily), so only what is written as a user would write it, to its right, may come in by it.
# Itself it is exempt.
FRONT_DOOR = Path("fedlab/__init__.py")


def owner(dotted):
    """Package of the row that a dotted name belongs to; None for other people's."""
    top, *rest = dotted.split(".")
    if top == "data_recipes":
        return top
    if top == "fedlab":
        return rest[0] if rest and rest[0] in ORDER else "fedlab"
    return None


def imported(tree, module):
    """Dotted names that a module imports anywhere, functions included, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)


def backward(root):
    """Imports below `root` that point to the right, as sentences."""
    found = []
    paths = sorted([*root.glob("fedlab/**/*.py"), *root.glob("data_recipes/**/*.py")])
    for path in paths:
        file = path.relative_to(root)
        if file == FRONT_DOOR:
            continue
        # A package's own name ends in `__init__` here, so that one level of dots leads to the package itself.
        module = ".".join(file.with_suffix("").parts)
        own = owner(module) if module != "fedlab.__main__" else "cli"
        assert own != "fedlab", f"{file} has no place in the row {', '.join(ORDER)}"
        for name, line in imported(ast.parse(path.read_text(encoding="utf-8")), module):
            other = owner(name)
            if other and ORDER.index(other) > ORDER.index(own):
                found.append(f"{file}:{line} imports {name}: {other} stands to the right of {own}")
    return found


def test_imports_point_to_the_left():
    assert backward(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("fedlab/models/mlp.py", "from fedlab.engine import stream"),
        ("fedlab/models/mlp.py", "def f():\n    import fedlab.engine.rounds"),
        ("fedlab/models/mlp.py", "from ..engine.rounds import stream"),
        ("fedlab/models/__init__.py", "from .. import study"),
        ("fedlab/engine/local.py", "from fedlab import cli"),
        ("fedlab/federation/site.py", "import data_recipes"),
        ("data_recipes/heart.py", "import fedlab"),
        ("fedlab/engine/local.py", "from fedlab import train"),
    ],
)
def test_the_rule_finds(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert len(backward(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("fedlab/models/mlp.py", "import torch\nfrom . import layers\nfrom ..federation import Task"),
        ("fedlab/engine/local.py", "from fedlab.algorithms.base import Algorithm"),
        ("fedlab/cli.py", "import fedlab\nfrom fedlab.study import compare"),
        ("data_recipes/heart.py", "from fedlab.federation import Federation"),
    ],
)
def test_the_rule_lets_pass(tmp_path, file, code):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert backward(tmp_path) == []
