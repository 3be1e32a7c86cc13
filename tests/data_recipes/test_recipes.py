"""The catalogue, loading by name, fetching; and what importing the recipes costs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from recipes_support import CONTENT, Server, say, sha256

import data_recipes

NEW = """
from data_recipes.files import DataFile
NAME = {name!r}
TITLE, MODALITY, SITES, ROWS, EMBEDDED = "A new one", "table", 2, 20, 0
LICENCE, CITATION, SITE_KEY = {licence!r}, "", "ward"
FILES = [DataFile("ward.csv", {url!r}, {{"sha256:{digest}": "official"}}, 21000)]
def raw(): ...
def load(*, seed=0):
    import data_recipes.heart_disease as other
    return other.load(seed=seed)
"""


@pytest.fixture
def new_recipe(tmp_path: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch):
    """Write a module into a folder that belongs to the package."""
    place = tmp_path / "recipes"
    place.mkdir()
    monkeypatch.setattr(data_recipes, "__path__", [*data_recipes.__path__, str(place)])
    server.answers["/ward.csv"] = say(CONTENT)

    def write(file: str = "new_ward", licence: str = "CC0", **changes: str) -> None:
        values = {"name": file, "licence": licence, "url": server.url + "/ward.csv", "digest": sha256(CONTENT)}
        (place / f"{file}.py").write_text(changes.pop("text", NEW.format(**(values | changes))))

    yield write
    for path in place.glob("*.py"):
        sys.modules.pop(f"data_recipes.{path.stem}", None)
        vars(data_recipes).pop(path.stem, None)


def test_catalogue() -> None:
    table = data_recipes.catalogue()
    assert list(table.columns) == ["title", "modality", "sites", "rows", "size", "licence", "where"]
    heart = table.loc["heart_disease"]
    assert (heart["sites"], heart["rows"], heart["licence"], heart["where"]) == (4, 920, "CC BY 4.0", "embedded")
    assert heart["size"] == "49 kB"
    assert table.loc["breast_cancer", "rows"] == 569


def test_constants_are_those_of_the_data() -> None:
    here = data_recipes.catalogue()["where"] != "to download"
    for name, recipe in data_recipes.recipes().items():
        if not here[name]:
            continue
        federation = data_recipes.load(name)
        assert (len(federation.sites), sum(map(len, federation.sites))) == (recipe.SITES, recipe.ROWS)
        assert federation.licence == recipe.LICENCE and federation.name == name
        assert recipe.CITATION in federation.source


def test_a_new_file_is_a_new_recipe(new_recipe, cache: Path) -> None:
    new_recipe()
    assert data_recipes.catalogue().loc["new_ward", ["size", "where"]].tolist() == ["21 kB", "to download"]
    assert next(data_recipes.fetch(["new_ward"])).file == "ward.csv"
    assert data_recipes.catalogue().loc["new_ward", "where"] == "cached"
    assert data_recipes.load("new_ward").names[0] == "Cleveland"


def test_licence_that_forbids_commercial_use_is_printed(new_recipe, capsys: pytest.CaptureFixture[str]) -> None:
    new_recipe(licence="CC BY-NC 4.0")
    data_recipes.load("new_ward")
    assert "CC BY-NC 4.0, which forbids commercial use" in capsys.readouterr().out


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["heart_disease", "breast_cancer", "phantom_ehr"])
def test_loading_prints_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data_recipes.load(name)
    assert capfd.readouterr() == ("", "")


def test_recipe_that_lacks_something(new_recipe) -> None:
    new_recipe(text='NAME = "new_ward"\nTITLE = "half"\n')
    with pytest.raises(ValueError, match=r"new_ward.py lacks MODALITY, .*load"):
        data_recipes.catalogue()
    assert data_recipes.load("heart_disease").name == "heart_disease"  # hinders nobody


def test_recipe_under_another_name(new_recipe) -> None:
    new_recipe(name="heart_disease")
    with pytest.raises(ValueError, match="it must be 'new_ward', as its file"):
        data_recipes.recipes()


@pytest.mark.parametrize("name", ["hart_disease", "files", ""])
def test_unknown_recipe(name: str) -> None:
    with pytest.raises(ValueError, match="the recipes are .*heart_disease"):
        data_recipes.load(name)
    with pytest.raises(ValueError, match="there is no recipe"):
        data_recipes.fetch([name])  # at once, not when it is walked


def test_did_you_mean() -> None:
    with pytest.raises(ValueError, match="did you mean 'heart_disease'"):
        data_recipes.load("hart-disease")
    with pytest.raises(TypeError, match=r"no option 'sites'; it takes source, seed"):
        data_recipes.load("heart_disease", sites=3)


def test_fetch_of_a_recipe_without_files() -> None:
    assert [str(s) for s in data_recipes.fetch(["breast_cancer"])] == [
        "breast_cancer: nothing to fetch, its data are installed"
    ]
