"""What the panel says of what it draws: of other settings, of few patients, no better than a guess; and its code."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from fedlab.study.guessing import guesses
from fedlab.workbench import RunPanel
from tests.workbench.panels import chart_of, finished

# ---------------------------------------------------------------------- what is drawn is old, small, or a guess


def marked(panel: RunPanel) -> bool:
    """Whether what is drawn is said to be old; the drawing is faint exactly then."""
    faint = ["fedlab-old" in part._dom_classes for part in (panel.chart.box, panel.table, panel.test_table)]
    assert faint == [bool(panel.stale.value)] * 3
    return bool(panel.stale.value)


def test_a_curve_of_other_settings_is_marked(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    panel.controls.numbers["lr"].value = 0.3
    assert not marked(panel)  # nothing is drawn yet
    finished(panel)
    assert not marked(panel)
    panel.controls.numbers["lr"].value = 0.9
    assert marked(panel) and "Drawn below: learning rate 0.3." in panel.stale.value
    panel.controls.data.ticks["Hungary"].value = False
    panel.controls.algorithm.value = "fedprox"
    panel.controls.model.value = "mlp"
    told = "4 sites (Cleveland, Hungary, Switzerland, Long Beach), model logistic, FedAvg and learning rate 0.3."
    assert told in panel.stale.value
    panel.controls.numbers["lr"].value = 0.3
    panel.controls.data.ticks["Hungary"].value = True
    panel.controls.algorithm.value, panel.controls.model.value = "fedavg", "logistic"
    assert not marked(panel)
    panel.controls.algorithm.value = "fedprox"
    finished(panel)
    assert not marked(panel)
    panel.controls.fields["mu"].value = 0.7
    assert "FedProx(mu=0.1)" in panel.stale.value
    panel.controls.fields["mu"].value = -1.0
    assert marked(panel) and "cannot be run as it stands" in panel.stale.value
    panel.reset()
    assert not marked(panel)


def test_other_data_mark_the_curve_too(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    finished(panel)
    panel.controls.data.recipe.value = "breast_cancer"
    assert marked(panel) and "data heart_disease" in panel.stale.value
    finished(panel)
    name = next(iter(panel.controls.data.ticks))
    panel.controls.data.ticks[name].value = False  # of the new sites
    assert marked(panel)


def test_a_hospital_keeps_its_colour_whoever_else_is_ticked(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)

    def looks() -> dict[str, tuple[str, str]]:
        drawn = chart_of(panel)["data"]
        return {
            t["name"]: (t["line"]["color"], t["line"]["dash"]) for t in drawn if t["name"] in panel.run.federation.names
        }

    for seeds in (1, 2):
        panel.controls.data.reset()
        panel.controls.seeds.value = seeds
        finished(panel)
        every = looks()
        assert len(set(every.values())) == 4
        panel.controls.data.ticks["Cleveland"].value = panel.controls.data.ticks["Switzerland"].value = False
        finished(panel)
        assert looks() == {site: every[site] for site in ("Hungary", "Long Beach")}


def test_small_hospitals_are_marked_with_their_n(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    run = finished(panel)
    valid = run.federation["Switzerland"].split.valid
    healthy = int((run.federation["Switzerland"].rows.y[valid] == 0).sum())
    said = f"Switzerland: {healthy} healthy valid patient"
    assert (
        f"<td>{len(valid)} †</td>" in panel.table.value
        and said in panel.table.value
        and said in panel.chart.notes.value
    )
    daggers = [note for note in chart_of(panel)["layout"]["annotations"] if note["text"] == "†"]
    small = {
        t["name"]: t["line"]["color"] for t in chart_of(panel)["data"] if t["name"] in ("Switzerland", "Long Beach")
    }
    assert {note["font"]["color"] for note in daggers} == set(small.values())
    panel.controls.seeds.value = 2
    finished(panel)
    assert f"<td>{len(valid)} †</td>" in panel.table.value and said in panel.chart.notes.value


def test_worse_than_guessing_is_said_with_its_line(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=1, lr=100.0)
    run = finished(panel)
    table = run.history.query("chosen").set_index("site")
    site = run.federation["Cleveland"]
    share = float(site.train.y.double().mean())
    ill = float(site.valid.y.double().mean())
    guess = -(ill * math.log(share) + (1 - ill) * math.log(1 - share))
    assert table.loc["Cleveland", "log_loss"] > guess
    said = f"Cleveland (log loss {table.loc['Cleveland', 'log_loss']:.3f}, guessing {guess:.3f})"
    assert "Worse than guessing" in panel.table.value and said in panel.table.value and said in panel.chart.notes.value
    (line,) = [
        shape for shape in chart_of(panel)["layout"]["shapes"] if shape["type"] == "line" and shape["y0"] == shape["y1"]
    ]
    each = [guesses(run.federation)[name] * len(run.federation[name].split.valid) for name in run.federation.names]
    assert line["y0"] == pytest.approx(sum(each) / table["patients"].sum())
    panel.metric.value = "auc"
    (line,) = [
        shape for shape in chart_of(panel)["layout"]["shapes"] if shape["type"] == "line" and shape["y0"] == shape["y1"]
    ]
    assert line["y0"] == 0.5


# ---------------------------------------------------------------------- algorithms that need layers, and the code


def test_an_algorithm_that_needs_layers_is_marked_and_offers_the_model_that_has_them(
    make: Callable[..., RunPanel],
) -> None:
    controls = make(rounds=2).controls
    labels = lambda: {label for label, _ in controls.algorithm.options if "needs" in label}  # noqa: E731
    needs = {
        "Moon (needs mlp)",
        "FedBN (needs mlp_norm)",
        "FedPer (needs mlp)",
        "FedRep (needs mlp)",
        "LGFedAvg (needs mlp)",
    }
    assert labels() == needs and controls.offer.layout.display == "none"
    controls.algorithm.value = "fedbn"
    assert controls.offer.layout.display == "" and controls.offer.description == "Use mlp_norm"
    assert "needs layers that the model logistic does not have" in controls.about.value
    controls.offer.click()
    assert controls.model.value == "mlp_norm" and controls.algorithm.value == "fedbn" and labels() == set()
    assert controls.offer.layout.display == "none" and "does not have" not in controls.about.value
    controls.model.value = "mlp"
    assert labels() == {"FedBN (needs mlp_norm)"} and controls.algorithm.value == "fedbn"
    controls.fields["layers"].value = "head"  # this one it has
    assert controls.offer.layout.display == "none"


def test_with_the_offer_taken_it_runs(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    panel.controls.algorithm.value = "fedper"
    panel.start()
    assert panel.run is None and "head" in panel.alert.value
    panel.controls.offer.click()
    assert finished(panel).algorithm.name == "fedper" and panel.alert.value == ""


def test_the_code_opens_below_its_button_and_can_be_copied(make: Callable[..., RunPanel]) -> None:
    panel = make(rounds=2)
    parts = list(panel.children)
    assert parts.index(panel.code_box) == parts.index(panel.row) + 1
    assert panel.copy_button.layout.display == "none" and panel.page.output.outputs == ()
    panel.code_button.click()
    script = panel.page.output.outputs[0]["data"]["application/javascript"]
    assert "scrollIntoView" in script and panel.copy_button.layout.display == "" and panel.code_view.value
    panel.copy_button.click()
    assert "clipboard" in panel.page.output.outputs[0]["data"]["application/javascript"]
    panel.code_button.click()
    assert panel.copy_button.layout.display == "none"
