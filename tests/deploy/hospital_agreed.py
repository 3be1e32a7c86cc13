"""What server and sites have agreed on; copied into the app that ``test_deploy.py`` runs on a SuperLink."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fedlab.engine import Run
from fedlab.engine.plan import planned
from fedlab.engine.train import begin
from fedlab.federation import Feature, Federation

COLUMNS = ("age", "trestbps", "chol", "thalach", "oldpeak")
CLASSES = (0, 1)


def federation_of(frame: pd.DataFrame) -> Federation:
    """Rows as both have agreed to read them."""
    features = [Feature(name) for name in COLUMNS]
    return Federation.from_frame(
        frame, site="site", label="label", group="patient", features=features, classes=list(CLASSES), seed=0
    )


def read(path: str, site: str) -> pd.DataFrame:
    """One hospital's file."""
    frame = pd.read_csv(path, float_precision="round_trip")
    bad = frame.loc[pd.to_numeric(frame["chol"], errors="coerce").isna() & frame["chol"].notna(), "chol"]
    if len(bad):
        raise ValueError(f"chol of a patient is {bad.iloc[0]!r}, which is no number")
    return frame.assign(site=site)


def run_of(federation: Federation, config: Any) -> Run:
    """The run that is asked for."""
    settings = {"seed": 0, "rounds": int(config["rounds"]), "engine": "sequential"}
    return begin(planned(federation, "logistic", str(config["algorithm"]), settings))
