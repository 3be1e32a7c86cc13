"""Where a plan's rows come from: a recipe and what was done since, an agreement of hospitals, or a federation given."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from fedlab.engine.parts import Unsayable, find, say
from fedlab.engine.spec import Strict, sum_of
from fedlab.federation import Federation


class Recipe(Strict):
    """Data that a recipe gives to anybody: its name and arguments, and what was done since, in order."""

    kind: Literal["recipe"] = "recipe"
    name: str
    arguments: dict[str, Any] = {}
    steps: tuple[dict[str, Any], ...] = ()
    fingerprint: str = ""


class Agreement(Strict):
    """Data that each hospital holds itself, written as all have agreed: the dictionary as JSON, and its sum."""

    kind: Literal["agreement"] = "agreement"
    dictionary: dict[str, Any]
    sum: str

    @model_validator(mode="after")
    def _same(self) -> Agreement:
        if self.sum != sum_of(self.dictionary):
            raise ValueError("the data dictionary is not the one that was agreed: its sum differs")
        return self


class Given(Strict):
    """Data that somebody gave: they are known again by their fingerprint, and cannot be made again."""

    kind: Literal["given"] = "given"
    name: str
    fingerprint: str = ""


def data_of(federation: Federation) -> Recipe | Given:
    """Return the data in words, where a recipe and the federation's own methods made them."""
    if not federation.steps:
        return Given(name=federation.name)
    (_, first), *rest = federation.steps
    try:
        steps = tuple({"step": name, **{key: say(value) for key, value in done.items()}} for name, done in rest)
        return Recipe(name=first["name"], arguments=say(first["arguments"]), steps=steps)
    except Unsayable:
        return Given(name=federation.name)


def made_again(data: Recipe) -> Federation:
    """Load the recipe and do what was done since."""
    import data_recipes

    if data.name not in data_recipes.recipes():
        raise ValueError(f"the plan is of {data.name!r}, which is no recipe here: install the package that brings it")
    found = data_recipes.load(data.name, **find(data.arguments))
    for each in map(find, data.steps):
        step = each.pop("step")
        if step == "select":
            found = found.select(*each["names"])
        elif step == "holdout":
            found = found.holdout(each["name"])[0]
        elif step == "shift":
            found = found.shift(each["shifts"])
        elif step in ("thinned", "lock", "partition", "resplit"):
            found = getattr(found, step)(**each)
        else:
            raise ValueError(f"the plan's data were made by {step!r}, which this fedlab does not know")
    return found
