"""What unharmonised units cost in intensive care: `python -m benchmarks.eicu [--quick] [--json FILE]`.

The eICU demo's five regions, logistic regression, hospital death from first-day values; once with every number as its
hospital wrote it, once with units converted and the impossible made missing. The same patients in the same splits, so
that the difference is a paired one: ten seeds, corrected resampled t, 95 %. Every arm tries the same rates, and each
seed chooses by log loss on its own validation patients. A figure is the mean over the regions' test patients;
*isolated* is a region's own model at home.

Data: Johnson et al. (2021), https://doi.org/10.13026/4mxk-na84, Open Database License 1.0. The figures are of
models; no table of patients is written.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

import data_recipes
from benchmarks.figures import Figure, main
from fedlab.study import Study, compare, corrected_t, over_seeds
from fedlab.study.paired import ahead
from fedlab.study.pairs import series
from fedlab.study.words import signed

ABOUT = "eICU demo, five regions: hospital death from first-day values, units as written and harmonised"
RATES = [0.03, 0.1, 0.3, 1.0, 3.0]
BESIDE = {"isolated": ("isolated", "home"), "centralized": ("pooled", "everywhere")}
METRICS = {"auc": "AUC", "log_loss": "log loss"}


def measure(quick: bool) -> Iterator[Figure]:
    seeds = 2 if quick else 10
    written = study(["fedavg"], harmonised=False, seeds=seeds)
    harmonised = study([*BESIDE, "fedavg"], harmonised=True, seeds=seeds)
    for metric, name in METRICS.items():
        before, after = (series(each, metric, "everywhere")["fedavg"] for each in (written, harmonised))
        yield figure(f"{name}, FedAvg, units as written", before, harmonised.overlap)
        yield figure(f"{name}, FedAvg, harmonised", after, harmonised.overlap)
        yield difference(f"{name}, FedAvg, harmonised less as written", after - before, harmonised.overlap)
        for arm, (word, where) in BESIDE.items():
            yield figure(f"{name}, {word}, harmonised", series(harmonised, metric, where)[arm], harmonised.overlap)


def figure(name: str, values: pd.Series[float], overlap: float) -> Figure:
    """Mean over the seeds, with its interval."""
    mean, sd, low, high = over_seeds(values.tolist(), overlap=overlap)
    return Figure(name, mean, "", note=f"95 % [{low:.3f}, {high:.3f}]; sd {sd:.3f} over {len(values)} seeds")


def difference(name: str, values: pd.Series[float], overlap: float) -> Figure:
    """Mean paired difference, and whether it is one."""
    found = corrected_t(values.tolist(), overlap=overlap)
    clear = "a clear difference" if ahead(found.low, found.high, found.p) else "no clear difference"
    told = f"95 % [{signed(found.low, 3)}, {signed(found.high, 3)}]; {clear}"
    return Figure(name, found.difference, "", note=told)


def study(arms: list[str], *, harmonised: bool, seeds: int) -> Study:
    """Train the arms on one form of the table."""
    regions = data_recipes.load("eicu_demo", harmonised=harmonised)
    return compare(regions, "logistic", arms, seeds=seeds, tune={"lr": RATES}, progress=False)


if __name__ == "__main__":
    main("eicu", ABOUT, measure)
