"""The register of measures: what each sees, whether it needs rows or only summaries, and what crosses the exchange."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pandas as pd

KINDS = ("quantity", "label", "features", "missingness", "joint", "concept", "training")
"""Kinds of difference, in the order of a table."""

COUNTS = "8 bytes a cell of each histogram; before it 8 for each block of a number, at most 20"
NOTHING = "nothing: all rows are in this process; between hospitals the rows themselves would have to travel"


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes
    ----------
    name, title : str
    kinds : tuple of str
        The kinds of difference that it is computed for.
    sees : str
        A sentence.
    needs : {"summaries", "rows", "updates"}
    crosses : str
        What a site sends for it, and how many bytes.
    null : str
        What its level under no difference is made of; ``"rows"`` even where the value itself needs less.
    low, high : float
        Where it lies.
    unit : str
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    sees: str
    needs: str
    crosses: str
    null: str
    low: float
    high: float
    unit: str = ""


_INF = float("inf")
_ALL = [
    Measure("patients", "patients, in mean sites", ("quantity",), "How large a site is: its training patients over the "
            "mean of all sites.", "summaries", "one number, 8 bytes", "none: a count is no sample", 0, _INF, "×"),
    Measure("jensen_shannon", "Jensen–Shannon distance (base 2)", ("label", "features"), "Any difference of shares "
            "between cells, also a category that one side lacks.", "summaries", COUNTS, "counts", 0, 1),
    Measure("hellinger", "Hellinger distance", ("label", "features"), "The same, and more of it in rare cells.",
            "summaries", COUNTS, "counts", 0, 1),
    Measure("total_variation", "total variation", ("label", "features", "missingness"), "The share of patients that "
            "stands in other cells; of missingness, the difference of the shares without a value.", "summaries",
            COUNTS, "counts", 0, 1),
    Measure("psi", "population stability index", ("label", "features"), "The same as Jensen–Shannon, without an upper "
            "end; industry reads 0.1 as some and 0.25 as much.", "summaries", COUNTS, "counts", 0, _INF, "nats"),
    Measure("wasserstein", "Wasserstein-1", ("features",), "How far a number has moved, in standard deviations: the "
            "order of the cells and their distance count.", "summaries", COUNTS, "counts", 0, _INF, "SD"),
    Measure("kolmogorov_smirnov", "Kolmogorov–Smirnov", ("features",), "The largest gap between the cumulated shares "
            "of a number.", "summaries", COUNTS, "counts", 0, 1),
    Measure("c2st", "classifier two-sample AUC", ("joint",), "Whether a classifier can tell a site's patients from "
            "the others' by all features together, what is missing included.", "rows", NOTHING, "rows", 0, 1),
    Measure("mmd", "MMD², Gaussian kernel, unbiased", ("joint",), "Any difference of the joint distribution, weighed "
            "by the kernel.", "rows", NOTHING, "rows", -1, 2),
    Measure("concept", "outcome by risk, beyond prevalence", ("concept",), "Whether patients of equal risk have "
            "another share of the label than elsewhere, once one shift of the log odds has made up for prevalence.",
            "updates", "the updates of FedAvg's rounds; then 8 bytes for each class in each of four bands of risk, and "
            "for each block of the risk", "counts", 0, 1),
    Measure("angle", "angle to the mean update", ("training",), "Whether a site pulls the model elsewhere.", "updates",
            "one round's update of the model", "rows", 0, 180, "°"),
    Measure("drift", "distance to the mean update", ("training",), "The same, with how far it pulls: the distance over "
            "the mean's length.", "updates", "one round's update of the model", "rows", 0, _INF),
    Measure("gradient_diversity", "gradient diversity", ("training",), "How much the updates cancel: 1 / sites if all "
            "are equal, 1 if they are orthogonal; one number for all sites.", "updates",
            "one round's update of the model", "rows", 0, _INF),
]  # fmt: skip
MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
"""All measures by name; the first of a kind stands in the table."""


def legend(names: Iterable[str] = MEASURES) -> pd.DataFrame:
    """Return the register as a table, one row a measure.

    Examples
    --------
    >>> legend().loc["mmd", "needs"]
    'rows'
    """
    return pd.DataFrame([asdict(MEASURES[name]) for name in names]).set_index("name")


def chosen(measures: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names in the register's order, or refuse one that is not in it."""
    wanted = tuple(MEASURES) if measures is None else (measures,) if isinstance(measures, str) else tuple(measures)
    for name in wanted:
        if name not in MEASURES:
            raise ValueError(f"there is no measure {name!r}; known are {', '.join(MEASURES)}")
    if not wanted:
        raise ValueError("measures is empty: name some, or leave it out for all")
    return tuple(name for name in MEASURES if name in wanted)
