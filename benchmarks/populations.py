"""Hospitals of other populations, none of which made a fault: what a harmoniser must leave alone.

Ordinary adult wards, and beside them hospitals whose patients differ in what they are there for. A population moves
several values, or one; its numbers are drawn around those below, so that no two hospitals are alike. How values go
together in one patient is kept: weight with height, hematocrit with hemoglobin, diastolic with systolic pressure, urea
with creatinine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation import Feature

Floats = NDArray[np.float64]


class Law(NamedTuple):
    """One value of an ordinary ward: its middle, its spread (of the logarithm if ``log``), and how it is charted."""

    feature: Feature
    middle: float
    spread: float
    places: int
    log: bool = False


def _law(name: str, unit: str, low: float, high: float, middle: float, spread: float, places: int, log: int = 0) -> Law:
    return Law(Feature(name, unit=unit, range=(low, high)), middle, spread, places, bool(log))


LAWS = (
    _law("age", "years", 0, 115, 62, 15, 0),
    _law("height", "cm", 25, 230, 170, 9, 0),
    _law("weight", "kg", 0.4, 350, 26.5, 0.17, 1, 1),  # the middle is of weight over height squared
    _law("temperature", "°C", 25, 44, 36.9, 0.6, 1),
    _law("heart_rate", "beats/min", 15, 260, 78, 13, 0),
    _law("systolic_pressure", "mmHg", 25, 280, 128, 17, 0),
    _law("diastolic_pressure", "mmHg", 10, 180, 0.58, 0.1, 0, 1),  # of the systolic one
    _law("spo2", "%", 40, 100, 96.5, 1.8, 0),
    _law("hemoglobin", "g/dl", 2.5, 25, 13.3, 1.6, 1),
    _law("hematocrit", "%", 7, 78, 3.02, 0.04, 1, 1),  # of the hemoglobin
    _law("white_cells", "10^9/l", 0.05, 400, 7.8, 0.35, 1, 1),
    _law("creatinine", "mg/dl", 0.1, 30, 0.95, 0.27, 2, 1),
    _law("urea", "mg/dl", 3, 450, 34, 0.33, 0, 1),
    _law("bilirubin", "mg/dl", 0.05, 70, 0.7, 0.42, 2, 1),
    _law("glucose", "mg/dl", 10, 1500, 112, 0.24, 0, 1),
    _law("lactate", "mmol/l", 0.1, 35, 1.3, 0.38, 1, 1),
    _law("albumin", "g/l", 5, 65, 39, 5, 0),
    _law("crp", "mg/l", 0.1, 700, 12, 1.0, 1, 1),
)
FRAILTY = Feature("frailty", unit="points", range=(1, 9), codes={k: f"grade {k}" for k in range(1, 10)})
FEATURES = (
    *(law.feature for law in LAWS),
    Feature("sex", kind="category", codes={"F": "female", "M": "male"}),
    FRAILTY,
)
"""The agreement: ranges hold every living patient, of any age and illness."""

Shifted = Mapping[str, tuple[float, float]]
POPULATIONS: dict[str, Shifted] = {
    "infants": {"age": (0.7, 0.3), "height": (67, 6), "weight": (17, 0.1), "heart_rate": (128, 14),
                "systolic_pressure": (88, 10), "hemoglobin": (11.6, 1.0), "creatinine": (0.28, 0.25),
                "urea": (20, 0.35), "white_cells": (10.5, 0.3), "albumin": (37, 4)},
    "newborn intensive care": {"age": (0.04, 0.02), "height": (41, 5), "weight": (10.5, 0.12),
                               "heart_rate": (148, 13), "systolic_pressure": (55, 8), "hemoglobin": (16, 2),
                               "bilirubin": (6.5, 0.5), "creatinine": (0.7, 0.3), "glucose": (78, 0.3),
                               "white_cells": (13, 0.4), "albumin": (27, 4), "crp": (2, 1.0)},
    "children": {"age": (8, 3.5), "height": (128, 17), "weight": (16.7, 0.14), "heart_rate": (98, 14),
                 "systolic_pressure": (104, 10), "hemoglobin": (12.8, 1.0), "creatinine": (0.48, 0.25),
                 "urea": (25, 0.3)},
    "geriatric": {"age": (86, 5), "height": (162, 9), "weight": (24, 0.18), "hemoglobin": (11.9, 1.6),
                  "creatinine": (1.15, 0.4), "urea": (52, 0.4), "albumin": (33, 5), "systolic_pressure": (139, 21)},
    "intensive care": {"heart_rate": (99, 20), "systolic_pressure": (104, 20), "lactate": (3.6, 0.7),
                       "creatinine": (1.6, 0.6), "urea": (62, 0.5), "white_cells": (14, 0.5), "albumin": (24, 5),
                       "temperature": (37.6, 1.0), "glucose": (158, 0.35), "hemoglobin": (10.2, 1.8),
                       "crp": (120, 0.8)},
    "surgical": {"hemoglobin": (11.0, 1.6), "crp": (75, 0.8), "white_cells": (10.8, 0.35), "albumin": (31, 5),
                 "temperature": (37.3, 0.6)},
    "oncology": {"white_cells": (3.1, 0.9), "hemoglobin": (9.8, 1.4), "albumin": (32, 6), "crp": (45, 1.1),
                 "weight": (23.5, 0.17)},
    "leukaemia": {"white_cells": (55, 1.3), "hemoglobin": (8.6, 1.4), "crp": (40, 1.1)},
    "transplant": {"creatinine": (1.9, 0.45), "urea": (68, 0.45), "hemoglobin": (11.3, 1.5), "glucose": (142, 0.3),
                   "white_cells": (6.4, 0.45)},
    "liver unit": {"bilirubin": (11, 0.8), "albumin": (27, 5), "hemoglobin": (10.4, 1.7), "lactate": (2.2, 0.5)},
    "bilirubin alone": {"bilirubin": (12, 0.5)},
    "dialysis": {"creatinine": (7.8, 0.32), "urea": (118, 0.32), "hemoglobin": (10.8, 1.2)},
    "creatinine alone": {"creatinine": (8.5, 0.3)},
    "diabetes": {"glucose": (245, 0.35), "weight": (31, 0.18), "creatinine": (1.15, 0.35)},
    "low sugar": {"glucose": (62, 0.25)},
    "obesity surgery": {"weight": (41, 0.14), "age": (43, 10), "systolic_pressure": (140, 16), "glucose": (128, 0.28)},
    "obstetric": {"age": (31, 5), "height": (166, 6), "weight": (28.5, 0.16), "hemoglobin": (11.5, 1.1),
                  "heart_rate": (87, 12), "creatinine": (0.55, 0.2), "urea": (19, 0.28), "albumin": (30, 3)},
    "hypothermia": {"temperature": (32.8, 1.2), "heart_rate": (56, 12), "lactate": (4.5, 0.6)},
    "sepsis": {"lactate": (7.5, 0.6), "crp": (210, 0.6), "systolic_pressure": (86, 14), "heart_rate": (118, 18)},
    "sports medicine": {"age": (24, 5), "heart_rate": (56, 9), "weight": (23, 0.1), "crp": (0.8, 0.7)},
}  # fmt: skip
"""By population: the middle and spread of what differs from an ordinary ward. Those that move one value alone, to where
another unit would put it, are the hardest."""
FRAIL = {"geriatric": 6.2, "intensive care": 4.8, "oncology": 4.6, "sports medicine": 1.2, "obstetric": 1.5,
         "children": 1.6, "infants": 1.2, "newborn intensive care": 1.2}  # fmt: skip
MOSTLY = {"obstetric": 0.0, "geriatric": 0.36, "obesity surgery": 0.3}  # men
UNITS = {
    "height": ("in", 1 / 2.54, 0.0),
    "weight": ("lb", 1 / 0.45359237, 0.0),
    "temperature": ("°F", 1.8, 32.0),
    "systolic_pressure": ("kPa", 0.133322387415, 0.0),
    "diastolic_pressure": ("kPa", 0.133322387415, 0.0),
    "spo2": ("fraction", 0.01, 0.0),
    "hemoglobin": ("g/l", 10.0, 0.0),
    "hematocrit": ("fraction", 0.01, 0.0),
    "creatinine": ("µmol/l", 1e4 / 113.12, 0.0),
    "urea": ("mmol/l", 10 / 60.06, 0.0),
    "bilirubin": ("µmol/l", 1e4 / 584.66, 0.0),
    "glucose": ("mmol/l", 10 / 180.16, 0.0),
    "lactate": ("mg/dl", 90.08 / 10, 0.0),
    "albumin": ("g/dl", 0.1, 0.0),
    "age": ("months", 12.0, 0.0),
}
"""What a hospital may write instead: the unit, and factor and offset of what it then writes."""


def hospital(kind: str, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a hospital's patients as agreed: an ``"ordinary"`` ward, or of one of :data:`POPULATIONS`.

    Examples
    --------
    >>> import numpy as np
    >>> bool(hospital("infants", 50, np.random.default_rng(0))["height"].median() < 90)
    True
    """
    other = POPULATIONS[kind] if kind != "ordinary" else {}
    male = rng.random(patients) < MOSTLY.get(kind, rng.uniform(0.4, 0.6))
    out: dict[str, Floats] = {}
    ill = rng.standard_normal(patients)
    for law in LAWS:
        middle, spread = other.get(law.feature.name, (law.middle, law.spread))
        own = 0.9 * rng.standard_normal(patients) + np.sqrt(1 - 0.9**2) * ill
        score = own * rng.uniform(0.9, 1.1) + rng.normal(0, 0.12)  # a hospital's patients, and its devices
        moved = rng.normal(0, 0.12) if law.feature.name in other else 0.0  # no two hospitals of a kind are alike
        if law.log:
            value = middle * np.exp(spread * score + moved)
        else:
            value = middle + spread * (score + 5 * moved)
        out[law.feature.name] = _charted(_together(law.feature.name, value, out, male, kind), law)
    years = (out["age"] - out["age"].mean()) / out["age"].std()
    frail = FRAIL.get(kind, 3.6) + 1.4 * (0.5 * years + 0.87 * rng.standard_normal(patients))
    grades = np.clip(frail.round(), 1, 9).astype(np.int64)
    return pd.DataFrame(out | {"sex": np.where(male, "M", "F"), FRAILTY.name: grades})


def _together(name: str, value: Floats, known: Mapping[str, Floats], male: NDArray[np.bool_], kind: str) -> Floats:
    """What goes with what the same patient has already."""
    grown = "height" not in POPULATIONS.get(kind, {})
    if name == "height" and grown:
        return value + np.where(male, 6.0, -6.0)
    if name == "weight":
        return value * (known["height"] / 100) ** 2
    if name == "diastolic_pressure":
        return value * known["systolic_pressure"]
    if name == "hematocrit":
        return value * known["hemoglobin"]
    if name == "urea":
        of = known["creatinine"]
        return value * (of / np.median(of)) ** 0.5
    return value


def _charted(value: Floats, law: Law) -> Floats:
    low, high = law.feature.range or (-np.inf, np.inf)
    some = law.places if np.median(value) * 10**law.places < 1000 else max(law.places - 1, 0)
    places = 2 if law.feature.name == "age" and np.median(value) < 3 else some
    return np.asarray(np.clip(value, low, high).round(places))
