"""Generated intensive-care units: plausible, known to the last probability, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import fedlab
from data_recipes import phantom_ehr
from data_recipes.phantom_ehr import DATES, FEATURES, complete, load, raw
from fedlab.federation import AcquisitionShift, LabelShift, Shifts
from fedlab.federation.documentation import Fault, draw_faults

NUMBERS = [feature for feature in FEATURES if feature.kind == "number"]


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    return complete(hospitals=200, patients=1000, seed=1)


def test_the_bayes_auc_and_the_prevalence_are_as_stated(many: pd.DataFrame) -> None:
    assert roc_auc_score(many["died"], many["risk"]) == pytest.approx(0.85, abs=0.01)
    assert many["died"].mean() == pytest.approx(0.16, abs=0.015)
    low, high = many.groupby("hospital")["died"].mean().quantile([0.025, 0.975])
    assert low == pytest.approx(0.09, abs=0.02) and high == pytest.approx(0.25, abs=0.03)


def test_the_risk_is_a_probability(many: pd.DataFrame) -> None:
    tenths = many.groupby(pd.qcut(many["risk"], 10, labels=False))
    assert np.allclose(tenths["died"].mean(), tenths["risk"].mean(), atol=0.01)


@pytest.mark.parametrize(
    ("column", "low", "middle", "high"),
    [
        ("age", 39, 64, 88),
        ("height", 154, 171, 186),
        ("weight", 53, 78, 114),
        ("temperature", 35.7, 37.0, 38.3),
        ("heart_rate", 60, 90, 120),
        ("mean_pressure", 58, 80, 102),
        ("resp_rate", 11, 20, 29),
        ("spo2", 92, 96, 100),
        ("fio2", 0.21, 0.35, 0.75),
        ("creatinine", 0.44, 1.1, 2.8),
        ("glucose", 81, 138, 236),
        ("lactate", 0.6, 1.6, 4.4),
        ("white_cells", 5.2, 11, 23),
        ("norepinephrine", 0, 0, 0.18),
    ],
)
def test_first_days_look_like_a_ward(many: pd.DataFrame, column: str, low: float, middle: float, high: float) -> None:
    assert np.allclose(many[column].quantile([0.05, 0.5, 0.95]), [low, middle, high], rtol=0.05, atol=0.02)


def test_values_hang_together(many: pd.DataFrame) -> None:
    ranks = many.head(50_000).select_dtypes("number").corr(method="spearman")
    assert ranks.loc["lactate", "mean_pressure"] < -0.4 and ranks.loc["fio2", "spo2"] < -0.3
    assert ranks.loc["temperature", "white_cells"] > 0.2 and ranks.loc["age", "frailty"] > 0.3
    assert ranks.loc["height", "weight"] > 0.4
    assert many["height"][many["sex"] == "M"].mean() - many["height"][many["sex"] == "F"].mean() > 10


def test_every_value_is_within_its_range_and_rounded_as_in_a_chart(many: pd.DataFrame) -> None:
    for feature in NUMBERS:
        low, high = feature.range
        assert many[feature.name].between(low, high).all()
    written = raw(hospitals=1, patients=200)["Hospital 1"]
    places = {f.name: written[f.name].str.extract(r"\.(.+)")[0].str.len().max() for f in NUMBERS}
    ones = dict.fromkeys(("weight", "temperature", "lactate", "white_cells"), 1)
    assert {k: v for k, v in places.items() if v > 0} == ones | dict.fromkeys(
        ("fio2", "creatinine", "norepinephrine"), 2
    )


def test_a_lactate_is_taken_from_those_who_look_ill() -> None:
    federation, truth = load(patients=2000), complete(patients=2000)
    x = np.concatenate([site.rows.x[:, federation.columns.index("lactate")].numpy() for site in federation.sites])
    taken = ~np.isnan(x)
    assert 0.4 < taken.mean() < 0.8
    assert truth["severity"][taken].mean() > truth["severity"][~taken].mean() + 0.4
    assert np.array_equal(x[taken], truth["lactate"][taken])


def test_the_same_seed_the_same_hospitals_however_many() -> None:
    one, same, other = (load(patients=30, seed=seed).fingerprint for seed in (3, 3, 4))
    assert one == same != other
    assert load(hospitals=9, patients=30, seed=3).select(*load(patients=30).names).fingerprint == one
    assert raw(patients=30)["Hospital 2"].equals(raw(hospitals=2, patients=30)["Hospital 2"])


def test_raw_and_loaded_are_the_same_patients() -> None:
    written, federation = raw(patients=100), load(patients=100)
    for name, table in written.items():
        assert list(table.columns) == ["patient", *DATES, *(feature.name for feature in FEATURES), "died"]
        read = table.replace("", np.nan)
        x = federation.encode(read.astype({feature.name: float for feature in NUMBERS}))
        assert np.array_equal(x, federation[name].rows.x, equal_nan=True)
        assert (table["died"].astype(int) == federation[name].rows.y.numpy()).all()


def test_faults_are_written_at_their_hospital_alone() -> None:
    faults = draw_faults(FEATURES, 1.0, np.random.default_rng(0), dates=DATES)
    clean, faulty = raw(patients=60), raw(patients=60, faults={"Hospital 3": faults})
    changed = [c for c in clean["Hospital 3"] if not clean["Hospital 3"][c].equals(faulty["Hospital 3"][c])]
    assert set(changed) <= {fault.column for fault in faults} and len(changed) >= len(faults) - 2  # nothing missing
    assert faulty["Hospital 1"].equals(clean["Hospital 1"])
    with pytest.raises(ValueError, match="faults= names 'Hospital 9'; the hospitals are Hospital 1, "):
        raw(faults={"Hospital 9": [Fault("age", "decimal")]})


def test_a_dial_of_every_shift() -> None:
    shifts = Shifts({"Hospital 1": [LabelShift(0.5), AcquisitionShift(0.5)]})
    after, before = load(patients=60, shifts=shifts), load(patients=60)
    assert after.fingerprint == before.shift(shifts).fingerprint != before.fingerprint
    with pytest.raises(ValueError, match="no site 'Hospital 7'"):
        load(patients=60, shifts=Shifts({"Hospital 7": [LabelShift(0.5)]}))


@pytest.mark.parametrize("option", ["hospitals", "patients"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "4", True])
def test_senseless_numbers(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} is .*: it must be a whole number of at least "):
        load(**{option: value})
    with pytest.raises(ValueError, match="patients is 2: .* at least 3"):
        load(patients=2)
    with pytest.raises(ValueError, match="seed is -1"):
        load(seed=-1)


def test_a_model_learns_from_it() -> None:
    run = fedlab.train(phantom_ehr.load(), "logistic", "fedavg", rounds=20, progress=False)
    auc = run.history.query("round == 20")["auc"]
    assert len(auc) == 6 and 0.75 < auc.mean() < 0.92


@pytest.mark.slow
def test_a_million_patients() -> None:
    federation = load(hospitals=10, patients=100_000)
    assert sum(map(len, federation.sites)) == 1_000_000
