"""Replicas: all seeds of an algorithm in one stacked pass.

Each seed is a run of its own, with its own split, preparation, start, batch order, ledger and choice of the round; only
the arithmetic is shared. The loops are driven side by side: where all of them ask their sites to train or to evaluate,
the sites of all runs work as one stack. Each run gets what it would get alone (float64 to 1e-9).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd
import torch

from fedlab.algorithms import Algorithm
from fedlab.engine.batched import Part, StackedSites
from fedlab.engine.exchange import Answers, Ask, Exchange, Reply, Stacked, TooFewSites
from fedlab.engine.local import LocalTransport, screened
from fedlab.engine.rounds import Event, Loop, collect
from fedlab.engine.run import Run
from fedlab.engine.site import one_thread
from fedlab.engine.train import begin, run_live
from fedlab.engine.trees import tree_map
from fedlab.engine.work import Stop, Stopped
from fedlab.federation import Federation
from fedlab.models import ModelLike

TOGETHER = ("train", "evaluate")
MIDDLE = 0.1, 0.9
"""The quantiles of the band over seeds."""
Asks: TypeAlias = dict[int, Ask]


@dataclass(frozen=True)
class Spread:
    """The same round of several seeds.

    Parameters
    ----------
    runs : list of Run
        One a seed, up to date; one that has stopped early stays as it was.
    """

    runs: list[Run]

    @property
    def run(self) -> Run:
        """The first seed's."""
        return self.runs[0]

    @property
    def round(self) -> int:
        """The round that the furthest has finished."""
        return max(len(run.records) for run in self.runs)

    @property
    def rounds(self) -> int:
        """How many there will be at most."""
        return self.run.settings.rounds

    @property
    def errors(self) -> dict[str, str]:
        """Sites that failed in this round, and how, in any of the runs."""
        last = [run.records[-1] for run in self.runs if run.records and run.records[-1].round == self.round]
        return {site: what for record in last for site, what in record.errors.items()}

    def band(self, metric: str) -> pd.DataFrame:
        """Mean over the seeds and the bounds of their middle 80 %, one row a site, on ``valid`` in this round.

        ``metric`` is ``"log_loss"`` or ``"auc"``.
        """
        each = pd.DataFrame([{site: got[metric] for site, got in run.records[-1].valid.items()} for run in self.runs])
        low, high = MIDDLE
        return pd.DataFrame({"mean": each.mean(), "low": each.quantile(low), "high": each.quantile(high)})

    def __repr__(self) -> str:
        return f"<Spread of {len(self.runs)} seeds, round {self.round} of {self.rounds}>"


def train_seeds(
    federations: Sequence[Federation],
    model: ModelLike,
    algorithm: str | Algorithm,
    *,
    seeds: Sequence[int],
    rates: Sequence[float] | None = None,
    stop: Stop = lambda: False,
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
    model, algorithm, **settings
        As for :func:`~fedlab.engine.train.train`. Runs that cannot be stacked take turns, round by round; on Ray they
        go one after the other.
    """
    own: list[dict[str, float]] = [{"seed": seed} for seed in seeds]
    if rates is not None:
        own = [{**mine, "lr": rate} for mine, rate in zip(own, rates, strict=True)]

    def fresh() -> list[Run]:
        pairs = zip(federations, own, strict=True)
        return [begin(split, model, algorithm, {**settings, **mine}) for split, mine in pairs]

    runs = fresh()
    if len(runs) > 1 and runs[0].settings.engine in ("auto", "batched"):
        transports = [LocalTransport(run, stop=stop) for run in runs]
        if all(transport.can_share for transport in transports) and _same_constants(runs):
            try:
                yield from _together(runs, transports, stop)
                return
            except Stopped:
                return
            except TooFewSites:
                raise
            except Exception:
                if runs[0].records:
                    raise
                runs = fresh()  # what cannot be stacked takes turns, and says so there
    yield from _in_turns(runs, stop)


def _same_constants(runs: Sequence[Run]) -> bool:
    """Tell whether what is not learned is the same in all runs (a frozen layer's start may hang on the seed)."""
    first = runs[0].net.constants
    return all(torch.equal(value, run.net.constants[name]) for run in runs for name, value in first.items())


def _in_turns(runs: list[Run], stop: Stop) -> Iterator[list[Run]]:
    if runs[0].settings.engine == "ray":  # one simulation at a time
        for run in runs:
            for _ in run_live(run, stop=stop):
                pass
        yield runs
        return
    live = [run_live(run, stop=stop) for run in runs]
    try:
        while live:
            live = [events for events in live if next(events, None) is not None]
            if live:
                yield list(runs)
    finally:
        for events in live:
            events.close()


def _together(runs: Sequence[Run], transports: Sequence[LocalTransport], stop: Stop) -> Iterator[list[Run]]:
    exchanges = [
        Exchange(transport, min_sites=run.settings.min_sites, ledger=run.ledger_book, tell=run.tell)
        for run, transport in zip(runs, transports, strict=True)
    ]
    drivers = [_Driver(Loop(run, exchange)) for run, exchange in zip(runs, exchanges, strict=True)]
    stack: _Stack | None = None
    try:
        steps = [driver.advance(None) for driver in drivers]
        stack = _Stack(transports, stop)
        while any(steps):  # a run that has stopped early is over; the others go on
            asks = {number: step for number, step in enumerate(steps) if isinstance(step, Ask)}
            if not asks:
                yield list(runs)
                steps = [driver.advance(None) if step else None for driver, step in zip(drivers, steps, strict=True)]
                continue
            asked = {number: drivers[number].loop.exchange.send(ask) for number, ask in asks.items()}
            with one_thread():
                got = stack.ask(asks, asked)
            for number, ask in asks.items():
                steps[number] = drivers[number].receive(ask, asked[number], got[number])
    finally:
        if stack is not None:
            for driver in drivers:
                collect(driver.loop)


def _cut(tree: Any, mine: slice) -> Any:
    return tree_map(lambda v: v[mine], tree)


class _Driver:
    """One run's loop: questions that are not for the whole stack are answered at once."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.steps = loop, loop.steps()

    def receive(self, ask: Ask, who: list[str], replies: Sequence[Reply] | Stacked) -> Ask | Event | None:
        """Go on with what came back."""
        try:
            return self.advance(self.loop.exchange.receive(ask, who, replies))
        except TooFewSites as error:
            error.run = self.loop.run
            raise

    def advance(self, answers: Answers | None) -> Ask | Event | None:
        """Go on to the next question for the stack, or to the end of a round; ``None`` at the end of the run."""
        try:
            step = self.steps.send(answers)
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
        self.last: dict[int, dict[str, Any]] = {}

    def ask(self, asks: Asks, asked: dict[int, list[str]]) -> dict[int, Sequence[Reply] | Stacked]:
        """Answer the same question of every run that puts it, in one pass."""
        for number, ask in asks.items():
            self.last[number] = ask.payload
        train = next(iter(asks.values())).purpose == "train"
        return self._train(asked) if train else self._evaluate(asked)

    def _parts(self, who: dict[int, list[int]]) -> list[Part]:
        """One part a run, of nobody where it is over."""
        return [
            Part(who.get(number, []), payload["model"], payload["extra"], payload["job"])
            for number, payload in sorted(self.last.items())
        ]

    def _evaluate(self, asked: dict[int, list[str]]) -> dict[int, Sequence[Reply] | Stacked]:
        sites = self.transports[0].sites
        everybody = {number: [number * len(sites) + i for i in range(len(sites))] for number in asked}
        scores = iter(self.readers.evaluate(self._parts(everybody)))
        each = {number: {name: next(scores) for name in sites} for number in asked}
        return {number: [Reply(name, dict(each[number][name])) for name in who] for number, who in asked.items()}

    def _train(self, asked: dict[int, list[str]]) -> dict[int, Sequence[Reply] | Stacked]:
        places = self.transports[0].places
        numbers = {n: [n * len(places) + places.index(name) for name in who] for n, who in asked.items()}
        upload, extra, rows, good = self.trainers.train(self._parts(numbers))
        out: dict[int, Sequence[Reply] | Stacked] = {}
        begin_at = 0
        for number, who in asked.items():
            mine = slice(begin_at, begin_at + len(who))
            out[number] = screened(who, _cut(upload, mine), _cut(extra, mine), rows[mine], good[mine])
            begin_at = mine.stop
        return out
