"""UCI heart disease exactly as FLamby's benchmark has it: its rows, features, split, scale and start.

Ogier du Terrail et al., *FLamby: datasets and benchmarks for cross-silo federated learning in realistic healthcare
settings*, NeurIPS 2022 (datasets and benchmarks), arXiv:2210.04620. For comparison with its figures and nothing else:
fedlab's own recipe (``data_recipes.heart_disease``) keeps every patient, and knows that a cholesterol of 0 is none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from data_recipes import heart_disease
from data_recipes.tables import MISSING
from fedlab.federation import Classification, Federation, Split

LEFT_OUT = ["slope", "ca", "thal"]
CATEGORIES = ["cp", "restecg"]
TRAIN = 0.66
FEW = 2  # rows: a class that has no more than these is not stratified
NO_ZERO = 1e-9  # added to the standard deviation: Switzerland's cholesterol is 0 in all rows


def patients() -> pd.DataFrame:
    """Return ``site``, 13 features and ``y`` of the rows without a ``?`` (a zero counts as measured)."""
    tables = []
    for site, table in heart_disease.raw().items():
        kept = table.drop(columns=LEFT_OUT)
        tables.append(kept[(kept != MISSING).all(axis=1)].astype(float).assign(site=site))
    every = pd.concat(tables, ignore_index=True)
    every = pd.get_dummies(every, columns=CATEGORIES, drop_first=True, dtype=float)
    every["y"] = every.pop("num") > 0
    return every


def federation(*, pooled: bool = False) -> Federation:
    """Make the four sites, each standardised with the mean and deviation (torch's, n − 1) of its training rows.

    ``pooled``: what FLamby's pooled model is trained on, training rows standardised over all sites. The test rows are
    the same in both, standardised at their site, as FLamby tests it.
    """
    every = patients()
    features = every.columns.drop(["site", "y"])
    rows: dict[str, tuple[Tensor, Tensor]] = {}
    splits = {}
    for site, own in every.groupby("site", sort=False):
        y = torch.from_numpy(own["y"].to_numpy(dtype=np.int64))
        rows[str(site)] = torch.from_numpy(own[features].to_numpy(dtype=np.float32)), y
        splits[str(site)] = _split(y)
    scales = {site: _scale(x[splits[site][0]]) for site, (x, _) in rows.items()}
    if pooled:
        all_sites = _scale(torch.cat([x[splits[site][0]] for site, (x, _) in rows.items()]))
    data, parts = {}, {}
    for site, (x, y) in rows.items():
        train, test = splits[site]
        learnt = _scaled(x[train], all_sites if pooled else scales[site])
        # FLamby has no rows to choose on, and a Split needs some: the training rows once more, nothing looks at them
        data[site] = torch.cat([learnt, learnt, _scaled(x[test], scales[site])]), y[[*train, *train, *test]]
        n = np.arange(len(train) * 2 + len(test))
        parts[site] = Split(n[: len(train)], n[len(train) : 2 * len(train)], n[2 * len(train) :])
    return Federation.from_tensors(
        data,
        splits=parts,
        task=Classification(heart_disease.CLASSES),
        name="Fed-Heart-Disease",
        source=f"{heart_disease.TITLE}, as FLamby prepares it. {heart_disease.CITATION}",
        licence=heart_disease.LICENCE,
        prepared=True,
    )


def start(seed: int, *, features: int = 13) -> nn.Module:
    """Make the model that FLamby starts this seed's runs from, its very numbers: torch's own draw."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(features, 1)


def _split(y: Tensor) -> tuple[list[int], list[int]]:
    """Split into train and test, by class where there are enough of each."""
    stratify = y.numpy() if int(y.bincount().min()) > FEW else None
    train, test = train_test_split(
        np.arange(len(y)), train_size=TRAIN, test_size=1 - TRAIN, random_state=43, stratify=stratify
    )
    return sorted(train.tolist()), sorted(test.tolist())


def _scale(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), x.std(0) + NO_ZERO


def _scaled(x: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    mean, deviation = scale
    return (x - mean) / deviation
