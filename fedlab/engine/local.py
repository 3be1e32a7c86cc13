"""The transport inside this process: all sites at once, one site a thread, or one at a time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.batched import Part, StackedSites
from fedlab.engine.batches import steps_alone
from fedlab.engine.client import Door
from fedlab.engine.exchange import LATE, Reply, Stacked
from fedlab.engine.net import home
from fedlab.engine.purposes import PURPOSES, Refused, withheld
from fedlab.engine.run import Run
from fedlab.engine.settings import Settings
from fedlab.engine.site import NotFinite, SiteWork, one_thread
from fedlab.engine.trees import tree_map
from fedlab.engine.work import Stop, Stopped
from fedlab.privacy import SIMULATED, Policy

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WASTE = 4.0  # stacking pays while its padded steps are at most this many times the real ones


class Late(RuntimeError):
    """A site that trains in this process has come to the deadline."""


class Limit(threading.local):
    """How long a site may train, each in its own thread."""

    seconds: float | None = None  # set by the thread that asks; those of the pool are told with the question
    due: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self.due = None if self.seconds is None else time.monotonic() + self.seconds

    def over(self) -> bool:
        """Return ``False``, as long as there is time.

        Raises
        ------
        Late
            When there is none left.
        """
        if self.due is not None and time.monotonic() > self.due:
            raise Late
        return False


class LocalTransport:
    """All sites in this process.

    The rule of ``engine="auto"``: all sites at once, unless there is one place of training only, the model has a layer
    that cannot be stacked (torch's own BatchNorm or Dropout, recurrent layers, attention) or that is slower stacked
    (convolutions on a CPU), or the sites are so ragged that padding to the longest quadruples the work. What is not
    stacked because of its layers goes one site a thread, unless the model draws from torch's global generator, which
    threads would share. ``note`` says what was chosen and why.
    """

    def __init__(self, run: Run, *, stop: Stop, policy: Policy | None = None) -> None:
        policy = run.policy if policy is None else policy
        federation, alg, net, settings = run.federation, run.algorithm, run.net, run.settings
        self._halt = halt = threading.Event()
        self._limit = limit = Limit()
        # not of self: a circle would keep all rows after the run
        self.stop: Stop = lambda: limit.over() or stop() or halt.is_set()
        sites = sorted(federation.sites, key=lambda site: site.name)
        options: dict[str, Any] = dict(
            alg=alg,
            net=net,
            optimizer=settings.optimizer,
            prepared=federation.prepared,
            stop=self.stop,
            hooks=run.hooks,
        )
        self.work = {site.name: SiteWork.of(site, **options) for site in sites}
        self.sites = tuple(self.work)
        self.number = {name: i for i, name in enumerate(self.sites)}
        places = [
            self.work[group[0].name] if len(group) == 1 else SiteWork.pooled(group, **options)
            for group in alg.arrange(sites)
        ]
        self.trainers = {place.name: place for place in places}
        self.places = tuple(self.trainers)
        self.policy = policy
        self.doors, self.training_doors = (
            {name: Door(name, partial(work.get, name), policy=policy) for name in work}
            for work in (self.work, self.trainers)
        )
        self.net, self.tell, self.deadline = net, run.tell, settings.deadline
        self.stacked: StackedSites | None = None
        self.offset = 0  # where this run's sites begin in the stack
        self.mode, self.note = self._choose(settings)
        self.careful = settings.engine == "auto"
        self._pool: ThreadPoolExecutor | None = None
        if self.mode == "threads":
            self._open_pool()

    @property
    def stackable(self) -> bool:
        """Whether this run goes all at once."""
        return self.mode == "batched"

    @property
    def can_share(self) -> bool:
        """Whether several such runs can work as one stack: also places that pool all rows, one per run."""
        alone = len(self.places) == 1 and not self.net.obstacle() and not self.net.slow_stacked()
        return (self.stackable or alone) and self.deadline is None

    def _choose(self, settings: Settings) -> tuple[str, str]:
        """Return the mode, and the reason where it is not all at once."""
        obstacle, asked = self.net.obstacle(), settings.engine
        if asked == "threads" and self.net.random:
            raise ValueError(
                "engine='threads' cannot run a model that draws from torch's global generator, which the threads would "
                "share (fedlab.models.Dropout does not): use engine='sequential', or 'auto'"
            )
        if asked == "batched" and obstacle:
            raise ValueError(f"engine='batched' cannot run {obstacle}: use engine='sequential', or 'auto'")
        if asked in ("sequential", "threads"):
            return asked, ""
        if asked == "batched" and len(self.places) == len(self.sites):
            return asked, ""
        if len(self.places) == 1:
            return "sequential", "one site at a time: there is one place of training"
        if obstacle or self.net.slow_stacked():
            why = f"the model has {obstacle}" if obstacle else "convolutions are slower stacked"
            if self.net.random or CORES == 1:
                return "sequential", f"one site at a time: {why}"
            return "threads", f"one site a thread: {why}"
        if self._too_ragged(settings):
            return "sequential", "one site at a time: the sites differ much in size"
        return "batched", ""

    def _too_ragged(self, settings: Settings) -> bool:
        steps = [
            steps_alone(len(w.train_rows), batch_size=settings.batch_size, local_epochs=settings.local_epochs)
            for w in self.trainers.values()
        ]
        return not settings.local_steps and len(steps) * max(steps) > WASTE * sum(steps)

    def ask(
        self,
        purpose: str,
        who: Sequence[str],
        payload: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        deadline: float | None = None,
    ) -> Sequence[Reply] | Stacked:
        """Answer with one torch thread a site; a site that trains is cut off at the deadline."""
        self._limit.seconds = deadline
        with one_thread():
            if purpose in ("train", "evaluate", "keep", "export") and self._stack():
                if each:
                    raise ValueError(
                        f"{purpose!r} with a payload for each site goes one at a time: engine='sequential'"
                    )
                return self._ask_all(purpose, who, payload)
            if each:
                return [self._ask_one(purpose, name, {**payload, **each.get(name, {})}) for name in who]
            if purpose in ("train", "evaluate") and self._pool:
                return self._ask_threads(purpose, who, payload)
            return [self._ask_one(purpose, name, payload) for name in who]

    def close(self) -> None:
        """Let the threads go."""
        self._halt.set()
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    # ------------------------------------------------------------------ between rounds

    def snapshot(self) -> dict[str, Any]:
        """Return all that the sites hold from round to round."""
        each = {name: home(work.state) for name, work in {**self.trainers, **self.work}.items()}
        stack = None
        if self.stacked is not None:
            models, rows = self.stacked.latest
            stack = home(self.stacked.state), (list(map(home, models)), rows)
        return {"mode": self.mode, "note": self.note, "each": each, "stack": stack}

    def restore(self, held: dict[str, Any]) -> None:
        """Let the sites hold what those of another run held."""
        self.mode = "sequential" if held["mode"] == "threads" and self._pool is None else held["mode"]
        self.note = held["note"]
        for name, work in {**self.trainers, **self.work}.items():
            work.state = self.net.placed(held["each"][name])
        if held["stack"] is not None and self._stack() is not None:
            state, (models, rows) = held["stack"]
            assert self.stacked is not None
            self.stacked.state = self.net.placed(state)
            self.stacked.latest = [self.net.placed(model) for model in models], rows

    # ------------------------------------------------------------------ one at a time

    def _ask_one(self, purpose: str, name: str, payload: dict[str, Any]) -> Reply:
        self.tell(f"{purpose}, {name}")
        if purpose == "prepare" and name == self.sites[0]:
            self._prepare_places(payload)
        self._limit.start()
        reply = (self.training_doors if purpose == "train" else self.doors)[name].answer(purpose, payload)
        return Reply(name, error=LATE) if isinstance(reply.cause, Late) else reply

    def _prepare_places(self, payload: dict[str, Any]) -> None:
        for place, work in self.trainers.items():
            if place not in self.work:
                work.prepare(payload["buffers"])

    # ------------------------------------------------------------------ one site a thread

    def _open_pool(self) -> None:
        """Every site gets a module of its own: two threads in one give wrong results."""
        for work in {**self.work, **self.trainers}.values():
            work.net = self.net.copy()
        self._pool = ThreadPoolExecutor(min(CORES, len(self.sites)), initializer=torch.set_num_threads, initargs=(1,))

    def _ask_threads(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> list[Reply]:
        assert self._pool is not None
        seconds = self._limit.seconds

        def one(name: str) -> Reply:
            self._limit.seconds = seconds
            return self._ask_one(purpose, name, payload)

        futures = [self._pool.submit(one, name) for name in who]
        try:
            return [future.result() for future in futures]
        except BaseException:  # an interrupt reaches this thread alone: tell the others
            self._halt.set()
            wait(futures)
            raise

    # ------------------------------------------------------------------ all at once

    def _stack(self) -> StackedSites | None:
        if self.stackable and self.stacked is None:
            self.stacked = StackedSites(list(self.work.values()), stop=self.stop)
        return self.stacked

    def part(self, who: Sequence[str], payload: dict[str, Any]) -> Part:
        """Say a question in the numbers of the stack."""
        numbers = [self.offset + self.number[name] for name in who]
        return Part(numbers, payload["model"], payload["extra"], payload["job"])

    def _ask_all(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> Sequence[Reply] | Stacked:
        """Let all sites work as one: each door lets the question in, and their answers out, for its own."""
        refused = [] if self.policy == SIMULATED else self._refused(purpose, who, payload)
        if refused:
            shut = {reply.site for reply in refused}
            who = [name for name in who if name not in shut]
            got = self._work_all(purpose, who, payload) if who else []
            if isinstance(got, Stacked):
                return Stacked(got.sites, got.content, {**got.errors, **{r.site: r.error for r in refused}})
            return [*got, *refused]
        return self._work_all(purpose, who, payload)

    def _refused(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> list[Reply]:
        """Return the replies of the doors that do not let the question in."""
        doors = self.training_doors if purpose == "train" else self.doors
        refused = []
        for name in who:
            try:
                doors[name].accept(purpose, payload)
            except Refused as error:
                refused.append(doors[name].fault(purpose, error))
        return refused

    def _work_all(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> Sequence[Reply] | Stacked:
        assert self.stacked is not None
        if purpose == "train":
            return self._let_out(purpose, self._train_all(who, payload))
        if purpose == "evaluate":
            every = self.stacked.evaluate([self.part(self.sites, payload)])
            numbers = [self.number[name] for name in who]
            return self._let_out(purpose, Stacked(list(who), {score: each[numbers] for score, each in every.items()}))
        numbers = [self.offset + self.number[name] for name in who]
        if purpose == "keep":
            self.stacked.keep(numbers)
            return [Reply(name) for name in who]
        return [Reply(name, {"models": self.stacked.export(i)}) for name, i in zip(who, numbers, strict=True)]

    def _let_out(self, purpose: str, got: Sequence[Reply] | Stacked) -> Sequence[Reply] | Stacked:
        """Let out what all sites answered at once."""
        if not isinstance(got, Stacked) or not withheld(self.policy, PURPOSES[purpose], got.content, stacked=True):
            return got
        return Stacked([], {}, {**got.errors, **dict.fromkeys(got.sites, Refused.__name__)})

    def _train_all(self, who: Sequence[str], payload: dict[str, Any]) -> Sequence[Reply] | Stacked:
        assert self.stacked is not None
        self._limit.start()
        try:
            got = self.stacked.train([self.part(who, payload)])
        except (Stopped, KeyboardInterrupt):
            raise
        except Late:
            return [Reply(name, error=LATE) for name in who]
        except Exception as error:
            if not (self.careful and payload["job"].round == 1):
                raise
            # vmap has no rule for a data-dependent if, .item() or some layers: one site at a time has
            self.note = f"one site at a time: this model or algorithm cannot be stacked ({type(error).__name__})"
            self.mode, self.stacked = "sequential", None
            return [self._ask_one("train", name, payload) for name in who]
        return screened(list(who), *got)


def screened(who: list[str], upload: Tensors, extra: Tensors, rows: Tensor, good: list[bool]) -> Stacked:
    """Leave out the sites whose training was not finite."""
    content = {"model": upload, "extra": extra, "rows": rows}
    if all(good):
        return Stacked(who, content)
    keep = torch.tensor([i for i, ok in enumerate(good) if ok], dtype=torch.int64)
    errors = {name: NotFinite.__name__ for name, ok in zip(who, good, strict=True) if not ok}
    return Stacked([n for n in who if n not in errors], tree_map(lambda v: v[keep], content), errors)
