"""What server and sites have agreed on; copied into the app that ``test_deploy.py`` runs on a SuperLink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.plan import Plan
from fedlab.federation import Feature, Federation
from fedlab.federation.dictionary import DataDictionary

COLUMNS = ("age", "trestbps", "chol", "thalach", "oldpeak")
CLASSES = (0, 1)
FEATURES = [Feature(name) for name in COLUMNS]
AGREED = DataDictionary.of(FEATURES)


def federation_of(frame: pd.DataFrame) -> Federation:
    """Rows as both have agreed to read them."""
    return Federation.from_frame(
        frame, site="site", label="label", group="patient", features=FEATURES, classes=list(CLASSES), seed=0
    )


def read(path: str, site: str) -> pd.DataFrame:
    """One hospital's file."""
    frame = pd.read_csv(path, float_precision="round_trip")
    bad = frame.loc[pd.to_numeric(frame["chol"], errors="coerce").isna() & frame["chol"].notna(), "chol"]
    if len(bad):
        raise ValueError(f"chol of a patient is {bad.iloc[0]!r}, which is no number")
    return frame.assign(site=site)


def plan_of(sites: Sequence[str], algorithm: str | Algorithm, **settings: Any) -> Plan:
    """What server and sites are asked, in one file for all of them."""
    return Plan.agreed(
        AGREED, sites, list(map(str, CLASSES)), "logistic", algorithm, seed=0, engine="sequential", **settings
    )
