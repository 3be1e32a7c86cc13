"""The figure of differences fills what the verdict calls a winner, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.figures import differences
from fedlab.study import Study
from fedlab.study.pairs import gains
from fedlab.study.words import arm_name


@pytest.fixture(scope="module")
def study(hospitals: Federation) -> Study:
    arms = ["isolated", "centralized", "fedavg"]
    return fedlab.compare(hospitals, "logistic", arms, seeds=6, rounds=8, progress=False)


def filled(trace: Any) -> list[bool]:
    return [not symbol.endswith("-open") for symbol in trace.marker.symbol]


def title(figure: Any) -> str:
    return str(figure.layout.title.text.replace("<br>", " "))


@pytest.mark.parametrize("against", ["isolated", "centralized", "fedavg"])
def test_over_all_hospitals_it_is_the_pairs(study: Study, against: str) -> None:
    figure = differences(study, "log_loss", against=against)
    (trace,) = figure.data
    pairs = study.pairs(metric="log_loss")
    named = {
        (row.other if row.one == against else row.one): (
            -row.difference if row.one == against else row.difference,
            row.winner != "",
        )
        for row in pairs.itertuples()
        if against in (row.one, row.other)
    }
    assert list(figure.layout.yaxis.ticktext) == [arm_name(arm) for arm in named]
    assert list(trace.x) == pytest.approx([difference for difference, _ in named.values()])
    assert filled(trace) == [won for _, won in named.values()]
    assert any(filled(trace)) or against != "isolated"  # one shared model travels better than those of the hospitals


def test_at_home_it_is_a_panel_a_hospital(study: Study, hospitals: Federation) -> None:
    figure = differences(study, "log_loss", at_home=True)
    table = gains(study, metric="log_loss", against="isolated")
    assert "shown, not judged" in title(figure) and "shown, not judged" in title(differences(study, "auc"))
    for trace, site in zip(figure.data, hospitals.names, strict=True):
        rows = table[table["where"] == site]
        assert list(trace.x) == pytest.approx(rows["difference"].tolist())
        assert not any(filled(trace)) and "shown, not judged" in trace.customdata[0]
        assert list(trace.error_x.array) == pytest.approx((rows["high"] - rows["difference"]).tolist())


def test_few_patients_are_luck_for_auc_alone(study: Study) -> None:
    def notes(metric: str) -> str:
        return differences(study, metric, at_home=True).layout.annotations[-1].text

    assert "mostly luck" in notes("auc") and "mostly luck" not in notes("log_loss")


def test_one_seed_claims_nothing(hospitals: Federation) -> None:
    one = fedlab.compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    figure = differences(one, "log_loss")
    assert not any(filled(figure.data[0])) and "no clear winner" in title(figure)
    assert "not judged" in figure.data[0].customdata[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"against": "scaffold"}, "no arm 'scaffold'"), ({"metric": "f1"}, "no metric 'f1'")],
)
def test_what_is_not_there_is_refused(study: Study, options: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        differences(study, **options)
