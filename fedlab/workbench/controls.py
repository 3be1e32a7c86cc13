"""Widgets made from what they stand for: the fields of a dataclass, and what a run is asked to do."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import ipywidgets as widgets

from fedlab.algorithms import ALGORITHMS, Algorithm
from fedlab.algorithms.registry import algorithm_class, brought
from fedlab.engine import Settings
from fedlab.federation import Federation
from fedlab.models import MODELS
from fedlab.workbench.code import NAMES, Choice
from fedlab.workbench.data import DataChoice
from fedlab.workbench.fit import models_for
from fedlab.workbench.style import paragraph

LOOK: dict[str, Any] = dict(style={"description_width": "initial"}, layout={"width": "auto"})


class Controls:
    """Everything that is chosen before a run; :meth:`choice` reads it all at once.

    Parameters
    ----------
    federation : Federation, optional
        The one to use; default: choose among the recipes.
    alert : callable
        Told a sentence when something cannot be had.
    several : bool
        Whether several seeds may train side by side.

    Attributes
    ----------
    changed : callable
        Called when anything else is chosen.
    """

    def __init__(self, federation: Federation | None, alert: Callable[[str], None], *, several: bool = True) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._relabelling = False
        self.data = DataChoice(federation, alert)
        self.model = widgets.Dropdown(
            options=self._models(), value=self.data.federation.task.model, description="model",
            tooltip="Logistic (of a quantity: linear) regression, or a perceptron with one hidden layer", **LOOK,
        )  # fmt: skip
        self.known = known_algorithms(alert)
        self.algorithm = widgets.Dropdown(
            options=self._menu(),
            value="fedavg",
            description="algorithm",
            tooltip="How the sites learn together",
            **LOOK,
        )
        self.about = widgets.HTML()
        self.offer = widgets.Button(layout={"width": "auto", "display": "none"}, icon="exchange")
        self.offer.on_click(lambda _: self._take_offer())
        self.fields: dict[str, widgets.Widget] = {}
        self._fields_box = widgets.VBox()
        about = parameters(Settings) | {"seed": "Of the split, the start and the batch order, as in fedlab.compare"}
        defaults = Settings()
        self.numbers = {
            name: widget_for(getattr(defaults, name), type(getattr(defaults, name)), label, about.get(name, ""))
            for name, label in NAMES.items()
        }
        self.seeds = widgets.BoundedIntText(
            value=1, min=1, max=100, description="seeds side by side",
            tooltip="Train so many seeds at once, and show their spread as a band", **LOOK,
        )  # fmt: skip
        self.algorithm.observe(lambda change: self._follow_algorithm(), names="value")
        self.model.observe(lambda change: self._follow_model(), names="value")
        self._follow_algorithm()
        groups = [
            self.data.box,
            widgets.VBox(
                [heading("Model and algorithm"), self.model, self.algorithm, self.about, self.offer, self._fields_box]
            ),
            widgets.VBox([heading("Training"), *self.numbers.values(), *([self.seeds] if several else [])]),
        ]
        for group in groups:
            group.add_class("fedlab-group")
        self.box = widgets.Box(groups, layout={"flex_flow": "row wrap", "width": "100%"})
        self._watch_all()

    def _models(self) -> list[str]:
        """Return the models that the data's task can have."""
        return [name for name in MODELS if name not in self.data.federation.task.elsewhere]

    def _follow_task(self) -> None:
        """Offer the models of the task; one that it cannot have gives way to its default."""
        if list(self.model.options) != (there := self._models()):
            kept = self.model.value
            self.model.options = there
            self.model.value = kept if kept in there else self.data.federation.task.model

    def _watch_all(self) -> None:
        """Tell of every change; ticks and fields are others for other data and algorithms."""
        recipe = [] if self.data.recipe is None else [self.data.recipe]
        self._watch(self.model, self.algorithm, self.seeds, *recipe, *self.numbers.values())
        self._watch(*self.data.ticks.values())
        self.data.sites.observe(lambda change: self._watch(*change["new"]), names="children")
        self.data.sites.observe(lambda change: self._follow_task(), names="children")

    def _watch(self, *watched: widgets.Widget) -> None:
        for widget in watched:
            widget.observe(lambda change: None if self._relabelling else self.changed(), names="value")

    def _follow_algorithm(self) -> None:
        if self._relabelling:
            return
        cls = self.known[self.algorithm.value]
        self.fields = field_widgets(cls)
        self._fields_box.children = tuple(self.fields.values())
        self._watch(*self.fields.values())
        for widget in self.fields.values():
            widget.observe(lambda change: self._offer(), names="value")
        self._offer()

    # ------------------------------------------------------------------ algorithms that need a model's layers

    def _menu(self) -> list[tuple[str, str]]:
        """Algorithms by name, marked where the chosen model has not the layers that they need."""
        return [(f"{cls.__name__}{_lacking(cls, self.model.value)}", name) for name, cls in self.known.items()]

    def _follow_model(self) -> None:
        chosen, self._relabelling = self.algorithm.value, True
        self.algorithm.options = self._menu()  # which chooses the first of them: back to what was chosen
        self.algorithm.value, self._relabelling = chosen, False
        self._offer()

    def _offer(self) -> None:
        """Offer a model that the algorithm takes, where it does not take the chosen one."""
        try:
            algorithm = self.known[self.algorithm.value](**{name: widget.value for name, widget in self.fields.items()})
            fit = tuple(name for name in models_for(algorithm) if name in self.model.options)
        except (ValueError, TypeError):  # a field is out of its range: a run will say so
            fit = ()
        self._offered = fit[0] if fit and self.model.value not in fit else ""
        self.offer.description = f"Use {self._offered}"
        self.offer.tooltip = f"Choose the model {self._offered}, which has the layers that this algorithm needs"
        self.offer.layout.display = "" if self._offered else "none"
        lacking = f" It needs layers that the model {self.model.value} does not have." if self._offered else ""
        self.about.value = paragraph(summary(self.known[self.algorithm.value]) + lacking, "quiet")

    def _take_offer(self) -> None:
        if self._offered:
            self.model.value = self._offered

    def choice(self) -> Choice:
        """Read all widgets; a value out of its range is a ``ValueError`` whose text says what helps."""
        sites = self.data.ticked()
        if not sites:
            raise ValueError("No site is ticked: tick at least one hospital to learn from.")
        settings = {name: widget.value for name, widget in self.numbers.items()}
        Settings(**settings)  # refuses what is out of range, before the seed draws a split
        chosen = {name: widget.value for name, widget in self.fields.items()}
        return Choice(
            origin=self.data.origin,
            whole=self.data.federation,
            sites=sites,
            model=self.model.value,
            algorithm=self.known[self.algorithm.value](**chosen),
            settings=settings,
            seeds=self.seeds.value,
        )

    def reset(self) -> None:
        """Set everything back to its default."""
        self.data.reset()
        self.model.value, self.algorithm.value = self.data.federation.task.model, "fedavg"
        self._follow_algorithm()
        self.seeds.value = 1
        defaults = Settings()
        for name, widget in self.numbers.items():
            widget.value = getattr(defaults, name)


def _lacking(cls: type[Algorithm], model: str) -> str:
    """Say which model an algorithm needs, if it does not take this one as it comes."""
    try:
        fit = models_for(cls())
    except (ValueError, TypeError):  # one that cannot be made without being told how
        return ""
    return f" (needs {fit[0]})" if fit and model not in fit else ""


def heading(text: str) -> widgets.HTML:
    """Return the small heading of a group of widgets."""
    return widgets.HTML(f"<h4>{text}</h4>")


def known_algorithms(alert: Callable[[str], None]) -> dict[str, type[Algorithm]]:
    """Return fedlab's algorithms and those that installed packages bring; tell of one that cannot be loaded.

    Examples
    --------
    >>> known_algorithms(print)["fedavg"].__name__
    'FedAvg'
    """
    known, faults = dict(ALGORITHMS), []
    for name in brought():
        try:
            known[name] = algorithm_class(name)
        except TypeError as error:
            faults.append(f"{error}.")
    if faults:
        alert("Not on the menu: " + " ".join(faults))
    return known


def field_widgets(cls: type[Algorithm]) -> dict[str, widgets.Widget]:
    """Return a widget for each hyper-parameter, with its default and, as tooltip, its docstring.

    The range is the dataclass's own affair: it refuses a value with a sentence, which the panel shows.

    Examples
    --------
    >>> from fedlab.algorithms import FedProx
    >>> field_widgets(FedProx)["mu"].value
    0.1
    """
    hints, about = get_type_hints(cls), parameters(cls)
    return {
        field.name: widget_for(
            _default(field), hints[field.name], field.name.replace("_", " "), about.get(field.name, "")
        )
        for field in dataclasses.fields(cls)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def widget_for(value: Any, kind: Any, label: str, tooltip: str) -> widgets.Widget:
    """Return the widget for a value of this type: a number, a tick, a choice of words, or text."""
    look = {**LOOK, "description": label, "tooltip": tooltip or label}
    if get_origin(kind) is Literal:
        return widgets.Dropdown(options=list(get_args(kind)), value=value, **look)
    if kind is bool:
        return widgets.Checkbox(value=value, indent=False, **look)
    if kind is int:
        return widgets.IntText(value=value, continuous_update=False, **look)
    if kind is float:
        return widgets.FloatText(value=value, continuous_update=False, **look)
    return widgets.Text(value=str(value), continuous_update=False, **look)


def parameters(cls: type) -> dict[str, str]:
    """Return what a NumPy docstring says of each parameter, as plain text.

    Examples
    --------
    >>> parameters(Settings)["rounds"]
    'Rounds of training, at least 1.'
    """
    doc = inspect.getdoc(cls) or ""
    section = re.search(r"Parameters\n-+\n(.*?)(?=\n\n\S+[^\n]*\n-{3,}|\Z)", doc, re.S)
    if not section:
        return {}
    entries = re.findall(r"^(\w+) *:[^\n]*\n((?:(?:    [^\n]*|)\n?)+)", section.group(1), re.M)
    return {name: plain(text) for name, text in entries}


def summary(cls: type[Algorithm]) -> str:
    """Return the first sentence about an algorithm: its file's, or, made in a notebook, its class's."""
    module = sys.modules.get(cls.__module__)
    doc = inspect.getdoc(cls) if module is None or cls.__module__ == "__main__" else inspect.getdoc(module)
    return plain((doc or cls.__name__).split("\n\n")[0])


def plain(text: str) -> str:
    """Return a docstring's words without its markup."""
    text = re.sub(r":\w+:`([^`]*)`", r"\1", " ".join(text.split()))
    for tex, sign in {r"\ge": "≥", r"\le": "≤", r"\mu": "μ", r"\eta_g": "η", r"\eta": "η"}.items():
        text = text.replace(tex, sign)
    return text.replace("``", "").strip()
