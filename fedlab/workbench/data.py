"""Choosing the data and the hospitals that take part."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

import data_recipes
from fedlab.federation import Federation, Site

DEFAULT = "heart_disease"


class DataChoice:
    """The recipe (unless a federation was given) and a tick for each site.

    Parameters
    ----------
    federation : Federation, optional
    alert : callable
        Told a sentence when a recipe cannot be loaded; the choice then stays as it was.

    Attributes
    ----------
    sites : VBox
        Of the ticks; other data bring other children.
    """

    def __init__(self, federation: Federation | None, alert: Callable[[str], None]) -> None:
        self.given, self.alert = federation, alert
        self._loaded: dict[str, Federation] = {}
        self.ticks: dict[str, widgets.Checkbox] = {}
        self.recipe = _dropdown() if federation is None else None
        self.federation = federation if federation is not None else self._load(DEFAULT)
        self.sites = widgets.VBox()
        self.sites.add_class("fedlab-sites")
        self._fill()
        if self.recipe is None:
            named: widgets.Widget = widgets.Label(f"data: {self.federation.name}")
        else:
            named = self.recipe
            named.observe(self._follow, names="value")
        self.box = widgets.VBox([widgets.HTML("<h4>Data and sites</h4>"), named, self.sites])

    @property
    def origin(self) -> str:
        """The Python expression that gives the federation."""
        if self.given is None:
            return f'fedlab.load("{self._name()}")'
        return _name_in_notebook(self.given) or from_recipe(self.given) or "federation"

    def ticked(self) -> tuple[str, ...]:
        """Names of the sites that take part."""
        return tuple(name for name, tick in self.ticks.items() if tick.value)

    def reset(self) -> None:
        """Choose the first data again and all sites."""
        if self.recipe is not None:
            self.recipe.value = DEFAULT
        for tick in self.ticks.values():
            tick.value = True

    def _name(self) -> str:
        return next(name for name, federation in self._loaded.items() if federation is self.federation)

    def _load(self, name: str) -> Federation:
        if name not in self._loaded:
            if data_recipes.catalogue().loc[name, "where"] == "to download":
                raise ValueError(
                    f"{name} is not on this machine yet: run `fedlab fetch {name}` in a terminal, then choose it."
                )
            self._loaded[name] = data_recipes.load(name)
        return self._loaded[name]

    def _follow(self, change: dict[str, Any]) -> None:
        if change["new"] == self._name():
            return
        try:
            self.federation = self._load(change["new"])
        except (ValueError, OSError) as error:
            self.alert(str(error))
            change["owner"].value = self._name()
            return
        self.alert("")
        self._fill()

    def _fill(self) -> None:
        self.ticks = {site.name: _tick(site, self.federation) for site in self.federation.sites}
        self.sites.children = tuple(self.ticks.values())


def _dropdown() -> widgets.Dropdown:
    known = data_recipes.catalogue()
    away = "to download"  # the others are here: to say so of each only cuts their names off
    options = [(f"{row['title']} ({away})" if row["where"] == away else row["title"], str(name))
               for name, row in known.iterrows()]  # fmt: skip
    return widgets.Dropdown(
        options=options, value=DEFAULT, description="data", tooltip="The recipes of data_recipes.catalogue()",
        style={"description_width": "initial"}, layout={"width": "auto"},
    )  # fmt: skip


def _tick(site: Site, federation: Federation) -> widgets.Checkbox:
    return widgets.Checkbox(
        value=True, indent=False, description=beside(site, federation), tooltip=f"Does {site.name} take part?",
        style={"description_width": "initial"}, layout={"width": "auto"},
    )  # fmt: skip


def beside(site: Site, federation: Federation) -> str:
    """Say how many patients a site has, and how common, or how large, what is to be predicted is among them.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> beside(hospitals["Cleveland"], hospitals)
    'Cleveland: 303 patients, 46 % ill'
    """
    y, classes = site.rows.y, federation.task.classes
    patients = len(set(site.rows.group.tolist()))
    counted = f"{site.name}: {patients} patient{'s' * (patients != 1)}"
    if not classes:
        return f"{counted}, {federation.task.columns[0]} {float(y.mean()):.3g} ± {float(y.std(correction=0)):.2g}"
    shares = [(float((y == k).double().mean()), name) for k, name in enumerate(classes)]
    share, name = shares[1] if len(classes) == 2 else max(shares)
    return f"{counted}, {100 * share:.0f} % {name}"


def from_recipe(federation: Federation) -> str:
    """Return the expression that loads a recipe and does again what was done since; empty where that is not known.

    Examples
    --------
    >>> import fedlab
    >>> from_recipe(fedlab.load("heart_disease").select("Hungary", "Cleveland").lock(share=0.2))
    'fedlab.load("heart_disease").select("Hungary", "Cleveland").lock(share=0.2, seed=0)'
    """
    text = ""
    for step, done in federation.steps:
        if step == "load":
            given = [json.dumps(done["name"]), *(f"{k}={v!r}" for k, v in done["arguments"].items())]
            text = f"fedlab.load({', '.join(given)})"
        elif step == "select":
            text += f".select({', '.join(json.dumps(name, ensure_ascii=False) for name in done['names'])})"
        elif step in ("lock", "thinned", "resplit") and text:
            text += f".{step}({', '.join(f'{k}={v!r}' for k, v in done.items())})"
        else:  # shifts and partitions hold objects that need imports of their own
            return ""
    return text


def _name_in_notebook(federation: Federation) -> str:
    """Return the variable that holds the federation in the notebook, if there is one."""
    from IPython import get_ipython

    shell = get_ipython()
    names = [] if shell is None else [k for k, v in shell.user_ns.items() if v is federation and not k.startswith("_")]
    return names[0] if names else ""
