"""What a site does when it is asked. The only place that reads a site's rows, but for :mod:`fedlab.engine.opened`.

That is what :mod:`fedlab.engine.reported`, the purpose ``report``, computes with.
The same code answers in this process, on Flower's simulation and at a hospital: same question, same seed, same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, wraps
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms.base import Algorithm, Batch
from fedlab.algorithms.tensors import PREPARATION, Tensors
from fedlab.engine.batches import Draws, Job, row_plan, site_keys
from fedlab.engine.hooks import Hooks, leave_alone
from fedlab.engine.net import Net, RawRows, all_digits, home
from fedlab.engine.optimisers import Optimizer
from fedlab.engine.purposes import PURPOSES, Purpose, register
from fedlab.engine.rows import OwnRows, Rows, SharedRows, Source
from fedlab.engine.scores import ALL, Leaving, leaving, screened
from fedlab.engine.trees import finite
from fedlab.engine.work import Stop, Work, first_memory, theirs
from fedlab.federation import Site, Summary, fit, summarise
from fedlab.federation.preparation import patients_with, told


class NotFinite(RuntimeError):
    """Training gave NaN or infinity: the site sends nothing and keeps what it had."""


class RowsChanged(RuntimeError):
    """A model or an algorithm changed a site's rows in place: what is computed from here on is of other patients."""


def written(*tensors: Tensor) -> int:
    """Return how often tensors were written in place."""
    return sum(tensor._version for tensor in tensors)


@dataclass
class SiteWork:
    """A site at work: its rows, what it keeps, and an answer to each purpose.

    ``state`` is all that outlives a question: the algorithm's memory and the models held for the report.
    """

    name: str
    train_rows: Rows
    valid_rows: Rows
    alg: Algorithm
    net: Net
    optimizer: Optimizer
    prepared: bool
    stop: Stop = lambda: False
    state: Tensors = field(default_factory=dict)
    hooks: Hooks = Hooks()
    columns: tuple[str, ...] = ()  # as the site's file has them, where it is asked who it is
    site: Site | None = None  # whose ``test`` rows a report is of; none where the rows of several are pooled
    _source: Source | None = None

    @classmethod
    def of(cls, site: Site, **options: Any) -> SiteWork:
        """Put one site to work."""
        work = cls.pooled([site], **options)
        work.site = site
        return work

    @classmethod
    def pooled(cls, sites: Sequence[Site], **options: Any) -> SiteWork:
        """Put the rows of several sites in one place."""
        train, valid = (Rows.of(sites, part) for part in ("train", "valid"))
        return cls(name=" + ".join(site.name for site in sites), train_rows=train, valid_rows=valid, **options)

    def answer(self, purpose: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer one question of the exchange, as :data:`~fedlab.engine.purposes.PURPOSES` has it."""
        return PURPOSES[purpose].work(self, payload)

    def patients(self, part: str) -> int | None:
        """Count the patients of a part of the rows; ``None`` of one that is not here."""
        if part == "test":
            return None if self.site is None else len(Rows.of([self.site], part).patients.first)
        rows: Rows | None = getattr(self, f"{part}_rows", None)
        return None if rows is None else len(rows.patients.first)

    def written(self) -> int:
        """Return how often the site's rows were written in place."""
        own = [self._source.batch.x, self._source.batch.y] if isinstance(self._source, OwnRows) else []
        shown = [self.valid] if isinstance(self.valid, Tensor) else []
        return self.train_rows.written() + self.valid_rows.written() + written(*own, *shown)

    @cached_property
    def valid(self) -> RawRows:
        """What is predicted each round: of a table a copy, for it is small; else what gives the rows."""
        return self.valid_rows.raw

    # ------------------------------------------------------------------ before the first round

    def statistics(self, *, own: bool) -> Tensors:
        """Tell how many training rows there are and, unless the preparation is the site's own, their summary.

        Of a column that fewer than five training patients have, it says what it would if nobody had it.
        """
        if own or self.prepared:
            return {"rows": torch.tensor(float(len(self.train_rows)), dtype=torch.float64)}
        x = self.train_rows.x
        return told(summarise(x), patients_with(x, self.train_rows.patients.of))._asdict()

    def prepare(self, buffers: Tensors) -> None:
        """Keep the federation's preparation, or without one the site's own."""
        if self.prepared:
            self.state["prepare"] = {}
            return
        found = buffers or fit(summarise(self.train_rows.x))
        self.state["prepare"] = self.net.placed({f"{PREPARATION}{k}": v for k, v in found.items()})

    @property
    def source(self) -> Source:
        """The training rows as the model sees them: prepared here, or shared with whoever trains on them."""
        if self._source is None:
            shared = self.prepared
            self._source = (
                SharedRows(self.train_rows, self.net)
                if shared
                else OwnRows(self.train_rows, self.net, self.state["prepare"])
            )
        return self._source

    def ready(self) -> Batch:
        """Return all training rows as the model sees them."""
        return self.source.whole()

    # ------------------------------------------------------------------ each round

    def train(self, model: Tensors, extra: Tensors, job: Job) -> tuple[Tensors, Tensors, float]:
        """Train and return ``(upload, extra, training rows)``."""
        memory = self.memory()
        plan = row_plan(len(self.train_rows), job, self.name)
        box = self.box(model, extra, memory, job, len(plan))
        with _seeded(self._key(job), self.net.device) if self.net.random else nullcontext():
            upload, sent, new = self.work(job).train(box, _OneSite(self.source, plan), self.stop)
        if not all(map(finite, (upload, sent, new))):
            raise NotFinite(f"training at {self.name} in round {job.round} gave NaN or infinity: lower lr")
        self.state["memory"] = new
        out = home(theirs(self.alg, upload)), home(theirs(self.alg, sent)), len(self.train_rows)
        return out if self.hooks.upload is None else leave_alone(self.hooks.upload, self.name, job, model, *out)

    def _key(self, job: Job) -> int:
        return int(site_keys(Draws.of([0], [job], [self.name]), job)[0])

    def memory(self) -> Tensors:
        """What the site holds; before its first round, what the algorithm starts with, whenever that round is."""
        if "memory" not in self.state:
            self.settle(self.net.start())
        memory: Tensors = self.state["memory"]
        return memory

    def settle(self, start: Tensors) -> None:
        """Hold what the algorithm starts with from this model."""
        self.state["memory"] = first_memory(self.alg, {**self.net.placed(start), **self.state["prepare"]})

    def work(self, job: Job) -> Work:
        """Return the round's work for one site."""
        return Work(self.alg, self.net, self.optimizer, job, _one, lambda box: self._rows(), on_rows=self.hooks.rows)

    def _rows(self) -> Batch:
        return Batch(*(theirs(self.alg, part) for part in self.ready()))

    def box(self, model: Tensors, extra: Tensors, memory: Tensors, job: Job, steps: int) -> Tensors:
        """Gather the tensors that differ from site to site."""
        dtype, device = self.net.dtype, self.net.device
        return {
            "anchor": theirs(self.alg, self.net.placed(model)),
            "extra": theirs(self.alg, self.net.placed(extra)),
            "memory": theirs(self.alg, self.net.placed(memory)),
            "lr": torch.tensor(job.lr, dtype=dtype, device=device),
            "base_lr": torch.tensor(job.base_lr or job.lr, dtype=dtype, device=device),
            "steps": torch.tensor(float(steps), dtype=dtype, device=device),
            "n": torch.tensor(float(len(self.train_rows)), dtype=dtype, device=device),
            "key": torch.tensor(self._key(job), device=device),
        }

    def evaluate(self, model: Tensors, extra: Tensors, job: Job) -> dict[str, float]:
        """The task's two scores of what the site would predict with, on its ``valid`` rows; hold those models."""
        models, task = self.predictors(model, extra, job), self.net.task
        with torch.no_grad():
            p = self.net.probabilities(models, self.valid)
        self.state["latest"] = _numbered(models)
        y = task.padded([self.valid_rows.y.numpy()])
        found = screened(task.quick_scores(y, p[None].cpu().numpy()), [self.leaving])
        return {name: float(each[0]) for name, each in found.items()}

    @cached_property
    def leaving(self) -> Leaving:
        """What of the scores on ``valid`` may leave; a site that learns and chooses alone sends nothing."""
        if self.alg.alone and not self.alg.one_model:
            return ALL
        return leaving(self.valid_rows, self.net.task)

    def predictors(self, model: Tensors, extra: Tensors, job: Job) -> list[Tensors]:
        """Return the models that the site predicts with."""
        with torch.no_grad():
            return self.work(job).personal(self.box(model, extra, self.memory(), job, 0))

    def keep(self) -> None:
        """Hold the models just evaluated: their round is the best so far."""
        self.state["kept"] = self.state["latest"]

    def export(self) -> Tensors:
        """Hand out the models held: the kept ones, else the latest."""
        held: Tensors = self.state.get("kept") or self.state.get("latest") or {}
        out: Tensors = home(held)
        return out


def on_rows(work: Callable[[SiteWork, dict[str, Any]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Let what works on a site's rows end the run if it changes them: what is computed from then on is of others."""

    @wraps(work)
    def guarded(site: SiteWork, payload: dict[str, Any]) -> dict[str, Any]:
        before = site.written()
        try:
            return work(site, payload)
        finally:
            if site.written() != before:
                raise RowsChanged(changed(site.name))

    return guarded


@on_rows
def _statistics(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    return site.statistics(own=asked["own"])


@on_rows
def _prepare(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    site.prepare(asked["buffers"])
    return {}


@on_rows
def _train(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    upload, sent, rows = site.train(asked["model"], asked["extra"], asked["job"])
    return {"model": upload, "extra": sent, "rows": torch.tensor(float(rows), dtype=torch.float64)}


@on_rows
def _evaluate(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    return dict(site.evaluate(asked["model"], asked["extra"], asked["job"]))


def _keep(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    site.keep()
    return {}


def _export(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    return {"models": site.export()}


def no_rows(rows: Any) -> str:
    """Say what is wrong with the number of training rows that a site says it has: it weighs its model.

    Examples
    --------
    >>> no_rows(torch.tensor(40.0)), no_rows(torch.tensor(-3.0))
    ('', 'says that it has -3 training rows')
    """
    number = float(rows)
    return "" if 0 < number < inf else f"says that it has {number:g} training rows"


def _untold(content: dict[str, Any], like: Tensors | None) -> str:
    """Say what is wrong with what a site tells of its rows."""
    del like
    told = {name: value for name, value in content.items() if name != "rows"}
    return no_rows(content["rows"]) or ("" if finite(told) else "told of its rows what is not finite")


def _misfit(content: dict[str, Any], like: Tensors | None) -> str:
    """Say what is wrong with an upload."""
    if like is None:
        return ""
    if why := no_rows(content["rows"]):
        return why
    for name, tensor in content["model"].items():
        if name not in like or tensor.shape != like[name].shape or tensor.dtype != like[name].dtype:
            return f"sent a tensor {name!r} that does not fit the model"
    if not finite(content["model"]) or not finite(content["extra"]):
        return "sent a model that is not finite"
    return ""


UPLOAD = ("model", "extra")
register(
    Purpose("statistics", _statistics, sends=Summary._fields, tells_of="train", screen=_untold, alike=Summary._fields)
)
register(Purpose("prepare", _prepare))
register(
    Purpose("train", _train, sends=(*UPLOAD, "rows"), tells_of="train", on_held=True, screen=_misfit, alike=UPLOAD)
)
register(Purpose("evaluate", _evaluate, sends=None, numbers=True, tells_of="valid", screened=True, on_held=True))
register(Purpose("keep", _keep, on_held=True))
register(Purpose("export", _export, sends=("models",), tells_of="train", on_held=True, reserved=True))


def changed(where: str) -> str:
    """Say what happened where rows were changed in place, and what to do."""
    return (
        f"the model or the algorithm changed the rows of {where} in place (x += …, x.clamp_(…)), which it did not on "
        "its trial rows: make new tensors (x = x + …). The federation in this process is changed too: load it again"
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: sums in one order (the same bits everywhere), and no overhead on small work.

    On a GPU the bits are a matter of :func:`~fedlab.engine.net.all_digits`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with all_digits():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _seeded(key: int, device: torch.device) -> Iterator[None]:
    """Seed the global generator, which a model with torch's own Dropout draws from, and leave it as it was found.

    Not ``torch.manual_seed``, which also notes a stack trace for every kind of accelerator: half a millisecond.
    """
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(key)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            if device.type == "cuda":
                torch.cuda.manual_seed(key)
            yield
    finally:
        torch.set_rng_state(before)


class _OneSite:
    """The batches of one site: each has exactly its rows."""

    def __init__(self, source: Source, plan: NDArray[np.int64]) -> None:
        self.source, self.length = source, len(plan)
        self.plan = [numbers[numbers >= 0] for numbers in plan]

    def batch(self, step: int) -> Batch:
        return self.source.take(self.plan[step])

    def going(self, step: int) -> Tensor | None:
        return None


def _one(f: Callable[..., Any], dims: Any = 0) -> Callable[..., Any]:
    return f


def _numbered(models: list[Tensors]) -> Tensors:
    return {str(i): dict(model) for i, model in enumerate(models)}
