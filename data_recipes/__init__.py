"""Recipes: where each data set comes from, on which terms, and how raw tables become a federation.

A recipe is one module in this folder with the constants and the two functions of :class:`Recipe`. A new recipe is
one new file: nothing is registered anywhere, the catalogue finds every module that has a ``NAME``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:  # importing the recipes must stay cheap: pandas, torch and pooch come when they are needed
    import pandas as pd

    from data_recipes.files import DataFile, Fetched
    from fedlab.federation import Federation

__all__ = ["Recipe", "catalogue", "fetch", "load", "recipes"]


class Recipe(Protocol):
    """What a recipe module offers."""

    NAME: str
    """The module's own name: what one writes in ``load``."""
    TITLE: str
    MODALITY: str
    """``"table"``, ``"image"``, ``"bag"``, …"""
    SITES: int
    """Number of sites by default."""
    ROWS: int
    FILES: Sequence[DataFile]
    """What must be fetched; empty where nothing must."""
    EMBEDDED: int
    """Bytes of what is already installed and enough for ``load()``; 0 if files must be fetched first."""
    LICENCE: str
    CITATION: str
    SITE_KEY: str
    """The column or file that says whose patient it is; empty if the sites are simulated."""

    def raw(self) -> Mapping[str, Any]:
        """Return the tables as the hospitals wrote them."""

    def load(self, **options: Any) -> Federation:
        """Return the federation; ``seed`` draws its split."""


TERMS = {
    "NC": "forbids commercial use",
    "ODbL": "is share-alike: a table derived from it that you pass on must be under it too, and name its source",
}
"""What a user must hear at load of a licence that names it."""

CONSTANTS = tuple(Recipe.__annotations__)


def recipes() -> dict[str, Recipe]:
    """Return every recipe by name.

    Examples
    --------
    >>> recipes()["heart_disease"].LICENCE
    'CC BY 4.0'
    """
    found = (_module(name) for name in _module_names())
    return {recipe.NAME: recipe for recipe in found if recipe is not None}


def catalogue() -> pd.DataFrame:
    """List the recipes: one row each, with where its data are *now*.

    Returns
    -------
    DataFrame
        Indexed by ``name``; columns ``title, modality, sites, rows, size, licence, where``. ``where`` is
        ``"embedded"`` (installed with fedlab or with one of its dependencies), ``"cached"``, ``"mirror"`` or
        ``"to download"``.

    Examples
    --------
    >>> catalogue().loc["heart_disease", "where"]
    'embedded'
    """
    import pandas as pd

    table = [
        {
            "name": recipe.NAME,
            "title": recipe.TITLE,
            "modality": recipe.MODALITY,
            "sites": recipe.SITES,
            "rows": recipe.ROWS,
            "size": _size(recipe.EMBEDDED or sum(file.size for file in recipe.FILES)),
            "licence": recipe.LICENCE,
            "where": _where(recipe),
        }
        for recipe in recipes().values()
    ]
    return pd.DataFrame(table).set_index("name")


def load(name: str, **options: Any) -> Federation:
    """Load a recipe's federation.

    Parameters
    ----------
    name : str
        One of :func:`recipes`.
    **options
        The recipe's own: see ``help(data_recipes.<name>.load)``; every recipe takes ``seed``.

    Raises
    ------
    ValueError
        For an unknown recipe, or data that are not what they should be.
    OSError
        If files can be neither found nor downloaded.

    Examples
    --------
    >>> load("heart_disease").names
    ('Cleveland', 'Hungary', 'Switzerland', 'Long Beach')
    """
    recipe = _recipe(name)
    known = [key for key in inspect.signature(recipe.load).parameters]
    for key in options:
        if key not in known:
            options_are = ", ".join(known)
            raise TypeError(f"recipe {name!r} has no option {key!r}{_meant(key, known)}; it takes {options_are}")
    for term, says in TERMS.items():
        if term in recipe.LICENCE.replace("-", " ").split():
            print(f"{recipe.TITLE}: {recipe.LICENCE}, which {says}.")
    made = recipe.load(**options)
    if not is_dataclass(made):  # importing the class to ask would cost a second
        raise TypeError(f"recipe {name!r} gives a {type(made).__name__}: its load() must return a Federation")
    return replace(made, steps=(("load", {"name": name, "arguments": options}),))


def fetch(names: Iterable[str] = ()) -> Iterator[Fetched]:
    """Bring the files of these recipes (default: of all) into the cache, one step of the iterator per file.

    A file that is in the cache and sound stays; one that is damaged is replaced. Nothing happens until the
    iterator is walked, but an unknown name is refused at once.

    Yields
    ------
    Fetched
        ``str()`` of it is a line to print.

    Examples
    --------
    >>> [str(step) for step in fetch(["breast_cancer"])]
    ['breast_cancer: nothing to fetch, its data are installed']
    """
    from data_recipes import files

    wanted = [_recipe(name) for name in dict.fromkeys(names)] or list(recipes().values())
    return (step for recipe in wanted for step in files.fetch(recipe.NAME, recipe.FILES))


def _recipe(name: str) -> Recipe:
    # The module of that name comes first, so that a broken recipe beside it hinders nobody.
    recipe = _module(name) if name in _module_names() else None
    if recipe is None:
        known = list(recipes())
        raise ValueError(f"there is no recipe {name!r}{_meant(name, known)}; the recipes are {', '.join(known)}")
    return recipe


def _module_names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def _module(name: str) -> Recipe | None:
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "NAME"):
        return None
    lacks = [c for c in (*CONSTANTS, "raw", "load") if not hasattr(module, c)]
    if lacks:
        raise ValueError(f"the recipe {module.__file__} lacks {', '.join(lacks)}: see data_recipes.Recipe")
    if module.NAME != name:
        raise ValueError(f"the recipe {module.__file__} has NAME = {module.NAME!r}: it must be {name!r}, as its file")
    return cast(Recipe, module)


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _where(recipe: Recipe) -> str:
    from data_recipes import files

    if recipe.EMBEDDED:
        return "embedded"
    places = {files.look(recipe.NAME, file)[0] for file in recipe.FILES}
    return next(place for place in ("to download", "mirror", "cached") if place in places)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
