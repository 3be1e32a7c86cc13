r"""The model behind ``phantom_ehr``: how the patients of a generated intensive-care unit come about.

A patient of hospital :math:`h` has a severity, and four organ processes (circulation, lungs, kidneys, infection) that
share it:

.. math::
    z \sim N(\mu_h, 1), \qquad u_k = 0.6\,z + 0.8\,n_k

Each value has a standard score with loadings :math:`l_{jk}` on the processes, which explain a share :math:`v_j` of it;
what is left is the value's own. The value is the score in its unit (of creatinine, glucose, lactate, white cells and
FiO2 on the logarithm), rounded and cut off as a chart has it. :math:`b_{hj}` is the hospital's device: it moves the
value, not the patient.

.. math::
    t_j = \sum_k l_{jk} u_k + \sqrt{1 - v_j}\; e_j, \qquad
    x_j = \mathrm{middle}_j + \mathrm{spread}_j \, (t_j + b_{hj})

Norepinephrine is given where the circulation is worse than :math:`u = 1`, the more the worse. Death, with age, frailty
and the dose among the :math:`t_j`:

.. math::
    \mathrm{logit}\,P(\mathrm{died}) = a_h + \sum_j \beta_j t_j

Values are missing not at random: the logit of *not measured* is :math:`m_j + c_{hj} - s_j z`, so that a lactate is
taken from those who look ill.

Hospitals are drawn too: :math:`\mu_h \sim N(0, 0.3^2)` (whom they admit), :math:`a_h \sim N(a, 0.25^2)` (how they
treat), :math:`b_{hj} \sim N(0, 0.1^2)` (what they measure with), :math:`c_{hj} \sim N(0, 0.4^2)` (whom they measure),
and the mean age, :math:`N(64, 2^2)`. The :math:`n` and :math:`e` are independent standard normals. A hospital is the
same, however many others there are.

Over many hospitals 16 % die, 9 % to 25 % in nineteen hospitals of twenty; the true risk has an AUC of .85 (Bayes: no
model does better).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlab.federation import Feature
from fedlab.federation.numbers import whole

SHARED = 0.6  # of an organ process, what it has of the severity
INTERCEPT = -2.45
FIRST_DAY, DAYS = np.datetime64("2023-01-01"), 730
Floats = NDArray[np.float64]


class Law(NamedTuple):
    """How one value comes about: see the module for the letters.

    ``loads`` on circulation, lungs, kidneys and infection; ``step`` of the chart; ``risk`` is beta; ``absent`` the
    share not measured at z = 0, and ``rarer`` how much less so in the ill.
    """

    feature: Feature
    middle: float
    spread: float
    loads: tuple[float, float, float, float]
    step: float
    risk: float
    absent: float
    rarer: float
    log: bool = False


def _law(name: str, unit: str, low: float, high: float, *law: Any, log: bool = False) -> Law:
    return Law(Feature(name, unit=unit, range=(low, high)), *law)._replace(log=log)


LAWS = (
    _law("temperature", "°C", 25, 43, 37.0, 0.8, (-0.2, 0.0, 0.0, 0.6), 0.1, -0.2, 0.03, 0.3),
    _law("heart_rate", "beats/min", 20, 230, 90, 18, (0.35, 0.2, 0.0, 0.35), 1, 0.2, 0.01, 0.3),
    _law("mean_pressure", "mmHg", 20, 180, 80, 13, (-0.65, 0.0, 0.0, -0.15), 1, -0.3, 0.01, 0.3),
    _law("resp_rate", "breaths/min", 4, 70, 20, 5.5, (0.1, 0.55, 0.0, 0.15), 1, 0.3, 0.03, 0.3),
    _law("spo2", "%", 50, 100, 96.0, 2.5, (0.0, -0.6, 0.0, 0.0), 1, -0.2, 0.02, 0.3),
    _law("fio2", "fraction", 0.21, 1, 0.35, 0.45, (0.0, 0.7, 0.0, 0.0), 0.05, 0.3, 0.15, 0.6, log=True),
    _law("creatinine", "mg/dl", 0.1, 25, 1.1, 0.55, (0.15, 0.0, 0.7, 0.0), 0.01, 0.3, 0.06, 0.5, log=True),
    _law("glucose", "mg/dl", 10, 1000, 138, 0.32, (0.2, 0.0, 0.1, 0.25), 1, 0.1, 0.05, 0.4, log=True),
    _law("lactate", "mmol/l", 0.2, 30, 1.6, 0.6, (0.7, 0.0, 0.1, 0.1), 0.1, 0.45, 0.4, 1.0, log=True),
    _law("white_cells", "10^9/l", 0.1, 200, 11, 0.45, (0.0, 0.0, 0.0, 0.6), 0.1, 0.1, 0.06, 0.5, log=True),
)
FRAILTY = ("very fit", "well", "managing well", "vulnerable", "mildly frail", "moderately frail",
           "severely frail", "very severely frail", "terminally ill")  # fmt: skip
FEATURES = (
    Feature("age", unit="years", range=(18, 100)),
    Feature("sex", kind="category", codes={"F": "female", "M": "male"}),
    Feature("frailty", unit="points", range=(1, 9), codes=dict(enumerate(FRAILTY, 1))),
    Feature("height", unit="cm", range=(120, 220)),
    Feature("weight", unit="kg", range=(30, 300)),
    *(law.feature for law in LAWS),
    Feature("norepinephrine", unit="µg/kg/min", range=(0, 5)),
)
"""The data dictionary: ``frailty`` by the Clinical Frailty Scale, ``mean_pressure`` mean arterial pressure, ``fio2``
the fraction of oxygen that is breathed in, ``white_cells`` leucocytes; all of the first day, the first value measured
but for ``norepinephrine``, the highest rate. ``range`` is what a living adult can have."""


def generate(hospital: int, patients: int, seed: int) -> pd.DataFrame:
    """Generate one hospital's patients with every value: see :func:`data_recipes.phantom_ehr.complete`."""
    n, seed = whole("patients", patients, 1), whole("seed", seed, 0)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 8, hospital]))
    mix, treated, age_mean = rng.normal(0, 0.3), rng.normal(0, 0.25), rng.normal(64, 2)
    z = rng.normal(mix, 1, n)
    organs = SHARED * z + np.sqrt(1 - SHARED**2) * rng.standard_normal((4, n))
    age, male = rng.normal(0, 1, n), rng.random(n) < 0.56
    frail = 0.4 * age + np.sqrt(1 - 0.4**2) * rng.standard_normal(n)
    height = np.where(male, 176, 163) + 7 * rng.standard_normal(n)
    weight = 27 * np.exp(0.2 * rng.standard_normal(n)) * (height / 100) ** 2
    dose = np.where(organs[0] > 1, np.exp(-2.6 + 1.1 * (organs[0] - 1) + 0.5 * rng.standard_normal(n)), 0)
    logit = INTERCEPT + treated + 0.55 * age + 0.4 * frail + 0.3 * np.log1p(10 * dose)
    values: dict[str, Any] = {
        "age": _charted(age_mean + 15 * age, 1, (18, 100)),
        "sex": np.where(male, "M", "F"),
        "frailty": _charted(3.9 + 1.6 * frail, 1, (1, 9)),
        "height": _charted(height, 1, (120, 220)),
        "weight": _charted(weight, 0.1, (30, 300)),
    }
    for law in LAWS:
        score, device = _score(law, organs, rng), rng.normal(0, 0.1)
        logit += law.risk * score
        value = law.spread * (score + device)
        exact = law.middle * np.exp(value) if law.log else law.middle + value
        values[law.feature.name] = _charted(exact, law.step, law.feature.range)
    values["norepinephrine"] = _charted(dose, 0.01, (0, 5))
    risk = 1 / (1 + np.exp(-logit))
    name = f"Hospital {hospital + 1}"
    day = FIRST_DAY + rng.integers(0, DAYS, n)
    identity = {"hospital": name, "patient": [f"{hospital + 1}-{k}" for k in range(1, n + 1)], "admitted": day}
    died = (rng.random(n) < risk).astype(np.int64)
    return pd.DataFrame(identity | values | {"died": died, "risk": risk, "severity": z})


def measured(hospital: int, patients: int, seed: int) -> pd.DataFrame:
    """Generate one hospital's patients, with what was measured of them."""
    table = generate(hospital, patients, seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9, hospital]))
    habits = [("frailty", 0.1, 0.0), ("height", 0.2, 0.0), ("weight", 0.05, 0.0), ("norepinephrine", 0.03, 0.0)]
    for name, absent, rarer in [*habits, *((law.feature.name, law.absent, law.rarer) for law in LAWS)]:
        logit = np.log(absent / (1 - absent)) + rng.normal(0, 0.4) - rarer * table["severity"]
        table[name] = table[name].mask(rng.random(len(table)) < 1 / (1 + np.exp(-logit)))
    return table


def _score(law: Law, organs: Floats, rng: np.random.Generator) -> Floats:
    """A value's standard score, of variance 1 where the severity's is."""
    loads = np.array(law.loads)
    explained = (1 - SHARED**2) * (loads**2).sum() + SHARED**2 * loads.sum() ** 2
    score: Floats = loads @ organs + np.sqrt(1 - explained) * rng.standard_normal(organs.shape[1])
    return score


def _charted(values: Floats, step: float, within: tuple[float, float] | None) -> Floats:
    """Round as the chart does (0.1, not 0.1000001), and cut off at what can be."""
    places = max(0, -int(np.floor(np.log10(step))))
    rounded: Floats = np.clip(np.round(np.round(values / step) * step, places), *(within or (-np.inf, np.inf)))
    return rounded
