"""Small federations for planted differences, and how two sites are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from fedlab.federation import (
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    Feature,
    Federation,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shift,
    Shifts,
    Site,
)

ALL = [AcquisitionShift, PracticeShift, DocumentationShift, ConceptShift, LabelShift, QuantityShift]
DIALS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def ward(n: int = 240, visits: int = 1, classes: int = 2, seed: int = 0) -> Federation:
    """Two wards with numbers, codes and categories; one feature constant and one without any value at A."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        "site": np.where(np.arange(n) // visits % 2, "B", "A"),
        "patient": np.arange(n) // visits,
        "height": rng.normal(170, 10, n).round(),
        "lactate": np.where(rng.random(n) < 0.3, np.nan, rng.lognormal(0.5, 0.5, n).round(1)),
        "constant": 3.0,
        "unmeasured": rng.normal(0, 1, n),
        "stage": rng.integers(1, 5, n),
        "sex": rng.choice(["F", "M"], n),
        "ward": rng.choice(["x", "y", "z"], n),
        "label": rng.integers(0, classes, n)[np.arange(n) // visits],
    })  # fmt: skip
    table.loc[table["site"] == "A", "unmeasured"] = np.nan
    features = (
        Feature("height", unit="cm", range=(100, 230)),
        Feature("lactate", unit="mmol/l", range=(0.1, 40)),
        "constant",
        "unmeasured",
        Feature("stage", codes={k: str(k) for k in range(1, 5)}, range=(1, 4)),
        "sex",
        "ward",
    )
    return Federation.from_frame(table, site="site", label="label", group="patient", features=features)


def shifted(federation: Federation, *shifts: Shift, seed: int = 0) -> Site:
    return federation.shift(Shifts({"A": shifts}, seed=seed))["A"]


def column(federation: Federation, site: Site, name: str) -> np.ndarray[Any, Any]:
    return site.rows.x[:, federation.columns.index(name)].numpy()


def same(one: Site, other: Site) -> bool:
    pairs = [(one.rows.x, other.rows.x), (one.rows.y, other.rows.y)]
    alike = all(torch.equal(a.nan_to_num(-77), b.nan_to_num(-77)) for a, b in pairs)
    parts = zip(one.split.parts().values(), other.split.parts().values(), strict=True)
    return alike and all(np.array_equal(a, b) for a, b in parts)


def prepared() -> Federation:
    return Federation.from_tensors({"A": (torch.rand(9, 2), torch.arange(9) % 2)})


def images(n: int = 60) -> Federation:
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Federation.from_tensors({"A": (x, torch.arange(n) % 2)})
