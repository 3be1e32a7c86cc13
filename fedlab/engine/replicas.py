"""Replicas: all seeds of an algorithm in one stacked pass.

Each seed is a run of its own, with its own split, preparation, start, batch order, ledger and choice of the round; only
the arithmetic is shared. The loops are driven side by side: where all of them ask their sites to train or to evaluate,
the sites of all runs work as one stack. Each run gets what it would get alone (float64 to 1e-9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch

from fedlab.algorithms import Algorithm
from fedlab.engine.batched import Part, StackedSites
from fedlab.engine.combined import Combine, Made, together
from fedlab.engine.exchange import Ask, Exchange, Reply, Stacked, TooFewSites
from fedlab.engine.local import LocalTransport, screened
from fedlab.engine.plan import planned
from fedlab.engine.rounds import Loop, Step, collect
from fedlab.engine.run import Run
from fedlab.engine.site import one_thread
from fedlab.engine.train import begin, carry_run, run_live
from fedlab.engine.trees import tree_cut
from fedlab.engine.work import Stop, Stopped
from fedlab.federation import Federation
from fedlab.models import ModelLike

TOGETHER = ("train", "evaluate")
Asks: TypeAlias = dict[int, Ask]
Lose: TypeAlias = "Callable[[Run, Exception], None]"
"""Told of a run that fails, and how, where the others go on without it."""


def train_seeds(
    federations: Sequence[Federation],
    model: ModelLike,
    algorithm: str | Algorithm,
    *,
    seeds: Sequence[int],
    rates: Sequence[float] | None = None,
    stop: Stop = lambda: False,
    lose: Lose | None = None,
    **settings: Any,
) -> Iterator[list[Run]]:
    """Train one run a seed; yields the runs after each round.

    Parameters
    ----------
    federations : sequence of Federation
        One a seed: the same sites, each with that seed's split.
    seeds : sequence of int
        Of the runs; the same one may come with several rates.
    rates : sequence of float, optional
        The learning rate of each run, where they differ.
    lose : callable, optional
        Called as ``lose(run, error)`` with a run that fails; the others go on, and it stays as it was. Without it the
        first failure is raised.
    model, algorithm, **settings
        As for :func:`~fedlab.engine.train.train`. Runs that cannot be stacked take turns, round by round; on Ray they
        go one after the other.
    """
    own: list[dict[str, float]] = [{"seed": seed} for seed in seeds]
    if rates is not None:
        own = [{**mine, "lr": rate} for mine, rate in zip(own, rates, strict=True)]

    def fresh() -> list[Run]:
        begun: list[Run] = []
        for split, mine in zip(federations, own, strict=True):
            first = begun[0] if begun else None
            begun.append(begin(planned(split, model, algorithm, {**settings, **mine}), like=first))
        return begun

    runs = fresh()
    if len(runs) > 1 and runs[0].settings.engine in ("auto", "batched"):
        transports = [LocalTransport(run, stop=stop) for run in runs]
        if all(transport.can_share for transport in transports) and _same_constants(runs):
            try:
                yield from _together(runs, transports, stop, lose)
                return
            except Stopped:
                return
            except TooFewSites:
                raise
            except Exception as error:
                if any(run.records for run in runs):
                    raise
                runs = fresh()  # what cannot be stacked takes turns
                for run in runs:
                    run.notes.append(f"one seed at a time: they cannot be stacked ({type(error).__name__})")
    yield from _in_turns(runs, stop, lose)


def _same_constants(runs: Sequence[Run]) -> bool:
    """Tell whether what is not learned is the same in all runs (a frozen layer's start may hang on the seed)."""
    first = runs[0].net.constants
    return all(torch.equal(value, run.net.constants[name]) for run in runs for name, value in first.items())


def _in_turns(runs: list[Run], stop: Stop, lose: Lose | None) -> Iterator[list[Run]]:
    live = [(run, run_live(run, stop=stop)) for run in runs]
    if runs[0].settings.engine == "ray":  # one simulation at a time
        for run, events in live:
            while _goes_on(run, partial(next, events, None), lose):
                pass
        yield runs
        return
    try:
        while live:
            live = [(run, events) for run, events in live if _goes_on(run, partial(next, events, None), lose)]
            if live:
                yield list(runs)
    finally:
        for _, events in live:
            events.close()
    if lose:  # as below
        yield list(runs)


def _goes_on(run: Run, step: Callable[[], Step | None], lose: Lose | None) -> Step | None:
    """Take a step of one run: ``None`` at its end, or where it fails and the others may go on."""
    try:
        return step()
    except Exception as error:
        carry_run(error, run)
        if lose is None or isinstance(error, Stopped):
            raise
        lose(run, error)
        return None


def _together(
    runs: Sequence[Run], transports: Sequence[LocalTransport], stop: Stop, lose: Lose | None
) -> Iterator[list[Run]]:
    exchanges = [
        Exchange(transport, min_sites=run.settings.min_sites, ledger=run.ledger_book, tell=run.tell, policy=run.policy)
        for run, transport in zip(runs, transports, strict=True)
    ]
    drivers = [_Driver(Loop(run, exchange), lose) for run, exchange in zip(runs, exchanges, strict=True)]
    stack: _Stack | None = None
    try:
        steps = [driver.advance(None) for driver in drivers]
        stack = _Stack(transports, stop)
        while any(steps):  # a run that has stopped early is over; the others go on
            merges = {number: step for number, step in enumerate(steps) if isinstance(step, Combine)}
            if merges:
                made = stack.combine(list(merges.values()))
                for (number, merge), done in zip(merges.items(), made, strict=True):
                    steps[number] = drivers[number].combined(merge, done)
                continue
            asks = {number: step for number, step in enumerate(steps) if isinstance(step, Ask)}
            if not asks:
                yield list(runs)
                steps = [driver.advance(None) if step else None for driver, step in zip(drivers, steps, strict=True)]
                continue
            asked = {number: drivers[number].loop.exchange.send(ask) for number, ask in asks.items()}
            try:
                with one_thread():
                    got = stack.ask(asks, asked)
            except Exception as error:  # of a computation that all share: it fails for all of them
                carry_run(error, runs[next(iter(asks))])
                if lose is None or isinstance(error, Stopped) or not any(run.records for run in runs):
                    raise
                for number in asks:
                    lose(runs[number], error)
                    steps[number] = None
                continue
            for number, ask in asks.items():
                steps[number] = drivers[number].receive(ask, asked[number], got[number])
    finally:
        if stack is not None:
            for driver in drivers:
                collect(driver.loop)
    if lose:  # whoever asks sees all runs once more, also where none has come to the end of a round
        yield list(runs)


class _Driver:
    """One run's loop: questions that are not for the whole stack are answered at once."""

    def __init__(self, loop: Loop, lose: Lose | None) -> None:
        self.loop, self.steps, self.lose = loop, loop.steps(), lose

    def receive(self, ask: Ask, who: list[str], replies: Sequence[Reply] | Stacked) -> Step | None:
        """Go on with what came back."""
        return _goes_on(self.loop.run, partial(self._receive, ask, who, replies), self.lose)

    def combined(self, merge: Combine, done: Made | None) -> Step | None:
        """Go on with the next model."""
        return _goes_on(self.loop.run, lambda: self._advance(done or merge.alone()), self.lose)

    def advance(self, answer: Any) -> Step | None:
        """Go on to the next question for the stack, or to the end of a round; ``None`` at the end of the run."""
        return _goes_on(self.loop.run, partial(self._advance, answer), self.lose)

    def _receive(self, ask: Ask, who: list[str], replies: Sequence[Reply] | Stacked) -> Step | None:
        return self._advance(self.loop.exchange.receive(ask, who, replies))

    def _advance(self, answer: Any) -> Step | None:
        try:
            step = self.steps.send(answer)
            while isinstance(step, Ask) and step.purpose not in TOGETHER:
                step = self.steps.send(self.loop.exchange.ask(step))
        except StopIteration:
            return None
        return step


class _Stack:
    """The sites of all runs as one stack; places of training that pool rows are a stack of their own."""

    def __init__(self, transports: Sequence[LocalTransport], stop: Stop) -> None:
        self.transports = transports
        self.readers = StackedSites([work for t in transports for work in t.work.values()], stop=stop)
        for number, transport in enumerate(transports):
            transport.stacked, transport.mode = self.readers, "batched"
            transport.offset = number * len(transport.sites)
            transport.note = ""
        pooled = any(transport.places != transport.sites for transport in transports)
        places = [work for t in transports for work in t.trainers.values()]
        self.trainers = StackedSites(places, stop=stop) if pooled else self.readers
        self.lifts = len(transports) > 1

    def combine(self, merges: list[Combine]) -> list[Made | None]:
        """Combine for all runs in one pass, where the algorithm can; ``None`` for a run that must go alone."""
        made = together(merges) if self.lifts else None
        self.lifts = made is not None  # what cannot be stacked is not tried again
        return made or [None] * len(merges)

    def ask(self, asks: Asks, asked: dict[int, list[str]]) -> dict[int, Sequence[Reply] | Stacked]:
        """Answer the same question of every run that puts it, in one pass."""
        sizes = [len(who) for who in asked.values()]
        if next(iter(asks.values())).purpose == "evaluate":
            scores = self.readers.evaluate(_parts(asks, asked, self.transports[0].sites))
            each = tree_cut(scores, len(sizes), lambda v: np.split(v, np.cumsum(sizes)[:-1]))
            return {run: Stacked(who, found) for (run, who), found in zip(asked.items(), each, strict=True)}
        *sent, good = self.trainers.train(_parts(asks, asked, self.transports[0].places))
        flags = iter(good)
        cut = zip(*(tree_cut(tree, len(sizes), lambda v: v.split(sizes)) for tree in sent), strict=True)
        return {
            run: screened(who, upload, extra, rows, list(islice(flags, len(who))))
            for (run, who), (upload, extra, rows) in zip(asked.items(), cut, strict=True)
        }


def _parts(asks: Asks, asked: dict[int, list[str]], names: Sequence[str]) -> list[Part]:
    """Say the runs' questions in the numbers of the stack."""
    number = {name: i for i, name in enumerate(names)}

    def part(run: int, payload: dict[str, Any]) -> Part:
        who = [run * len(names) + number[name] for name in asked[run]]
        return Part(who, payload["model"], payload["extra"], payload["job"])

    return [part(run, ask.payload) for run, ask in asks.items()]
