"""``train``: a run in one call; and what begins a run and carries it through."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.algorithms import Algorithm
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.exchange import Exchange, Transport
from fedlab.engine.local import LocalTransport
from fedlab.engine.parts import say_algorithm
from fedlab.engine.plan import Plan, planned
from fedlab.engine.progress import progress_line
from fedlab.engine.rounds import Event, Keep, rounds
from fedlab.engine.run import Run
from fedlab.engine.work import Stop, Stopped
from fedlab.federation import Federation
from fedlab.models import ModelLike

if TYPE_CHECKING:
    from fedlab.engine.resume import Keeper


def run_live(
    run: Run, *, stop: Stop = lambda: False, keep: Keep | None = None, before: Tensors | None = None
) -> Generator[Event]:
    """Carry a begun run through, yielding its rounds; ``keep`` and ``before`` as for :func:`~.rounds.rounds`."""
    try:
        transport = _transport(run, stop)
    except Stopped:  # a simulation takes its time to start
        return
    exchange = Exchange(
        transport,
        min_sites=run.settings.min_sites,
        ledger=run.ledger_book,
        tell=run.tell,
        policy=run.policy,
        deadline=run.settings.deadline,
    )
    try:
        yield from rounds(run, exchange, keep=keep, before=before)
    except Stopped:
        return
    except Exception as error:
        carry_run(error, run)
        raise
    finally:
        note = getattr(transport, "note", "")
        if note:
            run.notes.append(note)
        transport.close()


def carry_run(error: Exception, run: Run) -> None:
    """Let an error that ends a run carry the rounds before it, as ``error.run``."""
    if getattr(error, "run", None) is None:
        with suppress(AttributeError):  # an exception with slots of its own
            error.run = run  # type: ignore[attr-defined]


def train(
    federation: Federation,
    model: ModelLike | None = None,
    algorithm: str | Algorithm = "fedavg",
    *,
    progress: bool = True,
    save: str | Path | None = None,
    keep_messages: bool = False,
    **settings: Any,
) -> Run:
    """Train and return the :class:`~fedlab.engine.run.Run`.

    A line of progress appears after two seconds. A kernel interrupt ends the run: the rounds so far are returned.

    Parameters
    ----------
    federation : Federation
    model : str, callable or Module
        ``"logistic"`` (the default of classes), ``"linear"`` (of a quantity), ``"mlp"``, or a factory called as
        ``factory(inputs, outputs)``; see :func:`fedlab.models.build`.
    algorithm : str or Algorithm
        ``"isolated"``, ``"centralized"``, ``"ensemble"``, ``"fedavg"``, ``"fedprox"``, ``"scaffold"``, or an object.
    progress : bool
    save : str or Path, optional
        A folder that keeps the run after every round, whole or not at all; what is killed goes on with
        ``Run.resume(folder)``, to the same bits.
    keep_messages : bool
        Keep every message of the run as it was sent, with its round, as ``run.messages``: to be read, or attacked. They
        are as large as all that the ledger counts, and no record keeps them.
    **settings
        See :class:`~fedlab.engine.settings.Settings`: ``rounds, local_epochs, batch_size, lr, seed, …``

    Raises
    ------
    TooFewSites
        If fewer than ``min_sites`` answered. Like every error that ends a run it carries the rounds before, ``.run``.

    Examples
    --------
    >>> import fedlab
    >>> run = fedlab.train(fedlab.load("heart_disease"), "logistic", "fedavg", rounds=3)
    >>> run.history["round"].max().item()
    3
    """
    run = begin(planned(federation, model, algorithm, settings))
    run.ledger_book.keep = keep_messages
    return carry_kept(run, progress=progress, save=save)


def carry_out(
    plan: Plan, federation: Federation | None = None, *, progress: bool = True, save: str | Path | None = None
) -> Run:
    """Train what a plan asks.

    Parameters
    ----------
    plan : Plan
    federation : Federation, optional
        The plan's data; default: those that it was made of, or the recipe's.
    progress, save
        As for :func:`train`.

    Examples
    --------
    >>> import fedlab
    >>> plan = fedlab.Plan.of(fedlab.load("heart_disease"), rounds=2)
    >>> carry_out(fedlab.Plan.from_json(plan.to_json()), progress=False).plan == plan
    True
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"{plan!r} is a {type(plan).__name__}, and no plan: give Plan.of(…) or Plan.load(FILE)")
    run = begin(plan, plan.federation() if federation is None else federation)
    return carry_kept(run, progress=progress, save=save)


def carry_kept(run: Run, *, progress: bool = True, save: str | Path | None = None) -> Run:
    """Carry a begun run to its end; with ``save`` it is kept there after every round."""
    if save is None:
        return carry(run, progress=progress)
    from fedlab.engine.resume import keeping

    with keeping(run, save) as keep:
        return carry(run, progress=progress, keep=keep)


def carry(run: Run, *, progress: bool, keep: Keeper | None = None, before: Tensors | None = None) -> Run:
    """Carry a begun run, or one that goes on from ``before``, to its end."""
    events = run_live(run, keep=keep, before=before)
    with progress_line(
        run.settings.rounds, run.algorithm.name, "round", show=progress, doing=lambda: run.doing
    ) as line:
        try:
            line.update(len(run.records))
            for _ in events:
                line.update()
        except KeyboardInterrupt:
            if not run.records:
                raise
            run.notes.append(f"interrupted after {len(run.records)} of {run.settings.rounds} rounds")
            return run  # its record, if any, is that of the last round, from where it goes on
    for name, options in run._plan.report.items() if run.has_rows else ():
        getattr(run, name)(**options)
    if keep is not None:
        keep.end()
    return run


def begin(plan: Plan, federation: Federation | None = None, *, like: Run | None = None) -> Run:
    """Make of a plan the run before its first round; a server needs no ``federation``, and no row.

    Parameters
    ----------
    plan : Plan
    federation : Federation, optional
        The plan's data; default: those that it was made of in this process.
    like : Run, optional
        A run of another seed, whose model has shown that it takes such rows.

    Raises
    ------
    ValueError
        If the federation is not the plan's, or its parts do not go together.

    Examples
    --------
    >>> import fedlab
    >>> plan = Plan.from_json(Plan.of(fedlab.load("heart_disease"), "logistic", "trimmedmean").to_json())
    >>> begin(plan).algorithm
    TrimmedMean(trim=1)
    """
    if federation is None:
        federation = plan.data_here
    elif federation is not plan.data_here:
        plan.check(federation)
    made = plan.setup(like=like.net if like else None)
    said = {"algorithm": say_algorithm(made.algorithm), "settings": plan.said_settings}
    return Run(plan, federation, plan.model.name, made.algorithm, made.settings, made.net, asked_for=said)


def _transport(run: Run, stop: Stop) -> Transport:
    if run.settings.engine == "ray":
        from fedlab.engine.simulation import SimulationTransport

        return SimulationTransport(run, stop=stop)
    return LocalTransport(run, stop=stop)
