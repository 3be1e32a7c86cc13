"""What can be chosen in the panel, and the code that gives the same numbers."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import ipywidgets as widgets
import pytest
import torch

import data_recipes
from fedlab.algorithms import ALGORITHMS, Algorithm, FedProx
from fedlab.federation import Federation
from fedlab.workbench import RunPanel, results
from fedlab.workbench.controls import field_widgets, parameters, summary
from fedlab.workbench.words import failures, progress
from tests.patience import STILL
from tests.workbench.panels import LONG, carried, executed, finished, frame, running, same

# ---------------------------------------------------------------------- what can be chosen


def test_sites_have_their_patients_and_prevalence_beside_them(make: Callable[..., RunPanel]) -> None:
    panel = make()
    labels = [tick.description for tick in panel.controls.data.ticks.values()]
    assert labels[0] == "Cleveland: 303 patients, 46 % ill" and len(labels) == 4
    assert all("patients" in label and "% ill" in label for label in labels)
    known = data_recipes.catalogue()
    assert [value for _, value in panel.controls.data.recipe.options] == list(known.index)


def test_other_data_bring_other_sites(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    panel.controls.data.recipe.value = "breast_cancer"
    assert panel.alert.value == "" and "Cleveland" not in panel.controls.data.ticks
    run = finished(panel)
    assert run.federation.name == "breast_cancer" and same(executed(panel.code), run)
    panel.reset()
    assert "Cleveland" in panel.controls.data.ticks


def test_algorithms_of_other_packages_are_on_the_menu(their_package: None, make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    assert ("Mine", "mine") in panel.controls.algorithm.options
    told = html.unescape(panel.alert.value)
    assert "'odd' of a package is no fedlab" in told and "'gone' of a package cannot be loaded" in told
    panel.controls.algorithm.value = "mine"
    run = finished(panel)
    assert run.algorithm.name == "mine" and same(executed(panel.code), run)
    assert "from tests.their_package import Mine" in panel.code


def test_fields_of_an_algorithm_become_widgets(make: Callable[..., RunPanel]) -> None:
    panel = make()
    panel.controls.algorithm.value = "isolated"
    assert panel.controls.fields == {}
    panel.controls.algorithm.value = "fedprox"
    (mu,) = panel.controls._fields_box.children
    assert isinstance(mu, widgets.FloatText) and mu.value == FedProx().mu and "proximal term" in mu.tooltip
    assert "proximal" in panel.controls.about.value
    panel.controls.algorithm.value = "scaffold"
    assert list(panel.controls.fields) == ["server_lr"]


@dataclass(frozen=True, kw_only=True)
class Rich(Algorithm):
    """With every kind of field.

    Parameters
    ----------
    share : float
        How much, :math:`\\ge 0`.
    """

    share: float = 0.5
    inner: int = 3
    nesterov: bool = True
    order: Literal["cyclic", "random"] = "random"
    tag: str = "x"


def test_every_kind_of_field_has_its_widget() -> None:
    made = field_widgets(Rich)
    kinds = [type(widget).__name__ for widget in made.values()]
    assert kinds == ["FloatText", "IntText", "Checkbox", "Dropdown", "Text"]
    assert Rich(**{name: widget.value for name, widget in made.items()}) == Rich()
    assert parameters(Rich) == {"share": "How much, ≥ 0."} and parameters(type("Bare", (), {})) == {}
    assert all(summary(cls) and "\\" not in summary(cls) for cls in ALGORITHMS.values())


def test_every_setting_says_what_it_is(make: Callable[..., RunPanel]) -> None:
    for name, widget in make().controls.numbers.items():
        assert len(widget.tooltip) > len(name) + 5, name


# ---------------------------------------------------------------------- code


SHOWN = ("isolated", "centralized", "fedavg", "fedprox", "fedadam", "ditto")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in SHOWN else pytest.mark.slow) for n in ALGORITHMS])
def test_the_code_gives_the_same_weights(make: Callable[..., RunPanel], name: str) -> None:
    panel = make(rounds=3, seed=2, lr=0.05, batch_size=16, local_epochs=2)
    panel.controls.algorithm.value = name
    panel.controls.model.value = "mlp_norm"
    panel.controls.data.ticks["Switzerland"].value = False
    for widget in panel.controls.fields.values():
        if isinstance(widget, widgets.FloatText):
            widget.value = 0.7
    run = finished(panel)
    panel.code_button.click()
    assert "the run that is shown" in panel.code_view.value and "fedlab.train" in panel.code_view.value
    again = executed(panel.code)
    assert same(run, again) and run.federation.fingerprint == again.federation.fingerprint
    assert same(run, carried(panel)[0])
    for site, models in run.models.items():
        for one, other in zip(models, again.models[site], strict=True):
            assert all(torch.equal(one[k], other[k]) for k in one)
    panel.code_button.click()
    assert panel.code_view.value == ""


def test_the_code_of_a_stopped_run_gives_its_rounds(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=LONG)
    run = running(panel)
    assert f"rounds={LONG}" in panel.code
    panel.stop()
    panel.wait(STILL)
    assert f"rounds={len(run.records)},  # it was stopped after {len(run.records)} of {LONG}" in panel.code
    assert same(executed(panel.code), run)


def test_before_a_run_the_code_is_what_is_chosen_and_after_it_what_ran(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    panel.code_button.click()
    assert "what is chosen above" in panel.code_view.value
    run = finished(panel)
    panel.controls.numbers["seed"].value = 9
    assert "seed=0" in panel.code and same(executed(panel.code), run)


# ---------------------------------------------------------------------- a given federation


def test_a_federation_of_a_frame(make: Callable[..., RunPanel]) -> None:
    clinics = Federation.from_frame(frame(), site="clinic", label="ill", name="<b>mine</b>")
    panel = make(clinics, rounds=3, seed=1)
    assert panel.controls.data.recipe is None and list(panel.controls.data.ticks) == ["Köln", "O'Hare", "Århus"]
    assert "% yes" in panel.controls.data.ticks["Köln"].description
    panel.controls.data.ticks["Köln"].value = False
    run = finished(panel)
    assert run.federation.names == ("O'Hare", "Århus") and "federation.select(" in panel.code
    assert same(executed(panel.code, federation=clinics), run)
    assert "O&#x27;Hare" in panel.table.value
    panel.code_button.click()
    assert "<b>" not in panel.code_view.value


def test_a_federation_of_tensors_with_several_classes_and_one_site(make: Callable[..., RunPanel]) -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 3
    panel = make(Federation.from_tensors({"only": (x, y)}), rounds=2)
    assert panel.controls.data.ticks["only"].description.startswith("only: 60 patients, 33 % ")
    run = finished(panel)
    assert same(executed(panel.code, federation=run.federation), run)
    panel.open_test()
    assert "<td>only" in panel.test_table.value


# ---------------------------------------------------------------------- the held-out test


def test_the_test_is_opened_by_its_button_alone_and_counted(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    assert panel.test_button.disabled and "unopened" in panel.openings.value
    panel.open_test()
    assert "press Run first" in panel.alert.value and panel.test_table.value == ""
    run = finished(panel)
    panel.code_button.click()
    panel.metric.value = "auc"
    assert run.test_openings == 0 and "not been opened" in panel.openings.value
    panel.test_button.click()
    assert run.test_openings == 1 and "been opened 1 time" in panel.openings.value
    assert "Switzerland †" in panel.test_table.value and "[" in panel.test_table.value
    panel.test_button.click()
    assert run.test_openings == 1  # the same report again is the stored one
    report = run.report(resamples=results.RESAMPLES).query("test == 'Cleveland' and metric == 'auc'")
    assert f"{report['value'].iloc[0]:.3f}" in panel.test_table.value
    finished(panel)
    assert panel.test_table.value == "" and panel.run.test_openings == 0


# ---------------------------------------------------------------------- words


def test_words() -> None:
    assert progress(30, 30, 2.0) == "Round 30 of 30, less than 1 s left."
    assert failures({}) == "" and "ValueError" in failures({"A": [(1, "ValueError")]})
