"""All sites at once: stacked parameters, padded batches with weights, one backward pass for everybody.

The rows of all sites stand in one place and a batch is an array of row numbers. A short batch is padded with a real
row of the same site at weight 0, so that each site sees exactly the batches it would see alone. The stacked axis is a
plain list of sites at work: several seeds of a run are more entries of it, one :class:`Part` each; what they share of
the rows stands there once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from fedlab.algorithms.base import Algorithm, Batch
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.batches import Draws, Job, row_plans, site_keys
from fedlab.engine.chain import Chain
from fedlab.engine.hooks import OnUpload, leave_stacked
from fedlab.engine.lifted import lift
from fedlab.engine.net import PASS, as_floats, home
from fedlab.engine.padded import PaddedBatches, gathered, padded_tables, standing
from fedlab.engine.scores import screened
from fedlab.engine.site import RowsChanged, SiteWork, changed, written
from fedlab.engine.trees import tree_leaves, tree_map, tree_stack
from fedlab.engine.work import Stop, Work, against, first_memory, theirs
from fedlab.federation.bags import bags_in

CHUNK = 512  # sites that step together
PADDED = 2**24  # numbers in the padded bags of a step


def _finite(trees: Any) -> Tensor:
    """Tell for each entry of the stacked axis whether all its numbers are finite."""
    rows = [leaf.reshape(len(leaf), -1) for leaf in tree_leaves(trees)]
    sums = torch.stack([row.sum(1, dtype=torch.float64) for row in rows])
    good = sums.isfinite().all(0)  # a finite sum is proof enough, and cheaper
    return good if bool(good.all()) else torch.stack([row.isfinite().all(1) for row in rows]).all(0)


def _cat(trees: Sequence[Any]) -> Any:
    return tree_map(lambda *leaves: torch.cat(leaves), *trees)


def chunks(entries: int, most: int = CHUNK) -> list[slice]:
    """Cut the stacked axis into even pieces, so that the memory of a step depends on the piece.

    Examples
    --------
    >>> chunks(CHUNK), len(chunks(CHUNK + 1))
    ([slice(0, 512, None)], 2)
    """
    pieces = -(-entries // most)
    ends = [entries * i // pieces for i in range(pieces + 1)]
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


class Part(NamedTuple):
    """What one run asks of its share of the stack: which entries, and what they are sent."""

    who: list[int]
    model: Tensors
    extra: Tensors
    job: Job


class StackedSites:
    """Sites that train and predict in one stacked pass.

    Parameters
    ----------
    sites : sequence of SiteWork
        Already prepared: each knows its preparation.
    """

    def __init__(self, sites: Sequence[SiteWork], *, stop: Stop) -> None:
        self.sites, self.stop, self.net = sites, stop, sites[0].net
        self.stand = standing(sites)
        self.x, self.y = self.stand.x, self.stand.y
        self.lengths = [len(site.train_rows) for site in sites]  # to plan with
        self.sizes = torch.tensor(self.lengths, dtype=torch.float64)  # to compute with
        self.rows = self._padded()
        is_table = self.x.ndim == 2
        self.valid = padded_tables([site.valid_rows.x.to(self.net.device) for site in sites]) if is_table else None
        self.labels = self.net.task.padded([site.valid_rows.y.numpy() for site in sites])
        self.drawing: tuple[list[tuple[list[int], int, int]], Draws] = [], Draws.of([], [], [])
        self.keyed: tuple[list[tuple[list[int], Job]], Tensor] = [], torch.empty(0)
        self.latest: tuple[list[Tensors], dict[int, int]] = [], {}  # the models last evaluated, and whose they are
        self.state: Tensors = {"prepare": tree_stack([site.state["prepare"] for site in sites])}
        self.chain = None if self.valid is None else Chain.of(self.net)
        if (
            self.chain is not None and self.valid is not None
        ):  # prepared once: a chain's model has its site's preparation
            each = tree_map(lambda v: v.unsqueeze(1), self.state["prepare"])
            self.ready_valid = self.net.ready(each, self.valid)

    def _padded(self) -> tuple[Tensor, Tensor]:
        at = np.arange(max(self.lengths))
        there = at < np.array(self.lengths)[:, None]
        self.places = self.stand.train.numbers(np.where(there, at, 0))
        weight = torch.from_numpy(there).to(self.net.device, self.net.dtype)
        return torch.from_numpy(self.places).to(self.net.device), weight

    # ------------------------------------------------------------------ training

    def train(self, parts: Sequence[Part]) -> tuple[Tensors, Tensors, Tensor, list[bool]]:
        """Train the sites of each part; return stacked ``(uploads, extras, training rows)`` and which are finite."""
        who = [i for part in parts for i in part.who]
        at = None if len(who) == len(self.sites) else torch.tensor(who, device=self.net.device)
        plans = row_plans(self._draws(parts), parts[0].job)
        box = self._box(parts, at, torch.from_numpy((plans[:, :, 0] >= 0).sum(0)))
        work, done, writings = self._work(parts), [], written(self.x, self.y)
        for some in chunks(len(who), self._at_once(plans.shape[2])):
            numbers = self.stand.train.numbers(plans[:, some], who[some])
            feed = PaddedBatches(self.x, self.y, numbers, plans[:, some] >= 0, self.net)
            done.append(work.train(tree_map(lambda v, some=some: v[some], box), feed, self.stop))
        if written(self.x, self.y) != writings:
            raise RowsChanged(changed("the sites"))
        upload, sent, memory = done[0] if len(done) == 1 else (_cat(each) for each in zip(*done, strict=True))
        good = _finite((upload, sent, memory))
        if not bool(good.all()):  # a site whose training failed keeps what it had
            before = {**box["memory"], "opt": box["memory"]["opt"] or tree_map(torch.zeros_like, memory["opt"])}
            memory = tree_map(lambda new, old: torch.where(against(new, good), new, old), memory, before)
        self._remember(at, memory)
        upload, sent, rows = home(upload), home(sent), self.sizes if at is None else self.sizes[who]
        hooked = [(hook, self._names(part), part.job, part.model) for part in parts if (hook := self._hook(part))]
        if hooked:
            upload, sent, rows = leave_stacked(hooked, upload, sent, rows)
            good = good.cpu() & _finite((upload, sent, rows))
            if not any(hook.sealed for hook, *_ in hooked):  # a sealed number of rows may be any
                good &= rows > 0
        return upload, sent, rows, good.tolist()

    def _names(self, part: Part) -> tuple[str, ...]:
        return tuple(self.sites[i].name for i in part.who)

    def _hook(self, part: Part) -> OnUpload | None:
        return self.sites[part.who[0]].hooks.upload if part.who else None

    def _work(self, parts: Sequence[Part]) -> Work:
        first, job = self.sites[0], parts[0].job
        one_rate = all(part.job.lr == job.lr for part in parts)
        return Work(
            first.alg, first.net, first.optimizer, job, lift, self._rows, one_rate, self.chain, first.hooks.rows
        )

    def _at_once(self, batch_size: int) -> int:
        """How many sites step together: of bags, which are padded, not more than there is room for."""
        if bags_in(self.x) is None:
            return CHUNK
        return max(1, min(CHUNK, PADDED // (batch_size * math.prod(self.x.shape[1:]))))

    def _rows(self, box: Tensors) -> Batch:
        y, there = self.y[box["rows"]], box["there"]
        if "entry" not in box:
            return Batch(as_floats(self.x[box["rows"]], self.net.dtype), y, there)
        x, mask = gathered(self.x, self.places, self.net)  # all bags of all sites, where an algorithm asks for them
        assert mask is not None
        return Batch(x[box["entry"]], y, there, mask[box["entry"]])

    def _memory(self) -> Tensors:
        if "memory" not in self.state:
            alg = self.sites[0].alg
            each = {net: net.placed(net.start()) for net in {site.net for site in self.sites}}  # one a run
            starts = tree_stack([each[site.net] for site in self.sites])
            self.state["memory"] = vmap(lambda p: first_memory(alg, p))({**starts, **self.state["prepare"]})
        memory: Tensors = self.state["memory"]
        return memory

    def _box(self, parts: Sequence[Part], at: Tensor | None, steps: Tensor) -> Tensors:
        dtype, device, alg = self.net.dtype, self.net.device, self.sites[0].alg

        def chosen(v: Tensor) -> Tensor:
            return v if at is None else v[at]

        def each(of_part: list[float]) -> Tensor:
            numbers = [number for part, number in zip(parts, of_part, strict=True) for _ in part.who]
            return torch.tensor(numbers, dtype=dtype, device=device)

        box = {
            "anchor": theirs(alg, self._to_all(parts, [part.model for part in parts])),
            "extra": theirs(alg, self._to_all(parts, [part.extra for part in parts])),
            "memory": theirs(alg, tree_map(chosen, self._memory())),
            "lr": each([part.job.lr for part in parts]),
            "base_lr": each([part.job.base_lr or part.job.lr for part in parts]),
            "steps": steps.to(device, dtype),
            "n": chosen(self.sizes.to(device, dtype)),
            "key": self._keys(parts),
            "rows": chosen(self.rows[0]),
            "there": chosen(self.rows[1]),
        }
        return box if bags_in(self.x) is None else box | {"entry": chosen(torch.arange(len(self.sites), device=device))}

    def _to_all(self, parts: Sequence[Part], trees: list[Tensors]) -> Tensors:
        """Give every site what its run sends; one run's tensors are not even copied."""
        if len(parts) == 1:
            out: Tensors = tree_map(lambda v: v.to(self.net.device).expand(len(parts[0].who), *v.shape), trees[0])
            return out
        whose = torch.tensor([number for number, part in enumerate(parts) for _ in part.who])
        out = tree_map(lambda *sent: torch.stack(sent)[whose].to(self.net.device), *trees)
        return out

    def _draws(self, parts: Sequence[Part]) -> Draws:
        """Return who draws; the same in every round in which the same are asked."""
        asked = [(part.who, part.job.seed, part.job.batch_size) for part in parts]
        if self.drawing[0] != asked:
            each = [(self.lengths[i], part.job, self.sites[i].name) for part in parts for i in part.who]
            self.drawing = asked, Draws.of(*zip(*each, strict=True))
        return self.drawing[1]

    def _keys(self, parts: Sequence[Part]) -> Tensor:
        """Return each site's seed of this round; evaluation asks for those that training had."""
        asked = [(part.who, part.job) for part in parts]
        if self.keyed[0] != asked:
            self.keyed = asked, torch.from_numpy(site_keys(self._draws(parts), parts[0].job)).to(self.net.device)
        return self.keyed[1]

    def _remember(self, at: Tensor | None, memory: Tensors) -> None:
        if at is None:
            self.state["memory"] = memory
            return
        held = self.state["memory"]
        if not held["opt"] and tree_leaves(memory["opt"]):
            held["opt"] = tree_map(lambda v: v.new_zeros(len(self.sites), *v.shape[1:]), memory["opt"])
        self.state["memory"] = tree_map(lambda old, new: old.index_copy(0, at, new), held, memory)

    # ------------------------------------------------------------------ predicting

    def evaluate(self, parts: Sequence[Part]) -> dict[str, NDArray[np.float64]]:
        """The task's two scores of each part's sites, in order, on their ``valid`` rows; hold the models."""
        who = [i for part in parts for i in part.who]
        at = None if len(who) == len(self.sites) else torch.tensor(who, device=self.net.device)
        held = [self.x, self.y] if self.valid is None else [self.x, self.y, self.valid]
        before = written(*held)
        with torch.no_grad():
            models, p = self._predicted(parts, at)
        if written(*held) != before:
            raise RowsChanged(changed("the sites"))
        self.latest = models, {i: row for row, i in enumerate(who)}
        labels = self.labels if at is None else self.labels[who]
        found = self.sites[0].net.task.quick_scores(labels, p.cpu().numpy())
        return screened(found, [self.sites[i].leaving for i in who])

    def _predicted(self, parts: Sequence[Part], at: Tensor | None) -> tuple[list[Tensors], Tensor]:
        """Return each site's models and its probabilities; the contract's own model needs no more than a chain."""
        net, work = self.net, self._work(parts)
        if self.chain is not None and type(work.alg).personal is Algorithm.personal:
            own, x = self._memory()["own"], self.ready_valid
            own, x = (own, x) if at is None else (tree_map(lambda v: v[at], own), x[at])
            model = {**self._to_all(parts, [part.model for part in parts]), **own}
            return [model], self.chain.probabilities(model, x)
        nothing = torch.zeros(sum(len(part.who) for part in parts))
        box = self._box(parts, at, nothing)
        if self.valid is None:
            models = vmap(work.personal)(box)
            each = [vmap(net.vote)(models, *part) for part in self._valid_parts(at)]
            return models, each[0] if len(each) == 1 else torch.cat(each, 1)

        def predict(box: Tensors, x: Tensor) -> tuple[list[Tensors], Tensor]:
            models = work.personal(box)
            return models, net.vote(models, x)

        models, p = vmap(predict)(box, self.valid if at is None else self.valid[at])
        return models, p

    def _valid_parts(self, at: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
        """Give pictures, or bags and their masks, of these sites' ``valid`` rows, some of each site at a time."""
        who = np.arange(len(self.sites)) if at is None else at.cpu().numpy()
        lengths = np.array([len(self.sites[i].valid_rows) for i in who.tolist()])
        size = math.prod(self.stand.valid_x.shape[1:])
        at_once = max(1, min(PASS // size, PADDED // (size * len(who))))
        for begin in range(0, lengths.max(), at_once):
            place = np.arange(begin, min(begin + at_once, lengths.max()))
            numbers = self.stand.valid.numbers(np.where(place < lengths[:, None], place, 0), who)
            x, mask = gathered(self.stand.valid_x, numbers, self.net)
            yield (x,) if mask is None else (x, mask)

    def keep(self, who: Sequence[int]) -> None:
        """Hold the models just evaluated at these sites."""
        for i in who:
            self.sites[i].state["kept"] = self._held(i)

    def export(self, i: int) -> Tensors:
        """Hand out the models that site ``i`` holds."""
        kept: Tensors | None = self.sites[i].state.get("kept")
        out: Tensors = home(kept if kept is not None else self._held(i))
        return out

    def _held(self, i: int) -> Tensors:
        models, row = self.latest
        if i not in row:
            return {}
        return {str(m): {k: v[row[i]].clone() for k, v in model.items()} for m, model in enumerate(models)}
