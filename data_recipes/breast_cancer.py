"""Breast Cancer Wisconsin (Diagnostic): 569 real patients of one hospital, dealt to *simulated* hospitals.

Each patient's row describes the cell nuclei in one image of a fine-needle aspirate: ten properties, each as mean,
standard error and worst of the nuclei. The table ships inside scikit-learn; nothing is downloaded.

The sites are not real. They exist by one of three stated rules, so that one difference between hospitals can be
looked at alone:

``"iid"``
    Equal shares, dealt at random: hospitals that differ by chance only.
``"size"``
    Each ward half as large as the one before (303, 152, 76, 38 patients for four), with the same share of malignant
    tumours: hospitals that differ in what they have to learn from.
``"label"``
    Equal shares, but the share of malignant tumours rises in equal steps from 10 % at the first site to 65 % at the
    last (their mean is the hospital's 37 %): wards that see other patients.

References
----------
Street, Wolberg & Mangasarian (1993), SPIE 1905, 861-870; https://doi.org/10.24432/C5DW2B
"""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_recipes.files import DataFile
from fedlab.federation import Feature, Federation
from fedlab.federation.numbers import whole

NAME = "breast_cancer"
TITLE = "Breast Cancer Wisconsin (Diagnostic), simulated hospitals"
MODALITY = "table"
SITES = 4
ROWS = 569
FILES: tuple[DataFile, ...] = ()
EMBEDDED = 119_913  # inside scikit-learn
LICENCE = "CC BY 4.0"
CITATION = (
    "Wolberg W., Mangasarian O., Street N., Street W. (1993). Breast Cancer Wisconsin (Diagnostic) [data set]. UCI "
    "Machine Learning Repository. https://doi.org/10.24432/C5DW2B"
)
SITE_KEY = ""

CLASSES = ("benign", "malignant")
LEAST = 3  # patients a site: train, valid and test need one each
LOWEST = 0.10  # share of malignant tumours at the first site under the rule "label"
RULES = {
    "iid": "equal shares, dealt at random",
    "size": "each site half as large as the one before, with the same share of malignant tumours",
    "label": "equal shares, the malignant tumours rising in equal steps",
}


def raw() -> dict[str, pd.DataFrame]:
    """Return the table as scikit-learn ships it: 30 measurements and ``diagnosis`` (``benign``, ``malignant``).

    Examples
    --------
    >>> raw()["Wisconsin"]["diagnosis"].value_counts().to_dict()
    {'benign': 357, 'malignant': 212}
    """
    from sklearn.datasets import load_breast_cancer  # a second: only where the table is read

    bunch = load_breast_cancer(as_frame=True)
    # scikit-learn's target is 0 for malignant: names, not numbers, so that nobody trains a model upside down.
    return {"Wisconsin": bunch.data.assign(diagnosis=[str(bunch.target_names[k]) for k in bunch.target])}


def load(*, sites: int = 4, by: str = "size", seed: int = 0) -> Federation:
    """Deal the hospital's patients to simulated sites ``Ward 1``, ``Ward 2``, …; every patient goes to exactly one.

    Parameters
    ----------
    sites : int
        How many.
    by : {"size", "iid", "label"}
        The rule: see the module.
    seed : int
        Of the dealing and of the split.

    Returns
    -------
    Federation

    Raises
    ------
    ValueError
        For an unknown rule, or more sites than can have three patients each.

    Examples
    --------
    >>> [len(site) for site in load(sites=3, by="iid").sites]
    [190, 189, 190]
    """
    if by not in RULES:
        close = difflib.get_close_matches(str(by), RULES, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"there is no rule by={by!r}{meant}; the rules are {', '.join(map(repr, RULES))}")
    table = raw()["Wisconsin"]
    ward = deal(table["diagnosis"].to_numpy() == "malignant", sites=sites, by=by, seed=seed)
    names = [f"Ward {k + 1}" for k in range(sites)]
    order = np.argsort(ward, kind="stable")  # a federation's sites come in the order of its rows
    table = table.assign(ward=[names[k] for k in ward]).iloc[order]
    rule = f"simulated: patients of one hospital, {RULES[by]}"
    return Federation.from_frame(
        table,
        site="ward",
        label="diagnosis",
        features=[Feature(name) for name in table.columns if name not in ("ward", "diagnosis")],
        classes=CLASSES,
        name=NAME,
        source=f"{TITLE} ({rule}). {CITATION}",
        licence=LICENCE,
        about={name: {"hospital": rule, "investigator": "William H. Wolberg, M.D."} for name in names},
        seed=seed,
    )


def deal(malignant: NDArray[np.bool_], *, sites: int, by: str, seed: int) -> NDArray[np.int64]:
    """Return each patient's site, 0 … ``sites`` - 1.

    Examples
    --------
    >>> malignant = np.arange(30) % 3 == 0
    >>> np.bincount(deal(malignant, sites=2, by="size", seed=0)).tolist()
    [20, 10]
    """
    n = len(malignant)
    sites = whole("sites", sites, 1)
    most = max(k for k in range(1, n // LEAST + 1) if k == 1 or _sizes(n, k, by).min() >= LEAST)
    if sites > most:
        raise ValueError(
            f"{n} patients cannot be dealt to sites={sites} by={by!r} with at least {LEAST} each: "
            f"the nearest that can be is sites={most}"
        )
    sizes = _sizes(n, sites, by)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    order = rng.permutation(n)
    ward = np.empty(n, dtype=np.int64)
    if by == "iid":
        ward[order] = np.repeat(np.arange(sites), sizes)
        return ward
    share = malignant.mean()
    rises = by == "label" and sites > 1
    wanted = sizes * (np.linspace(LOWEST, 2 * share - LOWEST, sites) if rises else share)
    ill = _whole(wanted / wanted.sum() * malignant.sum())
    for who, counts in ((malignant, ill), (~malignant, sizes - ill)):
        ward[order[who[order]]] = np.repeat(np.arange(sites), counts)
    return ward


def _sizes(n: int, sites: int, by: str) -> NDArray[np.int64]:
    parts = 0.5 ** np.arange(sites) if by == "size" else np.ones(sites)
    return _whole(parts / parts.sum() * n)


def _whole(amounts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round so that the sum stays: the running totals are rounded, not the amounts."""
    ends: NDArray[np.int64] = np.rint(np.cumsum(amounts)).astype(np.int64)
    ends[1:] -= ends[:-1].copy()
    return ends
