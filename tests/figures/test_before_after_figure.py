"""The hospitals before and after a shift: what is drawn of them, and of which patients."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from fedlab.federation import IID, Federation
from fedlab.federation.shift import AcquisitionShift, LabelShift, PracticeShift, QuantityShift, Shifts
from fedlab.figures import before_after
from tests.figures.drawn import notes_of


def marks(figure: go.Figure, column: int, *, after: bool) -> list[float]:
    axis = "x" if column == 1 else f"x{column}"
    traces = [t for t in figure.select_traces(dict(type="scatter", mode="markers", xaxis=axis))]
    return list(traces[after].x)


def bars(figure: go.Figure) -> list[list[float]]:
    return [list(trace.y) for trace in figure.data if trace.type == "bar"]


@pytest.fixture
def moved(hospitals: Federation) -> Federation:
    kinds = [LabelShift(0.5), PracticeShift(0.5), AcquisitionShift(0.5)]
    return hospitals.shift(Shifts({"Hungary": kinds, "Cleveland": [QuantityShift(0.5)]}))


def test_every_mark_is_of_train_and_valid(hospitals: Federation, moved: Federation) -> None:
    figure = before_after(hospitals, moved)
    for after, federation in enumerate((hospitals, moved)):
        seen = [s.rows.take(np.concatenate([s.split.train, s.split.valid])) for s in federation.sites]
        assert marks(figure, 1, after=bool(after)) == pytest.approx([rows.y.double().mean().item() for rows in seen])
        assert marks(figure, 2, after=bool(after)) == [len(np.unique(rows.group)) for rows in seen]
        missing = [rows.x.isnan().double().mean().item() for rows in seen]
        assert marks(figure, 3, after=bool(after)) == pytest.approx(missing)
    assert sum(bars(figure)[0]) == marks(figure, 2, after=False)[0]  # an age is known of everybody


def test_the_histogram_is_of_the_chosen_site_and_feature(hospitals: Federation, moved: Federation) -> None:
    before, after = bars(before_after(hospitals, moved, site="Hungary", feature="cp"))
    assert len(before) == len(after) == 4 and sum(after) < sum(before)
    assert sum(before) == len(hospitals["Hungary"].split.train) + len(hospitals["Hungary"].split.valid)
    (same, other) = bars(before_after(hospitals, hospitals, site="Hungary", feature="sex"))
    assert same == other and len(same) == 2


def test_a_feature_that_nobody_measured_is_an_empty_histogram(hospitals: Federation) -> None:
    x = torch.full((12, 1), torch.nan, dtype=torch.float64)
    nobody = Federation.from_tensors({"A": (x, torch.arange(12) % 2)}, prepared=False)
    assert sum(map(sum, bars(before_after(nobody, nobody)))) == 0


def test_of_many_sites_those_that_changed_are_drawn(hospitals: Federation) -> None:
    many = hospitals.partition(IID(), sites=30)
    figure = before_after(many, many.shift(Shifts({"site 29": [QuantityShift(0.5)]})), site="site 30")
    assert figure.layout.yaxis.ticktext[-2:] == ("site 29", "site 30") and len(figure.layout.yaxis.ticktext) == 12
    assert "12 of 30 sites are drawn" in notes_of(figure)


def test_patients_are_marked_at_zero_and_one_round_number(hospitals: Federation) -> None:
    for federation, most in ((hospitals, 200), (hospitals.partition(IID(), sites=30), 20)):
        axis = before_after(federation, federation).layout.xaxis2
        assert axis.tickvals == (0, most) and axis.range[0] < 0 and axis.range[1] > most
    none = hospitals.shift(Shifts({name: [QuantityShift(1.0)] for name in hospitals.names}))
    assert before_after(hospitals, none).layout.xaxis2.tickvals == (0, 200)  # of both, the larger counts


def test_several_classes_and_no_named_feature() -> None:
    images = {"A": (torch.randn(30, 1, 4, 4), torch.arange(30) % 3)}
    federation = Federation.from_tensors(images)
    figure = before_after(federation, federation)
    symbols = {trace.marker.symbol for trace in figure.select_traces(dict(mode="markers", xaxis="x"))}
    assert len(symbols) == 6 and not bars(figure)


def test_bad_input(hospitals: Federation) -> None:
    with pytest.raises(ValueError, match="the sites before"):
        before_after(hospitals, hospitals.select("Hungary"))
    with pytest.raises(ValueError, match="no feature 'weight'; the features are age"):
        before_after(hospitals, hospitals, feature="weight")
    with pytest.raises(ValueError, match="no site 'Praha'"):
        before_after(hospitals, hospitals, site="Praha")
