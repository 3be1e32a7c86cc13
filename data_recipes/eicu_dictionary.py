"""What eICU's columns mean, in which unit, and what a living patient can have: the recipe's data dictionary."""

from __future__ import annotations

from fedlab.federation import Feature

YES_NO = {"0": "no", "1": "yes"}
PATIENT = (
    Feature("age", unit="year", range=(0, 120)),
    Feature("gender", kind="category", codes={"Female": "female", "Male": "male"}),
    Feature("admissionheight", unit="cm", range=(120, 230)),
    Feature("admissionweight", unit="kg", range=(30, 300)),
)
APACHE = (
    Feature("intubated", kind="category", codes=YES_NO),
    Feature("vent", kind="category", codes=YES_NO),
    Feature("dialysis", kind="category", codes=YES_NO),
    Feature("eyes", range=(1, 4)),
    Feature("motor", range=(1, 6)),
    Feature("verbal", range=(1, 5)),
    Feature("urine", unit="mL", range=(0, 15_000)),
    Feature("wbc", unit="1/nL", range=(0, 500)),
    Feature("temperature", unit="degC", range=(20, 45)),
    Feature("respiratoryrate", unit="1/min", range=(0, 80)),
    Feature("sodium", unit="mmol/L", range=(90, 200)),
    Feature("heartrate", unit="1/min", range=(0, 250)),
    Feature("meanbp", unit="mmHg", range=(0, 250)),
    Feature("ph", range=(6.5, 8)),
    Feature("hematocrit", unit="percent", range=(5, 75)),
    Feature("creatinine", unit="mg/dL", range=(0, 30)),
    Feature("albumin", unit="g/dL", range=(0.5, 8)),
    Feature("pao2", unit="mmHg", range=(10, 700)),
    Feature("pco2", unit="mmHg", range=(5, 200)),
    Feature("bun", unit="mg/dL", range=(0, 300)),
    Feature("glucose", unit="mg/dL", range=(5, 2000)),
    Feature("bilirubin", unit="mg/dL", range=(0, 60)),
)
ILLNESSES = tuple(
    Feature(name, kind="category", codes=YES_NO)
    for name in ("diabetes", "cirrhosis", "hepaticfailure", "metastaticcancer", "immunosuppression")
)
FIO2 = Feature("fio2", unit="percent", range=(21, 100))
NOREPINEPHRINE = Feature("norepinephrine", unit="ug/min", range=(0, 200))
CHARTED = Feature("norepinephrine_charted", kind="category", codes=YES_NO)
FEATURES = (
    *PATIENT,
    *APACHE,
    *ILLNESSES,
    FIO2,
    NOREPINEPHRINE,
    CHARTED,
)
"""The data dictionary, columns called as in eICU's: ``eyes``, ``motor``, ``verbal`` of the Glasgow coma scale, ``vent``
ventilated, ``urine`` of the day, ``bun`` blood urea nitrogen, ``meanbp`` mean arterial pressure. ``fio2`` (share of
oxygen in the air breathed in) and ``norepinephrine`` are what was charted first; ``norepinephrine_charted`` says
whether a rate was, which at a hospital that charts no infusions is always ``no``. ``range`` is what is possible."""

NEEDED: dict[str, tuple[str, ...]] = {
    "patient": (
        "patientunitstayid", "uniquepid", "hospitalid", "hospitaldischargestatus", *(f.name for f in PATIENT),
    ),
    "hospital": ("hospitalid", "region"),
    "apacheApsVar": ("patientunitstayid", *(f.name for f in APACHE)),
    "apachePredVar": ("patientunitstayid", *(f.name for f in ILLNESSES)),
    "infusionDrug": (
        "patientunitstayid", "infusionoffset", "drugname", "drugrate", "drugamount", "volumeoffluid",
    ),
    "respiratoryCharting": ("patientunitstayid", "respchartoffset", "respchartvaluelabel", "respchartvalue"),
}  # fmt: skip
"""The columns that are read, by table."""
