"""The one round loop: ask the sites, combine, evaluate, choose, yield. A plain generator over an exchange.

In this process, on Flower's simulation and inside a Flower app it is the same code: only the transport differs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import torch

from fedlab.algorithms.base import Algorithm, whole
from fedlab.algorithms.tensors import PREPARATION, Tensors
from fedlab.engine.absences import keeps_own, never_trained, remarks
from fedlab.engine.batches import Job, examples, steps_alone
from fedlab.engine.choice import choose, rests, withheld_note
from fedlab.engine.combined import Combine, Made
from fedlab.engine.exchange import Answers, Ask, Exchange, TooFewSites
from fedlab.engine.held import Held
from fedlab.engine.net import no_preparation
from fedlab.engine.presence import is_away, sampled
from fedlab.engine.run import Record, Run
from fedlab.engine.schedules import factor
from fedlab.engine.trees import tree_map
from fedlab.engine.work import theirs, travels
from fedlab.federation import Summary, fit, merge
from fedlab.federation.preparation import nothing_told
from fedlab.metrics.cells import LEAST


@dataclass(frozen=True)
class Event:
    """One finished round.

    Parameters
    ----------
    round, rounds : int
    run : Run
        The run so far; a valid result at any time.
    valid : dict of str to dict
        The task's choosing score and headline, ``n`` too, of each site that answered, on its ``valid`` rows.
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
        by = self.run.task.choosing
        loss = ", ".join(f"{site} {got[by]:.3f}" for site, got in self.valid.items())
        failed = f", failed {', '.join(self.errors)}" if self.errors else ""
        return f"<Event round {self.round} of {self.rounds}: {by.replace('_', ' ')} {loss or 'not computed'}{failed}>"


def asked_for(run: Run) -> list[str]:
    """Name what a run asks its sites before its last round is over."""
    scored, personal = run.settings.evaluate, not whole(run.algorithm)
    reports = bool(run.plan_report)
    judged = scored or (reports and personal)  # what it is judged by at the end is held since it was evaluated
    return (
        ["statistics", "prepare", "train"]
        + ["evaluate"] * judged
        + ["keep"] * (scored and personal)
        + ["report"] * reports
    )


def sent_by(run: Run) -> dict[str, dict[str, str | None]]:
    """Name what the answers of a run's sites are known to hold, by purpose and path, with its dtype.

    What an algorithm sends besides the model, or in its place, shows in its first answer alone.
    """
    alg, net = run.algorithm, run.net
    told = ("rows",) if alg.alone or run.prepared else Summary._fields
    found: dict[str, dict[str, str | None]] = {"statistics": dict.fromkeys(told, "float64")}
    found["train"] = {"rows": "float64"}
    cls = type(alg)
    if cls.finish is Algorithm.finish and cls.start is Algorithm.start and run.hooks.upload is None:
        model = travels(alg, net.start())
        found["train"] |= {f"model.{name}": str(w.dtype).removeprefix("torch.") for name, w in model.items()}
    if run.settings.evaluate:
        found["evaluate"] = dict.fromkeys((run.task.choosing, run.task.headline, "n"))
    return found


Step: TypeAlias = Ask | Combine | Event
"""A question to the sites, models to be combined, or the end of a round."""

Steps: TypeAlias = Generator[Step, Any, None]
"""A loop that is driven: it is sent the :class:`~.exchange.Answers` to its question, or what was combined."""


Keep: TypeAlias = "Callable[[Loop], None]"
"""What is done after every round."""


def rounds(run: Run, exchange: Exchange, *, keep: Keep | None = None, before: Tensors | None = None) -> Iterator[Event]:
    """Train ``run`` round by round; each event finds it up to date, and kept.

    ``keep`` is called with the loop after every round; ``before`` is what its snapshot gave, to go on there.

    Where a message is dear (:class:`~fedlab.engine.flower.FlowerTransport`), the evaluation of a round travels with the
    training of the next: one message a site and round instead of two, and the same history, choice, weights and ledger.
    That is so where the very sites that are asked to evaluate are asked to train next, all that are there (no sampling,
    no algorithm that chooses its sites), where they predict with the model that they are sent (no personal models, no
    ensemble), and where nothing may come between: neither ``patience`` nor a deadline. The last round's evaluation is a
    message of its own. An event is then as complete as ever and comes later, when the sites have also trained for the
    next round: its ``seconds`` have that in them, and ``run.away`` takes effect a round later. A run that is left there
    has the message of the next round in its ledger, and does not use it; one that is stopped while the message is under
    way ends with the round before.
    """
    loop = Loop(run, exchange)
    if before is not None:
        loop.restore(before, exchange.transport)
    steps = loop.steps()
    try:
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            answer = loop.answer(step)
            if isinstance(step, Event):
                if keep:
                    keep(loop)
                yield _handed_out(step)
    finally:
        exchange.end()
        collect(loop)
    if run.plan_report:
        report(run, exchange)


def report(run: Run, exchange: Exchange) -> None:
    """Ask the sites for the reports that the plan wants, through the gate; one that does not come is noted."""
    with run.through(exchange):
        for name, options in run.plan_report.items():
            try:
                getattr(run, name)(**options)
            except TooFewSites as error:
                run.notes.append(f"there is no {name.replace('_', ' ')} on test: {error}")


def _handed_out(event: Event) -> Event:
    """Return a round with tensors of its own: the server goes on with its."""
    if event.chosen:
        event.run.weights = tree_map(torch.clone, event.run.weights)
    return replace(event, weights=tree_map(torch.clone, event.weights))


def collect(loop: Loop) -> None:
    """Fetch the sites' own models, where they predict with others than the server's."""
    loop.remark()
    steps = loop.collect()
    try:
        step = next(steps, None)
        while step is not None:
            step = steps.send(loop.exchange.ask(step))
    except (StopIteration, TooFewSites):  # what ended the run may end this too: the rounds stand without those models
        return


class Loop(Held):
    """The server's side of a run. It asks by yielding, so that several loops can be driven as one."""

    def __init__(self, run: Run, exchange: Exchange) -> None:
        super().__init__()
        self.run, self.exchange = run, exchange
        self.alg, self.net, self.settings = run.algorithm, run.net, run.settings
        self.places = list(exchange.transport.places)
        self.number = {place: i for i, place in enumerate(self.places)}
        self.everybody = torch.arange(len(self.places))
        for count in ("took_part", "asked"):  # a record gives back plain numbers
            setattr(run, count, Counter(getattr(run, count)))
        before = run.records[-1].seconds if run.records else 0.0  # where a run goes on
        self.started = time.perf_counter() - before
        self._next: Ask | None = None  # the question of the next round, where the sites have it already

    def steps(self) -> Steps:
        """Go through the whole run."""
        done = len(self.run.records)  # more than 0 where a run goes on
        if not done:
            yield from self._prepare()
        elif rests(self.run, done):
            return
        for number in range(done + 1, self.settings.rounds + 1):
            yield from self._round(number)
            if rests(self.run, number):
                return

    def answer(self, step: Step) -> Answers | Made | None:
        """Give the loop what it asks for, of this run alone."""
        if isinstance(step, Ask):
            return self.exchange.ask(step)
        return step.alone() if isinstance(step, Combine) else None

    # ------------------------------------------------------------------ before the first round

    def _prepare(self) -> Steps:
        """Learn how many rows there are, settle the preparation, and set out."""
        self.run.hooks.check(self.alg, self.net)
        self.exchange.require(asked_for(self.run))
        self.exchange.require_out(sent_by(self.run))
        own = self.alg.alone
        told: Answers = yield Ask("statistics", {"own": own})
        rows = {site: int(what["rows"]) for site, what in zip(told.sites, told.contents, strict=True)}
        buffers = {} if own or self.run.prepared else self._fit(told)
        yield Ask("prepare", {"buffers": buffers})
        if self.run.prepared:
            preparation: Tensors = {}
        elif own:
            preparation = no_preparation(len(self.run.sources))
        else:
            preparation = {f"{PREPARATION}{k}": v for k, v in buffers.items()}
        self.longest = max(rows.values())
        self._check_last_batches(rows)
        s = self.settings
        steps = s.local_steps or steps_alone(self.longest, batch_size=s.batch_size, local_epochs=s.local_epochs)
        self.clock = steps if self.alg.clocked else s.local_steps or 0
        self.run.steps_per_round = 1 if self.alg.full_batch else steps
        self.params = {**self.net.start(), **preparation}
        start = theirs(self.alg, self.params)
        self.state = self.alg.begin(start, len(self.places), torch.Generator().manual_seed(s.seed))
        self.run.weights = self.params

    def _check_last_batches(self, rows: dict[str, int]) -> None:
        """Refuse batches of one row where the model cannot train on them: a site would fail in every epoch."""
        fault, pooled = self.net.trial.needs_two_rows, len(self.places) == 1
        if not fault or not (pooled or set(self.places) == set(rows)):
            return
        sizes = {self.places[0]: sum(rows.values())} if pooled else rows

        def left_alone(batch: int) -> list[str]:
            return [place for place, n in sizes.items() if batch == 1 or n % batch == 1]

        batch = self.longest if self.alg.full_batch else self.settings.batch_size
        alone = left_alone(batch)
        if not alone:
            return
        near = sorted(range(2, max(sizes.values()) + 2), key=lambda other: abs(other - batch))
        other = next((f"choose batch_size={size}" for size in near if not left_alone(size)), "")
        which = ", ".join(f"{place} ({sizes[place]} training rows)" for place in alone[:5])
        remedy = " or ".join(filter(None, [other, "use fedlab.models.BatchNorm"]))
        raise ValueError(
            f"in batches of {batch} the last one has a single row at {which}, and the model cannot train on one row "
            f"({fault}): {remedy}, or leave a site of one row out"
        )

    def _fit(self, told: Answers) -> Tensors:
        """Settle the preparation, and note what the sites withheld for it."""
        sums = [Summary(**what) for what in told.contents]
        whole = merge(sums)
        if not bool(whole.present.any()):
            raise ValueError(
                f"no site has {LEAST} training patients with a value in any column, and of fewer nothing leaves it: "
                "there is nothing to fill and scale with. Join small sites, or give prepared rows (prepared=True)"
            )
        names = self.run.sources
        silent = {site: [names[k] for k in nothing_told(each)] for site, each in zip(told.sites, sums, strict=True)}
        self.run.withheld = {site: list(dict.fromkeys(columns)) for site, columns in silent.items() if columns}
        self.run.notes += withheld_note(self.run.withheld)
        return fit(whole)

    # ------------------------------------------------------------------ one round

    def _round(self, number: int) -> Steps:
        """Ask, combine, evaluate."""
        question = self._next or self._question(number, self._sent())
        self._next = None
        payload, asked = question.payload, list(question.who or ())
        job: Job = payload["job"]
        self._pool(number)
        answers: Answers = (yield question) if asked else Answers([], [])
        self.silent = 0 if answers.sites or not asked else self.silent + 1
        self.run.asked.update(asked)
        self.run.took_part.update(answers.sites)
        if answers.sites:
            if not self.run.hooks.sealed:
                self._note_lacking(payload["model"], answers)
            self.params, self.state = yield self._combine(answers, job)
        valid: dict[str, dict[str, float]] = {}
        if self.settings.evaluate:
            sent, who = self._sent(), self._choosing(number)
            self._next = self._travels_along(number, sent, who)
            told: Answers = yield Ask("evaluate", {**sent, "job": job}, number, who, following=self._next)
            valid = dict(zip(told.sites, told.each(), strict=True))
        better = choose(self.run, number, valid, self.best)
        if better:
            self.run.weights, self.run.extra = self.params, self._broadcast()
        if better and valid and not whole(self.alg):
            yield Ask("keep", {}, number, sorted(set(better) & set(valid)))
        errors = {site: what for r, _, site, what in self.exchange.errors if r == number}
        seconds = time.perf_counter() - self.started
        self.run.records.append(Record(number, valid, seconds, self.exchange.ledger.total, errors))
        yield Event(number, self.settings.rounds, self.run, valid, self.params, bool(better), errors)

    def _question(self, number: int, sent: dict[str, Any]) -> Ask:
        """Return a round's question to train."""
        asked = self._asked(number)
        there = sum(not is_away(self.run.absent, place, number) for place in self.places)
        return Ask(
            "train", {**sent, "job": self._job(number)}, number, asked,
            None if self.run.hooks.sealed else sent["model"], least=self.alg.quorum(len(self.places)),
            spare=len(asked) < there and self.silent < len(self.places),
        )  # fmt: skip

    def _travels_along(self, number: int, sent: dict[str, Any], who: list[str] | None) -> Ask | None:
        """Return the next round's training where the evaluation of this one travels with it: :func:`rounds` has it."""
        dear = getattr(self.exchange.transport, "dear", False) and number < self.settings.rounds
        needed = self.settings.patience is not None or self.exchange.deadline is not None
        if not dear or needed or not whole(self.alg) or not self._asks_everybody():
            return None
        question = self._question(number + 1, sent)
        if question.who != list(self.exchange.transport.sites if who is None else who):
            return None
        self.run.under_way = number + 1
        return question

    def _asks_everybody(self) -> bool:
        """Return whether every place is asked to train that is not away."""
        return type(self.alg).asks is Algorithm.asks and (self.settings.fraction == 1 or self.alg.alone)

    def _choosing(self, number: int) -> list[str] | None:
        """Whom to ask how good its model is; alone, a site that has not trained yet has none. ``None``: all."""
        there = self._there(number)
        if not (self.alg.alone and keeps_own(self.alg)) or len(self.run.took_part) == len(self.places):
            return there if len(there) < len(self.run.names) else None
        return [site for site in self.places if self.run.took_part[site] and site in there]

    def _there(self, number: int) -> list[str]:
        """Return the sites that are not away in this round."""
        return [site for site in self.exchange.transport.sites if not is_away(self.run.absent, site, number)]

    def _asked(self, number: int) -> list[str]:
        """Whom the algorithm asks, and of those the share that the settings allow."""
        if self._asks_everybody():
            return [place for place in self.places if not is_away(self.run.absent, place, number)]
        rng = np.random.default_rng([self.settings.seed, 5, number])
        wanted = sorted(self.alg.asks(number, len(self.places), rng))
        wanted = [i for i in wanted if not is_away(self.run.absent, self.places[i], number)]
        if self.settings.fraction < 1 and not self.alg.alone and wanted:
            few = sampled(len(wanted), self.settings.fraction)
            wanted = sorted(rng.choice(wanted, few, replace=False).tolist())
        return [self.places[i] for i in wanted]

    def _job(self, number: int) -> Job:
        s, all_rows = self.settings, self.alg.full_batch
        return Job(
            round=number, rounds=s.rounds, lr=s.lr * factor(s.schedule, number, s.rounds),
            batch_size=self.longest if all_rows else s.batch_size, local_epochs=1 if all_rows else s.local_epochs,
            seed=s.seed, base_lr=s.lr, shuffle=s.shuffle, clock=0 if all_rows else self.clock, clip=s.clip or 0.0,
            stragglers=0.0 if self.alg.clocked else s.stragglers,
        )  # fmt: skip

    def _broadcast(self) -> Tensors:
        """Return what the server sends beside the model; its memory stays as it is."""
        return self.alg.broadcast(theirs(self.alg, self.state))

    def _sent(self) -> dict[str, Any]:
        """Return what the sites are sent: the model, and what travels beside it."""
        return {"model": travels(self.alg, self.params), "extra": self._broadcast()}

    def _pool(self, number: int) -> None:
        """Enter into the ledger what pooling moves: the rows themselves, once."""
        if number > 1 or len(self.places) == len(self.exchange.transport.sites):
            return
        for site in self.run.federation.sites:
            held = site.train
            self.exchange.ledger.add(0, "pool", [site.name], "up", {"patients' rows": held.x, "labels": held.y})

    def _note_lacking(self, sent: Tensors, answers: Answers) -> None:
        """Note which tensors no site sent back: they stay as they were."""
        came = answers.contents[0]["model"] if answers.together is None else answers.together["model"]
        if lacking := [name for name in sent if name not in came]:
            note = f"{self.alg.name} sends no {', '.join(lacking)}: what the sites learn of it stays there"
            if note not in self.run.notes:
                self.run.notes.append(note)

    def _combine(self, answers: Answers, job: Job) -> Combine:
        """Ask for the next model of what came back, and count the examples in it."""
        got, hook = answers.stacked(), self.run.hooks.upload
        if hook is not None and hook.sealed:
            got = hook.opened(got, travels(self.alg, self.params))
        alike = Counter(zip(got["rows"].tolist(), answers.sites if job.stragglers else repeat(""), strict=False))
        self.run.examples_seen += sum(n * examples(int(rows), job, site) for (rows, site), n in alike.items())
        everybody = answers.sites == self.places
        who = self.everybody if everybody else torch.tensor([self.number[site] for site in answers.sites])
        return Combine(self.run, self.params, self.state, got, answers.sites, who)

    # ------------------------------------------------------------------ after the last round

    def remark(self) -> None:
        """Note who did not take part, and what the algorithm has to say."""
        for what in (*remarks(self.run), *self.alg.remarks()):
            if what not in self.run.notes:
                self.run.notes.append(what)

    def collect(self) -> Generator[Ask, Answers, None]:
        """Fetch the sites' own models, where they predict with others than the server's."""
        run = self.run  # from here on its own tensors, no views of what many runs share
        run.weights, run.extra = tree_map(torch.clone, run.weights), tree_map(torch.clone, run.extra)
        if whole(self.alg) or not self.run.records:
            return
        last = self.run.records[-1].round
        owners = sorted(self._there(last))
        if keeps_own(self.alg):
            owners = [site for site in owners if site not in never_trained(self.run)]
        if not owners:
            return
        stay = self._stay()
        if stay:
            run.notes.append(f"the sites' own models stay there: {stay}")
        if not self.settings.evaluate and (run.plan_report or not stay):  # nothing was held: hold what there is
            yield Ask("evaluate", {**self._sent(), "job": self._job(last)}, last, owners)
        if stay:
            return
        told = yield Ask("export", {}, last, owners)
        for site, what in zip(told.sites, told.contents, strict=True):
            models = what["models"]
            if models:  # a site whose last step failed holds none
                self.run.models[site] = [models[k] for k in sorted(models, key=int)]

    def _stay(self) -> str:
        """Say why the sites' own models do not leave them; empty if they do."""
        if why := self.exchange.forbidden(["export"]):
            return f"the policy does not allow {', '.join(why)}"
        if not (self.run.has_rows or self.run.plan.export):
            return (
                "the plan does not allow their export (Plan.of(…, export=True)); their reports can be asked for there"
            )
        return ""
