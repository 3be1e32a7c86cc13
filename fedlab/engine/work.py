"""What a site does with a batch: one piece of code, for one site or stacked over all of them.

``lift`` is the whole difference. One site: ``lift(f) = f``. All at once: ``vmap`` over a leading axis that every
tensor has (sites, or seeds × sites); where model and algorithm ask no more, a :class:`~.chain.Chain` does without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.func import grad, vmap

from fedlab.algorithms.base import Algorithm, Batch, is_foreign
from fedlab.algorithms.tensors import Tensors, fixed
from fedlab.engine.at import AtSite, join, parts
from fedlab.engine.batches import Job
from fedlab.engine.chain import Chain
from fedlab.engine.hooks import OneRow, OnRows
from fedlab.engine.net import Net
from fedlab.engine.optimisers import SGD, Optimizer, clipped
from fedlab.engine.trees import tree_leaves, tree_like, tree_map

Lift: TypeAlias = Callable[..., Callable[..., Any]]
Stop: TypeAlias = Callable[[], bool]
PLAIN = SGD()
UNREAD = torch.tensor(torch.nan)  # what a step that reads nothing of it is given


class Stopped(Exception):
    """Raised between two batches when the run is to stop."""


class Feed(Protocol):
    """The batches of a round."""

    length: int

    def batch(self, step: int) -> Batch:
        """Return the rows of a step; weight 0 marks padding."""

    def going(self, step: int) -> Tensor | None:
        """Tell which sites still have a batch; ``None``: all."""


def stays(alg: Algorithm, name: str) -> bool:
    """Tell a tensor that does not travel."""
    return fixed(name) or not alg.shared(name)


def travels(alg: Algorithm, params: Tensors) -> Tensors:
    """Keep what is sent from a model."""
    return {k: v for k, v in params.items() if not stays(alg, k)}


def first_memory(alg: Algorithm, params: Tensors) -> Tensors:
    """Return what a site holds before the first round: the algorithm's memory, its own tensors, its optimiser."""
    own = {k: v.clone() for k, v in params.items() if stays(alg, k)}
    return {"alg": tree_map(torch.clone, alg.remember(theirs(alg, params))), "own": own, "opt": {}}


def by_name(tree: Tensors, like: Tensors, said: str) -> Tensors:
    """Put what an algorithm's method gave in the order of what is trained, which must have the same names.

    Examples
    --------
    >>> by_name({"b": 2, "a": 1}, {"a": 0, "b": 0}, "direction")
    {'a': 1, 'b': 2}
    """
    if tree.keys() != like.keys():
        lacks, more = sorted(like.keys() - tree.keys()), sorted(tree.keys() - like.keys())
        raise ValueError(
            f"{said} must give a tensor for each that is trained, by its name: it "
            + " and ".join([*[f"lacks {', '.join(lacks)}"] * bool(lacks), *[f"adds {', '.join(more)}"] * bool(more)])
        )
    return {k: by_name(tree[k], v, said) if isinstance(v, dict) else tree[k] for k, v in like.items()}


def theirs(user: object, tree: Any) -> Any:
    """Return tensors for code to do anything with: copies, where it is not fedlab's own."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tree) if is_foreign(user) else tree


def against(tensor: Tensor, scalar: Tensor) -> Tensor:
    """Shape a number per site against a tensor per site."""
    return scalar.reshape((*scalar.shape, *[1] * (tensor.ndim - scalar.ndim)))


@dataclass
class Work:
    """A round's work of one site, or of all of them stacked.

    ``box`` holds the tensors that differ from site to site: anchor, extra, memory, lr, steps, n, key and whatever
    ``rows`` needs to find the training rows. ``one_rate``: all sites step at the job's rate. ``chain``: the model of
    all sites at once, where it is one. ``on_rows``: what becomes of the gradient of each row, where somebody asks.
    """

    alg: Algorithm
    net: Net
    optimizer: Optimizer
    job: Job
    lift: Lift
    rows: Callable[[Tensors], Batch]
    one_rate: bool = True
    chain: Chain | None = None
    on_rows: OnRows | None = None

    def at(self, box: Tensors, step: int, now: Batch | None = None, view: type[AtSite] = AtSite) -> AtSite:
        """Return the site's view of a step."""
        memory = box.get("memory", {"alg": {}, "own": {}})
        sent = {**box.get("anchor", {}), **memory["own"]}, box.get("extra", {}), memory["alg"]
        anchor, extra, held = (theirs(self.alg, tree) for tree in sent)  # a call's own: none sees another's writes
        lr, base, steps, n = (box.get(k, UNREAD) for k in ("lr", "base_lr", "steps", "n"))
        return view(
            anchor, extra, held, lr, base, steps, n, box["key"],
            self.job.round, self.job.rounds, step, self.net, lambda: self.rows(box), now,
            self.optimizer.momentum if type(self.optimizer) is SGD else None,
        )  # fmt: skip

    def train(self, box: Tensors, feed: Feed, stop: Stop) -> tuple[Tensors, Tensors, Tensors]:
        """Work through the batches; return ``(upload, extra, memory)``."""
        trained, still = self._lifted("start")(self._start)(box)
        lr = tree_map(lambda q: against(q, box["lr"]), trained)
        state = box["memory"]["opt"] or self.optimizer.init(trained, lr)
        lean = {"key": box["key"]} if self._plain_step and self.on_rows is None else box
        for step in range(feed.length):
            if stop():
                raise Stopped
            trained, still, state = self._step(lean, feed, step, trained, still, state, lr)
        trained = tree_map(torch.detach, trained)
        with torch.no_grad():
            upload, extra, memory = self._lifted("finish")(self._finish, (0, 0, 0))(trained, still, box)
        memory["opt"] = {} if self.alg.restart else state
        return upload, extra, memory

    def _lifted(self, name: str) -> Lift:
        """Lift the algorithm's own; the contract's default hands tensors on, stacked or not, and needs none."""
        return _as_it_is if getattr(type(self.alg), name) is getattr(Algorithm, name) else self.lift

    @property
    def _plain_step(self) -> bool:
        """Whether the steps are the contract's own, which read the model alone; each tensor stacked costs time."""
        cls, plain = type(self.alg), Algorithm
        mine = (cls.objective, cls.direction, cls.moves, cls.project)
        return mine == (plain.objective, plain.direction, plain.moves, plain.project)

    def _step(
        self, box: Tensors, feed: Feed, step: int, trained: Tensors, still: Tensors, state: Tensors, lr: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        now, going = feed.batch(step), feed.going(step)
        trained = tree_map(_leaf, trained)
        grads, moved = self._gradients(trained, still, box, now, step)
        with torch.no_grad():
            keep = self._keep(trained, still, box, step, going)
            if self.job.clip:
                grads = self._clipped(grads, keep)
            if type(self.alg).direction is not Algorithm.direction:
                along = self.lift(self._direction, (0, 0, 0, 0, 0, None))(grads, trained, still, box, now, step)
                grads = by_name(along, trained, "direction")
            new, next_state = self._move(trained, grads, state, lr, in_place=going is None)
            if type(self.alg).project is not Algorithm.project:
                new = self._projected(new, still, box, step)
            if keep is not None:
                new = _where(keep, new, trained)
                next_state = {k: _where(keep, next_state[k], state[k]) for k in state}
            if tree_leaves(moved):
                moved = tree_map(torch.detach, moved)
                if going is not None:
                    old = _moving(still)
                    moved = tree_map(lambda a, b: torch.where(against(a, going), a, b), moved, old)
                still = join(still, moved)
        return new, still, next_state

    def _gradients(
        self, trained: Tensors, still: Tensors, box: Tensors, now: Batch, step: int
    ) -> tuple[Tensors, Tensors]:
        """Return the gradient of each site's objective, and what the forward pass moved."""
        if self.on_rows is not None:
            return self._by_rows(self.on_rows, trained, still, box, now, step), {}
        read, leaves = _moving(still) if self._plain_step else still, tree_leaves(trained)
        if self.chain is None or type(self.alg).objective is not Algorithm.objective:
            value, moved = self.lift(self._objective, (0, 0, 0, 0, None))(trained, read, box, now, step)
            found = torch.autograd.grad(value, leaves, torch.ones_like(value), allow_unused=True)
        else:  # the contract's own: the mean loss of the batch
            x, y, weight, _ = now
            params = {**trained, **read}
            each = self.chain.losses(params, x, y, weight, box["key"], step)
            share = weight / weight.sum(1, keepdim=True).clamp(min=1)  # of the mean: its derivative by each loss
            found = torch.autograd.grad(each, leaves, share, allow_unused=True)
            moved = {k: params[k] for k in read if not fixed(k)}
        found_or_zero = [torch.zeros_like(v) if g is None else g for v, g in zip(leaves, found, strict=True)]
        grads: Tensors = tree_like(trained, found_or_zero)
        return grads, moved

    def _by_rows(
        self, on_rows: OnRows, trained: Tensors, still: Tensors, box: Tensors, now: Batch, step: int
    ) -> Tensors:
        """Return the gradient that is made of those of the rows, each by itself."""

        def site(trained: Tensors, still: Tensors, box: Tensors, now: Batch, step: int) -> Tensors:
            def of_one(vars: Tensors, *row: Tensor) -> Tensor:
                only = Batch(*(part[None] for part in row))
                return self.alg.objective(join(vars, still), self.at(box, step, only, OneRow))

            there = [part for part in now if part is not None]  # only bags have a mask
            grads = vmap(grad(of_one), in_dims=(None, *[0] * len(there)))(trained, *there)
            real = now.weight > 0
            grads = tree_map(lambda g: torch.where(against(g, real), g, 0.0), grads)
            return by_name(on_rows.join(grads, now.weight, self.at(box, step, now)), trained, "join")

        with torch.no_grad():
            return on_rows.after(self.lift(site, (0, 0, 0, 0, None))(trained, still, box, now, step))

    def _move(
        self, trained: Tensors, grads: Tensors, state: Tensors, lr: Tensors, *, in_place: bool
    ) -> tuple[Tensors, Tensors]:
        """Step; plain SGD of everybody at one rate is one fused call, the sum of most runs."""
        if self.one_rate and self.optimizer == PLAIN and in_place and type(self.alg).moves is Algorithm.moves:
            torch._foreach_add_(tree_leaves(trained), tree_leaves(grads), alpha=-self.job.lr)
            return trained, state
        trained, grads, state = (theirs(self.optimizer, tree) for tree in (trained, grads, state))
        return self.optimizer.step(trained, grads, state, lr)

    def _projected(self, trained: Tensors, still: Tensors, box: Tensors, step: int) -> Tensors:
        return by_name(self.lift(self._project, (0, 0, 0, None))(trained, still, box, step), trained, "project")

    def _clipped(self, grads: Tensors, keep: Tensors | None) -> Tensors:
        """Clip the gradient of what moves."""
        if keep is not None:
            grads = tree_map(lambda k, g: torch.where(against(g, k), g, 0.0), keep, grads)
        out: Tensors = self.lift(lambda g: clipped(g, self.job.clip))(grads)
        return out

    def _keep(self, trained: Tensors, still: Tensors, box: Tensors, step: int, going: Tensor | None) -> Tensors | None:
        """Tell which tensors of which sites move in this step; ``None``: all."""
        if type(self.alg).moves is Algorithm.moves:
            return None if going is None else tree_map(lambda _: going, trained)
        moves: Tensors = self.lift(self._moves, (0, 0, None))(trained, box, step)
        return moves if going is None else tree_map(lambda m: m & going, moves)

    # ------------------------------------------------------------------ one site's view: these are what is lifted

    def _start(self, box: Tensors) -> tuple[Tensors, Tensors]:
        trained, still = parts(self.alg.start(self.at(box, 0)), self.net.names)
        return tree_map(torch.clone, trained), tree_map(torch.clone, still)

    def _objective(
        self, trained: Tensors, still: Tensors, box: Tensors, now: Batch, step: int
    ) -> tuple[Tensor, Tensors]:
        vars = join(trained, still)
        value = self.alg.objective(vars, self.at(box, step, now))
        return value, _moving(parts(vars, self.net.names)[1])

    def _direction(self, g: Tensors, trained: Tensors, still: Tensors, box: Tensors, now: Batch, step: int) -> Tensors:
        return self.alg.direction(g, join(trained, still), self.at(box, step, now))

    def _project(self, trained: Tensors, still: Tensors, box: Tensors, step: int) -> Tensors:
        return parts(self.alg.project(join(trained, still), self.at(box, step)), self.net.names)[0]

    def _moves(self, trained: Tensors, box: Tensors, step: int) -> Tensors:
        at = self.at(box, step)

        def ask(tree: Tensors, prefix: str) -> Tensors:
            return {
                k: ask(v, f"{prefix}{k}.") if isinstance(v, dict) else torch.as_tensor(self.alg.moves(prefix + k, at))
                for k, v in tree.items()
            }

        return ask(trained, "")

    def _finish(self, trained: Tensors, still: Tensors, box: Tensors) -> tuple[Tensors, Tensors, Tensors]:
        upload, extra, memory = self.alg.finish(join(trained, still), self.at(box, 0))
        own = {k: old if fixed(k) else upload.get(k, old) for k, old in box["memory"]["own"].items()}
        return travels(self.alg, upload), dict(extra), {"alg": memory, "own": own}

    def personal(self, box: Tensors) -> list[Tensors]:
        """Return the models that the site predicts with."""
        return self.alg.personal(self.at(box, 0))


def _as_it_is(f: Callable[..., Any], _: Any = 0) -> Callable[..., Any]:
    return f


def _leaf(v: Tensor) -> Tensor:
    """Return a tensor to take the gradient by; one that was stepped in place is one already."""
    return v if v.is_leaf and v.requires_grad else v.detach().requires_grad_()


def _moving(still: Tensors) -> Tensors:
    """Keep of the carried tensors those that a step may write: all but the preparation."""
    return {k: _moving(v) if isinstance(v, dict) else v for k, v in still.items() if not fixed(k)}


def _where(keep: Tensors, new: Tensors, old: Tensors) -> Tensors:
    out: Tensors = tree_map(lambda k, a, b: torch.where(against(a, k), a, b), keep, new, old)
    return out
