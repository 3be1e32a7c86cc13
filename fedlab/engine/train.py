"""``train``: a run in one call; and what begins a run and carries it through."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedlab.algorithms import Algorithm, algorithm
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.exchange import Exchange, Transport
from fedlab.engine.local import LocalTransport
from fedlab.engine.net import Net, all_digits
from fedlab.engine.optimisers import SGD
from fedlab.engine.parts import say_algorithm, say_settings
from fedlab.engine.progress import progress_line
from fedlab.engine.rounds import Event, Keep, rounds, sampled
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.engine.work import Stop, Stopped
from fedlab.federation import Federation
from fedlab.federation.frame import categories
from fedlab.models import ModelLike, build, model_name
from fedlab.models.trial import Trial, check_model, try_model


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
    model: ModelLike = "logistic",
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
        ``"logistic"``, ``"mlp"``, or a factory called as ``factory(inputs, outputs)``.
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
    run = begin(federation, model, algorithm, settings)
    run.ledger_book.keep = keep_messages
    return carry(run, progress=progress, save=save)


def carry(run: Run, *, progress: bool, save: str | Path | None = None, before: Tensors | None = None) -> Run:
    """Carry a begun run, or one that goes on from ``before``, to its end."""
    keep: Keep | None = None
    if save is not None:
        from fedlab.engine.resume import keeping

        keep = keeping(run, save, fresh=before is None)
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
    if save is not None:
        run.save(save)
    return run


def begin(
    federation: Federation,
    model: ModelLike,
    which: str | Algorithm,
    settings: dict[str, Any],
    *,
    like: Run | None = None,
) -> Run:
    """Check what is asked for and return the run before its first round.

    ``like`` is a run of another seed, whose model has shown that it takes such rows.
    """
    known = [f.name for f in fields(Settings)]
    for name in settings:
        if name not in known:
            raise TypeError(f"there is no setting {name!r}; known are {', '.join(known)}")
    if not isinstance(federation, Federation):
        raise TypeError(
            f"federation is a {type(federation).__name__}: load one with fedlab.load(…) or Federation.from_frame(…)"
        )
    chosen = Settings(**settings)
    if chosen.min_sites > len(federation.sites):
        raise ValueError(f"min_sites is {chosen.min_sites}, but the federation has {len(federation.sites)} sites")
    net = _net(federation, model, chosen, like.net if like else None)
    bound = algorithm(which).bind(net.model, len(federation.sites))
    if bound.needs_sgd and type(chosen.optimizer) is not SGD:
        raise ValueError(
            f"{bound.name} counts how often each gradient acts, which is known for SGD alone: use optimizer=SGD(), "
            f"with or without momentum, not {chosen.optimizer}"
        )
    asked = sampled(len(federation.sites), chosen.fraction)
    if chosen.fraction < 1 and asked < bound.quorum(len(federation.sites)):
        raise ValueError(
            f"fraction={chosen.fraction:g} asks {asked} of {len(federation.sites)} sites in a round, but {bound} needs "
            f"at least {bound.quorum(len(federation.sites))}"
        )
    said = {"algorithm": say_algorithm(bound), "settings": say_settings(chosen)}
    return Run(federation, model_name(model), bound, chosen, net, asked_for=said)


def _net(federation: Federation, model: ModelLike, settings: Settings, like: Net | None) -> Net:
    x = federation.sites[0].rows.x
    if not federation.prepared and x.ndim != 2:
        raise ValueError("rows that are not [patients, features] must be prepared: say prepared=True")
    inputs = x.shape[1] * (1 if federation.prepared else 2)
    module = build(model, inputs, federation.task.outputs, seed=settings.seed)
    check_model(module, model_name(model))
    dtype, device = getattr(torch, settings.dtype), torch.device(settings.place)
    module = module.to(device, dtype)
    if like is None:
        rows = torch.zeros(2, *(x.shape[1:] if federation.prepared else [inputs]), dtype=dtype, device=device)
        trial = _tried(module, rows, model_name(model), prepared=federation.prepared)
        federation.task.check_output(torch.Size(trial.outputs), 2)
    else:
        trial = like.trial
    known = () if federation.prepared else categories(federation.features)
    return Net(module, federation.task, dtype=dtype, trial=trial, device=settings.place, categories=known)


def _tried(module: nn.Module, rows: Tensor, name: str, *, prepared: bool) -> Trial:
    try:
        with all_digits():
            return try_model(module, rows)
    except Exception as error:
        hint = (
            ". With federated preprocessing it sees two columns a feature, the value and whether it is missing: build "
            "its first layer from the factory's `inputs`"
        )
        raise ValueError(
            f"the model {name} cannot take rows of shape {list(rows.shape[1:])} in {str(rows.dtype).split('.')[1]} "
            f"({error})" + (hint if not prepared and "shape" in str(error) else "")
        ) from error


def _transport(run: Run, stop: Stop) -> Transport:
    if run.settings.engine == "ray":
        from fedlab.engine.simulation import SimulationTransport

        return SimulationTransport(run, stop=stop)
    return LocalTransport(run, stop=stop)
