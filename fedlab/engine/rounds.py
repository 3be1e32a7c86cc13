"""The one round loop: ask the sites, combine, evaluate, choose, yield. A plain generator over an exchange.

In this process, on Flower's simulation and inside a Flower app it is the same code: only the transport differs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fedlab.algorithms.base import whole
from fedlab.algorithms.tensors import PREPARATION, Tensors, mean, statistic
from fedlab.engine.batches import Job, examples, generator, steps_alone
from fedlab.engine.exchange import Answers, Ask, Exchange, TooFewSites, finite
from fedlab.engine.net import no_preparation
from fedlab.engine.run import Record, Run
from fedlab.engine.schedules import factor
from fedlab.engine.work import travels
from fedlab.federation import Summary, fit, merge


@dataclass(frozen=True)
class Event:
    """One finished round.

    Parameters
    ----------
    round, rounds : int
    run : Run
        The run so far; a valid result at any time.
    valid : dict of str to dict
        ``log_loss`` and ``auc`` of each site that answered, on its ``valid`` rows.
    weights : dict of str to Tensor
        The server's tensors after this round.
    chosen : bool
        No earlier round did better on ``valid``.
    errors : dict of str to str
        Sites that failed in this round, and how.
    """

    round: int
    rounds: int
    run: Run
    valid: dict[str, dict[str, float]]
    weights: Tensors
    chosen: bool
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """The one run: where several seeds train side by side there are more."""
        return [self.run]

    def __repr__(self) -> str:
        loss = ", ".join(f"{site} {got['log_loss']:.3f}" for site, got in self.valid.items())
        failed = f", failed {', '.join(self.errors)}" if self.errors else ""
        return f"<Event round {self.round} of {self.rounds}: log loss {loss or 'not computed'}{failed}>"


class CombineError(ValueError):
    """An algorithm combined the sites' models into something that is no model; ``run`` holds all rounds so far."""

    def __init__(self, said: str, run: Run) -> None:
        super().__init__(said)
        self.run = run


def sampled(places: int, fraction: float) -> int:
    """How many are asked when a fraction of so many places is."""
    return max(1, round(fraction * places))


Steps: TypeAlias = Generator[Ask | Event, Answers | None, None]
"""A loop that puts its questions to whoever drives it."""


Keep: TypeAlias = "Callable[[Loop], None]"
"""What is done after every round."""


def rounds(run: Run, exchange: Exchange, *, keep: Keep | None = None, before: Tensors | None = None) -> Iterator[Event]:
    """Train ``run`` round by round; each event finds it up to date, and kept.

    ``keep`` is called with the loop after every round; ``before`` is what :meth:`Loop.snapshot` gave, to go on there.
    """
    loop = Loop(run, exchange)
    if before is not None:
        loop.restore(before)
    steps = loop.steps()
    try:
        answers: Answers | None = None
        while True:
            try:
                step = steps.send(answers)
            except StopIteration:
                return
            answers = exchange.ask(step) if isinstance(step, Ask) else None
            if isinstance(step, Event):
                if keep:
                    keep(loop)
                yield step
    finally:
        collect(loop)


def collect(loop: Loop) -> None:
    """Fetch the sites' own models, where they predict with others than the server's."""
    steps = loop.collect()
    try:
        step = next(steps, None)
        while step is not None:
            step = steps.send(loop.exchange.ask(step))
    except (StopIteration, TooFewSites):  # what ended the run may end this too: the rounds stand without those models
        return


EARLY = "stopped early"
HELD = ("params", "state", "clock", "best", "longest", "silent")


class Loop:
    """What the server holds from round to round. It asks by yielding, so that several loops can be driven as one."""

    def __init__(self, run: Run, exchange: Exchange) -> None:
        self.run, self.exchange = run, exchange
        self.alg, self.net, self.settings = run.algorithm, run.net, run.settings
        self.places = list(exchange.transport.places)
        self.number = {place: i for i, place in enumerate(self.places)}
        self.params: Tensors = {}
        self.state: Tensors = {}
        self.clock = 0
        self.best: dict[str, float] = {}
        self.longest = 0
        self.silent = 0
        self.started = time.perf_counter()

    def steps(self) -> Steps:
        """Go through the whole run."""
        done = len(self.run.records)  # more than 0 where a run goes on
        if not done:
            yield from self._prepare()
        elif self._rests(done):
            return
        for number in range(done + 1, self.settings.rounds + 1):
            yield from self._round(number)
            if self._rests(number):
                return

    def snapshot(self) -> dict[str, Any]:
        """Return what is held between rounds, here and at the sites: enough to go on with the same bits.

        Raises
        ------
        TypeError
            If the transport cannot tell what the sites hold (Ray).
        """
        look = getattr(self.exchange.transport, "snapshot", None)
        if look is None:
            raise TypeError(f"{type(self.exchange.transport).__name__} cannot tell what the sites hold")
        return {name: getattr(self, name) for name in HELD} | {"sites": look()}

    def restore(self, held: dict[str, Any]) -> None:
        """Take up what another loop held."""
        for name in HELD:
            setattr(self, name, held[name])
        self.exchange.transport.restore(held["sites"])  # type: ignore[attr-defined]
        self.started = time.perf_counter() - self.run.records[-1].seconds

    # ------------------------------------------------------------------ before the first round

    def _prepare(self) -> Steps:
        """Learn how many rows there are, settle the preparation, and set out."""
        own = self.alg.alone
        told = yield Ask("statistics", {"own": own})
        assert told is not None
        rows = {site: int(what["rows"]) for site, what in zip(told.sites, told.contents, strict=True)}
        buffers = {} if own or self.run.federation.prepared else fit(merge([Summary(**c) for c in told.contents]))
        yield Ask("prepare", {"buffers": buffers})
        if self.run.federation.prepared:
            preparation: Tensors = {}
        elif own:
            preparation = no_preparation(self.run.federation.sites[0].rows.x.shape[1])
        else:
            preparation = {f"{PREPARATION}{k}": v for k, v in buffers.items()}
        self.longest = max(rows.values())
        steps = self.settings.local_steps or self._steps(self.longest)
        self.clock = steps if self.alg.clocked else self.settings.local_steps or 0
        self.run.steps_per_round = 1 if self.alg.full_batch else steps
        self.params = {**self.net.start(), **preparation}
        generator = torch.Generator().manual_seed(self.settings.seed)
        self.state = self.alg.begin(self.params, len(self.places), generator)
        self.run.weights = self.params

    def _steps(self, rows: int) -> int:
        return steps_alone(rows, batch_size=self.settings.batch_size, local_epochs=self.settings.local_epochs)

    # ------------------------------------------------------------------ one round

    def _round(self, number: int) -> Steps:
        """Ask, combine, evaluate."""
        job = self._job(number)
        asked = self._asked(number)
        self._pool(number)
        sample = len(asked) < len(self.places) and self.silent < len(self.places)
        answers = yield Ask(
            "train", self._payload(job), number, asked, travels(self.alg, self.params),
            least=self.alg.quorum(len(self.places)), spare=sample,
        )  # fmt: skip
        assert answers is not None
        self.silent = 0 if answers.sites else self.silent + 1
        if answers.sites:
            self._combine(answers, job)
        valid: dict[str, dict[str, float]] = {}
        if self.settings.evaluate:
            told = yield Ask("evaluate", self._payload(job), number)
            assert told is not None
            valid = dict(zip(told.sites, told.contents, strict=True))
        better = self._choose(number, valid)
        if better and valid and not whole(self.alg):
            yield Ask("keep", {}, number, sorted(set(better) & set(valid)))
        errors = {site: what for r, _, site, what in self.exchange.errors if r == number}
        seconds = time.perf_counter() - self.started
        self.run.records.append(Record(number, valid, seconds, self.exchange.ledger.total, errors))
        yield Event(number, self.settings.rounds, self.run, valid, self.params, bool(better), errors)

    def _asked(self, number: int) -> list[str]:
        """Whom the algorithm asks, and of those the share that the settings allow."""
        rng = generator(self.settings.seed, 5, number)
        wanted = sorted(self.alg.asks(number, len(self.places), rng))
        if self.settings.fraction < 1 and not self.alg.alone:
            few = sampled(len(wanted), self.settings.fraction)
            wanted = sorted(rng.choice(wanted, few, replace=False).tolist())
        return [self.places[i] for i in wanted]

    def _job(self, number: int) -> Job:
        s, all_rows = self.settings, self.alg.full_batch
        return Job(
            round=number, rounds=s.rounds, lr=s.lr * factor(s.schedule, number, s.rounds),
            batch_size=self.longest if all_rows else s.batch_size, local_epochs=1 if all_rows else s.local_epochs,
            seed=s.seed, shuffle=s.shuffle, clock=0 if all_rows else self.clock, clip=s.clip or 0.0,
            stragglers=0.0 if self.alg.clocked else s.stragglers,
        )  # fmt: skip

    def _rests(self, number: int) -> bool:
        """Tell whether the run has waited long enough for a better round."""
        best = max(self.run.chosen.values(), default=0)
        if self.settings.patience is None or number - best < self.settings.patience or number == self.settings.rounds:
            return False
        self.run.notes.append(f"{EARLY} after round {number}: none of the last {number - best} was better on valid")
        return True

    def _payload(self, job: Job) -> dict[str, Any]:
        return {"model": travels(self.alg, self.params), "extra": self.alg.broadcast(self.state), "job": job}

    def _pool(self, number: int) -> None:
        """Enter into the ledger what pooling moves: the rows themselves, once."""
        if number > 1 or len(self.places) == len(self.exchange.transport.sites):
            return
        for site in self.run.federation.sites:
            held = site.train
            self.exchange.ledger.add(0, "pool", [site.name], "up", {"patients' rows": held.x, "labels": held.y})

    def _combine(self, answers: Answers, job: Job) -> None:
        """Let the algorithm combine; running statistics are averaged unless it says otherwise."""
        got = answers.stacked()
        uploads, weights = got["model"], got["rows"].to(self.net.dtype)
        alike = Counter(zip(got["rows"].tolist(), answers.sites if job.stragglers else repeat(""), strict=False))
        self.run.examples_seen += sum(n * examples(int(rows), job, site) for (rows, site), n in alike.items())
        who = torch.tensor([self.number[site] for site in answers.sites])
        averaged: Tensors = {}
        if self.alg.statistics == "mean":
            running = {k: u for k, u in uploads.items() if statistic(k)}
            averaged = mean(running, weights) if running else {}
            uploads = {k: u for k, u in uploads.items() if k not in running}
        new, self.state = self.alg.combine(self.params, uploads, got["extra"], weights, self.state, who)
        self._check(new)
        self.params = {**self.params, **averaged, **new}

    def _check(self, new: Tensors) -> None:
        for name, tensor in new.items():
            old = self.params.get(name)
            if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
                fault = f"a tensor {name!r} of {_looks(tensor)}, where the model has {_looks(old)}"
            elif not finite(tensor):
                fault = f"a tensor {name!r} that is not finite, from uploads that are"
            else:
                continue
            raise CombineError(
                f"{self.alg}.combine gave {fault}. The rounds before are kept (the error's .run).", self.run
            )

    # ------------------------------------------------------------------ choosing the round

    def _choose(self, number: int, valid: dict[str, dict[str, float]]) -> list[str]:
        """Tell for which sites this round is the best so far: by log loss on ``valid``, ties to the earlier.

        Alone, each site has its own best round; else the sites' mean, weighted by patients, decides for all.
        """
        everyone = list(self.run.federation.names)
        if not self.settings.evaluate:
            better = everyone
        elif self.alg.alone and not self.alg.one_model:
            better = [site for site, got in valid.items() if got["log_loss"] < self.best.get(site, np.inf)]
            self.best |= {site: valid[site]["log_loss"] for site in better}
        else:
            n = np.array([got["n"] for got in valid.values()])
            loss = float(n @ np.array([got["log_loss"] for got in valid.values()]) / n.sum())
            better = everyone if loss < self.best.get("", np.inf) else []
            self.best[""] = min(loss, self.best.get("", np.inf))
        if better:
            self.run.chosen |= dict.fromkeys(better, number)
            self.run.weights, self.run.extra = self.params, self.alg.broadcast(self.state)
        return better

    def collect(self) -> Generator[Ask, Answers, None]:
        """Fetch the sites' own models, where they predict with others than the server's."""
        if whole(self.alg) or not self.run.records:
            return
        last = self.run.records[-1].round
        if not self.settings.evaluate:  # nothing was held while training: hold what there is
            yield Ask("evaluate", self._payload(self._job(last)), last)
        told = yield Ask("export", {}, last)
        for site, what in zip(told.sites, told.contents, strict=True):
            models = what["models"]
            self.run.models[site] = [models[k] for k in sorted(models, key=int)]


def _looks(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"shape {list(tensor.shape)} and {tensor.dtype}"
