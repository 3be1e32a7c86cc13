"""``fedlab doctor``: what is here, what may trip one up, what data there are, and whether it trains."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedlab.cli.environment import Finding, findings

if TYPE_CHECKING:
    from fedlab.study import Study

SEEDS, ROUNDS = 2, 20  # what trains in about three seconds
ARMS = {"isolated": "isolated", "fedavg": "federated", "centralized": "pooled"}
METRICS = {"auc": "AUC", "accuracy": "accuracy", "log_loss": "log loss"}
STYLE = {"ok": "green", "note": "blue", "warning": "yellow"}


def examine() -> None:
    """Print the findings, the data and the trial; raises if the trial cannot be done."""
    console = Console(soft_wrap=False)
    seen = findings()
    console.print(_findings(seen))
    console.print(_data())
    warnings = sum(finding.state == "warning" for finding in seen)
    console.print("Training on the embedded hospitals …")
    began = time.perf_counter()
    study = trial()
    console.print(_trial(study))
    console.print(
        f"Trained here in {time.perf_counter() - began:.1f} s, and only to see that it works: {SEEDS} seeds say "
        "nothing about small differences. The whole comparison: [bold]fedlab report heart_disease[/]"
    )
    ends = "nothing to complain about" if not warnings else f"{warnings} warning{'s' * (warnings > 1)}, above"
    console.print(f"fedlab works here; {ends}.")


def trial() -> Study:
    """Train the three arms on the embedded hospitals."""
    import data_recipes
    from fedlab.study import compare

    hospitals = data_recipes.load("heart_disease")
    return compare(hospitals, "logistic", list(ARMS), seeds=SEEDS, rounds=ROUNDS, progress=False)


def _findings(seen: list[Finding]) -> Table:
    table = Table(title="This installation", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "what", "said"):
        table.add_column(column, overflow="fold")
    for finding in seen:
        state = f"[{STYLE[finding.state]}]{finding.state}[/]"
        table.add_row(state, finding.what, escape(finding.said))
    return table


def _data() -> Table:
    import data_recipes

    table = Table(title="Data", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("name", "sites", "rows", "licence", "where"):
        table.add_column(column, justify="right" if column in ("sites", "rows") else "left", overflow="fold")
    for name, row in data_recipes.catalogue().iterrows():
        where = str(row["where"])
        told = f"to download: fedlab fetch {name}" if where == "to download" else where
        table.add_row(str(name), str(row["sites"]), str(row["rows"]), str(row["licence"]), told)
    return table


def _trial(study: Study) -> Table:
    from fedlab.report.gap import Gap

    gap = Gap(study)
    sites = ", ".join(study.federation.names)
    table = Table(
        title=f"Four real hospitals ({sites}), test patients, mean of {SEEDS} seeds",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("learning")
    for where in ("everywhere", "home"):
        for word in METRICS.values():
            table.add_column(f"{where}\n{word}", justify="right")
    for arm, label in ARMS.items():
        cells = [
            f"{gap.series(arm, metric, where).mean():.3f}" for where in ("everywhere", "home") for metric in METRICS
        ]
        table.add_row(label, *cells)
    return table
