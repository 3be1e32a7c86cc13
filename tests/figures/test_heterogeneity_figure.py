"""Sites × kinds as a map: colour only above chance, and ink that can be read."""

from __future__ import annotations

import pytest

import fedlab
from fedlab.federation import IID, Federation
from fedlab.figures import heterogeneity
from fedlab.figures.heterogeneity import strength
from fedlab.study import Heterogeneity
from tests.figures.drawn import notes_of


@pytest.fixture(scope="module")
def found(hospitals: Federation) -> Heterogeneity:
    return fedlab.heterogeneity(hospitals, progress=False)


def test_a_row_a_site_and_a_column_a_kind_with_numbers(found: Heterogeneity) -> None:
    figure = heterogeneity(found)
    table = found.table()
    assert (len(figure.data[0].z), len(figure.data[0].z[0])) == table.shape
    assert figure.layout.yaxis.ticktext[0] == "Cleveland<br>n = 182"
    inks = {(int(a.x), int(a.y)): a for a in figure.layout.annotations if a.xref != "paper"}
    assert len(inks) == table.size
    label = inks[list(table.columns).index("label"), list(table.index).index("Switzerland")]
    assert label.text.startswith(f"<b>{table.loc['Switzerland', 'label']:.2f}</b>") and "chance" in label.text


def test_colour_is_only_where_it_is_clear_and_from_chance_to_the_most(found: Heterogeneity) -> None:
    for _, cell in found.cells.iterrows():
        assert (strength(cell) > 0) == bool(cell["clear"]) and 0 <= strength(cell) <= 1
    auc = found.cells.query("kind == 'joint' and site == 'Long Beach'").iloc[0]
    assert strength(auc) == pytest.approx((auc["value"] - auc["expected"]) / (1 - auc["expected"]))


def test_what_is_missing_and_what_needs_rows_is_said(found: Heterogeneity) -> None:
    figure = heterogeneity(found)
    notes = notes_of(figure)
    assert "No value, outcome at equal risk: fewer than 5 training patients" in notes and "(Switzerland)" in notes
    assert "needs the rows themselves" in notes and "no cell of fewer than 5 patients" in notes
    assert "no value" in [a.text for a in figure.layout.annotations] and "NaN" not in figure.to_json()


def test_the_title_says_what_is_clear_and_what_is_not(found: Heterogeneity, hospitals: Federation) -> None:
    assert "No clear difference in outcome at equal risk" in heterogeneity(found).layout.title.text.replace("<br>", " ")
    alike = fedlab.heterogeneity(hospitals.partition(IID(), sites=20, seed=0), measures=["psi"], progress=False)
    figure = heterogeneity(alike)
    assert figure.layout.title.text.startswith("No hospital of 20 clearly differs")
    assert figure.layout.yaxis.ticktext[0].startswith("site 01, n = ") and not any(
        v for r in figure.data[0].z for v in r
    )
