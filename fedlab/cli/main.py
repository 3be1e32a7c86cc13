"""The commands: what they take, what they say, how they end. What they do stands in the modules beside.

Exit codes: 0 done, 1 it could not be done, 2 wrong usage, 130 interrupted. Whatever is heavy is imported inside the
commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fedlab.cli.wrong import Wrong

app = typer.Typer(
    name="fedlab",
    help="fedlab: a workbench for federated learning in health AI.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def fail(sentence: str, code: int) -> NoReturn:
    """Print one sentence to standard error and end."""
    typer.secho(f"fedlab: {sentence}", err=True, fg="red")
    raise typer.Exit(code)


@contextmanager
def endings(interrupted: str) -> Iterator[None]:
    """Turn what may go wrong into one sentence and an exit code, and warnings into sentences."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            yield
    except KeyboardInterrupt:
        fail(interrupted, 130)
    except Wrong as error:
        fail(str(error), 2)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        fail(str(error) or type(error).__name__, 1)


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.secho(f"fedlab: {message}", err=True, fg="yellow")


def _version(asked: bool) -> None:
    if asked:
        from fedlab.report.versions import version

        typer.echo(f"fedlab {version('fedlab-workbench') or 'not installed as a distribution'}")
        raise typer.Exit


@app.callback()
def root(
    asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold what comes before the command."""


@app.command(epilog="Example:\n\n  fedlab doctor")
def doctor() -> None:
    """Check this installation, then train on the embedded hospitals: isolated, federated, pooled.

    Warnings do not fail. Exit code 1 only if the hospitals could not be trained on.
    """
    with endings("Interrupted: the check is not complete."):
        from fedlab.cli.doctor import examine

        examine()


@app.command(epilog="Examples:\n\n  fedlab fetch\n\n  fedlab fetch heart_disease")
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Recipes; none: all of them.")] = None,
) -> None:
    """Bring data sets into the cache, checked against their sums; a damaged file is replaced.

    NAME is a recipe that `fedlab doctor` lists; without one, all of them.

    One that fails does not stop the others: exit code 1 at the end.
    """
    with endings("Interrupted: what is complete stays in the cache, nothing half-written does."):
        from fedlab.cli.fetch import bring

        failed = bring(names or [])
    if failed:
        fail(f"{len(failed)} could not be fetched: {', '.join(failed)}.", 1)


@app.command(
    epilog="Examples:\n\n  fedlab report heart_disease\n\n  fedlab report heart_disease --seeds 3 "
    "--json numbers.json --csv scores.csv\n\n  fedlab report my.csv --site hospital --label died --group patient"
    "\n\n  fedlab report breast_cancer --algorithms isolated,fedavg "
    "--model mlp -o wards.html\n\n  fedlab report heart_disease --holdout Hungary"
)
def report(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE|FILE", help="A data set, e.g. heart_disease, or a table, e.g. my.csv.")
    ],
    site: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="For a table: the column that names the hospital.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="For a table: the column to be predicted.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="For a table: the column that names the patient, if some have several rows."
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="For a table: the columns to learn from; default: all others.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="For a table: the label's values, the positive one last; default: sorted."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="For a table: regression, if the label is a quantity; default: classes."),
    ] = None,
    sep: Annotated[
        str | None,
        typer.Option(metavar="SIGN", help="For a table: the separator of its columns, e.g. ';' or tab; default: ','."),
    ] = None,
    algorithms: Annotated[
        str, typer.Option(metavar="A,B,…", help="What to compare; isolated is the reference.")
    ] = "isolated,centralized,ensemble,fedavg",
    seeds: Annotated[int, typer.Option(min=1, help="How many; a seed is a split, a start, a batch order.")] = 10,
    primary: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="The prespecified metric, which alone is judged; default: log_loss, for a quantity mse.",
        ),
    ] = None,
    smallest: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="The smallest difference in the primary metric that matters.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 30,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="logistic (default), linear (for a quantity), mlp or mlp_norm."),
    ] = None,
    holdout: Annotated[
        str | None, typer.Option(metavar="SITE", help="A hospital that no model learns from; all are tested there.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="RISK",
            help="The risk from which one would act, e.g. 0.2: adds net benefit, sensitivity, specificity.",
        ),
    ] = None,
    link: Annotated[float, typer.Option(min=0.001, metavar="MBIT/S", help="The server's link, for the cost.")] = 10.0,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The report.")] = Path("report.html"),
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all means and intervals, as JSON.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Also write every score, a row per arm, seed, train, test and metric."
        ),
    ] = None,
) -> None:
    """Write the gap report: one HTML file that needs no network and prints on A4.

    RECIPE is a data set that `fedlab doctor` lists.
    FILE is a table of your own, one row per patient or visit: name --site and --label.

    It says how well the hospitals' own models, the pooled and the federated one do, and where,
    how sure that is, and what it costs. With the defaults it takes a minute or two.
    """
    with endings("Interrupted: no report was written."):
        import data_recipes
        from fedlab.cli.report import Order, carry_out
        from fedlab.cli.table import Table

        columns = {"site": site, "label": label, "group": group, "features": features, "classes": classes,
                   "task": task, "sep": sep}  # fmt: skip
        order = Order.check(
            recipe=recipe,
            table=Table.check(recipe, list(data_recipes.recipes()), **columns),
            algorithms=algorithms.split(","),
            seeds=seeds,
            primary=primary,
            smallest=smallest,
            rounds=rounds,
            model=model,
            holdout=holdout,
            threshold=threshold,
            link=link,
            output=output,
            json=json,
            csv=csv,
        )
        for line in carry_out(order):
            typer.echo(line)


@app.command(
    epilog="Examples:\n\n  fedlab simulate heart_disease\n\n  fedlab simulate heart_disease --algorithm fedbn "
    "--model mlp_norm --compare\n\n  RAY_ADDRESS=10.0.0.5:6379 fedlab simulate heart_disease"
)
def simulate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A data set, e.g. heart_disease.")],
    algorithm: Annotated[str, typer.Option(metavar="NAME", help="e.g. fedavg, scaffold, krum.")] = "fedavg",
    model: Annotated[str, typer.Option(metavar="NAME", help="logistic, mlp or mlp_norm.")] = "logistic",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of the start and the batch order.")] = 0,
    compare: Annotated[bool, typer.Option("--compare", help="Run it in this process too, and compare.")] = False,
) -> None:
    """Train on Flower's simulation (Ray): each hospital a node, the same numbers as in a notebook.

    RECIPE is a data set that `fedlab doctor` lists. Needs the extra `ray`.

    Starting Ray takes up to a minute, on a busy machine longer; with RAY_ADDRESS an existing cluster is used.
    """
    with endings("Interrupted: the simulation is ended."):
        from fedlab.cli.simulate import Simulation, carry_out

        for line in carry_out(Simulation.check(recipe, algorithm, model, rounds, seed, compare)):
            typer.echo(line)


@app.command(epilog="Examples:\n\n  fedlab run plan.json\n\n  fedlab run plan.json -o results/first")
def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A file that plan.save(FILE) wrote.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The record; default: beside the plan.")
    ] = None,
) -> None:
    """Train what a plan asks for, and keep the run after every round.

    The data are a recipe's, made again and checked; code of your own is imported from the plan's folder.

    An interrupted run is kept: continue with fedlab.Run.resume(FOLDER).
    """
    with endings("Interrupted: the rounds that are finished are kept."):
        from fedlab.cli.run import carry_out

        for line in carry_out(plan, output):
            typer.echo(line)


@app.command(epilog="Examples:\n\n  fedlab runs\n\n  fedlab runs results/")
def runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look, three folders deep.")] = Path(),
) -> None:
    """List the saved runs and studies: what, of which data, how many rounds, when, and whether test was opened.

    Nothing is trained or opened. Exit code 1 if one of them is damaged.
    """
    with endings("Interrupted: the list is not complete."):
        from fedlab.cli.runs import list_records

        damaged = list_records(folder)
    if damaged:
        fail(f"{damaged} of these records cannot be read; why stands above.", 1)


@app.command(epilog="Example:\n\n  fedlab compare results/fedavg results/scaffold")
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a saved run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="That of another.")],
) -> None:
    """Show two saved runs side by side: the settings that differ, and the scores.

    Scores on valid; those on test only where both runs had opened it. Nothing is trained or opened.
    """
    with endings("Interrupted."):
        from fedlab.cli.runs import side_by_side

        side_by_side(first, second)
